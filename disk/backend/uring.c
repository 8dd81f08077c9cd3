/*
 * uring.c: transfers by io_uring. Called by the engine on the loop's thread; owns a small object a
 * transfer in flight, kept for the next one.
 */
#include "disk/backend/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "base/mem.h"

struct transfer {
    struct ring_op op;
    struct io *io;
    struct uring_backend *b;
    struct transfer *next;
};

struct uring_backend {
    struct backend backend;
    struct ring *ring;
    struct transfer *spare;
};

static void submit(struct backend *b, struct io *io);
static void issue(struct transfer *t);
static void on_done(struct ring_op *op, int res);

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

static void submit(struct backend *backend, struct io *io)
{
    struct uring_backend *b = (struct uring_backend *)backend;
    struct transfer *t = b->spare;
    if (t)
        b->spare = t->next;
    else
        t = mem_new(struct transfer);
    t->op.done = on_done;
    t->io = io;
    t->b = b;
    io->backend = t;
    issue(t);
}

static void issue(struct transfer *t)
{
    struct io *io = t->io;
    struct ring *r = t->b->ring;
    switch (io->op) {
    case IO_READ:
        ring_readv(r, &t->op, io->file->fd, io->iov, io->n_iov, io->offset);
        break;
    case IO_WRITE:
        ring_writev(r, &t->op, io->file->fd, io->iov, io->n_iov, io->offset);
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
    bool moves = io->op == IO_READ || io->op == IO_WRITE;
    if (res == -EINTR || res == -EAGAIN) {
        issue(t);
        return;
    }
    if (moves && res >= 0) {
        res = io_advance(io, (uint64_t)res);
        if (res == 0) {
            issue(t);
            return;
        }
    }
    t->next = t->b->spare;
    t->b->spare = t;
    io->done(io, res < 0 ? res : 0);
}
