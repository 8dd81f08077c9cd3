/*
 * sr_chain.c: chains of VHD and qcow2 files in a folder: what snapshots, clones and their tidying
 * are made of. Called through sr.c on operation threads.
 *
 * split gives the file a second name, that of the base, makes the child under a name that ends in
 * .part, and renames it onto the first: at every moment the first name is an image with the right
 * content, and what a crash leaves between is told by whether both names are one file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "host/disk_format.h"
#include "host/sr_chain.h"
#include "host/sr_store.h"

const char *const sr_file_formats[] = {"vhd", "qcow2", "raw", NULL};

char *sr_file_location(const char *uuid, const char *format)
{
    return mem_printf("%s%s", uuid, disk_suffix_of(format));
}

/* The two names of a volume and its base, or of any two volumes. */
struct pair {
    char *dir, *path, *other, *part;
};

static void pair_done(struct pair *p)
{
    free(p->dir);
    free(p->path);
    free(p->other);
    free(p->part);
}

static struct err *pair_of(struct host *h, const struct sr_ref *sr, const char *location,
                           const char *other, struct pair *ret)
{
    _cleanup_(freep) char *dir = NULL;
    TRY(sr_file_path(h, sr, location, &ret->dir, &ret->path));
    TRY(sr_file_path(h, sr, other, &dir, &ret->other));
    ret->part = mem_printf("%s" SR_FILE_PART, ret->path);
    return NULL;
}

static struct err *pair_of_uuid(struct host *h, const struct sr_ref *sr, const char *location,
                                const char *uuid, struct pair *ret)
{
    const char *format = disk_format_of(location);
    _cleanup_(freep) char *name = mem_printf("%s%s", uuid, disk_suffix_of(format ? format : ""));
    return pair_of(h, sr, location, name, ret);
}

static struct err *renamed(struct host *h, const char *from, const char *to)
{
    int r = store_rename(h, from, to);
    return r < 0 ? err_errno(-r, "cannot rename '%s'", from) : NULL;
}

static struct err *wrap(struct err *e, int code, const char *reason)
{
    int en = e ? err_get_errno(e) : 0;
    return sr_wrap(e, en == ENOSPC || en == EDQUOT ? SR_NO_SPACE : code, reason);
}

/* ---- split, unsplit ---- */

static struct err *split(struct host *h, const struct verb *v, const struct pair *p)
{
    int r = store_exists(h, p->other) ? 0 : store_link(h, p->path, p->other);
    if (r < 0)
        return err_errno(-r, "cannot link '%s' to '%s'", p->path, p->other);
    if (!store_is_one(h, p->path, p->other))
        return NULL; /* it has been done before */
    TRY(h->disks->set_hidden(h->disks_data, v, p->other, true));
    (void)store_unlink(h, p->part);
    TRY(h->disks->child(h->disks_data, v, p->part, p->other));
    return renamed(h, p->part, p->path);
}

struct err *sr_file_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *base)
{
    _cleanup_(pair_done) struct pair p = {0};
    const char *format = disk_format_of(location);
    if (format && !disk_has_chain(format))
        return err_SR_OPERATION_NOT_SUPPORTED(sr->uuid);
    TRY(pair_of_uuid(h, sr, location, base, &p));
    return wrap(split(h, v, &p), SR_VDI_SNAPSHOT, "VDI Snapshot failed");
}

static struct err *unsplit(struct host *h, const struct verb *v, const struct pair *p)
{
    (void)store_unlink(h, p->part);
    if (!store_exists(h, p->other))
        return NULL;
    bool one = store_is_one(h, p->path, p->other);
    int r = one ? store_unlink(h, p->other) : store_rename(h, p->other, p->path);
    if (r < 0)
        return err_errno(-r, "cannot rename '%s'", p->other);
    return h->disks->set_hidden(h->disks_data, v, p->path, false);
}

struct err *sr_file_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *base)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of_uuid(h, sr, location, base, &p));
    return wrap(unsplit(h, v, &p), SR_VDI_SNAPSHOT, "VDI Snapshot cannot be undone");
}

/* ---- children, parents ---- */

static struct err *child(struct host *h, const struct verb *v, const struct pair *p)
{
    _cleanup_(freep) char *part = mem_printf("%s" SR_FILE_PART, p->other);
    if (store_exists(h, p->other))
        return NULL;
    (void)store_unlink(h, part);
    struct err *e = h->disks->child(h->disks_data, v, part, p->path);
    if (!e)
        e = renamed(h, part, p->other);
    if (e)
        (void)store_unlink(h, part);
    return e;
}

struct err *sr_file_child(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *parent, const char *uuid)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of_uuid(h, sr, parent, uuid, &p));
    return wrap(child(h, v, &p), SR_VDI_CLONE, "VDI Clone failed");
}

struct err *sr_file_relink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *parent)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of(h, sr, location, parent, &p));
    return wrap(h->disks->set_parent(h->disks_data, v, p.path, p.other), SR_GENERAL,
                "A parent cannot be changed");
}

/* The file is one of a disk before it has its name. */
static struct err *replace(struct host *h, const struct verb *v, const struct pair *p)
{
    if (!store_exists(h, p->other))
        return NULL; /* it has been done before */
    TRY(h->disks->set_hidden(h->disks_data, v, p->other, false));
    return renamed(h, p->other, p->path);
}

struct err *sr_file_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *from)
{
    _cleanup_(pair_done) struct pair p = {0};
    TRY(pair_of(h, sr, location, from, &p));
    return wrap(replace(h, v, &p), SR_GENERAL, "A disk cannot take the place of another");
}

/* ---- through the data path ---- */

static struct err *path_of(struct host *h, const struct sr_ref *sr, const char *location,
                           char **ret)
{
    _cleanup_(freep) char *dir = NULL;
    return sr_file_path(h, sr, location, &dir, ret);
}

struct err *sr_file_coalesce(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             const char *location, uint64_t rate)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(h, sr, location, &path));
    return wrap(h->disks->coalesce(h->disks_data, v, path, rate), SR_GENERAL, "Coalesce failed");
}

struct err *sr_file_pause(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(h, sr, location, &path));
    return wrap(h->disks->pause(h->disks_data, v, path), SR_GENERAL, "A disk cannot be paused");
}

struct err *sr_file_resume(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(h, sr, location, &path));
    return wrap(h->disks->resume(h->disks_data, v, path), SR_GENERAL, "A disk cannot be resumed");
}

struct err *sr_file_reopen(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(h, sr, location, &path));
    return wrap(h->disks->reopen(h->disks_data, v, path), SR_GENERAL, "A disk cannot be reopened");
}
