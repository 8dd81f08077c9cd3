/*
 * merge.h: writing what an image has into its parent, so that the image can go away.
 *
 *     child   . A . B .          the parent's readers all read through the child, which hides what
 *     parent  C . D D .          changes: no chain reads anything else before, during or after
 *             ---------
 *     after   C A D B .
 *
 * It may be stopped at any point, by death too, and begun again. What is copied is the child's
 * present sectors, a megabyte at a time, some at once; zeroes are not written but punched. The last
 * step is a flush of the parent.
 *
 *     merge_init(&m, child, parent, backend);      // both open: for reading, for merging
 *     m.on_end = …;
 *     merge_go_on(&m);                             // … on_end(arg, 0)
 *     merge_done(&m);
 *
 * Loop's thread; the images stay the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "disk/engine.h"

#define MERGE_COPIES 8
#define MERGE_SIZE   (1u << 20)

struct merge;
struct merge_copy {
    struct blk_req req;
    struct iovec iov;
    struct merge *m;
    bool is_busy;
};

struct merge {
    struct chain child, parent; /* of one image each */
    struct engine *from, *to;
    uint64_t at;          /* what lies before is copied or being copied */
    uint64_t done, total; /* bytes of allocated blocks */
    unsigned in_flight;
    bool is_going, is_loading, is_ended;
    bool is_cancelled; /* set by the owner, who then calls merge_go_on() */
    int err;
    struct merge_copy copies[MERGE_COPIES];
    struct blk_req probe, flush;
    struct iovec probe_iov;
    uint8_t probe_bytes[512];

    /* Of the owner. May so many bytes be copied now? If not, it calls merge_go_on() later. */
    bool (*may_go)(void *arg, uint64_t size);
    void (*on_end)(void *arg, int err); /* 0, -errno, -ECANCELED; nothing is in flight */
    void *arg;
};

void merge_init(struct merge *m, struct image *child, struct image *parent,
                struct backend *backend);
/* Nothing may be in flight. */
void merge_done(struct merge *m);
void merge_go_on(struct merge *m);
