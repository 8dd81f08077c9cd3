/*
 * split.c: splitting large transfers. Called by backends on the engine's thread; owns the parts.
 */
#include "disk/backend/split.h"

#include <stdlib.h>

#include "base/mem.h"

struct whole;
struct part {
    struct io io;
    struct whole *whole;
};

struct whole {
    struct io *io;
    unsigned pending;
    int err;
    struct iovec *iov; /* of all parts, one after the other */
    struct part part[];
};

static void part_done(struct io *io, int err);
static void drop(struct whole *w);

/* The part from `skip` on, without its memory. */
static struct io cut_at(const struct io *io, uint64_t skip, split_cut *cut, const void *arg)
{
    struct io part = *io;
    part.offset += skip;
    part.size -= skip;
    cut(arg, skip, &part);
    return part;
}

static unsigned count_parts(const struct io *io, split_cut *cut, const void *arg)
{
    unsigned n = 0;
    for (uint64_t skip = 0; skip < io->size; n++)
        skip += cut_at(io, skip, cut, arg).size;
    return n;
}

void split_by(struct backend *b, struct io *io, split_cut *cut, const void *arg)
{
    unsigned n = count_parts(io, cut, arg);
    struct whole *w = mem_zalloc(1, sizeof(*w) + n * sizeof(w->part[0]));
    /* A piece of memory that lies in two parts is named in both. */
    struct iovec *iov = w->iov = mem_new_n(struct iovec, (size_t)io->n_iov + n);
    uint64_t skip = 0;
    w->io = io;
    w->pending = 1;
    for (unsigned i = 0; i < n; i++) {
        struct part *p = &w->part[i];
        p->whole = w;
        p->io = cut_at(io, skip, cut, arg);
        p->io.iov = iov;
        p->io.n_iov = iov_slice(io->iov, io->n_iov, skip, p->io.size, iov);
        p->io.done = part_done;
        iov += p->io.n_iov;
        skip += p->io.size;
    }
    for (unsigned i = 0; i < n; i++) {
        w->pending++;
        backend_submit(b, &w->part[i].io);
    }
    drop(w);
}

static void cut_evenly(const void *arg, uint64_t skip, struct io *part)
{
    uint64_t most = *(const uint64_t *)arg;
    (void)skip;
    if (part->size > most)
        part->size = most;
}

void split_submit(struct backend *b, struct io *io, uint64_t part)
{
    split_by(b, io, cut_evenly, &part);
}

static void part_done(struct io *io, int err)
{
    struct whole *w = ((struct part *)io)->whole;
    if (err && !w->err)
        w->err = err;
    drop(w);
}

static void drop(struct whole *w)
{
    if (--w->pending)
        return;
    struct io *io = w->io;
    int err = w->err;
    free(w->iov);
    free(w);
    io->done(io, err);
}
