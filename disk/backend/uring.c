/*
 * uring.c: transfers by io_uring. Called by the engine on the loop's thread; owns a small object a
 * transfer in flight, kept for the next one.
 */
#include "disk/backend/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "base/mem.h"
#include "disk/backend/split.h"

#define BOUNCE_ALIGN 4096u

struct transfer {
    struct ring_op op;
    struct io *io;
    struct uring_backend *b;
    int fd;
    void *bounce; /* aligned memory in the place of the io's, or NULL */
    struct iovec bounce_iov;
    const struct iovec *iov; /* the io's own, while there is a bounce */
    int n_iov;
    uint64_t size;
    struct transfer *next;
};

struct uring_backend {
    struct backend backend;
    struct ring *ring;
    struct transfer *spare;
};

static void submit(struct backend *b, struct io *io);
static int choose(struct transfer *t);
static void unbounce(struct transfer *t, int err);
static void issue(struct transfer *t);
static void on_done(struct ring_op *op, int res);
static void finish(struct transfer *t, int err);

static const struct backend_ops uring_ops = {.submit = submit};

struct backend *uring_backend_new(struct ring *ring)
{
    struct uring_backend *b = mem_new(struct uring_backend);
    b->backend.ops = &uring_ops;
    b->ring = ring;
    return &b->backend;
}

void uring_backend_free(struct backend *backend)
{
    struct uring_backend *b = (struct uring_backend *)backend;
    if (!b)
        return;
    while (b->spare) {
        struct transfer *t = b->spare;
        b->spare = t->next;
        free(t);
    }
    free(b);
}

static bool moves(const struct io *io)
{
    return io->op == IO_READ || io->op == IO_WRITE;
}

/* What only copies memory is done at once: a thread of the kernel's costs more than it saves, also
 * for large reads, where two that copy share the memory's speed. */
static bool is_quick(const struct io *io)
{
    return io->file->is_memory && moves(io) && io->n_iov <= IOV_MAX;
}

static void do_quick(struct io *io)
{
    int res = 0;
    while (res == 0) {
        ssize_t n = io->op == IO_READ
                        ? preadv(io->file->fd, io->iov, io->n_iov, (off_t)io->offset)
                        : pwritev(io->file->fd, io->iov, io->n_iov, (off_t)io->offset);
        if (n >= 0)
            res = io_advance(io, (uint64_t)n);
        else if (errno != EINTR)
            res = -errno;
    }
    io->done(io, res < 0 ? res : 0);
}

/* What is in the page cache is copied at once, and what is not all there is read as a whole: so it
 * is known how much the cache is worth. The io is as it was if it is not done. */
static bool is_hit(struct io *io)
{
    struct file *f = io->file;
    if (!f->is_cached || io->op != IO_READ || !io->is_data || io->n_iov > IOV_MAX)
        return false;
    ssize_t n = preadv2(f->fd, io->iov, io->n_iov, (off_t)io->offset, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP)
        f->is_cached = false;
    else if (n < 0 || (uint64_t)n < io->size)
        f->miss_bytes += io->size;
    else
        f->hit_bytes += io->size;
    return n >= 0 && (uint64_t)n == io->size;
}

static uint32_t part_size(const struct io *io)
{
    const struct file *f = io->file;
    return moves(io) && io->is_data && f->direct_fd >= 0 ? f->split : 0;
}

static void start(struct uring_backend *b, struct io *io)
{
    struct transfer *t = b->spare;
    if (t)
        b->spare = t->next;
    else
        t = mem_new(struct transfer);
    t->op.done = on_done;
    t->io = io;
    t->b = b;
    io->backend = t;
    if (choose(t) < 0)
        finish(t, -ENOMEM);
    else
        issue(t);
}

static void submit(struct backend *backend, struct io *io)
{
    struct uring_backend *b = (struct uring_backend *)backend;
    uint32_t part = part_size(io);
    if (is_quick(io))
        do_quick(io);
    else if (is_hit(io))
        io->done(io, 0);
    else if (part && io->size > part)
        split_submit(backend, io, part);
    else
        start(b, io);
}

static bool is_aligned(const struct io *io, uint64_t align)
{
    uint64_t bits = 0;
    for (int i = 0; i < io->n_iov; i++)
        bits |= (uint64_t)(uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len;
    return bits % align == 0;
}

/* Where the transfer goes, and through which memory. */
static int choose(struct transfer *t)
{
    struct io *io = t->io;
    bool is_direct = moves(io) && io->is_data && io->file->direct_fd >= 0;
    t->fd = is_direct ? io->file->direct_fd : io->file->fd;
    if (!is_direct || is_aligned(io, io->file->memory_align))
        return 0;
    if (posix_memalign(&t->bounce, BOUNCE_ALIGN, (size_t)io->size))
        return -ENOMEM;
    t->iov = io->iov;
    t->n_iov = io->n_iov;
    t->size = io->size;
    if (io->op == IO_WRITE)
        iov_copy_out(io->iov, io->n_iov, t->bounce, io->size);
    t->bounce_iov = (struct iovec){t->bounce, (size_t)io->size};
    io->iov = &t->bounce_iov;
    io->n_iov = 1;
    return 0;
}

static void unbounce(struct transfer *t, int err)
{
    if (t->bounce && t->io->op == IO_READ && err == 0)
        iov_copy_in(t->iov, t->n_iov, t->bounce, t->size);
    free(steal(&t->bounce));
}

static void issue(struct transfer *t)
{
    struct io *io = t->io;
    struct ring *r = t->b->ring;
    switch (io->op) {
    case IO_READ:
        ring_readv(r, &t->op, t->fd, io->iov, io->n_iov, io->offset);
        break;
    case IO_WRITE:
        ring_writev(r, &t->op, t->fd, io->iov, io->n_iov, io->offset);
        break;
    case IO_SYNC:
        ring_datasync(r, &t->op, io->file->fd);
        break;
    case IO_PUNCH:
        ring_fallocate(r, &t->op, io->file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       io->offset, io->size);
        break;
    case IO_ZERO:
        ring_fallocate(r, &t->op, io->file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                       io->offset, io->size);
        break;
    }
}

static void on_done(struct ring_op *op, int res)
{
    struct transfer *t = (struct transfer *)op;
    struct io *io = t->io;
    if (res == -EINTR || res == -EAGAIN) {
        issue(t);
        return;
    }
    if (moves(io) && res >= 0) {
        res = io_advance(io, (uint64_t)res);
        if (res == 0) {
            issue(t);
            return;
        }
    }
    finish(t, res < 0 ? res : 0);
}

static void finish(struct transfer *t, int err)
{
    struct io *io = t->io;
    unbounce(t, err);
    t->next = t->b->spare;
    t->b->spare = t;
    io->done(io, err);
}
