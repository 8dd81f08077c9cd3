/*
 * commit.h: getting bitmaps and BAT entries into the file, many at a time.
 *
 * A write that changed metadata joins with its bitmap after its data is written. One commit runs at
 * a time, in two waves: the dirty bitmaps and, behind all blocks, the footer; then the BAT sectors
 * of new blocks. The footer's place is the next block's padding or bitmap, which no later write but
 * a later commit touches; so it needs no order of its own, and after each commit the file is a
 * whole image to every reader. Who joins meanwhile is in the next one. So the first writes of many
 * blocks cost few transfers, each answer still comes after its own metadata, and a BAT never names
 * a block whose bitmap is not there.
 *
 *     waiting ──start──> bitmaps ──all written──> BAT ──all written──> done(err)
 *
 * What fails stays dirty and is tried again by the next write to that block. Engine's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "disk/backend/backend.h"
#include "disk/image.h"

/* In the caller's object; the caller has pinned the bitmap. */
struct commit_waiter {
    struct bitmap *bitmap;
    void (*done)(struct commit_waiter *w, int err);
    struct commit_waiter *next;
};

struct commit_io;
struct commit {
    struct image *image;
    struct backend *backend;
    struct commit_waiter *waiting, **waiting_end;
    struct commit_waiter *running;
    VEC(struct bitmap *) batch;
    VEC(uint32_t) bat_sectors; /* of the second wave */
    unsigned pending;          /* transfers of the wave that runs, and one while it is begun */
    void (*next_wave)(struct commit *c);
    struct commit_io *spare;
    uint64_t writes; /* transfers so far */
};

void commit_init(struct commit *c, struct image *image, struct backend *backend);
void commit_done(struct commit *c); /* nothing may be running */
void commit_join(struct commit *c, struct commit_waiter *w);
