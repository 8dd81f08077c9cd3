/*
 * commit_qcow2.h: getting L2 tables and L1 entries into the file, many at a time.
 *
 * As with VHD's (commit.h): pieces whose data is written join with their table; one commit runs at
 * a time and takes what was dirty when it began; an answer comes after its own metadata. A sync
 * goes before entries whose clusters must not be seen without their content: those that replace
 * what an ancestor has, and all on a device. A new table whose place may hold anything is written
 * whole and made durable before the L1 table names it.
 *
 *     waiting ──start──> [sync] ──> L2 ──all written──> [sync] ──> L1 ──all written──> done
 *
 * Engine's thread.
 */
#pragma once

#include "base/vec.h"
#include "disk/engine_int.h"
#include "disk/qcow2_map.h"

struct q2_commit {
    struct engine *e;
    struct image *image;
    struct piece *waiting, **waiting_end, *running;
    VEC(struct q2_table *) batch;
    VEC(uint32_t) l1_sectors; /* of the last wave */
    struct q2_io *prepared;
    unsigned pending; /* transfers of the wave that runs, and one while it is begun */
    int sync_err;     /* of a failed sync, for ever */
    struct io sync;
    void (*next_wave)(struct q2_commit *c);
    uint64_t writes;
};

void q2_commit_init(struct q2_commit *c, struct engine *e);
void q2_commit_done(struct q2_commit *c); /* nothing may be running */
/* p->meta is the pinned table; the piece ends when its entries are in the file. */
void q2_commit_join(struct q2_commit *c, struct piece *p);
