/*
 * blockmap.h: where the blocks of an open dynamic VHD are, in memory.
 *
 * Three things are known of a block: its place in the file (BAT), whether all of its sectors are
 * there (`full`, one bit), and, only while a block is neither full nor absent, its sector bitmap.
 * Bitmaps are kept in a small cache; one that is dirty, new or in use is pinned.
 *
 *     absent --allocate--> new (bitmap and BAT not in the file) --commit--> full or partial
 *     partial: bitmap loaded on demand; when all ones, the block is full and the bitmap dropped
 *
 * A new block that nothing lies under, in this image or its ancestors, has all bits set at once:
 * the file behind its end reads as zeroes, which is what the absent block reads as, too. So its
 * metadata is written exactly once.
 *
 * Pure memory, no I/O; owned by the image, used by the engine's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_MAX_SIZE 512u /* of a 2 MiB block */
#define BITMAP_PAD_MAX  8u   /* sectors */
#define BITMAP_BUCKETS  256u

enum bitmap_state { BITMAP_LOADING, BITMAP_LOADED };

struct bitmap {
    uint32_t block;
    enum bitmap_state state;
    bool is_new;     /* the BAT in the file does not know the block yet */
    bool is_dirty;   /* the bitmap in the file is older than this one */
    bool is_plain;   /* of a new block: what it replaces reads as zeroes, as its place does */
    bool is_written; /* of a new block: the bitmap is in the file, the BAT may follow */
    uint32_t pad;    /* of a new block: zero sectors to write in front of the bitmap */
    unsigned pins;   /* requests that use it */
    int err;         /* of the last commit, for those who wait for it */
    void *waiters;   /* the engine's list of requests that wait for the load */
    void *batch;     /* the engine's running commit that has this bitmap, or NULL */
    void *ahead;     /* the engine's, while bits are ahead of the file, or NULL */
    struct bitmap *hash_next;
    struct bitmap *older, *newer; /* LRU of those loaded, clean and unused */
    uint8_t bits[BITMAP_MAX_SIZE];
};

struct blockmap {
    uint32_t n_blocks;
    uint32_t block_size;   /* bytes; a power of two */
    unsigned block_shift;  /* of which: a chain is walked image by image, so no division there */
    uint64_t table_offset; /* of the BAT in the file */
    bool zeroes_behind;    /* what lies behind next_free reads as zeroes */
    uint32_t *bat;         /* host order; VHD_UNALLOCATED */
    uint8_t *full;         /* bit a block, MSB first, as the batmap in the file */
    uint64_t next_free;    /* sector where the next block may begin */
    uint64_t first_free;   /* next_free when the image was opened */
    uint64_t end;          /* sector where blocks must end: of a device; 0: no such place */
    uint32_t n_allocated;
    uint32_t n_new;    /* blocks that the BAT in the file does not know */
    uint32_t n_cached; /* bitmaps in the LRU */
    struct bitmap *bucket[BITMAP_BUCKETS];
    struct bitmap *oldest, *newest;
};

/* All blocks absent; -ENOMEM. */
int blockmap_init(struct blockmap *m, uint32_t n_blocks, uint32_t block_size);
void blockmap_done(struct blockmap *m);

static inline bool blockmap_is_full(const struct blockmap *m, uint32_t block)
{
    return m->full[block / 8] & (0x80u >> block % 8);
}
void blockmap_set_full(struct blockmap *m, uint32_t block);

static inline uint32_t blockmap_block(const struct blockmap *m, uint64_t at)
{
    return (uint32_t)(at >> m->block_shift);
}

/* Byte `at` of the disk will be asked for: what says where it is goes to the processor's cache. */
void blockmap_expect(const struct blockmap *m, uint64_t at);

/* The byte in the file where the block's bitmap or data is; the block must not be absent. */
uint64_t blockmap_bitmap_at(const struct blockmap *m, uint32_t block);
uint64_t blockmap_data_at(const struct blockmap *m, uint32_t block);

/* The cached bitmap or NULL. */
struct bitmap *blockmap_find(struct blockmap *m, uint32_t block);
/* A bitmap in state LOADING for a block that has none cached. May evict an unused one. */
struct bitmap *blockmap_load_begin(struct blockmap *m, uint32_t block);
/* The bits came (NULL: they did not). Returns the bitmap, or NULL when the block turned out full
 * or the load failed; then the object is gone. */
struct bitmap *blockmap_load_end(struct blockmap *m, struct bitmap *b, const uint8_t *bits);
/* A place at the end for an absent block, which reads as zeroes all over or not: -ENOSPC beyond the
 * format's 2 TiB or when too many allocations wait for a commit that keeps failing. */
int blockmap_allocate(struct blockmap *m, uint32_t block, bool over_zeroes, struct bitmap **ret);

/* Makes blocks absent again whose commit failed, when nobody uses the map any more. Returns the
 * sector behind the last block that stays, or behind where allocation began. */
uint64_t blockmap_forget_new(struct blockmap *m);

void bitmap_pin(struct blockmap *m, struct bitmap *b);
/* Drops a pin; a clean bitmap goes to the LRU, or away when it is all ones. */
void bitmap_unpin(struct blockmap *m, struct bitmap *b);
/* Sets n sectors from `first`; marks the bitmap dirty if that changed anything. */
void bitmap_set(struct bitmap *b, uint32_t first, uint32_t n);
/* How many sectors from `first` (at most n, at least 1) are all present or all absent. */
uint32_t bitmap_run(const struct bitmap *b, uint32_t first, uint32_t n, bool *ret_present);

/* The 512 bytes of BAT sector i as the file may know them: new blocks without a written bitmap
 * are left out. */
void blockmap_bat_sector(struct blockmap *m, uint32_t i, uint8_t out[512]);
