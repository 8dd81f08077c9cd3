/*
 * sync.h: the backend of the tests: plain system calls, in the order and with the faults that the
 * test asks for. Not in the product.
 *
 *     struct sync_backend b = {.max_transfer = 1000};   // every transfer is short
 *     sync_backend_init(&b);
 *     b.hold = true;                                     // nothing happens until
 *     sync_backend_step(&b);                             // the oldest one is done
 */
#pragma once

#include <stdbool.h>

#include "base/vec.h"
#include "disk/backend/backend.h"

struct sync_backend {
    struct backend backend;
    bool hold;             /* keep transfers for sync_backend_step() */
    uint64_t max_transfer; /* bytes a system call; 0: no limit */
    /* Asked before each transfer: 0, or the error to fail it with. NULL: none fails. */
    int (*fault)(const struct io *io, void *arg);
    void *arg;
    unsigned n_done[IO_ZERO + 1]; /* transfers by kind */
    VEC(struct io *) held;
};

void sync_backend_init(struct sync_backend *b);
void sync_backend_done(struct sync_backend *b);
/* Does the oldest held transfer; false when there is none. */
bool sync_backend_step(struct sync_backend *b);
