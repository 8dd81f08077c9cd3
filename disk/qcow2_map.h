/*
 * qcow2_map.h: where the clusters of an open qcow2 image are, in memory.
 *
 * The L1 table is known whole; L2 tables are kept in a small cache and loaded on demand. A table
 * that is dirty, new or in use is pinned.
 *
 *     absent --table_new--> new (the L1 table in the file does not know it) --commit--> known
 *
 * An entry that the file does not know yet carries Q2_NEW, one that a running commit writes
 * Q2_COMMITTING. An entry is set when its cluster has its content, never before.
 *
 * Space is given away at the end only, cluster by cluster. Pure memory, no I/O; owned by the image,
 * used by the engine's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "codec/qcow2.h"

#define Q2_NEW        (1ull << 56)
#define Q2_COMMITTING (1ull << 57)
#define Q2_BUCKETS    64u

struct q2_table {
    uint32_t index; /* in the L1 table */
    uint64_t at;    /* byte in the file */
    bool is_loading;
    bool is_new;       /* the L1 table in the file does not know it yet */
    bool is_written;   /* of a new one: its content is in the file, the L1 table may follow */
    bool is_whole;     /* of a new one: what is at its place may be anything */
    bool is_dirty;     /* entries were set that no commit has taken */
    bool needs_sync;   /* and what they name must be durable before */
    unsigned pins;     /* requests that use it */
    int err;           /* of the last commit */
    void *waiters;     /* the engine's list of pieces that wait for the load */
    void *batch;       /* the commit that has it, or NULL */
    uint32_t from, to; /* dirty entries */
    uint32_t taken_from, taken_to; /* those of the running commit */
    bool taken_sync;
    struct q2_table *hash_next;
    struct q2_table *older, *newer; /* LRU of those loaded, clean and unused */
    uint64_t entries[];             /* host order */
};

struct q2_map {
    uint32_t cluster_bits;
    uint64_t cluster_size;
    uint32_t n_entries; /* of an L2 table */
    uint64_t span;      /* bytes of the disk that an L2 table is for */
    uint64_t l1_at;     /* in the file */
    uint32_t n_l1;
    uint64_t *l1;       /* host order: byte in the file; 0: none */
    bool zeroes_behind; /* what lies behind next_free reads as zeroes */
    uint64_t next_free; /* byte where the next cluster begins */
    uint64_t end;       /* byte where clusters must end */
    bool is_checked;    /* open for writing: entries are judged by next_free */
    uint32_t n_cached;
    struct q2_table *bucket[Q2_BUCKETS];
    struct q2_table *oldest, *newest;
};

/* No tables; -ENOMEM. */
int q2_map_init(struct q2_map *m, uint32_t cluster_bits, uint32_t n_l1);
void q2_map_done(struct q2_map *m);

/* Space for n clusters at the end: -ENOSPC. */
int q2_allocate(struct q2_map *m, uint32_t n, uint64_t *ret);

struct q2_table *q2_find(struct q2_map *m, uint32_t index);
/* For a table that the L1 table names and that is not cached; pinned. May evict another. */
struct q2_table *q2_load_begin(struct q2_map *m, uint32_t index);
/* Its bytes are in `entries` as in the file, unless `err`. 0, or why it is unusable: then it is
 * gone. */
int q2_load_end(struct q2_map *m, struct q2_table *t, int err);
/* An empty one; -ENOSPC. */
int q2_table_new(struct q2_map *m, uint32_t index, struct q2_table **ret);

void q2_pin(struct q2_map *m, struct q2_table *t);
void q2_unpin(struct q2_map *m, struct q2_table *t);
/* Entry i becomes `value`, which the file does not know. */
void q2_set(struct q2_table *t, uint32_t i, uint64_t value);

static inline bool q2_is_data(uint64_t entry)
{
    return !(entry & QCOW2_ZERO) && (entry & QCOW2_OFFSET_MASK);
}
/* Does anything of it wait to be written? */
bool q2_has_unwritten(const struct q2_map *m);

/* A sector of the L1 table as the file may know it. */
void q2_l1_sector(struct q2_map *m, uint32_t i, uint8_t out[512]);
