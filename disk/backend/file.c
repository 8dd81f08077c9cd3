/*
 * file.c: kinds of files, and the host's own files and devices. Blocking; job threads and one-shot
 * commands.
 */
#include "disk/backend/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define KINDS_MAX 8

/* Of 10 ms each: how long a dead writer's last transfers are waited for. */
#define LOCK_STEPS   300
#define FINISH_STEPS 3000

static int host_open(const char *path, enum file_mode mode, struct file **ret);
static int host_create(const char *path, struct file **ret);
static int host_settle(struct file *f, const char *path);
static int host_remove(const char *path);

static const struct file_kind host_kind = {.prefix = "/",
                                           .open = host_open,
                                           .create = host_create,
                                           .settle = host_settle,
                                           .remove = host_remove};
static const struct file_kind *kinds[KINDS_MAX] = {&host_kind};
static unsigned n_kinds = 1;

void file_kind_add(const struct file_kind *kind)
{
    assert(n_kinds < KINDS_MAX);
    kinds[n_kinds++] = kind;
}

/* A relative path, as one-shot commands have it, is the host's, too. */
static const struct file_kind *kind_of(const char *path)
{
    for (unsigned i = 1; i < n_kinds; i++)
        if (str_starts(path, kinds[i]->prefix))
            return kinds[i];
    return &host_kind;
}

int file_open(const char *path, enum file_mode mode, struct file **ret)
{
    return kind_of(path)->open(path, mode, ret);
}

int file_create(const char *path, struct file **ret)
{
    const struct file_kind *k = kind_of(path);
    return k->create ? k->create(path, ret) : -EOPNOTSUPP;
}

int file_settle(struct file *f, const char *path)
{
    int r = file_sync(f);
    const struct file_kind *k = kind_of(path);
    return r == 0 && k->settle ? k->settle(f, path) : r;
}

int file_remove(const char *path)
{
    const struct file_kind *k = kind_of(path);
    return k->remove ? k->remove(path) : -EOPNOTSUPP;
}

/* ---- the host's files ---- */

static int host_pread(struct file *f, void *p, size_t size, uint64_t at)
{
    return fd_pread_all(f->fd, p, size, (off_t)at);
}

static int host_pwrite(struct file *f, const void *p, size_t size, uint64_t at)
{
    return fd_pwrite_all(f->fd, p, size, (off_t)at);
}

static int host_sync(struct file *f)
{
    return fdatasync(f->fd) < 0 ? -errno : 0;
}

static int host_truncate(struct file *f, uint64_t size)
{
    return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
}

static int host_reserve(struct file *f, uint64_t at, uint64_t size)
{
    return fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)size) < 0 ? -errno : 0;
}

static int host_stat(struct file *f, struct file_stat *ret)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return -errno;
    *ret = (struct file_stat){.size = (uint64_t)st.st_size,
                              .allocated = (uint64_t)st.st_blocks * 512,
                              .mtime = st.st_mtim.tv_sec,
                              .is_device = S_ISBLK(st.st_mode)};
    if (ret->is_device && ioctl(f->fd, BLKGETSIZE64, &ret->size) < 0)
        return -errno;
    if (ret->is_device)
        ret->allocated = ret->size;
    return ret->is_device || S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

static bool has_direct_writer(int fd)
{
    struct flock l = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = FILE_LOCK_DIRECT_AT, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK &&
           l.l_start == FILE_LOCK_DIRECT_AT;
}

/* Somebody else's lock is on the byte. */
static bool is_locked_at(int fd, off_t at)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* The writer died, and its keeper has to sync before it lets go. */
static bool is_being_finished(int fd)
{
    return is_locked_at(fd, 1) && !is_locked_at(fd, FILE_LOCK_KEEPER_AT);
}

/*
 * A writer locks the whole file, a reader its first byte, a merger all but the first byte.
 *
 * The transfers of a diskd that was killed go on in the kernel after its death, and would overwrite
 * what we write; they hold the file, and so the lock, until the last of them is done. There is no
 * event for that with a deadline, hence the steps. A direct descriptor has a part of the lock for
 * the same reason, which a reader does not ask for but looks at.
 */
static int host_lock(struct file *f, enum file_lock how)
{
    static const struct timespec step = {.tv_nsec = 10 * 1000 * 1000};
    bool reads = how == FILE_LOCK_READER;
    struct flock l = {.l_type = reads ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    l.l_start = how == FILE_LOCK_MERGER ? 1 : 0;
    l.l_len = reads ? 1 : 0;
    for (int i = 0; i < FINISH_STEPS; i++) {
        bool waits = i < LOCK_STEPS || is_being_finished(f->fd); /* looked at before the try */
        bool is_locked = fcntl(f->fd, F_OFD_SETLK, &l) == 0;
        if (is_locked && !(reads && has_direct_writer(f->fd)))
            return 0;
        if (!is_locked && errno != EAGAIN && errno != EACCES)
            return -errno;
        if (!waits)
            break;
        (void)nanosleep(&step, NULL);
    }
    return -EBUSY;
}

static void host_close(struct file *f)
{
    fd_close(f->direct_fd);
    fd_close(f->fd);
    free(f);
}

static const struct file_ops host_ops = {
    .pread = host_pread,
    .pwrite = host_pwrite,
    .sync = host_sync,
    .truncate = host_truncate,
    .reserve = host_reserve,
    .stat = host_stat,
    .lock = host_lock,
    .close = host_close,
};

static int host_take(int fd, struct file **ret)
{
    if (fd < 0)
        return -errno;
    struct file *f = mem_new(struct file);
    f->ops = &host_ops;
    f->fd = fd;
    f->direct_fd = -1;
    struct statfs fs;
    struct stat st; /* a device's node is in a tmpfs, its data is not */
    f->is_memory = fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC && fstat(fd, &st) == 0 &&
                   S_ISREG(st.st_mode);
    *ret = f;
    return 0;
}

static int host_open(const char *path, enum file_mode mode, struct file **ret)
{
    int flags = mode == FILE_READ ? O_RDONLY : O_RDWR;
    return host_take(open(path, flags | O_CLOEXEC | O_NOCTTY), ret);
}

static int host_create(const char *path, struct file **ret)
{
    return host_take(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), ret);
}

static int host_settle(struct file *f, const char *path)
{
    if (fsync(f->fd) < 0)
        return -errno;
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *folder =
        slash ? mem_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mem_strdup(".");
    _cleanup_(fd_closep) int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fsync(dir) < 0)
        return -errno;
    return 0;
}

static int host_remove(const char *path)
{
    return unlink(path) < 0 ? -errno : 0;
}
