/*
 * sync.c: transfers by preadv, pwritev and fallocate, for tests of the engine. One thread.
 */
#include "disk/backend/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

static void submit(struct backend *backend, struct io *io);
static int transfer(struct sync_backend *b, struct io *io);
static ssize_t move(struct sync_backend *b, struct io *io);

static const struct backend_ops sync_ops = {.submit = submit};

void sync_backend_init(struct sync_backend *b)
{
    b->backend.ops = &sync_ops;
}

void sync_backend_done(struct sync_backend *b)
{
    vec_done(&b->held);
}

bool sync_backend_step(struct sync_backend *b)
{
    if (b->held.n == 0)
        return false;
    struct io *io = b->held.v[0];
    vec_remove(&b->held, 0);
    io->done(io, transfer(b, io));
    return true;
}

static void submit(struct backend *backend, struct io *io)
{
    struct sync_backend *b = (struct sync_backend *)backend;
    if (b->hold)
        vec_push(&b->held, io);
    else
        io->done(io, transfer(b, io));
}

static int transfer(struct sync_backend *b, struct io *io)
{
    int r = b->fault ? b->fault(io, b->arg) : 0;
    b->n_done[io->op]++;
    if (r < 0)
        return r;
    if (io->op == IO_SYNC)
        return fdatasync(io->file->fd) < 0 ? -errno : 0;
    if (io->op == IO_PUNCH || io->op == IO_ZERO) {
        int mode = io->op == IO_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
        r = fallocate(io->file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)io->offset, (off_t)io->size);
        return r < 0 ? -errno : 0;
    }
    do {
        ssize_t n = move(b, io);
        r = n < 0 ? -errno : io_advance(io, (uint64_t)n);
    } while (r == 0);
    return r < 0 ? r : 0;
}

static ssize_t move(struct sync_backend *b, struct io *io)
{
    struct iovec first = io->iov[0];
    if (b->max_transfer && first.iov_len > b->max_transfer)
        first.iov_len = b->max_transfer;
    const struct iovec *iov = b->max_transfer ? &first : io->iov;
    int n = b->max_transfer ? 1 : io->n_iov;
    return io->op == IO_READ ? preadv(io->file->fd, iov, n, (off_t)io->offset)
                             : pwritev(io->file->fd, iov, n, (off_t)io->offset);
}
