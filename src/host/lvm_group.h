/*
 * lvm_group.h: the volume group of a repository, read from its devices.
 *
 * A device is one of this host, or a unit of a server by its URL (lvm_unit.h).
 *
 * Read anew whenever it is asked for: other tools change it, too. What changes it is
 * lvm_change.h's; extents are looked up here and handed to the data path as a path
 * (disk/backend/lv.h). Functions block; 0 or -errno, with the reason in *ret_why, a static string.
 */
#pragma once

#include "codec/lvm.h"

#define LVM_DEVICES_MAX 8

/* `devices`: one, or several with commas between them, of which the first is read. Where a PV is
 * neither of them nor where lvm2 saw it last, its member `device` is "". -ENODEV: no physical
 * volume, or one without a group. The group: lvm_vg_done(). */
int lvm_group_read(const char *devices, struct lvm_vg *ret, const char **ret_why);

/* What a device says of its group, as it stands there; lvm_raw_done(), after an error, too. */
struct lvm_raw {
    char pv_id[LVM_ID_SIZE];
    struct lvm_area mda;
    uint8_t head[LVM_MDA_BYTES]; /* of it */
    struct lvm_place place;
    char *text; /* not looked at */
};
int lvm_raw_read(const char *device, struct lvm_raw *ret, const char **ret_why);
void lvm_raw_done(struct lvm_raw *raw);

/* The path of a volume for cairn-diskd, under its own name or another: the caller's. NULL: a volume
 * that is neither linear nor striped by whole extents, lies on other devices, or in too many
 * pieces. */
char *lvm_group_path(const struct lvm_vg *vg, const struct lvm_lv *lv, const char *as);

/* From the beginning of a volume, which must be linear there: -ERANGE otherwise. */
int lvm_group_pread(const struct lvm_vg *vg, const struct lvm_lv *lv, void *p, size_t size);

/* ---- paths: "lv:NAME:DEVICE@PLACE+SIZE,…" ---- */

/* The name that stands in for a disk's for a moment (sr_lvm_chain.c), and back: the caller's. NULL:
 * there is none for that. */
char *lvm_group_swap(const char *name);
char *lvm_group_unswap(const char *name);

/* The volume that has the name now, or is between two of which it is one (sr_lvm_chain.c). */
const struct lvm_lv *lvm_group_find(const struct lvm_vg *vg, const char *name); /* NULL */
bool lvm_group_is_path(const char *path);
/* The path of the volume of a name in the group which the one at `path` is in, as it is now: the
 * caller's. `name` NULL: its own. -ENOENT: there is none of it. */
int lvm_group_beside(const char *path, const char *name, char **ret);
/* The volume at a path and its group, read now; lvm_volume_done(), after an error, too. */
struct lvm_volume {
    char *device, *name; /* the name in the path */
    struct lvm_vg vg;
    const struct lvm_lv *lv;
};
int lvm_group_volume(const char *path, struct lvm_volume *ret);
void lvm_volume_done(struct lvm_volume *v);
/* Are both the path of one volume, if with the extents it had at different times; or the same? */
bool lvm_group_is_same(struct view a, struct view b);
