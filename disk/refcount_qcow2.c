/*
 * refcount_qcow2.c: the reference counts of a qcow2 image, which are 0 or 1: counted from what the
 * tables in the file refer to, or continued for what was allocated since. Blocking; the job thread,
 * called by image_qcow2.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/image_qcow2.h"

#define COUNTS_A_BLOCK (Q2_CLUSTER / 2)
#define BLOCK_SPAN     (COUNTS_A_BLOCK * Q2_CLUSTER)
#define PLACE_MAX      (1ull << 45)

/* Clusters that something refers to. */
struct used {
    uint8_t *bits;
    uint64_t n_bytes;
    uint64_t end; /* byte behind the last one */
};

static void used_done(struct used *u)
{
    free(u->bits);
}

static int used_grow(struct used *u, uint64_t byte)
{
    uint64_t n = u->n_bytes ? u->n_bytes : 4096;
    while (n <= byte)
        n *= 2;
    uint8_t *bits = mem_try_alloc((size_t)n, 1);
    if (!bits)
        return -ENOMEM;
    memset(bits, 0, (size_t)n);
    if (u->n_bytes)
        memcpy(bits, u->bits, (size_t)u->n_bytes);
    free(u->bits);
    u->bits = bits;
    u->n_bytes = n;
    return 0;
}

/* -EINVAL when somebody refers to it already, or nobody can. */
static int use(struct used *u, uint64_t at, uint64_t n)
{
    if (at % Q2_CLUSTER || at > PLACE_MAX)
        return -EINVAL;
    for (uint64_t c = at / Q2_CLUSTER, end = c + n; c < end; c++) {
        int r = c / 8 >= u->n_bytes ? used_grow(u, c / 8) : 0;
        if (r < 0)
            return r;
        if (u->bits[c / 8] & (1u << c % 8))
            return -EINVAL;
        u->bits[c / 8] |= (uint8_t)(1u << c % 8);
        if ((c + 1) * Q2_CLUSTER > u->end)
            u->end = (c + 1) * Q2_CLUSTER;
    }
    return 0;
}

static bool is_used(const struct used *u, uint64_t cluster)
{
    return cluster / 8 < u->n_bytes && u->bits[cluster / 8] & (1u << cluster % 8);
}

/* A table of the file in host order; what is behind the end of the file is zeroes. */
static int read_table(struct image *im, uint64_t at, uint64_t *out, uint64_t n)
{
    struct file_stat st;
    int r = file_stat(im->file, &st);
    if (r < 0)
        return r;
    uint64_t size = n * 8, have = at < st.size ? st.size - at : 0;
    if (have > size)
        have = size;
    memset(out, 0, (size_t)size);
    r = have ? file_pread(im->file, out, (size_t)have, at) : 0;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        out[i] = get_be64(&out[i]);
    return r;
}

static int use_l2(struct image *im, uint64_t at, uint64_t *entries, struct used *u)
{
    int r = use(u, at, 1);
    if (r == 0)
        r = read_table(im, at, entries, Q2_CLUSTER / 8);
    for (uint32_t i = 0; r == 0 && i < Q2_CLUSTER / 8; i++) {
        uint64_t place = entries[i] & QCOW2_OFFSET_MASK;
        if (entries[i] & QCOW2_COMPRESSED)
            r = -EOPNOTSUPP;
        else if (place)
            r = use(u, place, 1);
    }
    return r;
}

/* Everything that the file's tables refer to; `n_counts` entries of the refcount table in
 * `counts`. */
static int walk(struct image *im, uint64_t *counts, uint64_t n_counts, struct used *u)
{
    const struct qcow2_header *h = &im->qcow2->header;
    uint64_t l1_clusters = ((uint64_t)h->l1_size * 8 + Q2_CLUSTER - 1) / Q2_CLUSTER;
    _cleanup_(freep) uint64_t *l1 = mem_try_alloc(h->l1_size, 8);
    _cleanup_(freep) uint64_t *entries = mem_try_alloc(Q2_CLUSTER / 8, 8);
    if (!l1 || !entries)
        return -ENOMEM;
    int r = use(u, 0, 1);
    if (r == 0)
        r = use(u, h->l1_at, l1_clusters);
    if (r == 0)
        r = use(u, h->refcounts_at, h->refcounts_clusters);
    for (uint64_t i = 0; r == 0 && i < n_counts; i++)
        if (counts[i] & QCOW2_OFFSET_MASK)
            r = use(u, counts[i] & QCOW2_OFFSET_MASK, 1);
    if (r == 0)
        r = read_table(im, h->l1_at, l1, h->l1_size);
    for (uint32_t i = 0; r == 0 && i < h->l1_size; i++)
        if (l1[i] & QCOW2_OFFSET_MASK)
            r = use_l2(im, l1[i] & QCOW2_OFFSET_MASK, entries, u);
    return r;
}

static int read_counts(struct image *im, uint64_t **ret, uint64_t *ret_n)
{
    const struct qcow2_header *h = &im->qcow2->header;
    *ret_n = (uint64_t)h->refcounts_clusters * (Q2_CLUSTER / 8);
    *ret = mem_try_alloc((size_t)*ret_n, 8);
    return *ret ? read_table(im, h->refcounts_at, *ret, *ret_n) : -ENOMEM;
}

int qcow2_find_end(struct image *im, uint64_t *ret_end, const char **ret_why)
{
    _cleanup_(freep) uint64_t *counts = NULL;
    _cleanup_(used_done) struct used u = {0};
    uint64_t n = 0;
    int r = read_counts(im, &counts, &n);
    if (r == 0)
        r = walk(im, counts, n, &u);
    if (r == -EINVAL)
        *ret_why = "two parts of the image are at the same place";
    *ret_end = u.end;
    return r;
}

/* Blocks that are missing get a place, which may need another block. */
static int add_blocks(struct image *im, uint64_t *counts, uint64_t n, struct used *u)
{
    struct q2_map *m = &im->qcow2->map;
    for (uint64_t b = 0; b * BLOCK_SPAN < m->next_free; b++) {
        int r = b < n ? 0 : -ENOSPC;
        if (r == 0 && counts[b] == 0)
            r = q2_allocate(m, 1, &counts[b]);
        else
            continue;
        if (r == 0 && im->qcow2->needs_count)
            r = use(u, counts[b], 1);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Of all that is in the file, or of what was allocated since it was opened. */
static int write_block(struct image *im, uint64_t b, uint64_t at, const struct used *u)
{
    const struct qcow2 *q = im->qcow2;
    uint64_t first = b * COUNTS_A_BLOCK, end = q->map.next_free / Q2_CLUSTER;
    struct file_stat st;
    _cleanup_(freep) uint8_t *bytes = mem_try_alloc(Q2_CLUSTER, 1);
    if (!bytes)
        return -ENOMEM;
    memset(bytes, 0, Q2_CLUSTER);
    int r = file_stat(im->file, &st);
    if (r == 0 && !q->needs_count && at < q->counted_to && at + Q2_CLUSTER <= st.size)
        r = file_pread(im->file, bytes, Q2_CLUSTER, at);
    for (uint64_t i = 0; r == 0 && i < COUNTS_A_BLOCK && first + i < end; i++) {
        bool is_new = (first + i) * Q2_CLUSTER >= q->counted_to;
        if (q->needs_count)
            put_be16(bytes + i * 2, is_used(u, first + i));
        else if (is_new)
            put_be16(bytes + i * 2, 1);
    }
    return r < 0 ? r : file_pwrite(im->file, bytes, Q2_CLUSTER, at);
}

static int write_table(struct image *im, uint64_t *counts, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t place = counts[i];
        put_be64(&counts[i], place);
    }
    return file_pwrite(im->file, counts, (size_t)n * 8, im->qcow2->header.refcounts_at);
}

/* The file's tables are durable. What was given away and is not referred to is at the end, or a
 * hole. The file's end is the last cluster's. */
int qcow2_write_counts(struct image *im)
{
    struct qcow2 *q = im->qcow2;
    _cleanup_(freep) uint64_t *counts = NULL;
    _cleanup_(used_done) struct used u = {0};
    uint64_t n = 0;
    int r = read_counts(im, &counts, &n);
    if (r == 0 && q->needs_count)
        r = walk(im, counts, n, &u);
    if (r == 0 && q->needs_count)
        q->map.next_free = u.end;
    if (r == 0)
        r = add_blocks(im, counts, n, &u);
    if (r == 0 && !im->is_device)
        r = file_truncate(im->file, q->map.next_free);
    uint64_t first = q->needs_count ? 0 : q->counted_to / BLOCK_SPAN;
    for (uint64_t b = first; r == 0 && b < n; b++)
        if (counts[b] && (q->needs_count || b * BLOCK_SPAN < q->map.next_free))
            r = write_block(im, b, counts[b] & QCOW2_OFFSET_MASK, &u);
    if (r == 0)
        r = write_table(im, counts, n);
    return r < 0 ? r : file_sync(im->file);
}
