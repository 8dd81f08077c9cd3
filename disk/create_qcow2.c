/*
 * create_qcow2.c: a new qcow2 image's first clusters: header, L1 table, refcount table and its
 * first block; and how it grows and what it says of itself is changed. Called by create.c, grow.c
 * and modify.c on the job thread; owns nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/image_qcow2.h"
#include "disk/layout.h"

#define SPAN (Q2_CLUSTER * (Q2_CLUSTER / 8))

static uint64_t clusters_of(uint64_t bytes)
{
    return (bytes + Q2_CLUSTER - 1) / Q2_CLUSTER;
}

static uint32_t l1_size_of(uint64_t size)
{
    return (uint32_t)((size + SPAN - 1) / SPAN);
}

static int name_parent(struct qcow2_header *h, const struct parent_facts *parent)
{
    if (parent->format != IMAGE_RAW && parent->format != IMAGE_QCOW2)
        return -EOPNOTSUPP;
    int n = snprintf(h->backing, sizeof(h->backing), "%s", parent->relative);
    (void)snprintf(h->backing_format, sizeof(h->backing_format), "%s",
                   image_format_name(parent->format));
    h->has_backing = true;
    return n < 0 || (size_t)n >= sizeof(h->backing) ? -ENAMETOOLONG : 0;
}

static int write_clusters(struct file *f, uint64_t at, uint64_t n, uint32_t n_ones,
                          uint64_t first_entry)
{
    _cleanup_(freep) uint8_t *bytes = mem_try_alloc((size_t)(n * Q2_CLUSTER), 1);
    if (!bytes)
        return -ENOMEM;
    memset(bytes, 0, (size_t)(n * Q2_CLUSTER));
    for (uint32_t i = 0; i < n_ones; i++)
        put_be16(bytes + (size_t)i * 2, 1);
    if (first_entry)
        put_be64(bytes, first_entry);
    return file_pwrite(f, bytes, (size_t)(n * Q2_CLUSTER), at);
}

/* The refcount table is for twice the disk. */
int image_qcow2_fill(struct file *f, const struct parent_facts *parent, struct image_made *made)
{
    uint8_t bytes[QCOW2_HEADER_SIZE];
    struct file_stat st;
    struct qcow2_header h = {.version = 3,
                             .cluster_bits = Q2_BITS,
                             .size = made->size,
                             .l1_at = Q2_CLUSTER,
                             .l1_size = l1_size_of(made->size),
                             .refcount_order = 4};
    uint64_t l1_clusters = clusters_of((uint64_t)h.l1_size * 8);
    h.refcounts_at = h.l1_at + l1_clusters * Q2_CLUSTER;
    h.refcounts_clusters = 1 + (uint32_t)(made->size >> 43);
    uint64_t block_at = h.refcounts_at + h.refcounts_clusters * Q2_CLUSTER;
    uint64_t end = block_at + Q2_CLUSTER;
    int r = parent ? name_parent(&h, parent) : 0;
    if (r == 0)
        r = qcow2_put(&h, bytes);
    if (r == 0)
        r = file_stat(f, &st);
    if (r == 0 && st.is_device && st.size < end)
        r = -ENOSPC;
    if (r == 0)
        r = write_clusters(f, h.l1_at, l1_clusters, 0, 0);
    if (r == 0)
        r = write_clusters(f, h.refcounts_at, h.refcounts_clusters, 0, block_at);
    if (r == 0)
        r = write_clusters(f, block_at, 1, (uint32_t)(end / Q2_CLUSTER), 0);
    return r < 0 ? r : file_pwrite(f, bytes, sizeof(bytes), 0);
}

/* A larger L1 table is written behind everything else; its old place is lost. */
static int move_l1(struct image *im, uint32_t l1_size)
{
    struct qcow2 *q = im->qcow2;
    uint64_t n = clusters_of((uint64_t)l1_size * 8), at;
    int r = q2_allocate(&q->map, (uint32_t)n, &at);
    _cleanup_(freep) uint8_t *bytes = r == 0 ? mem_try_alloc((size_t)(n * Q2_CLUSTER), 1) : NULL;
    if (!bytes)
        return r < 0 ? r : -ENOMEM;
    memset(bytes, 0, (size_t)(n * Q2_CLUSTER));
    for (uint32_t i = 0; i < q->map.n_l1; i++)
        if (q->map.l1[i])
            put_be64(bytes + (size_t)i * 8, q->map.l1[i] | QCOW2_COPIED);
    q->header.l1_at = at;
    q->needs_count = true;
    return file_pwrite(im->file, bytes, (size_t)(n * Q2_CLUSTER), at);
}

/* Table, size and place are in the header's one sector, so a crash leaves the old ones or the new.
 * The end of the last cluster reads as zeroes already. */
int image_qcow2_grow(struct image *im, uint64_t size, const char **ret_why)
{
    static const uint8_t zeroes[8];
    struct qcow2 *q = im->qcow2;
    uint32_t l1_size = l1_size_of(size);
    uint64_t room = clusters_of((uint64_t)q->header.l1_size * 8) * (Q2_CLUSTER / 8);
    int r = 0;
    if (l1_size > room)
        r = move_l1(im, l1_size);
    for (uint64_t i = q->header.l1_size; r == 0 && l1_size <= room && i < l1_size; i++)
        r = file_pwrite(im->file, zeroes, sizeof(zeroes), q->header.l1_at + i * 8);
    if (r == 0)
        r = file_sync(im->file);
    if (r < 0)
        return r;
    q->header.size = im->size = size;
    if (l1_size > q->header.l1_size)
        q->header.l1_size = l1_size;
    r = qcow2_write_header(im);
    return r < 0 ? r : file_sync(im->file);
}

int image_qcow2_set_parent(struct image *im, const struct parent_facts *parent)
{
    int r = name_parent(&im->qcow2->header, parent);
    if (r == 0)
        r = qcow2_write_header(im);
    return r < 0 ? r : file_sync(im->file);
}

int image_qcow2_set_hidden(struct image *im, bool hidden)
{
    im->qcow2->header.is_hidden = hidden;
    int r = qcow2_write_header(im);
    return r < 0 ? r : file_sync(im->file);
}
