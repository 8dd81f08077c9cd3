/*
 * lcache.c: see lcache.h. Called by disk.c; owns the copy's file and mapping, and an object for
 * each read under way. The lock of the file: shared by its users, exclusive for who begins it anew.
 */
#include "disk/backend/lcache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define UNIT        4096u
#define MAGIC       "cairn lcache 1\n"
#define FILLING_MAX (16u << 20) /* bytes of reads that are being copied */
#define FILL_MAX    (4u << 20)
#define BOOT_ID     "/proc/sys/kernel/random/boot_id"
#define BOOT_SIZE   37

/* How long somebody else who begins it anew is waited for. */
#define LOCK_STEPS   300
#define LOCK_STEP_US 10000

/* The first page, in the host's byte order: nobody else reads it. */
struct head {
    char magic[16];
    char boot[48];
    uint64_t size; /* of the parent's file */
    int64_t mtime;
};

struct lcache {
    struct backend backend;
    struct backend *below, *local;
    struct file *file; /* the copy */
    uint8_t *map;      /* head and bits */
    size_t map_size;
    uint64_t n_units;
    bool is_full, is_broken;
    uint64_t filling;
    unsigned n_running;
    struct lcache_stats stats;
    void (*idle)(void *arg);
    void *arg;
};

/* A read from the copy, or one from below that is then written to it. */
struct fill {
    struct io io;
    struct lcache *lc;
    struct io *of;
    uint64_t offset, size; /* with a read from below: of whole units */
    uint8_t *data;         /* NULL: from the copy */
    struct iovec iov[];
};

static void submit(struct backend *backend, struct io *io);

static const struct backend_ops lcache_ops = {.submit = submit};

/* ---- the file ---- */

static int lock(int fd, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

/* Whoever looks whether it has to be begun anew has it alone for a moment. */
static int lock_to_use(int fd)
{
    int r = lock(fd, F_RDLCK);
    for (int i = 0; i < LOCK_STEPS && r == -EAGAIN; i++) {
        (void)usleep(LOCK_STEP_US);
        r = lock(fd, F_RDLCK);
    }
    return r;
}

static int head_of(struct file *parent, struct head *ret)
{
    struct file_stat st = {0};
    int r = file_stat(parent, &st);
    if (r < 0)
        return r;
    _cleanup_(fd_closep) int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret = (struct head){.magic = MAGIC, .size = st.size, .mtime = st.mtime};
    return read(fd, ret->boot, BOOT_SIZE - 1) == BOOT_SIZE - 1 ? 0 : -EIO;
}

static bool has_head(int fd, const struct head *want, uint64_t size)
{
    struct head have;
    struct stat st;
    return fstat(fd, &st) == 0 && (uint64_t)st.st_size == size &&
           pread(fd, &have, sizeof(have), 0) == sizeof(have) &&
           memcmp(&have, want, sizeof(have)) == 0;
}

/* Nobody else has it. What is mapped must have its place on the disk: a hole in a full file system
 * cannot be told of in any other way than by a signal. */
static int begin_anew(int fd, const struct head *head, size_t map_size, uint64_t size)
{
    if (ftruncate(fd, 0) < 0)
        return -errno;
    int r = posix_fallocate(fd, 0, (off_t)map_size);
    if (r)
        return -r;
    if (ftruncate(fd, (off_t)size) < 0)
        return -errno;
    return pwrite(fd, head, sizeof(*head), 0) == sizeof(*head) ? 0 : -EIO;
}

static int make_file(const char *path)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : 0;
}

/* A file that was removed before it was locked is nobody's. */
static int take_file(struct lcache *lc, const char *path, const struct head *head)
{
    uint64_t size = lc->map_size + lc->n_units * UNIT;
    struct stat st;
    int r = make_file(path);
    if (r == 0)
        r = file_open(path, FILE_WRITE, &lc->file);
    if (r < 0)
        return r;
    int fd = lc->file->fd;
    if (lock(fd, F_WRLCK) == 0 && !has_head(fd, head, size))
        r = begin_anew(fd, head, lc->map_size, size);
    if (r == 0)
        r = lock_to_use(fd);
    if (r == 0 && (fstat(fd, &st) < 0 || st.st_nlink == 0 || !has_head(fd, head, size)))
        r = -ESTALE;
    return r;
}

static int map_file(struct lcache *lc)
{
    void *p = mmap(NULL, lc->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, lc->file->fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    lc->map = p;
    return 0;
}

/* A page of the map that cannot be read is better known now. */
static int read_map(const struct lcache *lc)
{
    _cleanup_(freep) void *p = malloc(FILL_MAX);
    for (uint64_t at = 0; p && at < lc->map_size; at += FILL_MAX) {
        uint64_t rest = lc->map_size - at;
        int r = file_pread(lc->file, p, (size_t)(rest < FILL_MAX ? rest : FILL_MAX), at);
        if (r < 0)
            return r;
    }
    return p ? 0 : -ENOMEM;
}

int lcache_open(const char *path, struct file *parent, struct backend *local, struct lcache **ret)
{
    struct head head;
    int r = head_of(parent, &head);
    if (r < 0)
        return r;
    struct lcache *lc = mem_new(struct lcache);
    lc->n_units = head.size / UNIT; /* what is left at the end is not kept */
    lc->map_size = (size_t)(UNIT + ((lc->n_units + 7) / 8 + UNIT - 1) / UNIT * UNIT);
    r = take_file(lc, path, &head);
    if (r == 0)
        r = read_map(lc);
    if (r == 0)
        r = map_file(lc);
    if (r < 0) {
        lcache_close(lc);
        return r;
    }
    lc->backend.ops = &lcache_ops;
    lc->local = local;
    lc->below = parent->backend ? parent->backend : local;
    parent->backend = &lc->backend;
    *ret = lc;
    return 0;
}

void lcache_close(struct lcache *lc)
{
    if (!lc)
        return;
    if (lc->map)
        (void)munmap(lc->map, lc->map_size);
    file_close(lc->file);
    free(lc);
}

/* ---- bits ---- */

static uint8_t *byte_of(const struct lcache *lc, uint64_t unit)
{
    return lc->map + UNIT + unit / 8;
}

static bool has_all(const struct lcache *lc, uint64_t offset, uint64_t size)
{
    uint64_t end = (offset + size + UNIT - 1) / UNIT;
    if (end > lc->n_units)
        return false;
    for (uint64_t u = offset / UNIT; u < end; u++)
        if (!(__atomic_load_n(byte_of(lc, u), __ATOMIC_ACQUIRE) & 1u << u % 8))
            return false;
    return true;
}

static void set_all(struct lcache *lc, uint64_t offset, uint64_t size)
{
    for (uint64_t u = offset / UNIT; u < (offset + size) / UNIT; u++)
        (void)__atomic_fetch_or(byte_of(lc, u), (uint8_t)(1u << u % 8), __ATOMIC_RELEASE);
}

/* ---- reads ---- */

static struct fill *fill_new(struct lcache *lc, struct io *of, int n_iov)
{
    struct fill *x = calloc(1, sizeof(*x) + (size_t)n_iov * sizeof(struct iovec));
    if (!x)
        return NULL;
    x->io = (struct io){.op = IO_READ,
                        .file = of->file,
                        .is_data = of->is_data,
                        .offset = of->offset,
                        .size = of->size,
                        .iov = x->iov,
                        .n_iov = n_iov};
    x->lc = lc;
    x->of = of;
    x->offset = of->offset;
    x->size = of->size;
    lc->n_running++;
    return x;
}

static void fill_free(struct fill *x)
{
    struct lcache *lc = x->lc;
    free(x->data);
    free(x);
    if (--lc->n_running || !lc->idle)
        return;
    void (*idle)(void *) = lc->idle;
    lc->idle = NULL;
    idle(lc->arg);
}

static void pass(struct lcache *lc, struct io *io)
{
    lc->stats.miss += io->size;
    lc->below->ops->submit(lc->below, io);
}

static void on_found(struct io *io, int err)
{
    struct fill *x = (struct fill *)io;
    struct lcache *lc = x->lc;
    struct io *of = x->of;
    if (err) {
        lc->is_broken = true;
        lc->stats.unkept += x->size;
        pass(lc, of);
    } else {
        lc->stats.hit += x->size;
        of->done(of, 0);
    }
    fill_free(x);
}

static bool read_copy(struct lcache *lc, struct io *io)
{
    struct fill *x = fill_new(lc, io, io->n_iov);
    if (!x)
        return false;
    memcpy(x->iov, io->iov, (size_t)io->n_iov * sizeof(struct iovec));
    x->io.file = lc->file;
    x->io.is_data = false;
    x->io.offset += lc->map_size;
    x->io.done = on_found;
    backend_submit(lc->local, &x->io);
    return true;
}

static void on_kept(struct io *io, int err)
{
    struct fill *x = (struct fill *)io;
    struct lcache *lc = x->lc;
    lc->filling -= x->size;
    if (err) {
        lc->is_full = true;
        lc->stats.unkept += x->size;
    } else {
        set_all(lc, x->offset, x->size);
    }
    fill_free(x);
}

/* What is around the request may not be readable when that is. */
static void on_read(struct io *io, int err)
{
    struct fill *x = (struct fill *)io;
    struct lcache *lc = x->lc;
    struct io *of = x->of;
    if (err) {
        lc->filling -= x->size;
        lc->below->ops->submit(lc->below, of);
        fill_free(x);
        return;
    }
    iov_copy_in(of->iov, of->n_iov, x->data + (of->offset - x->offset), of->size);
    of->done(of, 0);
    x->iov[0] = (struct iovec){x->data, (size_t)x->size};
    x->io = (struct io){.op = IO_WRITE,
                        .file = lc->file,
                        .offset = lc->map_size + x->offset,
                        .size = x->size,
                        .iov = x->iov,
                        .n_iov = 1,
                        .done = on_kept};
    backend_submit(lc->local, &x->io);
}

static bool may_keep(struct lcache *lc, uint64_t end, uint64_t size)
{
    if (!lc->is_full && !lc->is_broken)
        return end <= lc->n_units * UNIT && size <= FILL_MAX && lc->filling + size <= FILLING_MAX;
    lc->stats.unkept += size;
    return false;
}

static bool read_and_keep(struct lcache *lc, struct io *io)
{
    uint64_t at = io->offset / UNIT * UNIT;
    uint64_t end = (io->offset + io->size + UNIT - 1) / UNIT * UNIT;
    struct fill *x = may_keep(lc, end, end - at) ? fill_new(lc, io, 1) : NULL;
    if (!x)
        return false;
    x->data = aligned_alloc(UNIT, (size_t)(end - at));
    if (!x->data) {
        fill_free(x);
        return false;
    }
    x->io.offset = x->offset = at;
    x->io.size = x->size = end - at;
    x->iov[0] = (struct iovec){x->data, (size_t)x->size};
    x->io.done = on_read;
    lc->filling += x->size;
    lc->stats.miss += io->size;
    lc->below->ops->submit(lc->below, &x->io);
    return true;
}

static void submit(struct backend *backend, struct io *io)
{
    struct lcache *lc = (struct lcache *)backend;
    if (io->op != IO_READ) {
        lc->below->ops->submit(lc->below, io);
        return;
    }
    if (!lc->is_broken && has_all(lc, io->offset, io->size) && read_copy(lc, io))
        return;
    if (!read_and_keep(lc, io))
        pass(lc, io);
}

bool lcache_settles(struct lcache *lc, void (*idle)(void *arg), void *arg)
{
    if (!lc->n_running)
        return false;
    lc->idle = idle;
    lc->arg = arg;
    return true;
}

struct lcache_stats lcache_get_stats(const struct lcache *lc)
{
    return lc->stats;
}
