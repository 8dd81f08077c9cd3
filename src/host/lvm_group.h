/*
 * lvm_group.h: the volume group of a repository, read from its devices.
 *
 * Read anew whenever it is asked for: other tools change it, too. What changes it is cairn-privd's
 * (priv.h); extents are looked up here and handed to the data path as a path (disk/backend/lv.h).
 * Functions block; 0 or -errno, with the reason in *ret_why, a static string.
 */
#pragma once

#include "codec/lvm.h"

#define LVM_DEVICES_MAX 8

/* `devices`: one, or several with commas between them, of which the first is read. Where a PV is
 * neither of them nor where lvm2 saw it last, its member `device` is "". -ENODEV: no physical
 * volume, or one without a group. The group: lvm_vg_done(). */
int lvm_group_read(const char *devices, struct lvm_vg *ret, const char **ret_why);

/* The path of a volume for cairn-diskd, under its own name or another: the caller's. NULL: a volume
 * that is neither linear nor striped by whole extents, lies on other devices, or in too many
 * pieces. */
char *lvm_group_path(const struct lvm_vg *vg, const struct lvm_lv *lv, const char *as);

/* ---- paths: "lv:NAME:DEVICE@PLACE+SIZE,…" ---- */

/* The volume that has the name now, or is between two of which it is one (sr_lvm_chain.c). */
const struct lvm_lv *lvm_group_find(const struct lvm_vg *vg, const char *name); /* NULL */
bool lvm_group_is_path(const char *path);
/* The path of the volume of a name in the group which the one at `path` is in, as it is now: the
 * caller's. `name` NULL: its own. -ENOENT: there is none of it. */
int lvm_group_beside(const char *path, const char *name, char **ret);
/* Are both the path of one volume, if with the extents it had at different times; or the same? */
bool lvm_group_is_same(struct view a, struct view b);
