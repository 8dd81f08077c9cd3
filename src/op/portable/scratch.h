/*
 * scratch.h: bytes of a stream that are kept until somebody knows what they are. Private to src/op.
 *
 * The first ones stay in memory; what is further on goes to a volume of the same repository, made
 * when it is first wanted and gone with scratch_end(). Its uuid stands in the operation's context
 * beforehand, so the undo of the step that calls scratch_undo() finds it, whatever dies.
 *
 *     step "plan":     scratch_plan(op, sr);
 *     step "receive":  struct scratch s = {.op = op, .size = …}; … TRY(scratch_end(&s));
 *     undo:            scratch_undo(op);
 *
 * The volume is device SCRATCH_DEVICE of the operation's transfer: scratch_end() detaches all of
 * it. Offsets are those of the stream.
 */
#pragma once

#include "op/portable/portable_impl.h"

#define SCRATCH_DEVICE 15u
#define SCRATCH_MEMORY (8u << 20)

struct scratch {
    struct op *op;
    uint64_t size; /* of the stream, or more */

    /* private */
    char *front;
    size_t front_size;
    struct diskio *disk;
    uint64_t disk_size;
    bool is_dirty; /* the volume, since its last flush */
};

void scratch_plan(struct op *op, const char *sr);
struct err *scratch_undo(struct op *op) _must_use_;

struct err *scratch_put(struct scratch *s, const void *p, size_t size, uint64_t at) _must_use_;
/* What was put there; anything else is zeroes. */
struct err *scratch_get(struct scratch *s, void *p, size_t size, uint64_t at) _must_use_;
/* Gives everything back; again is fine. */
struct err *scratch_end(struct scratch *s) _must_use_;
/* After a failure: what undo does not know of. */
void scratch_drop(struct scratch *s);
