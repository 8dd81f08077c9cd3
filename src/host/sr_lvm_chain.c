/*
 * sr_lvm_chain.c: chains on logical volumes: what snapshots, clones and their tidying are
 * made of. Called through sr.c on operation threads.
 *
 * A child names its parent, "./VHD-<uuid>"; where that is, is asked of the group. Two volumes
 * change places by renaming, which is one change of metadata each, so that between two of them a
 * disk has no volume of its name: the one that stands in for it then is called swap-<uuid>, and is
 * found wherever the disk is looked for (lvm_group_find). It is made or named so while the disk's
 * own name is there, so it is only looked at when it is whole:
 *
 *     split    VHD-x          VHD-x swap-x    VHD-base swap-x     VHD-base VHD-x
 *     unsplit  VHD-base VHD-x                 VHD-base swap-x     VHD-x swap-x     VHD-x
 *     replace  VHD-from VHD-x                 VHD-from swap-x     VHD-x swap-x     VHD-x
 *
 * Of qcow2 the same with QCOW2- and swapq-. From any of these states each of them goes on, and so
 * does what undoes it.
 */
#include <string.h>

#include "base/str.h"
#include "gen/error.h"
#include "host/disk_format.h"
#include "host/lvm_change.h"
#include "host/sr_lvm.h"
#include "task/fault.h"

#define FOOTER 512u

/* The names that are between a disk and another one. */
struct pair {
    const struct sr_ref *sr;
    struct sr_lvm g;
    char *at, *other, *swap;
};

static void pair_done(struct pair *p)
{
    sr_lvm_done(&p->g);
    free(p->at);
    free(p->other);
    free(p->swap);
}

/* Chains are of one format, but the lowest may be raw. */
static struct err *pair_of(const struct sr_ref *sr, const char *at, const char *other,
                           struct pair *ret)
{
    ret->swap = lvm_group_swap(at);
    if (!ret->swap || !str_is_uuid(sr_lvm_uuid_in(at)))
        return err_SR_OPERATION_NOT_SUPPORTED(sr->uuid);
    ret->sr = sr;
    ret->at = mem_strdup(at);
    ret->other = mem_strdup(other);
    return sr_lvm_open(sr, &ret->g);
}

static struct err *pair_of_uuid(const struct sr_ref *sr, const char *at, const char *uuid,
                                struct pair *ret)
{
    _cleanup_(freep) char *other = sr_lvm_location(uuid, sr_lvm_format_in(at));
    return pair_of(sr, at, other ? other : "", ret);
}

static bool has(const struct sr_lvm *g, const char *name)
{
    return lvm_vg_find(&g->vg, name) != NULL;
}

static struct err *renamed(struct host *h, struct sr_lvm *g, const char *from, const char *to)
{
    TRY(fault_point("volume rename"));
    TRY(group_lv_rename(h, g->device, g->name, from, to));
    return sr_lvm_look(g);
}

/* Nothing, if it is not there. */
static struct err *removed(struct host *h, struct sr_lvm *g, const char *name)
{
    if (!has(g, name))
        return NULL;
    TRY(fault_point("volume remove"));
    TRY(group_lv_remove(h, g->device, g->name, name));
    return sr_lvm_look(g);
}

static struct err *path_of(const struct sr_lvm *g, const char *name, const char *as, char **ret)
{
    const struct lvm_lv *lv = lvm_vg_find(&g->vg, name);
    return lv ? sr_lvm_path(g, lv, as, ret)
              : sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", name);
}

static struct err *hide(struct host *h, const struct verb *v, const struct sr_lvm *g,
                        const char *name, bool hidden)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(g, name, name, &path));
    return h->disks->set_hidden(h->disks_data, v, path, hidden);
}

/* An empty child of `parent`, which it knows as `as`, in a new volume `name`. */
static struct err *make_child(struct host *h, const struct verb *v, struct pair *p,
                              const char *parent, const char *as, const char *name)
{
    struct disk_info info = {0};
    struct sr_lvm *g = &p->g;
    _cleanup_(freep) char *below = NULL;
    _cleanup_(freep) char *path = NULL;
    TRY(removed(h, g, name));
    TRY(path_of(g, parent, as, &below));
    TRY(h->disks->info(h->disks_data, v, below, &info));
    uint64_t bytes =
        sr_lvm_first_size(p->sr, g, NULL, sr_lvm_format_in(p->at), info.image.size_bytes);
    disk_info_done(&info);
    TRY(sr_lvm_need(g, bytes));
    TRY(group_lv_create(h, g->device, g->name, name, bytes));
    TRY(sr_lvm_look(g));
    /* what a path is called says its format */
    TRY(path_of(g, name, str_starts(name, SR_LVM_NEW) ? p->other : name, &path));
    return h->disks->child(h->disks_data, v, path, below);
}

/* ---- split, unsplit ---- */

static struct err *split(struct host *h, const struct verb *v, struct pair *p)
{
    if (!has(&p->g, p->other)) {
        TRY(make_child(h, v, p, p->at, p->other, p->swap));
        TRY(hide(h, v, &p->g, p->at, true));
        TRY(renamed(h, &p->g, p->at, p->other));
    }
    return has(&p->g, p->at) ? NULL : renamed(h, &p->g, p->swap, p->at);
}

struct err *sr_lvm_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location, const char *base)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of_uuid(sr, location, base, &p));
    return sr_wrap(split(h, v, &p), SR_VDI_SNAPSHOT, "VDI Snapshot failed");
}

/* The volume of the other name takes the disk's, whose own goes. */
static struct err *take_place(struct host *h, struct pair *p)
{
    bool there = has(&p->g, p->other);
    if (there && has(&p->g, p->at)) {
        TRY(removed(h, &p->g, p->swap));
        TRY(renamed(h, &p->g, p->at, p->swap));
    }
    if (there)
        TRY(renamed(h, &p->g, p->other, p->at));
    const struct lvm_lv *lv = lvm_vg_find(&p->g.vg, p->at);
    if (lv && !lv->is_writable)
        TRY(group_lv_writable(h, p->g.device, p->g.name, p->at));
    return has(&p->g, p->at) ? removed(h, &p->g, p->swap) : NULL;
}

static struct err *unsplit(struct host *h, const struct verb *v, struct pair *p)
{
    TRY(take_place(h, p));
    return hide(h, v, &p->g, p->at, false);
}

struct err *sr_lvm_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *base)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of_uuid(sr, location, base, &p));
    return sr_wrap(unsplit(h, v, &p), SR_VDI_SNAPSHOT, "VDI Snapshot cannot be undone");
}

char *sr_lvm_name_of(const struct sr_lvm *g, const struct lvm_lv *lv)
{
    if (str_is_uuid(sr_lvm_uuid_in(lv->name)))
        return mem_strdup(lv->name);
    char *name = lvm_group_unswap(lv->name);
    if (name && (!str_is_uuid(sr_lvm_uuid_in(name)) || has(g, name)))
        freep(&name);
    return name;
}

struct err *sr_lvm_settle(struct host *h, struct sr_lvm *g)
{
    for (size_t i = 0; i < g->vg.lvs.n;) {
        const struct lvm_lv *lv = &g->vg.lvs.v[i++];
        _cleanup_(freep) char *own = lvm_group_unswap(lv->name);
        if (!own)
            continue;
        _cleanup_(freep) char *name = mem_strdup(lv->name);
        _cleanup_(freep) char *disk = sr_lvm_name_of(g, lv);
        TRY(disk ? renamed(h, g, name, disk) : removed(h, g, name));
        i = 0;
    }
    return NULL;
}

/* ---- children, parents ---- */

static struct err *child(struct host *h, const struct verb *v, struct pair *p, const char *new)
{
    if (has(&p->g, p->other))
        return NULL;
    struct err *e = make_child(h, v, p, p->at, p->at, new);
    if (!e)
        e = renamed(h, &p->g, new, p->other);
    if (e && !sr_lvm_look(&p->g))
        e = err_first(e, removed(h, &p->g, new));
    return e;
}

struct err *sr_lvm_child(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *parent, const char *uuid)
{
    _cleanup_(pair_done) struct pair p = {0};
    _cleanup_(freep) char *new = mem_printf(SR_LVM_NEW "%s", uuid);
    TRY(pair_of_uuid(sr, parent, uuid, &p));
    return sr_wrap(child(h, v, &p, new), SR_VDI_CLONE, "VDI Clone failed");
}

static struct err *relink(struct host *h, const struct verb *v, struct pair *p)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(freep) char *parent = NULL;
    TRY(path_of(&p->g, p->at, p->at, &path));
    TRY(path_of(&p->g, p->other, p->other, &parent));
    return h->disks->set_parent(h->disks_data, v, path, parent);
}

struct err *sr_lvm_relink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *parent)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of(sr, location, parent, &p));
    return sr_wrap(relink(h, v, &p), SR_GENERAL, "A parent cannot be changed");
}

static struct err *replace(struct host *h, const struct verb *v, struct pair *p)
{
    if (has(&p->g, p->other))
        TRY(hide(h, v, &p->g, p->other, false));
    return take_place(h, p);
}

struct err *sr_lvm_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *from)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of(sr, location, from, &p));
    return sr_wrap(replace(h, v, &p), SR_GENERAL, "A disk cannot take the place of another");
}

/* ---- sizes: a base copy is as large as what is in it, until something is written to it ---- */

static struct err *resized(struct host *h, const struct verb *v, struct sr_lvm *g, const char *name,
                           uint64_t bytes, bool hidden)
{
    const struct lvm_lv *lv = lvm_vg_find(&g->vg, name);
    uint64_t has_bytes = lv->extents * g->vg.extent_size;
    if (bytes == has_bytes)
        return NULL;
    TRY(fault_point("volume resize"));
    if (bytes > has_bytes)
        TRY(sr_lvm_need(g, bytes - has_bytes));
    TRY((bytes > has_bytes ? group_lv_extend : group_lv_reduce)(h, g->device, g->name, name,
                                                                bytes));
    TRY(sr_lvm_look(g));
    return hide(h, v, g, name, hidden); /* which also writes the footer at the new end */
}

static struct err *info_of(struct host *h, const struct verb *v, const struct sr_lvm *g,
                           const char *name, struct disk_info *ret)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(g, name, name, &path));
    return h->disks->info(h->disks_data, v, path, ret);
}

static struct err *shrink(struct host *h, const struct verb *v, struct sr_lvm *g, const char *name)
{
    struct disk_info info = {0};
    TRY(info_of(h, v, g, name, &info));
    uint64_t extent = g->vg.extent_size, end = info.data_end + FOOTER;
    uint64_t bytes = (end + extent - 1) / extent * extent;
    const struct lvm_lv *lv = lvm_vg_find(&g->vg, name);
    bool may = info.hidden && info.data_end && lv && bytes < lv->extents * extent;
    disk_info_done(&info);
    return may ? resized(h, v, g, name, bytes, true) : NULL;
}

struct err *sr_lvm_shrink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    TRY(sr_lvm_open(sr, &g));
    return sr_wrap(shrink(h, v, &g, location), SR_GENERAL, "A base copy cannot give back space");
}

/*
 * As large as a disk of its own, or as its child, which may have grown; or by as much as there is
 * in the child. Who reads through it learns of its new extents before something is in them, for the
 * sake of who takes his place if he dies; who is paused, as above a leaf that is merged, learns of
 * them when he goes on.
 */
static struct err *make_room(struct host *h, const struct verb *v, struct sr_lvm *g,
                             const char *name, uint64_t size, const struct lvm_lv *child,
                             bool is_read)
{
    struct disk_info info = {0};
    const struct lvm_lv *lv = lvm_vg_find(&g->vg, name);
    if (!lv || !disk_has_chain(sr_lvm_format_in(name)))
        return sr_error(SR_GENERAL, "Coalesce failed", "what is below cannot be made larger");
    TRY(info_of(h, v, g, name, &info));
    uint64_t full = sr_lvm_full_size(sr_lvm_format_in(name),
                                     size > info.image.size_bytes ? size : info.image.size_bytes);
    bool hidden = info.hidden;
    disk_info_done(&info);
    uint64_t has_bytes = lv->extents * g->vg.extent_size,
             most = has_bytes + child->extents * g->vg.extent_size,
             bytes = most < full ? most : full;
    if (bytes <= has_bytes)
        return NULL;
    _cleanup_(freep) char *path = NULL;
    TRY(resized(h, v, g, name, bytes, hidden));
    TRY(path_of(g, name, name, &path));
    return is_read ? h->disks->reopen(h->disks_data, v, path) : NULL;
}

/* ---- through the data path ---- */

static struct err *path_at(const struct sr_ref *sr, const char *location, char **ret)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    const struct lvm_lv *lv = NULL;
    TRY(sr_lvm_open(sr, &g));
    TRY(sr_lvm_find(&g, location, &lv));
    return sr_lvm_path(&g, lv, location, ret);
}

static struct err *coalesce(struct host *h, const struct verb *v, struct sr_lvm *g,
                            const char *location, uint64_t rate)
{
    struct disk_info info = {0};
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(g, location, location, &path));
    TRY(h->disks->info(h->disks_data, v, path, &info));
    _cleanup_(freep) char *parent = sr_lvm_name_in(info.parent);
    uint64_t size = info.image.size_bytes;
    bool is_leaf = !info.hidden;
    disk_info_done(&info);
    TRY(make_room(h, v, g, parent, size, lvm_vg_find(&g->vg, location), !is_leaf));
    return h->disks->coalesce(h->disks_data, v, path, rate);
}

struct err *sr_lvm_coalesce(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, uint64_t rate)
{
    _cleanup_(sr_lvm_done) struct sr_lvm g = {0};
    TRY(sr_lvm_open(sr, &g));
    return sr_wrap(coalesce(h, v, &g, location, rate), SR_GENERAL, "Coalesce failed");
}

struct err *sr_lvm_pause(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_at(sr, location, &path));
    return sr_wrap(h->disks->pause(h->disks_data, v, path), SR_GENERAL, "A disk cannot be paused");
}

struct err *sr_lvm_resume(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_at(sr, location, &path));
    return sr_wrap(h->disks->resume(h->disks_data, v, path), SR_GENERAL,
                   "A disk cannot be resumed");
}

struct err *sr_lvm_reopen(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_at(sr, location, &path));
    return sr_wrap(h->disks->reopen(h->disks_data, v, path), SR_GENERAL,
                   "A disk cannot be reopened");
}
