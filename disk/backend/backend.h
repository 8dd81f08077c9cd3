/*
 * backend.h: how bytes get into and out of a file: the vtable under the engine.
 *
 * An `io` is one transfer. The backend does all of it or fails: short transfers are continued, and
 * a read behind the end of the file yields zeroes. `done` is called once, on the engine's thread,
 * possibly from inside backend_submit(); the io and its iovecs belong to the caller and must stay
 * until then (the iovecs may be changed).
 *
 * Backends: uring (the product), sync (tests: at once or in steps, with faults).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "disk/backend/file.h"

enum io_op {
    IO_READ,
    IO_WRITE,
    IO_SYNC,  /* everything completed before is durable when done */
    IO_PUNCH, /* reads as zeroes, space given back; -EOPNOTSUPP where that cannot be */
    IO_ZERO   /* reads as zeroes, space kept; -EOPNOTSUPP where that cannot be */
};

struct io {
    enum io_op op;
    struct file *file;
    bool is_data;    /* may go around the page cache; metadata never does */
    uint64_t offset; /* bytes, in the file */
    uint64_t size;   /* bytes left to do; for READ and WRITE the sum of the iovecs */
    struct iovec *iov;
    int n_iov;
    void (*done)(struct io *io, int err); /* 0 or -errno */
    void *backend;                        /* the backend's, while it runs */
};

struct backend;
struct backend_ops {
    void (*submit)(struct backend *b, struct io *io);
};
struct backend {
    const struct backend_ops *ops;
    bool is_front; /* stands before the backends of all files, and passes on to them */
};

/* `b` serves the files that have no backend of their own, or stands before it. */
static inline void backend_submit(struct backend *b, struct io *io)
{
    if (io->file->backend && !(b && b->is_front))
        b = io->file->backend;
    b->ops->submit(b, io);
}

/* For backends: `res` bytes of a READ or WRITE went through. Returns 1 when the io is complete, 0
 * when it must go on from its changed offset and iovecs, -EIO when a write does not get on. */
int io_advance(struct io *io, uint64_t res);

/* Zeroes or moves along the memory of an iovec array. */
void iov_zero(const struct iovec *iov, int n, uint64_t skip, uint64_t size);
/* Fills `out` (room for n) with the part [skip, skip+size) of iov; returns how many. */
int iov_slice(const struct iovec *iov, int n, uint64_t skip, uint64_t size, struct iovec *out);
/* The first `size` bytes of the memory out to p, or in from it. */
void iov_copy_out(const struct iovec *iov, int n, void *p, uint64_t size);
void iov_copy_in(const struct iovec *iov, int n, const void *p, uint64_t size);
uint64_t iov_size(const struct iovec *iov, int n);
