/*
 * qcow2_out.c: a disk as a qcow2 image (version 3) that is read from front to back.
 *
 *     header  L1  refcount table  refcount blocks  L2 tables  clusters of data
 *
 * Which clusters there are is known before the first is sent (present.h), so every table is counted
 * out ahead and says the places of what comes behind it. Nothing is shared and nothing is free: all
 * counts are 1. With a base the image has only what differs and names `<base uuid>.qcow2` as what
 * is below it, so a chain of exports fits together.
 */
#include <stdio.h>
#include <string.h>

#include "codec/bytes.h"
#include "codec/qcow2.h"
#include "op/portable/present.h"

#define BITS         16u
#define CLUSTER      (1u << BITS)
#define ENTRIES      (CLUSTER / 8) /* of an L1, L2 or refcount table, in a cluster */
#define COUNTS       (CLUSTER / 2) /* of a refcount block */
#define ROOM         (2u << 20)
#define SPAN_OF(n)   (((n) + ENTRIES - 1) / ENTRIES)
#define PLACE(index) ((uint64_t)(index) << BITS)

/* Numbers of clusters, in the order of the file; each part begins where the one before has ended.
 */
struct layout {
    uint64_t n_spans; /* entries of L1 */
    uint64_t n_l1, n_table, n_blocks, n_l2, n_data;
};

static uint64_t first_l2(const struct layout *l)
{
    return 1 + l->n_l1 + l->n_table + l->n_blocks;
}

static uint64_t total(const struct layout *l)
{
    return first_l2(l) + l->n_l2 + l->n_data;
}

static uint64_t in_span(const struct present *p, uint64_t span)
{
    return present_count(p, span * ENTRIES, (span + 1) * ENTRIES);
}

static struct layout lay_out(const struct present *p)
{
    struct layout l = {.n_spans = SPAN_OF(p->n)};
    l.n_l1 = SPAN_OF(l.n_spans);
    for (uint64_t i = 0; i < l.n_spans; i++) {
        uint64_t n = in_span(p, i);
        l.n_l2 += n > 0;
        l.n_data += n;
    }
    /* The blocks count themselves and their table, too. */
    for (uint64_t before = UINT64_MAX; before != total(&l);) {
        before = total(&l);
        l.n_blocks = (before + COUNTS - 1) / COUNTS;
        l.n_table = SPAN_OF(l.n_blocks);
    }
    return l;
}

/* ---- tables ---- */

static struct err *send_header(const struct disk_out *out, const struct layout *l)
{
    uint8_t bytes[QCOW2_HEADER_SIZE];
    struct qcow2_header h = {.version = 3,
                             .cluster_bits = BITS,
                             .size = out->size,
                             .l1_at = PLACE(1),
                             .l1_size = (uint32_t)l->n_spans,
                             .refcounts_at = PLACE(1 + l->n_l1),
                             .refcounts_clusters = (uint32_t)l->n_table,
                             .refcount_order = 4,
                             .has_backing = out->base != NULL};
    if (out->base) {
        snprintf(h.backing, sizeof(h.backing), "%s.qcow2", out->base_uuid);
        snprintf(h.backing_format, sizeof(h.backing_format), "qcow2");
    }
    if (qcow2_put(&h, bytes) < 0)
        return err_internal("the header of a qcow2 image does not fit");
    TRY(sink_put(out->io, bytes, sizeof(bytes)));
    return sink_zeroes(out->io, CLUSTER - sizeof(bytes));
}

static struct err *send_l1(const struct disk_out *out, const struct present *p,
                           const struct layout *l, uint8_t *room)
{
    uint64_t next = first_l2(l);
    for (uint64_t i = 0; i < l->n_l1 * ENTRIES; i++) {
        bool there = i < l->n_spans && in_span(p, i) > 0;
        put_be64(room + i % ENTRIES * 8, there ? PLACE(next++) | QCOW2_COPIED : 0);
        if ((i + 1) % ENTRIES == 0)
            TRY(sink_put(out->io, room, CLUSTER));
    }
    return NULL;
}

static struct err *send_refcounts(const struct disk_out *out, const struct layout *l, uint8_t *room)
{
    uint64_t first = 1 + l->n_l1 + l->n_table;
    for (uint64_t i = 0; i < l->n_table * ENTRIES; i++) {
        put_be64(room + i % ENTRIES * 8, i < l->n_blocks ? PLACE(first + i) : 0);
        if ((i + 1) % ENTRIES == 0)
            TRY(sink_put(out->io, room, CLUSTER));
    }
    for (uint64_t i = 0; i < l->n_blocks * COUNTS; i++) {
        put_be16(room + i % COUNTS * 2, i < total(l));
        if ((i + 1) % COUNTS == 0)
            TRY(sink_put(out->io, room, CLUSTER));
    }
    return NULL;
}

static struct err *send_l2(const struct disk_out *out, const struct present *p,
                           const struct layout *l, uint8_t *room)
{
    uint64_t next = first_l2(l) + l->n_l2;
    for (uint64_t span = 0; span < l->n_spans; span++) {
        if (!in_span(p, span))
            continue;
        for (uint64_t i = 0; i < ENTRIES; i++)
            put_be64(room + i * 8,
                     present_has(p, span * ENTRIES + i) ? PLACE(next++) | QCOW2_COPIED : 0);
        TRY(sink_put(out->io, room, CLUSTER));
        TRY(op_check(out->op));
    }
    return NULL;
}

/* ---- data ---- */

static struct err *send_clusters(const struct disk_out *out, const struct present *p,
                                 const struct piece *piece, const char *room)
{
    for (size_t done = 0; done < piece->size; done += CLUSTER) {
        size_t n = piece->size - done < CLUSTER ? piece->size - done : CLUSTER;
        if (!present_has(p, (piece->at + done) / CLUSTER))
            continue;
        TRY(piece->zero ? sink_zeroes(out->io, n) : sink_put(out->io, room + done, n));
        TRY(sink_zeroes(out->io, CLUSTER - n));
    }
    return NULL;
}

static struct err *send_data(const struct disk_out *out, const struct present *p, char *room)
{
    struct walk w;
    struct piece piece;
    bool more;
    walk_init(&w, out->disk, out->size, ROOM);
    for (;;) {
        TRY(walk_next(&w, room, &piece, &more));
        if (!more)
            return NULL;
        TRY(send_clusters(out, p, &piece, room));
        TRY(op_check(out->op));
        op_progress(out->op, (double)(piece.at + piece.size) / (double)out->size);
    }
}

struct err *qcow2_send(const struct disk_out *out)
{
    _cleanup_(present_done) struct present p = {0};
    _cleanup_(freep) char *room = mem_zalloc(ROOM, 1);
    TRY(present_look(out, CLUSTER, &p));
    struct layout l = lay_out(&p);
    TRY(send_header(out, &l));
    TRY(send_l1(out, &p, &l, (uint8_t *)room));
    TRY(send_refcounts(out, &l, (uint8_t *)room));
    TRY(send_l2(out, &p, &l, (uint8_t *)room));
    return send_data(out, &p, room);
}
