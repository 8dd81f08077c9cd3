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

void split_submit(struct backend *b, struct io *io, uint64_t part)
{
    unsigned n = (unsigned)((io->size + part - 1) / part);
    struct whole *w = mem_zalloc(1, sizeof(*w) + n * sizeof(w->part[0]));
    /* A piece of memory that lies in two parts is named in both. */
    struct iovec *iov = w->iov = mem_new_n(struct iovec, (size_t)io->n_iov + n);
    w->io = io;
    w->pending = 1;
    for (unsigned i = 0; i < n; i++) {
        struct part *p = &w->part[i];
        uint64_t skip = i * part, size = io->size - skip < part ? io->size - skip : part;
        p->whole = w;
        p->io = *io;
        p->io.offset += skip;
        p->io.size = size;
        p->io.iov = iov;
        p->io.n_iov = iov_slice(io->iov, io->n_iov, skip, size, iov);
        p->io.done = part_done;
        iov += p->io.n_iov;
    }
    for (unsigned i = 0; i < n; i++) {
        w->pending++;
        backend_submit(b, &w->part[i].io);
    }
    drop(w);
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
