/*
 * qcow2_map.c: see qcow2_map.h. Called by image_qcow2.c and the engine; owns the tables.
 */
#include "disk/qcow2_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"

#define CACHE_MAX        64u
#define ENTRIES_A_SECTOR 64u

static void lru_add(struct q2_map *m, struct q2_table *t);
static void lru_remove(struct q2_map *m, struct q2_table *t);
static void forget(struct q2_map *m, struct q2_table *t);
static struct q2_table *insert(struct q2_map *m, uint32_t index);

int q2_map_init(struct q2_map *m, uint32_t cluster_bits, uint32_t n_l1)
{
    uint64_t cluster = 1ull << cluster_bits;
    *m = (struct q2_map){.cluster_bits = cluster_bits,
                         .cluster_size = cluster,
                         .n_entries = (uint32_t)(cluster / 8),
                         .span = cluster * (cluster / 8),
                         .n_l1 = n_l1};
    m->l1 = mem_try_alloc(n_l1, sizeof(*m->l1));
    return m->l1 ? 0 : -ENOMEM;
}

void q2_map_done(struct q2_map *m)
{
    for (unsigned i = 0; i < Q2_BUCKETS; i++)
        while (m->bucket[i]) {
            struct q2_table *t = m->bucket[i];
            m->bucket[i] = t->hash_next;
            free(t);
        }
    free(m->l1);
    *m = (struct q2_map){0};
}

int q2_allocate(struct q2_map *m, uint32_t n, uint64_t *ret)
{
    uint64_t size = n * m->cluster_size;
    if (m->next_free + size > m->end)
        return -ENOSPC;
    *ret = m->next_free;
    m->next_free += size;
    return 0;
}

struct q2_table *q2_find(struct q2_map *m, uint32_t index)
{
    struct q2_table *t = m->bucket[index % Q2_BUCKETS];
    while (t && t->index != index)
        t = t->hash_next;
    return t;
}

struct q2_table *q2_load_begin(struct q2_map *m, uint32_t index)
{
    struct q2_table *t = insert(m, index);
    t->at = m->l1[index];
    t->is_loading = true;
    t->pins = 1;
    return t;
}

/* 0 when the entry, host order, makes sense. */
static int judge(const struct q2_map *m, uint64_t entry)
{
    if (entry & QCOW2_COMPRESSED)
        return -EOPNOTSUPP;
    uint64_t at = entry & QCOW2_OFFSET_MASK;
    if (at % m->cluster_size || (m->is_checked && at >= m->next_free))
        return -EIO;
    return 0;
}

int q2_load_end(struct q2_map *m, struct q2_table *t, int err)
{
    for (uint32_t i = 0; err == 0 && i < m->n_entries; i++) {
        uint64_t entry = get_be64(&t->entries[i]);
        err = judge(m, entry);
        t->entries[i] = entry & (QCOW2_COPIED | QCOW2_OFFSET_MASK | QCOW2_ZERO);
    }
    t->is_loading = false;
    if (err)
        forget(m, t);
    return err;
}

int q2_table_new(struct q2_map *m, uint32_t index, struct q2_table **ret)
{
    uint64_t at;
    int r = q2_allocate(m, 1, &at);
    if (r < 0)
        return r;
    struct q2_table *t = insert(m, index);
    t->at = m->l1[index] = at;
    t->is_new = true;
    t->is_whole = !m->zeroes_behind;
    *ret = t;
    return 0;
}

void q2_pin(struct q2_map *m, struct q2_table *t)
{
    if (t->pins++ == 0 && !t->is_new && !t->is_dirty)
        lru_remove(m, t);
}

void q2_unpin(struct q2_map *m, struct q2_table *t)
{
    if (--t->pins == 0 && !t->is_new && !t->is_dirty)
        lru_add(m, t);
}

void q2_set(struct q2_table *t, uint32_t i, uint64_t value)
{
    t->entries[i] = value | Q2_NEW;
    if (!t->is_dirty || i < t->from)
        t->from = i;
    if (!t->is_dirty || i >= t->to)
        t->to = i + 1;
    t->is_dirty = true;
}

bool q2_has_unwritten(const struct q2_map *m)
{
    for (unsigned i = 0; i < Q2_BUCKETS; i++)
        for (const struct q2_table *t = m->bucket[i]; t; t = t->hash_next)
            if (t->is_new || t->is_dirty)
                return true;
    return false;
}

void q2_l1_sector(struct q2_map *m, uint32_t i, uint8_t out[512])
{
    memset(out, 0, 512);
    for (uint32_t k = 0; k < ENTRIES_A_SECTOR; k++) {
        uint64_t index = (uint64_t)i * ENTRIES_A_SECTOR + k;
        if (index >= m->n_l1 || m->l1[index] == 0)
            continue;
        const struct q2_table *t = q2_find(m, (uint32_t)index);
        if (!t || !t->is_new || t->is_written)
            put_be64(out + (size_t)k * 8, m->l1[index] | QCOW2_COPIED);
    }
}

static struct q2_table *insert(struct q2_map *m, uint32_t index)
{
    if (m->n_cached >= CACHE_MAX) {
        struct q2_table *old = m->oldest;
        lru_remove(m, old);
        forget(m, old);
    }
    struct q2_table *t = mem_zalloc(1, sizeof(*t) + m->cluster_size);
    t->index = index;
    t->hash_next = m->bucket[index % Q2_BUCKETS];
    m->bucket[index % Q2_BUCKETS] = t;
    return t;
}

static void forget(struct q2_map *m, struct q2_table *t)
{
    struct q2_table **p = &m->bucket[t->index % Q2_BUCKETS];
    while (*p != t)
        p = &(*p)->hash_next;
    *p = t->hash_next;
    free(t);
}

static void lru_add(struct q2_map *m, struct q2_table *t)
{
    t->older = m->newest;
    t->newer = NULL;
    if (m->newest)
        m->newest->newer = t;
    else
        m->oldest = t;
    m->newest = t;
    m->n_cached++;
}

static void lru_remove(struct q2_map *m, struct q2_table *t)
{
    if (t->older)
        t->older->newer = t->newer;
    else
        m->oldest = t->newer;
    if (t->newer)
        t->newer->older = t->older;
    else
        m->newest = t->older;
    t->older = t->newer = NULL;
    m->n_cached--;
}
