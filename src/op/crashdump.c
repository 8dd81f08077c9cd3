/*
 * crashdump.c: dumps of the machine's crashes: entries of the crash folder, one record each.
 *
 * Whoever dumps (kdump, systemd-coredump) leaves a file or a folder there; records follow at every
 * start and now and then. Destroying one removes it from the folder. Dumps of guests' crashes are
 * disks.
 */
#include "op/crashdump.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/vec.h"
#include "gen/msg.h"
#include "op/pack.h"
#include "op/upload.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define DUMPS_MAX 500

struct dump {
    char *name;
    int64_t size, when;
};

struct dumps {
    VEC(struct dump) v;
    const char *host; /* ref */
};

static void dumps_done(struct dumps *d)
{
    vec_each (one, &d->v)
        free(one->name);
    vec_done(&d->v);
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* Bytes in a file, or in the files of a folder. */
static int64_t size_of(const char *path, const struct stat *st)
{
    if (!S_ISDIR(st->st_mode))
        return st->st_size;
    int64_t sum = 0;
    _cleanup_(closedirp) DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat inner;
        if (fstatat(dirfd(d), e->d_name, &inner, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(inner.st_mode))
            sum += inner.st_size;
    }
    return sum;
}

static void look(const char *dir, struct dumps *ret)
{
    _cleanup_(closedirp) DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        _cleanup_(freep) char *path = mem_printf("%s/%s", dir, e->d_name);
        struct stat st;
        if (e->d_name[0] == '.' || ret->v.n >= DUMPS_MAX || lstat(path, &st) < 0)
            continue;
        if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
            vec_push(&ret->v,
                     ((struct dump){mem_strdup(e->d_name), size_of(path, &st), st.st_mtim.tv_sec}));
    }
}

static const struct dump *find(const struct dumps *d, const char *name)
{
    for (size_t i = 0; i < d->v.n; i++)
        if (str_eq(d->v.v[i].name, name))
            return &d->v.v[i];
    return NULL;
}

static bool is_recorded(struct txn *t, const char *name)
{
    txn_each (row, t, CLASS_host_crashdump) {
        if (str_eq(rec_host_crashdump(row)->filename, name))
            return true;
    }
    return false;
}

static struct err *follow_txn(struct txn *t, void *arg)
{
    const struct dumps *d = arg;
    txn_each (row, t, CLASS_host_crashdump) {
        const struct dump *one = find(d, rec_host_crashdump(row)->filename);
        if (!one)
            txn_delete(t, CLASS_host_crashdump, row->ref);
        else if (rec_host_crashdump(row)->size != one->size)
            txn_edit_host_crashdump(t, row->ref)->size = one->size;
    }
    for (size_t i = 0; i < d->v.n; i++) {
        const struct dump *one = &d->v.v[i];
        if (is_recorded(t, one->name))
            continue;
        struct rec_host_crashdump *row = txn_add_host_crashdump(t);
        rstr_set(&row->host, d->host);
        rstr_set(&row->filename, one->name);
        row->timestamp = one->when;
        row->size = one->size;
    }
    return NULL;
}

struct err *crashdumps_follow(struct ops *ops)
{
    _cleanup_(dumps_done) struct dumps d = {.host = ops->host_ref};
    if (!ops->cfg.crash_dir)
        return NULL;
    look(ops->cfg.crash_dir, &d);
    return db_write(ops->cfg.db, "crash dumps", follow_txn, &d);
}

/* ---- messages ---- */

/* The caller's. */
static struct err *path_of(struct op *op, const char *ref, char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host_crashdump *row = snap_host_crashdump(s, ref);
    const char *dir = ops_of(op)->cfg.crash_dir;
    if (!row || !dir)
        return err_HANDLE_INVALID("host_crashdump", ref);
    *ret = mem_printf("%s/%s", dir, row->filename);
    return NULL;
}

static struct err *forget_txn(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_host_crashdump, arg);
    return NULL;
}

/* The dump first: a record that stays because we die in between is taken back at the next look. */
struct err *msg_host_crashdump_destroy(struct op *op, const struct args_host_crashdump_destroy *a,
                                       struct val **ret)
{
    _cleanup_(freep) char *path = NULL;
    TRY(path_of(op, a->self, &path));
    int r = unlink(path) < 0 ? -errno : 0;
    if (r == -EISDIR || r == -EPERM)
        r = fd_remove_tree(path);
    if (r < 0 && r != -ENOENT)
        return err_errno(-r, "cannot remove '%s'", path);
    return op_write(op, "crash dump", forget_txn, (void *)(uintptr_t)a->self);
}

static int put_to_file(void *arg, const void *p, size_t size)
{
    return fd_write_all(*(int *)arg, p, size);
}

static struct err *pack_folder(struct op *op, const char *path, struct pack *p)
{
    _cleanup_(closedirp) DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        _cleanup_(fd_closep) int fd =
            openat(dirfd(d), e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        TRY(op_check(op));
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
            TRY(pack_fd(p, e->d_name, fd));
    }
    return pack_end(p);
}

/* A file goes as it is, a folder as an archive. */
static struct err *open_dump(struct op *op, const char *path, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_(pack_freep) struct pack *p = NULL;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(errno, "cannot read '%s'", path);
    if (S_ISDIR(st.st_mode)) {
        fd_close(fd);
        fd = open(ops_of(op)->cfg.state_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0)
            return err_errno(errno, "cannot write into the state folder");
        TRY(pack_new(PACK_TAR_GZ, put_to_file, &fd, &p));
        TRY(pack_folder(op, path, p));
    }
    *ret_fd = fd_take(&fd);
    return NULL;
}

struct err *msg_host_crashdump_upload(struct op *op, const struct args_host_crashdump_upload *a,
                                      struct val **ret)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(fd_closep) int fd = -1;
    TRY(path_of(op, a->self, &path));
    TRY(upload_check_url(a->url));
    TRY(open_dump(op, path, &fd));
    return upload_fd(op, fd, a->url, a->options);
}

/* ---- of guests ---- */

static struct err *forget_guest_txn(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_crashdump, arg);
    return NULL;
}

struct err *msg_crashdump_destroy(struct op *op, const struct args_crashdump_destroy *a,
                                  struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_crashdump *row = snap_crashdump(s, a->self);
    if (!row)
        return err_HANDLE_INVALID("crashdump", a->self);
    if (snap_VDI(s, row->VDI))
        TRY(vdi_remove(op, row->VDI));
    return op_write(op, "crash dump", forget_guest_txn, (void *)(uintptr_t)a->self);
}
