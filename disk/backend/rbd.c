/*
 * rbd.c: an image of a Ceph pool as a raw file, by librbd. The module of "rbd://", see rbd_place.h
 * for its paths.
 *
 * Transfers are asynchronous: librbd tells their end on threads of its own, which put them on a
 * list and wake the loop by an eventfd. What blocks is called on job threads. A cluster that is
 * away makes requests wait, not fail: librados sends them again for as long as it takes. librbd's
 * own cache is off: what was acknowledged outlives this process.
 *
 * A writer has the image's exclusive lock, so that no other host can write; what a dead one left is
 * broken by librbd when the cluster does not hear of its client any more, and that client is shut
 * out then.
 *
 * Mutex: of the list of what is done.
 */
#include <errno.h>
#include <pthread.h>
#include <rbd/librbd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/mem.h"
#include "disk/backend/backend.h"
#include "disk/backend/rbd_at.h"
#include "disk/backend/rbd_place.h"
#include "disk/backend/remote.h"
#include "disk/ring.h"

#define ORDER        22 /* objects of 4 MiB */
#define REFUSALS_MAX 30
#define STEP_MS      100

struct rbd_file {
    struct file file;
    struct backend backend;
    char *url;
    struct file *lock;
    struct rbd_pool pool;
    rbd_image_t image;
    uint64_t size; /* bytes; changed while nothing is under way */
};

struct transfer {
    struct transfer *next;
    struct io *io;
    struct iovec *iov;
    int64_t result;
};

static struct ring *ring;
static int event = -1;
static struct ring_op on_event;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct transfer *ended; /* under lock */

/* ---- transfers ---- */

/* A thread of librbd's. */
static void on_done(rbd_completion_t c, void *arg)
{
    struct transfer *t = arg;
    t->result = rbd_aio_get_return_value(c);
    rbd_aio_release(c);
    pthread_mutex_lock(&lock);
    bool is_first = !ended;
    t->next = ended;
    ended = t;
    pthread_mutex_unlock(&lock);
    if (is_first)
        (void)eventfd_write(event, 1);
}

static void transfer_end(struct transfer *t, int err)
{
    struct io *io = t->io;
    free(t->iov);
    free(t);
    io->done(io, err);
}

/* A read is told how much it brought, which is all there is of the image. */
static int outcome(const struct transfer *t)
{
    const struct io *io = t->io;
    if (t->result < 0)
        return (int)t->result;
    if (io->op == IO_READ && (uint64_t)t->result < io->size)
        iov_zero(io->iov, io->n_iov, (uint64_t)t->result, io->size - (uint64_t)t->result);
    return 0;
}

static void on_ended(struct ring_op *op, int res)
{
    eventfd_t n;
    (void)res;
    (void)eventfd_read(event, &n);
    pthread_mutex_lock(&lock);
    struct transfer *t = ended;
    ended = NULL;
    pthread_mutex_unlock(&lock);
    while (t) {
        struct transfer *next = t->next;
        transfer_end(t, outcome(t));
        t = next;
    }
    ring_poll(ring, op, event);
}

static void start(struct ring *r)
{
    ring = r;
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        abort();
    on_event.done = on_ended;
    ring_poll(ring, &on_event, event);
}

static int issue(struct rbd_file *f, struct transfer *t, rbd_completion_t c)
{
    const struct io *io = t->io;
    int n = io->n_iov;
    switch (io->op) {
    case IO_READ:
    case IO_WRITE:
        t->iov = mem_new_n(struct iovec, (size_t)n);
        n = iov_slice(io->iov, n, 0, io->size, t->iov);
        return io->op == IO_READ ? rbd_aio_readv(f->image, t->iov, n, io->offset, c)
                                 : rbd_aio_writev(f->image, t->iov, n, io->offset, c);
    case IO_PUNCH:
        return rbd_aio_write_zeroes(f->image, io->offset, io->size, c, 0, 0);
    case IO_ZERO:
        return rbd_aio_write_zeroes(f->image, io->offset, io->size, c,
                                    RBD_WRITE_ZEROES_FLAG_THICK_PROVISION, 0);
    case IO_SYNC:
    default:
        return rbd_aio_flush(f->image, c);
    }
}

/* What a read asks for behind the end is zeroes, as of a file. */
static void submit(struct backend *b, struct io *io)
{
    struct rbd_file *f = (struct rbd_file *)((char *)b - offsetof(struct rbd_file, backend));
    uint64_t left = io->offset < f->size ? f->size - io->offset : 0;
    rbd_completion_t c;
    if (io->op != IO_SYNC && io->size > left) {
        if (io->op != IO_READ) {
            io->done(io, -ENOSPC);
            return;
        }
        iov_zero(io->iov, io->n_iov, left, io->size - left);
        io->size = left;
    }
    if (io->op != IO_SYNC && io->size == 0) {
        io->done(io, 0);
        return;
    }
    struct transfer *t = mem_new(struct transfer);
    t->io = io;
    int r = rbd_aio_create_completion(t, on_done, &c);
    if (r == 0) {
        r = issue(f, t, c);
        if (r < 0)
            rbd_aio_release(c);
    }
    if (r < 0)
        transfer_end(t, r);
}

/* ---- calls that block ---- */

static struct rbd_file *of(struct file *file)
{
    return (struct rbd_file *)file;
}

static int img_pread(struct file *file, void *p, size_t size, uint64_t at)
{
    struct rbd_file *f = of(file);
    if (at > f->size || size > f->size - at)
        return -ENODATA;
    ssize_t n = rbd_read(f->image, at, size, p);
    return n < 0 ? (int)n : (size_t)n == size ? 0 : -EIO;
}

static int img_pwrite(struct file *file, const void *p, size_t size, uint64_t at)
{
    struct rbd_file *f = of(file);
    if (at > f->size || size > f->size - at)
        return -ENOSPC;
    ssize_t n = rbd_write(f->image, at, size, p);
    return n < 0 ? (int)n : 0;
}

static int img_sync(struct file *file)
{
    return rbd_flush(of(file)->image);
}

/* It never gets smaller: whoever asks for that has mistaken the image. */
static int img_truncate(struct file *file, uint64_t size)
{
    struct rbd_file *f = of(file);
    int r = size < f->size ? -EINVAL : rbd_resize(f->image, size);
    if (r == 0)
        f->size = size;
    return r;
}

static int img_reserve(struct file *file, uint64_t at, uint64_t size)
{
    (void)file, (void)at, (void)size;
    return -EOPNOTSUPP;
}

static int img_stat(struct file *file, struct file_stat *ret)
{
    *ret = (struct file_stat){
        .size = of(file)->size, .allocated = of(file)->size, .is_device = true, .is_elastic = true};
    return 0;
}

/* Whoever holds the exclusive lock does not give it away: asked, it refuses. One that died says
 * nothing, until the cluster has given it up and librbd breaks its lock. */
static int take_image(struct rbd_file *f)
{
    static const struct timespec step = {.tv_nsec = STEP_MS * 1000 * 1000};
    for (int refusals = 0; refusals < REFUSALS_MAX; refusals++) {
        int r = rbd_lock_acquire(f->image, RBD_LOCK_MODE_EXCLUSIVE);
        if (r != -EBUSY && r != -EROFS && r != -EAGAIN)
            return r;
        (void)nanosleep(&step, NULL);
    }
    return -EBUSY;
}

static int img_lock(struct file *file, enum file_lock how)
{
    struct rbd_file *f = of(file);
    int r = remote_lock(f->url, how, &f->lock);
    return r == 0 && how != FILE_LOCK_READER ? take_image(f) : r;
}

static void img_close(struct file *file)
{
    struct rbd_file *f = of(file);
    if (f->image)
        (void)rbd_close(f->image);
    rbd_pool_close(&f->pool);
    file_close(f->lock);
    free(f->url);
    free(f);
}

static const struct backend_ops backend_ops = {.submit = submit};
static const struct file_ops ops = {.pread = img_pread,
                                    .pwrite = img_pwrite,
                                    .sync = img_sync,
                                    .truncate = img_truncate,
                                    .reserve = img_reserve,
                                    .stat = img_stat,
                                    .lock = img_lock,
                                    .close = img_close};

static int open_image(struct rbd_file *f, const struct rbd_place *p, enum file_mode mode)
{
    rbd_image_info_t info;
    enum rbd_patience patience = ring ? RBD_PATIENT : RBD_QUICK;
    int r = mode == FILE_READ ? rbd_pool_share(p, patience, &f->pool)
                              : rbd_pool_open(p, patience, &f->pool);
    if (r == 0)
        r = mode == FILE_READ ? rbd_open_read_only(f->pool.io, p->image, &f->image, NULL)
                              : rbd_open(f->pool.io, p->image, &f->image, NULL);
    if (r == 0)
        r = rbd_stat(f->image, &info, sizeof(info));
    if (r == 0)
        f->size = info.size;
    return r;
}

static int open_file(const char *url, enum file_mode mode, struct file **ret)
{
    _cleanup_(rbd_place_done) struct rbd_place p = {0};
    int r = rbd_place_parse(url, &p);
    if (r < 0 || !p.image)
        return r < 0 ? r : -EINVAL;
    struct rbd_file *f = mem_new(struct rbd_file);
    f->file = (struct file){.ops = &ops, .backend = &f->backend, .fd = -1, .direct_fd = -1};
    f->backend.ops = &backend_ops;
    f->url = mem_strdup(url);
    r = open_image(f, &p, mode);
    if (r < 0) {
        img_close(&f->file);
        return r;
    }
    *ret = &f->file;
    return 0;
}

static int create_file(const char *url, struct file **ret)
{
    int order = ORDER;
    _cleanup_(rbd_place_done) struct rbd_place p = {0};
    struct rbd_pool pool = {0};
    int r = rbd_place_parse(url, &p);
    if (r == 0 && !p.image)
        r = -EINVAL;
    if (r == 0)
        r = rbd_pool_open(&p, RBD_QUICK, &pool);
    if (r == 0)
        r = rbd_create2(pool.io, p.image, 0, RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK,
                        &order);
    rbd_pool_close(&pool);
    return r < 0 ? r : open_file(url, FILE_WRITE, ret);
}

static int remove_file(const char *url)
{
    struct json_t *nothing = NULL;
    int r = rbd_at("unlink", url, NULL, &nothing);
    rbd_at_forget(nothing);
    return r;
}

const struct remote_module remote_module = {
    .scheme = "rbd",
    .has_threads = true,
    .kind = {.prefix = "rbd://", .open = open_file, .create = create_file, .remove = remove_file},
    .start = start,
    .tool = rbd_at,
};
