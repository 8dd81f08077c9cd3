/* blob.c: see blob.h. */
#include "op/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "op/world.h"

#undef LOG_MODULE
#define LOG_MODULE  "blob"

#define CHECK_EVERY (UINT64_C(8) << 20) /* bytes written between looks at the free space */

static char *folder_of(const struct ops *ops)
{
    return mem_printf("%s/blobs", ops->cfg.state_dir);
}

static char *path_of(const struct ops *ops, const char *uuid)
{
    return mem_printf("%s/blobs/%s", ops->cfg.state_dir, uuid);
}

static struct err *check_home(const struct ops *ops)
{
    return ops->cfg.state_dir ? NULL : err_internal("this host keeps no files");
}

/* ---- writing ---- */

struct blob_writer {
    struct ops *ops;
    const char *ref; /* rstr */
    char *path, *new;
    int fd;
    uint64_t size, checked;
};

struct err *blob_check_space(const struct ops *ops, uint64_t bytes)
{
    struct statvfs fs;
    TRY(check_home(ops));
    if (statvfs(ops->cfg.state_dir, &fs) < 0)
        return err_errno(errno, "cannot look at '%s'", ops->cfg.state_dir);
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes > BLOB_MAX_BYTES || available < BLOB_RESERVE_BYTES ||
        bytes > available - BLOB_RESERVE_BYTES)
        return err_OUT_OF_SPACE(ops->cfg.state_dir);
    return NULL;
}

struct err *blob_write_begin(struct ops *ops, const char *ref, struct blob_writer **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_blob *blob = snap_blob(s, ref);
    if (!blob)
        return err_HANDLE_INVALID("blob", ref);
    TRY(blob_check_space(ops, 0));
    _cleanup_(freep) char *dir = folder_of(ops);
    int r = fd_mkdirs(dir, 0700);
    if (r < 0)
        return err_errno(-r, "cannot make the folder '%s'", dir);
    _cleanup_(blob_writer_freep) struct blob_writer *w = mem_new(struct blob_writer);
    w->ops = ops;
    w->ref = rstr_new(ref);
    w->path = path_of(ops, blob->uuid);
    w->new = mem_printf("%s.XXXXXX", w->path);
    w->fd = mkostemp(w->new, O_CLOEXEC);
    if (w->fd < 0)
        return err_errno(errno, "cannot write '%s'", w->path);
    *ret = steal(&w);
    return NULL;
}

static struct err *failed(const struct blob_writer *w, int error)
{
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        return err_OUT_OF_SPACE(w->ops->cfg.state_dir);
    return err_errno(error, "cannot write '%s'", w->path);
}

struct err *blob_write(struct blob_writer *w, const void *p, size_t size)
{
    if (w->size + size > BLOB_MAX_BYTES)
        return failed(w, EFBIG);
    if (w->size - w->checked >= CHECK_EVERY) {
        TRY(blob_check_space(w->ops, 0));
        w->checked = w->size;
    }
    int r = fd_write_all(w->fd, p, size);
    w->size += size;
    return r < 0 ? failed(w, -r) : NULL;
}

struct written {
    const char *ref;
    int64_t size;
    int64_t when; /* 0: as it was */
};

static struct err *written_txn(struct txn *t, void *arg)
{
    const struct written *a = arg;
    struct rec_blob *blob = txn_edit_blob(t, a->ref);
    if (!blob)
        return err_HANDLE_INVALID("blob", a->ref);
    blob->size = a->size;
    if (a->when)
        blob->last_updated = a->when;
    return NULL;
}

/* Of two who write at a time each may have put its file after the other's record: whoever sees
 * that the file is not the one recorded records it again. */
static struct err *record(struct blob_writer *w)
{
    struct stat before, after;
    do {
        if (stat(w->path, &before) < 0)
            return err_HANDLE_INVALID("blob", w->ref); /* destroyed meanwhile */
        struct written a = {w->ref, before.st_size, now_s()};
        TRY(db_write(w->ops->cfg.db, "blob written", written_txn, &a));
    } while (stat(w->path, &after) == 0 && after.st_size != before.st_size);
    return NULL;
}

static struct err *take_place(struct blob_writer *w)
{
    _cleanup_(freep) char *dir = folder_of(w->ops);
    if (fsync(w->fd) < 0 || rename(w->new, w->path) < 0)
        return failed(w, errno);
    free(steal(&w->new));
    _cleanup_(fd_closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? failed(w, errno) : NULL;
}

struct err *blob_write_end(struct blob_writer *w)
{
    TRY(take_place(w));
    struct err *e = record(w);
    if (err_is(e, "HANDLE_INVALID"))
        (void)unlink(w->path);
    return e;
}

void blob_writer_free(struct blob_writer *w)
{
    if (!w)
        return;
    fd_close(w->fd);
    if (w->new)
        (void)unlink(w->new);
    rstr_unref(w->ref);
    free(w->path);
    free(w->new);
    free(w);
}

/* ---- reading ---- */

struct err *blob_open(const struct ops *ops, const char *uuid, int *ret_fd, uint64_t *ret_size)
{
    TRY(check_home(ops));
    _cleanup_(freep) char *path = path_of(ops, uuid);
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(errno, "cannot read blob '%s'", uuid);
    *ret_fd = fd_take(&fd);
    *ret_size = (uint64_t)st.st_size;
    return NULL;
}

/* ---- sweeping ---- */

/* Files are UUID, or UUID.XXXXXX while they are written. Not a file of ours: left alone. */
static bool uuid_of_file(const char *name, char out[UUID_SIZE])
{
    if (strlen(name) < UUID_SIZE - 1 || (name[UUID_SIZE - 1] && name[UUID_SIZE - 1] != '.'))
        return false;
    memcpy(out, name, UUID_SIZE - 1);
    out[UUID_SIZE - 1] = '\0';
    return str_is_uuid(out);
}

static void sweep_file(struct ops *ops, const char *name, bool at_start)
{
    char uuid[UUID_SIZE];
    if (!uuid_of_file(name, uuid))
        return;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    bool cut_off = at_start && name[UUID_SIZE - 1] == '.';
    if (snap_blob_by_uuid(s, uuid) && !cut_off)
        return;
    _cleanup_(freep) char *path = path_of(ops, name);
    log_info("event=orphan-removed file=%s", name);
    (void)unlink(path);
}

static struct err *correct_size(struct ops *ops, const struct rec_blob *blob)
{
    _cleanup_(freep) char *path = path_of(ops, blob->uuid);
    struct stat st = {0};
    bool there = stat(path, &st) == 0;
    if (blob->size == (there ? st.st_size : 0))
        return NULL;
    struct written a = {blob->row.ref, st.st_size, 0};
    return db_write(ops->cfg.db, "blob corrected", written_txn, &a);
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

struct err *blob_sweep(struct ops *ops, bool at_start)
{
    if (!ops->cfg.state_dir)
        return NULL;
    _cleanup_(freep) char *dir = folder_of(ops);
    _cleanup_(closedirp) DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        sweep_file(ops, e->d_name, at_start);
    if (!at_start)
        return NULL;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    snap_each (r, s, CLASS_blob)
        TRY(correct_size(ops, rec_blob(r)));
    return NULL;
}

/* ---- after a restore ---- */

static struct err *adopted_txn(struct txn *t, void *arg)
{
    (void)arg;
    setting_put(t, BLOBS_STAGED, "");
    return NULL;
}

static struct err *move_in(const char *staged, const char *dir)
{
    int e = fd_mkdirs(dir, 0700);
    if (e < 0)
        return err_errno(-e, "cannot make the folder '%s'", dir);
    _cleanup_(closedirp) DIR *d = opendir(staged);
    for (struct dirent *one; d && (one = readdir(d));) {
        _cleanup_(freep) char *from = mem_printf("%s/%s", staged, one->d_name);
        _cleanup_(freep) char *to = mem_printf("%s/%s", dir, one->d_name);
        if (one->d_name[0] != '.' && rename(from, to) < 0)
            return err_errno(errno, "cannot rename '%s'", from);
    }
    _cleanup_(fd_closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? err_errno(errno, "cannot make '%s' durable", dir) : NULL;
}

/* Repeatable: the setting goes when all is in its place. */
struct err *blob_adopt(struct ops *ops)
{
    if (!ops->cfg.state_dir)
        return NULL;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    _cleanup_(freep) char *dir = folder_of(ops);
    _cleanup_(freep) char *staged = mem_printf("%s.staged", dir);
    if (*setting_get(s, BLOBS_STAGED)) {
        TRY(move_in(staged, dir));
        TRY(db_write(ops->cfg.db, "blobs taken in", adopted_txn, NULL));
    }
    (void)fd_remove_tree(staged);
    return NULL;
}

/* ---- with what they hang off ---- */

static struct err *follow_owner(struct txn *t, void *arg)
{
    struct txn_change c;
    (void)arg;
    for (size_t i = 0; txn_change(t, i, &c); i++) {
        const struct field_desc *f =
            c.before && !c.after ? desc_field(c.before->cls, "blobs") : NULL;
        if (!f)
            continue;
        _cleanup_(val_unrefp) struct val *blobs = row_get(c.before, f);
        for (size_t k = 0; k < val_count(blobs); k++)
            txn_delete(t, CLASS_blob, val_str_at(blobs, k));
    }
    return NULL;
}

void blob_hook(struct db *db)
{
    db_add_hook(db, follow_owner, NULL);
}
