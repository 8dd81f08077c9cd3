/*
 * sr_lvm.h: the volume group of an LVM repository, between sr_lvm.c, which has its volumes, and
 * sr_lvm_chain.c, which has snapshots and their tidying. Private to those.
 *
 * A group is read when it is opened, and again with sr_lvm_look after each change:
 *
 *     _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
 *     TRY(sr_lvm_open(sr, &g));
 *     TRY(group_lv_remove(h, g.device, g.name, "VHD-…"));
 *     TRY(sr_lvm_look(&g));
 *
 * Names of volumes: VHD-<uuid>, QCOW2-<uuid>, LV-<uuid> (raw); new-<uuid>, one that is not whole
 * yet, which goes at the next attach; swap-<uuid>, one between two names, see sr_lvm_chain.c.
 */
#pragma once

#include "host/host_impl.h"
#include "host/lvm_group.h"
#include "host/sr_impl.h"

#define SR_LVM_NEW "new-"

struct sr_lvm {
    char *device; /* or several, with commas between them */
    char *name;
    struct lvm_vg vg;
};
void sr_lvm_done(struct sr_lvm *g);
struct err *sr_lvm_open(const struct sr_ref *sr, struct sr_lvm *ret) _must_use_;
struct err *sr_lvm_look(struct sr_lvm *g) _must_use_;

/* Of a disk at that location; SR_VDI_UNAVAILABLE: there is none. Good until the next look. */
struct err *sr_lvm_find(const struct sr_lvm *g, const char *location, const struct lvm_lv **ret)
    _must_use_;
/* For cairn-diskd, under the volume's own name or another: the caller's. */
struct err *sr_lvm_path(const struct sr_lvm *g, const struct lvm_lv *lv, const char *as, char **ret)
    _must_use_;
/* The name in a path; "" if it is none of a volume. */
char *sr_lvm_name_in(const char *path);
/* How large a volume is that has room for every block which the disk will ever have. */
uint64_t sr_lvm_full_size(const char *format, uint64_t size);
/* How large one begins: as large, or by what is said about thin ones (`sm_config` NULL: of it). */
uint64_t sr_lvm_first_size(const struct sr_ref *sr, const struct sr_lvm *g,
                           const struct val *sm_config, const char *format, uint64_t size);
/* SR_NO_SPACE: the group has not so many bytes left. */
struct err *sr_lvm_need(const struct sr_lvm *g, uint64_t bytes) _must_use_;
/* The uuid of the repository that a group is; "" of another one. */
const char *sr_lvm_sr_in(const char *group);
/* "" of what is no disk's name. */
const char *sr_lvm_uuid_in(const char *name);
const char *sr_lvm_format_in(const char *name); /* likewise */
/* The other way round; NULL: a format without chains. The caller's. */
char *sr_lvm_location(const char *uuid, const char *format);
/* The location of the disk that a volume is: the caller's; NULL: it is none. */
char *sr_lvm_name_of(const struct sr_lvm *g, const struct lvm_lv *lv);

/* ---- sr_lvm_iscsi.c: of other kinds than lvmoiscsi nothing is to be done ---- */

struct err *sr_lvm_unit_attach(struct host *h, const struct sr_ref *sr) _must_use_;
void sr_lvm_unit_detach(struct host *h, const struct sr_ref *sr);
/* The unit that is attached, for cairn-diskd: the caller's. */
struct err *sr_lvm_unit(const struct sr_ref *sr, char **ret) _must_use_;

/* ---- sr_lvm_chain.c ---- */

/* What an operation that a crash cut off left between two names gets one of them. */
struct err *sr_lvm_settle(struct host *h, struct sr_lvm *g) _must_use_;
struct err *sr_lvm_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location, const char *base) _must_use_;
struct err *sr_lvm_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *base) _must_use_;
struct err *sr_lvm_child(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *parent, const char *uuid) _must_use_;
struct err *sr_lvm_relink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *parent) _must_use_;
struct err *sr_lvm_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *from) _must_use_;
struct err *sr_lvm_coalesce(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, uint64_t rate) _must_use_;
struct err *sr_lvm_shrink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;
struct err *sr_lvm_pause(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location) _must_use_;
struct err *sr_lvm_resume(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;
struct err *sr_lvm_reopen(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;

#define SR_LVM_CHAINS                                                                              \
    .location_of = sr_lvm_location, .vdi_split = sr_lvm_split, .vdi_unsplit = sr_lvm_unsplit,      \
    .vdi_child = sr_lvm_child, .vdi_relink = sr_lvm_relink, .vdi_replace = sr_lvm_replace,         \
    .vdi_coalesce = sr_lvm_coalesce, .vdi_pause = sr_lvm_pause, .vdi_resume = sr_lvm_resume,       \
    .vdi_reopen = sr_lvm_reopen, .vdi_shrink = sr_lvm_shrink
