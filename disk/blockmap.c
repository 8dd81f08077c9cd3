/*
 * blockmap.c: the block map of an open dynamic VHD. Called by image.c (open, close) and by the
 * engine on its thread; owns the tables and the cached bitmaps.
 */
#include "disk/blockmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "codec/vhd.h"

#define CACHE_MAX        1024u
#define NEW_MAX          4096u
#define ENTRIES_A_SECTOR (VHD_SECTOR / 4)

static void lru_add(struct blockmap *m, struct bitmap *b);
static void lru_remove(struct blockmap *m, struct bitmap *b);
static void forget(struct blockmap *m, struct bitmap *b);
static struct bitmap *insert(struct blockmap *m, uint32_t block);
static bool all_ones(const struct blockmap *m, const struct bitmap *b);

int blockmap_init(struct blockmap *m, uint32_t n_blocks, uint32_t block_size)
{
    *m = (struct blockmap){.n_blocks = n_blocks,
                           .block_size = block_size,
                           .block_shift = (unsigned)__builtin_ctz(block_size)};
    m->bat = mem_try_alloc(n_blocks, sizeof(*m->bat));
    m->full = mem_try_alloc((size_t)n_blocks / 8 + 1, 1);
    if (!m->bat || !m->full) {
        blockmap_done(m);
        return -ENOMEM;
    }
    memset(m->bat, 0xff, (size_t)n_blocks * sizeof(*m->bat));
    memset(m->full, 0, (size_t)n_blocks / 8 + 1);
    return 0;
}

void blockmap_done(struct blockmap *m)
{
    for (unsigned i = 0; i < BITMAP_BUCKETS; i++)
        while (m->bucket[i]) {
            struct bitmap *b = m->bucket[i];
            m->bucket[i] = b->hash_next;
            free(b);
        }
    free(m->bat);
    free(m->full);
    *m = (struct blockmap){0};
}

void blockmap_set_full(struct blockmap *m, uint32_t block)
{
    m->full[block / 8] |= (uint8_t)(0x80u >> block % 8);
}

void blockmap_expect(const struct blockmap *m, uint64_t at)
{
    uint32_t block = blockmap_block(m, at);
    if (block >= m->n_blocks || m->bat[block] == VHD_UNALLOCATED)
        return;
    const struct bitmap *b = m->bucket[block % BITMAP_BUCKETS];
    if (!b)
        return;
    __builtin_prefetch(b);
    __builtin_prefetch(&b->bits[at % m->block_size / VHD_SECTOR / 8]);
}

uint64_t blockmap_bitmap_at(const struct blockmap *m, uint32_t block)
{
    return (uint64_t)m->bat[block] * VHD_SECTOR;
}

uint64_t blockmap_data_at(const struct blockmap *m, uint32_t block)
{
    return blockmap_bitmap_at(m, block) + vhd_bitmap_sectors(m->block_size) * VHD_SECTOR;
}

struct bitmap *blockmap_find(struct blockmap *m, uint32_t block)
{
    struct bitmap *b = m->bucket[block % BITMAP_BUCKETS];
    while (b && b->block != block)
        b = b->hash_next;
    return b;
}

struct bitmap *blockmap_load_begin(struct blockmap *m, uint32_t block)
{
    struct bitmap *b = insert(m, block);
    b->state = BITMAP_LOADING;
    b->pins = 1;
    return b;
}

struct bitmap *blockmap_load_end(struct blockmap *m, struct bitmap *b, const uint8_t *bits)
{
    if (bits)
        memcpy(b->bits, bits, BITMAP_MAX_SIZE);
    if (!bits || all_ones(m, b)) {
        if (bits)
            blockmap_set_full(m, b->block);
        forget(m, b);
        return NULL;
    }
    b->state = BITMAP_LOADED;
    return b;
}

/*
 * The data, not the bitmap, is aligned to 4 KiB; the gap in front of the bitmap, at least a sector,
 * is written as zeroes together with it, because the old footer lies there. The bitmap itself never
 * takes a footer's place: if a power cut lost it, its place must read as zeroes.
 */
int blockmap_allocate(struct blockmap *m, uint32_t block, bool over_zeroes, struct bitmap **ret)
{
    uint32_t bitmap_sectors = vhd_bitmap_sectors(m->block_size);
    uint64_t data = (m->next_free + 1 + bitmap_sectors + 7) / 8 * 8;
    uint64_t at = data - bitmap_sectors, end = data + m->block_size / VHD_SECTOR;
    if (at >= VHD_UNALLOCATED || (m->end && end > m->end) || m->n_new >= NEW_MAX)
        return -ENOSPC;
    struct bitmap *b = insert(m, block);
    b->state = BITMAP_LOADED;
    b->is_new = b->is_dirty = true;
    b->pad = (uint32_t)(at - m->next_free);
    b->is_plain = over_zeroes && m->zeroes_behind;
    if (b->is_plain)
        memset(b->bits, 0xff, m->block_size / VHD_SECTOR / 8);
    m->bat[block] = (uint32_t)at;
    m->next_free = end;
    m->n_allocated++;
    m->n_new++;
    *ret = b;
    return 0;
}

uint64_t blockmap_forget_new(struct blockmap *m)
{
    for (unsigned i = 0; m->n_new && i < BITMAP_BUCKETS; i++)
        for (struct bitmap *b = m->bucket[i]; b; b = b->hash_next)
            if (b->is_new) {
                m->bat[b->block] = VHD_UNALLOCATED;
                m->n_allocated--;
            }
    uint64_t end = m->first_free;
    uint64_t stride = vhd_bitmap_sectors(m->block_size) + m->block_size / VHD_SECTOR;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (m->bat[i] != VHD_UNALLOCATED && m->bat[i] + stride > end)
            end = m->bat[i] + stride;
    m->next_free = end;
    return end;
}

void bitmap_pin(struct blockmap *m, struct bitmap *b)
{
    if (b->pins++ == 0 && !b->is_new && !b->is_dirty)
        lru_remove(m, b);
}

void bitmap_unpin(struct blockmap *m, struct bitmap *b)
{
    if (--b->pins || b->is_new || b->is_dirty)
        return;
    if (all_ones(m, b)) {
        blockmap_set_full(m, b->block);
        forget(m, b);
    } else {
        lru_add(m, b);
    }
}

void bitmap_set(struct bitmap *b, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++) {
        uint8_t bit = (uint8_t)(0x80u >> i % 8);
        if (!(b->bits[i / 8] & bit)) {
            b->bits[i / 8] |= bit;
            b->is_dirty = true;
        }
    }
}

uint32_t bitmap_run(const struct bitmap *b, uint32_t first, uint32_t n, bool *ret_present)
{
    bool present = b->bits[first / 8] & (0x80u >> first % 8);
    uint8_t whole = present ? 0xff : 0;
    uint32_t i = first, end = first + n;
    while (i < end) {
        if (i % 8 == 0 && end - i >= 8 && b->bits[i / 8] == whole)
            i += 8;
        else if (present == !!(b->bits[i / 8] & (0x80u >> i % 8)))
            i++;
        else
            break;
    }
    *ret_present = present;
    return i - first;
}

void blockmap_bat_sector(struct blockmap *m, uint32_t i, uint8_t out[512])
{
    memset(out, 0xff, VHD_SECTOR);
    for (uint32_t k = 0; k < ENTRIES_A_SECTOR; k++) {
        uint64_t block = (uint64_t)i * ENTRIES_A_SECTOR + k;
        if (block >= m->n_blocks || m->bat[block] == VHD_UNALLOCATED)
            continue;
        const struct bitmap *b = m->n_new ? blockmap_find(m, (uint32_t)block) : NULL;
        if (!b || !b->is_new || b->is_written)
            put_be32(out + k * 4, m->bat[block]);
    }
}

static struct bitmap *insert(struct blockmap *m, uint32_t block)
{
    if (m->n_cached >= CACHE_MAX) {
        struct bitmap *old = m->oldest;
        lru_remove(m, old);
        forget(m, old);
    }
    struct bitmap *b = mem_new(struct bitmap);
    b->block = block;
    b->hash_next = m->bucket[block % BITMAP_BUCKETS];
    m->bucket[block % BITMAP_BUCKETS] = b;
    return b;
}

static void forget(struct blockmap *m, struct bitmap *b)
{
    struct bitmap **p = &m->bucket[b->block % BITMAP_BUCKETS];
    while (*p != b)
        p = &(*p)->hash_next;
    *p = b->hash_next;
    free(b);
}

static bool all_ones(const struct blockmap *m, const struct bitmap *b)
{
    for (uint32_t i = 0; i < m->block_size / VHD_SECTOR / 8; i++)
        if (b->bits[i] != 0xff)
            return false;
    return true;
}

static void lru_add(struct blockmap *m, struct bitmap *b)
{
    b->older = m->newest;
    b->newer = NULL;
    if (m->newest)
        m->newest->newer = b;
    else
        m->oldest = b;
    m->newest = b;
    m->n_cached++;
}

static void lru_remove(struct blockmap *m, struct bitmap *b)
{
    if (b->older)
        b->older->newer = b->newer;
    else
        m->oldest = b->newer;
    if (b->newer)
        b->newer->older = b->older;
    else
        m->newest = b->older;
    b->older = b->newer = NULL;
    m->n_cached--;
}
