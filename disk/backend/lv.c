/*
 * lv.c: see lv.h. Opening, locking and what blocks: job threads; transfers: the engine's thread,
 * which passes parts on to the process's backend.
 */
#include "disk/backend/lv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "disk/backend/remote.h"
#include "disk/backend/split.h"

#define PREFIX     "lv:"
#define PARTS_MAX  4096u
#define SECTOR     512u
#define LOCK_STEPS 300 /* of 10 ms each, as for files */

struct device {
    char *path;
    struct file *file;
};

struct part {
    size_t device;
    uint64_t at, size; /* of the volume */
    uint64_t place;    /* on the device */
};

struct lv {
    struct file file;
    VEC(struct device) devices;
    VEC(struct part) parts;
    uint64_t size;
    struct file *lock; /* where the first device has no locks of its own */
};

static struct backend *process;
static void submit(struct backend *b, struct io *io);
static const struct backend_ops lv_backend_ops = {.submit = submit};
static struct backend lv_backend = {.ops = &lv_backend_ops};

void lv_start(struct backend *b)
{
    process = b;
}

bool lv_name(const char *path, struct view *ret)
{
    struct view rest = view_of(path);
    if (!view_starts(rest, PREFIX))
        return false;
    rest = view_cut(rest, strlen(PREFIX));
    return view_split(&rest, ':', ret) && ret->size > 0;
}

static struct lv *of(struct file *f)
{
    return (struct lv *)f;
}

/* The part that holds byte `at` of the volume, which is not behind its end. */
static const struct part *part_at(const struct lv *lv, uint64_t at)
{
    size_t low = 0, high = lv->parts.n;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (lv->parts.v[middle].at <= at)
            low = middle;
        else
            high = middle;
    }
    return &lv->parts.v[low];
}

/* ---- opening ---- */

static void lv_close(struct file *f)
{
    struct lv *lv = of(f);
    vec_each (d, &lv->devices) {
        file_close(d->file);
        free(d->path);
    }
    file_close(lv->lock);
    vec_done(&lv->devices);
    vec_done(&lv->parts);
    free(lv);
}

static int find_device(struct lv *lv, struct view path, enum file_mode mode, size_t *ret)
{
    _cleanup_(freep) char *name = view_dup(path);
    for (*ret = 0; *ret < lv->devices.n; ++*ret)
        if (str_eq(lv->devices.v[*ret].path, name))
            return 0;
    struct device d = {.path = name};
    if (name[0] != '/' && !remote_is(name))
        return -EINVAL;
    int r = file_open(name, mode, &d.file);
    if (r < 0)
        return r;
    (void)steal(&name);
    vec_push(&lv->devices, d);
    return 0;
}

/* DEVICE@PLACE+SIZE */
static int add_part(struct lv *lv, struct view text, enum file_mode mode)
{
    struct view device, place;
    struct part p = {.at = lv->size};
    struct file_stat st;
    if (!view_split(&text, '@', &device) || !view_split(&text, '+', &place) ||
        str_u64(place, 0, INT64_MAX, &p.place) < 0 || str_u64(text, 1, INT64_MAX, &p.size) < 0 ||
        p.place % SECTOR || p.size % SECTOR || lv->parts.n == PARTS_MAX ||
        p.size > INT64_MAX - lv->size)
        return -EINVAL;
    int r = find_device(lv, device, mode, &p.device);
    if (r == 0)
        r = file_stat(lv->devices.v[p.device].file, &st);
    if (r == 0 && (p.place > st.size || p.size > st.size - p.place))
        r = -ENXIO;
    if (r < 0)
        return r;
    vec_push(&lv->parts, p);
    lv->size += p.size;
    return 0;
}

static const struct file_ops lv_ops;

static int lv_open(const char *path, enum file_mode mode, struct file **ret)
{
    struct view rest = view_of(path + strlen(PREFIX)), name, text;
    struct lv *lv = mem_new(struct lv);
    lv->file.ops = &lv_ops;
    lv->file.backend = &lv_backend;
    lv->file.fd = lv->file.direct_fd = -1;
    int r = view_split(&rest, ':', &name) && name.size ? 0 : -EINVAL;
    for (bool more = true; r == 0 && more;) {
        more = view_split(&rest, ',', &text);
        r = add_part(lv, text, mode);
    }
    if (r < 0) {
        lv_close(&lv->file);
        return r;
    }
    *ret = &lv->file;
    return 0;
}

static int lv_create(const char *path, struct file **ret)
{
    return lv_open(path, FILE_WRITE, ret);
}

static int lv_remove(const char *path)
{
    (void)path;
    return 0;
}

/* ---- what blocks ---- */

enum way { IN, OUT };

static int move(const struct lv *lv, enum way way, char *p, size_t size, uint64_t at)
{
    if (at > lv->size || size > lv->size - at)
        return way == IN ? -ENODATA : -ENOSPC;
    while (size) {
        const struct part *part = part_at(lv, at);
        struct file *f = lv->devices.v[part->device].file;
        uint64_t skip = at - part->at, n = part->size - skip;
        if (n > size)
            n = size;
        int r = way == IN ? file_pread(f, p, (size_t)n, part->place + skip)
                          : file_pwrite(f, p, (size_t)n, part->place + skip);
        if (r < 0)
            return r;
        p += n;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

static int lv_pread(struct file *f, void *p, size_t size, uint64_t at)
{
    return move(of(f), IN, p, size, at);
}

static int lv_pwrite(struct file *f, const void *p, size_t size, uint64_t at)
{
    return move(of(f), OUT, (char *)(uintptr_t)p, size, at);
}

static int lv_sync(struct file *f)
{
    int r = 0;
    vec_each (d, &of(f)->devices) {
        int one = file_sync(d->file);
        r = r < 0 ? r : one;
    }
    return r;
}

static int lv_truncate(struct file *f, uint64_t size)
{
    return size <= of(f)->size ? 0 : -ENOSPC;
}

static int lv_reserve(struct file *f, uint64_t at, uint64_t size)
{
    return at <= of(f)->size && size <= of(f)->size - at ? 0 : -ENOSPC;
}

static int lv_stat(struct file *f, struct file_stat *ret)
{
    *ret = (struct file_stat){.size = of(f)->size, .allocated = of(f)->size, .is_device = true};
    return 0;
}

/* ---- locks: of the first part's sectors, which no other volume has ---- */

/*
 * Byte 0 is the reader's and the writer's, byte 1 that of a direct descriptor, whose transfers may
 * outlive their process (file.c); a merger has what is behind.
 */
#define DIRECT_BYTE 1
#define MERGER_BYTE 2

static int set_lock(int fd, short type, uint64_t at, uint64_t size)
{
    struct flock l = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)at, .l_len = (off_t)size};
    if (fcntl(fd, F_OFD_SETLK, &l) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static bool is_written_directly(int fd, uint64_t at)
{
    struct flock l = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)at + DIRECT_BYTE, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static int try_lock(int fd, enum file_lock how, const struct part *p)
{
    switch (how) {
    case FILE_LOCK_WRITER:
        return set_lock(fd, F_WRLCK, p->place, p->size);
    case FILE_LOCK_MERGER:
        return set_lock(fd, F_WRLCK, p->place + MERGER_BYTE, p->size - MERGER_BYTE);
    case FILE_LOCK_READER:
    default:
        if (is_written_directly(fd, p->place))
            return -EAGAIN;
        return set_lock(fd, F_RDLCK, p->place, 1);
    }
}

static int lv_lock(struct file *f, enum file_lock how)
{
    static const struct timespec step = {.tv_nsec = 10 * 1000 * 1000};
    const struct part *first = &of(f)->parts.v[0];
    const struct device *device = &of(f)->devices.v[first->device];
    int fd = device->file->fd, r = -EAGAIN;
    if (remote_is(device->path)) {
        _cleanup_(freep) char *name =
            mem_printf("%s@%llu", device->path, (unsigned long long)first->place);
        return remote_lock(name, how, &of(f)->lock);
    }
    for (int i = 0; i < LOCK_STEPS && r == -EAGAIN; i++) {
        r = try_lock(fd, how, first);
        if (r == -EAGAIN)
            (void)nanosleep(&step, NULL);
    }
    return r == -EAGAIN ? -EBUSY : r;
}

/* All devices or none. The first one's descriptor has a part of the writer's lock. */
static void open_direct(struct lv *lv, enum file_mode mode)
{
    const struct part *first = &lv->parts.v[0];
    bool writes = mode == FILE_WRITE;
    uint32_t align = 0;
    vec_each (d, &lv->devices) {
        uint32_t one = file_direct_align(d->file->fd);
        if (!one || d->file->is_memory)
            return;
        align = one > align ? one : align;
    }
    for (size_t i = 0; i < lv->devices.n; i++) {
        struct file *dev = lv->devices.v[i].file;
        _cleanup_(fd_closep) int fd = open(
            lv->devices.v[i].path, (writes ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
            continue;
        if (writes && i == first->device &&
            (set_lock(dev->fd, F_UNLCK, first->place + DIRECT_BYTE, 1) < 0 ||
             set_lock(fd, F_WRLCK, first->place + DIRECT_BYTE, 1) < 0))
            continue;
        dev->direct_fd = fd_take(&fd);
        dev->memory_align = align;
    }
}

static void lv_go_direct(struct file *f)
{
    open_direct(of(f), FILE_WRITE);
}

static void lv_read_direct(struct file *f)
{
    open_direct(of(f), FILE_READ);
}

/* ---- growing ---- */

static bool has_part(const struct lv *lv, const char *device, const struct part *p)
{
    if (p->at >= lv->size)
        return false;
    const struct part *q = part_at(lv, p->at);
    return str_eq(lv->devices.v[q->device].path, device) && p->at - q->at == p->place - q->place &&
           p->size <= q->size - (p->at - q->at);
}

/* What is under way has files of devices, and no parts. */
static int lv_extend(struct file *f, const struct file *other)
{
    struct lv *lv = of(f);
    const struct lv *larger = (const struct lv *)other;
    if (other->ops != f->ops)
        return -EINVAL;
    vec_each (p, &lv->parts)
        if (!has_part(larger, lv->devices.v[p->device].path, p))
            return -EINVAL;
    for (size_t i = 0; i < larger->parts.n; i++) {
        size_t device;
        const char *path = larger->devices.v[larger->parts.v[i].device].path;
        int r = find_device(lv, view_of(path), FILE_WRITE, &device);
        if (r < 0)
            return r;
    }
    lv->parts.n = 0;
    for (size_t i = 0; i < larger->parts.n; i++) {
        struct part p = larger->parts.v[i];
        const char *path = larger->devices.v[p.device].path;
        (void)find_device(lv, view_of(path), FILE_WRITE, &p.device);
        vec_push(&lv->parts, p);
    }
    lv->size = larger->size;
    return 0;
}

static const struct file_ops lv_ops = {
    .pread = lv_pread,
    .pwrite = lv_pwrite,
    .sync = lv_sync,
    .truncate = lv_truncate,
    .reserve = lv_reserve,
    .stat = lv_stat,
    .lock = lv_lock,
    .go_direct = lv_go_direct,
    .read_direct = lv_read_direct,
    .extend = lv_extend,
    .close = lv_close,
};

/* Nothing of a volume's name is ours to make durable: it is in the metadata, or we were not told of
 * it. */
const struct file_kind lv_kind = {
    .prefix = PREFIX, .open = lv_open, .create = lv_create, .remove = lv_remove};

/* ---- transfers ---- */

static void cut_by_extent(const void *arg, uint64_t skip, struct io *io)
{
    const struct lv *lv = arg;
    const struct part *part = part_at(lv, io->offset);
    uint64_t within = io->offset - part->at;
    (void)skip;
    if (io->size > part->size - within)
        io->size = part->size - within;
    io->offset = part->place + within;
    io->file = lv->devices.v[part->device].file;
    io->file->split = lv->file.split;
}

struct syncing {
    struct io io, *whole;
    const struct lv *lv;
    size_t next;
    int err;
};

/* One device after the other. */
static void on_synced(struct io *io, int err)
{
    struct syncing *s = (struct syncing *)io;
    s->err = s->err ? s->err : err;
    if (s->next < s->lv->devices.n) {
        s->io =
            (struct io){.op = IO_SYNC, .file = s->lv->devices.v[s->next++].file, .done = on_synced};
        backend_submit(process, &s->io);
        return;
    }
    struct io *whole = s->whole;
    err = s->err;
    free(s);
    whole->done(whole, err);
}

static void sync_all(struct io *io)
{
    struct syncing *s = mem_new(struct syncing);
    s->whole = io;
    s->lv = of(io->file);
    on_synced(&s->io, 0);
}

/* What a read asks for behind the end is zeroes, as of a file. */
static void submit(struct backend *b, struct io *io)
{
    const struct lv *lv = of(io->file);
    (void)b;
    if (io->op == IO_SYNC) {
        sync_all(io);
        return;
    }
    uint64_t left = io->offset < lv->size ? lv->size - io->offset : 0;
    if (io->size > left && io->op != IO_READ) {
        io->done(io, -ENOSPC);
        return;
    }
    if (io->size > left) {
        iov_zero(io->iov, io->n_iov, left, io->size - left);
        io->size = left;
    }
    if (!io->size) {
        io->done(io, 0);
        return;
    }
    split_by(process, io, cut_by_extent, lv);
}
