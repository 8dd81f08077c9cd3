/*
 * commit.h: getting bitmaps and BAT entries into the file, many at a time.
 *
 * A write that changed metadata joins with its bitmap after its data is written. One commit runs at
 * a time, in waves: the dirty bitmaps, as they were when it began, and behind all blocks the
 * footer; then the BAT sectors of new blocks. The footer's place is the next block's padding, which
 * no later write but a later commit touches; so it needs no order of its own, and after each commit
 * the file is a whole image to every reader. Who joins meanwhile is in the next one. So the first
 * writes of many blocks cost few transfers, each answer still comes after its own metadata, and a
 * BAT never names a block whose bitmap is not there.
 *
 * A power cut keeps any part of what was not synced. A bit must not be durable before its data, or
 * something else than the old or the new is read; so a sync goes before the bitmaps. Only new
 * blocks of a file under which no ancestor has anything do without: what is behind the end reads as
 * zeroes, and so did the absent block. On a device a BAT entry must not be durable before its
 * bitmap, either, which costs another one.
 *
 *     waiting ──start──> [sync] ──> bitmaps ──all written──> [sync] ──> BAT ──all written──> done
 *
 * With bits_later a new block over data costs no sync: its bitmap is written as zeroes, so that the
 * block reads as before, and stays dirty; the bits are in another commit.
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
    VEC(uint32_t) bat_sectors;  /* of the last wave */
    struct commit_io *prepared; /* bitmaps as they were at the start */
    unsigned pending;           /* transfers of the wave that runs, and one while it is begun */
    int sync_err;               /* of a failed sync, for ever: nothing is durable any more */
    bool bits_later;
    struct io sync;
    void (*next_wave)(struct commit *c);
    struct commit_io *spare;
    uint64_t writes; /* transfers so far */
};

void commit_init(struct commit *c, struct image *image, struct backend *backend);
void commit_done(struct commit *c); /* nothing may be running */
void commit_join(struct commit *c, struct commit_waiter *w);
/* A list of them, in one commit. */
void commit_join_all(struct commit *c, struct commit_waiter *list);
/* With bits_later: does the commit only make the block, and its bits come later? */
bool commit_is_later(const struct commit *c, const struct bitmap *b);
