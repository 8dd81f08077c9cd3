/*
 * ahead.h: a stream whose first bytes can be looked at before anybody reads it. Private to src/op.
 *
 *     struct ahead a;
 *     ahead_init(&a, io);
 *     TRY(ahead_look(&a, &first, &n));       // nothing is gone by that
 *     TRY(… read from &a.io …)
 *     ahead_done(&a);
 *
 * `begin` is called when the first byte is wanted, once.
 */
#pragma once

#include "op/portable/portable_impl.h"

#define AHEAD_SIZE 4096u

struct ahead {
    struct portable_io io; /* to read from */
    const struct portable_io *under;
    char *room;
    size_t have, at;
    bool begun;
};
void ahead_init(struct ahead *a, const struct portable_io *under);
void ahead_done(struct ahead *a);
/* Up to AHEAD_SIZE bytes, fewer only where the stream ends before. */
struct err *ahead_look(struct ahead *a, const char **ret, size_t *ret_size) _must_use_;
