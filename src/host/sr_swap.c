/*
 * sr_swap.c: see sr_swap.h. Called through sr.c on operation threads.
 *
 * Two images change places by renaming, so that between two of them a disk has no image of its
 * name. The one that stands in for it then is called swap-<disk>.part; it is made or named so while
 * the disk's own name is there, so it is only looked at when it is whole:
 *
 *     split    x          x swap-x    base swap-x     base x
 *     unsplit  base x                 base swap-x     x swap-x     x
 *     replace  from x                 from swap-x     x swap-x     x
 *
 * From any of these states each of them goes on, and so does what undoes it.
 */
#include "host/sr_swap.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "host/disk_format.h"
#include "host/sr_store.h"
#include "task/fault.h"

#define SWAP     "swap-"
#define LOOKS    20 /* of a scan that meets a renaming */
#define PAUSE_MS 100

/* ---- the three names ---- */

struct place {
    char *name, *path;
    bool is_there;
};

struct trio {
    char *dir;
    struct place at, other, swap;
};

static void place_done(struct place *p)
{
    free(p->name);
    free(p->path);
}

static void trio_done(struct trio *t)
{
    free(t->dir);
    place_done(&t->at);
    place_done(&t->other);
    place_done(&t->swap);
}

static struct place place_of(const char *dir, char *name_taken)
{
    return (struct place){
        .name = name_taken, .path = mem_printf("%s/%s", dir, name_taken), .is_there = false};
}

static bool is_listed(const struct store_list *l, const char *name)
{
    for (size_t i = 0; i < l->entries.n; i++)
        if (str_eq(l->entries.v[i].name, name))
            return true;
    return false;
}

static struct err *list(struct host *h, const char *dir, struct store_list *ret)
{
    int r = store_list(h, dir, ret);
    return r < 0 ? sr_error(SR_UNAVAILABLE, "The folder cannot be read", strerror(-r)) : NULL;
}

static struct err *look(struct host *h, struct trio *t)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(list(h, t->dir, &l));
    t->at.is_there = is_listed(&l, t->at.name);
    t->other.is_there = is_listed(&l, t->other.name);
    t->swap.is_there = is_listed(&l, t->swap.name);
    return NULL;
}

static struct err *trio_of(struct host *h, const struct sr_ref *sr, const char *location,
                           const char *other, struct trio *ret)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(freep) char *dir = NULL;
    TRY(sr_file_path(h, sr, location, &ret->dir, &path));
    freep(&path);
    TRY(sr_file_path(h, sr, other, &dir, &path));
    ret->at = place_of(ret->dir, mem_strdup(location));
    ret->other = place_of(ret->dir, mem_strdup(other));
    ret->swap = place_of(ret->dir, mem_printf(SWAP "%s" SR_FILE_PART, location));
    return look(h, ret);
}

static struct err *trio_of_uuid(struct host *h, const struct sr_ref *sr, const char *location,
                                const char *uuid, struct trio *ret)
{
    const char *format = disk_format_of(location);
    if (!format || !disk_has_chain(format))
        return err_SR_OPERATION_NOT_SUPPORTED(sr->uuid);
    _cleanup_(freep) char *name = sr_file_location(uuid, format);
    return trio_of(h, sr, location, name, ret);
}

static struct err *renamed(struct host *h, struct place *from, struct place *to)
{
    TRY(fault_point("image rename"));
    int r = store_rename(h, from->path, to->path);
    if (r < 0)
        return err_errno(-r, "cannot rename '%s' to '%s'", from->path, to->name);
    from->is_there = false;
    to->is_there = true;
    return NULL;
}

/* Nothing, if it is not there. */
static struct err *removed(struct host *h, struct place *p)
{
    if (!p->is_there)
        return NULL;
    TRY(fault_point("image remove"));
    int r = store_unlink(h, p->path);
    if (r < 0 && r != -ENOENT)
        return err_errno(-r, "cannot remove '%s'", p->path);
    p->is_there = false;
    return NULL;
}

/* ---- split, unsplit, replace ---- */

static struct err *make_child(struct host *h, const struct verb *v, struct trio *t)
{
    TRY(removed(h, &t->swap));
    TRY(h->disks->child(h->disks_data, v, t->swap.path, t->at.path));
    t->swap.is_there = true;
    return h->disks->name_parent(h->disks_data, v, t->swap.path, t->at.path, t->other.path);
}

static struct err *split(struct host *h, const struct verb *v, struct trio *t)
{
    if (!t->other.is_there) {
        TRY(make_child(h, v, t));
        TRY(h->disks->set_hidden(h->disks_data, v, t->at.path, true));
        TRY(renamed(h, &t->at, &t->other));
    }
    return t->at.is_there ? NULL : renamed(h, &t->swap, &t->at);
}

struct err *sr_swap_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *base)
{
    _cleanup_(trio_done) struct trio t = {0};
    TRY(trio_of_uuid(h, sr, location, base, &t));
    return sr_wrap(split(h, v, &t), SR_VDI_SNAPSHOT, "VDI Snapshot failed");
}

/* The image of the other name takes the disk's, whose own goes. */
static struct err *take_place(struct host *h, struct trio *t)
{
    bool there = t->other.is_there;
    if (there && t->at.is_there) {
        TRY(removed(h, &t->swap));
        TRY(renamed(h, &t->at, &t->swap));
    }
    if (there)
        TRY(renamed(h, &t->other, &t->at));
    return t->at.is_there ? removed(h, &t->swap) : NULL;
}

static struct err *unsplit(struct host *h, const struct verb *v, struct trio *t)
{
    TRY(take_place(h, t));
    return h->disks->set_hidden(h->disks_data, v, t->at.path, false);
}

struct err *sr_swap_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *base)
{
    _cleanup_(trio_done) struct trio t = {0};
    TRY(trio_of_uuid(h, sr, location, base, &t));
    return sr_wrap(unsplit(h, v, &t), SR_VDI_SNAPSHOT, "VDI Snapshot cannot be undone");
}

static struct err *replace(struct host *h, const struct verb *v, struct trio *t)
{
    if (t->other.is_there)
        TRY(h->disks->set_hidden(h->disks_data, v, t->other.path, false));
    return take_place(h, t);
}

struct err *sr_swap_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *from)
{
    _cleanup_(trio_done) struct trio t = {0};
    TRY(trio_of(h, sr, location, from, &t));
    return sr_wrap(replace(h, v, &t), SR_GENERAL, "A disk cannot take the place of another");
}

/* ---- what is in between ---- */

/* The disk that an image stands in for: its location, the caller's; NULL: it does for none. */
static char *disk_of(const char *name)
{
    size_t n = strlen(name), around = strlen(SWAP) + strlen(SR_FILE_PART);
    if (!str_starts(name, SWAP) || !str_ends(name, SR_FILE_PART) || n <= around)
        return NULL;
    return mem_strndup(name + strlen(SWAP), n - around);
}

struct err *sr_swap_settle(struct host *h, const char *dir)
{
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(list(h, dir, &l));
    vec_each (entry, &l.entries) {
        _cleanup_(freep) char *disk = disk_of(entry->name);
        if (!disk || is_listed(&l, disk))
            continue;
        _cleanup_(freep) char *from = mem_printf("%s/%s", dir, entry->name);
        _cleanup_(freep) char *to = mem_printf("%s/%s", dir, disk);
        int r = store_rename(h, from, to);
        if (r < 0)
            return sr_error(SR_UNAVAILABLE, "A disk cannot be given its name", strerror(-r));
    }
    return NULL;
}

static bool is_found(const struct sr_volume *vols, size_t n, const char *location)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(vols[i].location, location))
            return true;
    return false;
}

/* Is every disk that the folder has now among those that were found? */
static bool is_all(const struct store_list *l, const struct sr_volume *vols, size_t n)
{
    for (size_t i = 0; i < l->entries.n; i++) {
        const char *name = l->entries.v[i].name;
        _cleanup_(freep) char *swapped = disk_of(name);
        const char *disk = swapped ? swapped : name;
        bool is_disk = swapped || (disk_format_of(name) && !str_ends(name, SR_FILE_PART));
        if (is_disk && disk[0] != '.' && !is_found(vols, n, disk))
            return false;
    }
    return true;
}

/* A disk that is between two names is not taken for one that is gone: it is looked for again. */
struct err *sr_swap_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         struct sr_volume **ret, size_t *ret_n)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000 * 1000};
    _cleanup_(freep) char *dir = sr_kind(sr->type)->folder(h, sr);
    for (int i = 1;; i++) {
        _cleanup_(store_list_done) struct store_list l = {0};
        struct err *e = sr_file_scan(h, v, sr, ret, ret_n);
        if (!e) {
            e = list(h, dir, &l);
            if (!e && (i == LOOKS || is_all(&l, *ret, *ret_n)))
                return NULL;
            sr_volumes_free(*ret, *ret_n);
        }
        if (e && (i == LOOKS || !str_eq(err_code(e), "SR_BACKEND_FAILURE_46")))
            return e;
        err_free(e);
        (void)nanosleep(&pause, NULL);
    }
}
