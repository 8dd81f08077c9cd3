/*
 * qcow2_in.c: a qcow2 image read from front to back, onto a disk that is all zeroes, or made so. A
 * difference goes onto a disk that is as the image below it was: what it does not have stays.
 *
 * Compressed clusters come from the scratch: several share a sector.
 */
#include <string.h>

#include "codec/bytes.h"
#include "codec/qcow2_head.h"
#include "op/portable/foreign.h"
#include "op/portable/inflate.h"
#include "op/portable/scatter.h"

enum { PART_L1, PART_L2, PART_DATA, PART_PACKED };

struct qcow2 {
    struct qcow2_head head;
    char *room; /* a cluster, unpacked */
};

static uint32_t cluster(const struct qcow2 *im)
{
    return 1u << im->head.cluster_bits;
}

static struct err *take_l1(struct scatter *s, const struct qcow2 *im, const char *bytes)
{
    for (uint32_t i = 0; i < im->head.l1_entries; i++) {
        uint64_t at = qcow2_l1_place(get_be64(bytes + 8 * (size_t)i));
        if (at)
            TRY(scatter_add(
                s, (struct part){.at = at, .arg = i, .size = cluster(im), .kind = PART_L2}));
    }
    return NULL;
}

/* A cluster of a difference that hides what is below. */
static struct err *clear(struct scatter *s, const struct qcow2 *im, uint64_t number)
{
    uint64_t at = number << im->head.cluster_bits, left = s->in->size - at;
    return diskio_zero(s->in->disk, left < cluster(im) ? left : cluster(im), at);
}

static struct err *take_l2(struct scatter *s, const struct qcow2 *im, uint64_t table,
                           const char *bytes)
{
    uint32_t entries = cluster(im) / 8;
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t number = table * entries + i;
        struct qcow2_entry e = qcow2_l2_entry(&im->head, get_be64(bytes + 8 * (size_t)i));
        if (e.kind == QCOW2_IS_ABSENT || number << im->head.cluster_bits >= im->head.size)
            continue;
        if (e.kind == QCOW2_IS_ZEROES) {
            TRY(im->head.is_difference ? clear(s, im, number) : NULL);
            continue;
        }
        bool packed = e.kind == QCOW2_IS_COMPRESSED;
        TRY(scatter_add(s, (struct part){.at = e.at,
                                         .arg = number,
                                         .size = e.size,
                                         .kind = packed ? PART_PACKED : PART_DATA,
                                         .keep = packed}));
    }
    return NULL;
}

static struct err *take(struct scatter *s, const struct part *p, const char *bytes)
{
    struct qcow2 *im = s->arg;
    uint64_t at = p->arg << im->head.cluster_bits;
    if (p->kind == PART_L1)
        return take_l1(s, im, bytes);
    if (p->kind == PART_L2)
        return take_l2(s, im, p->arg, bytes);
    if (p->kind == PART_DATA)
        return scatter_put(s, bytes, p->size, at);
    TRY(inflate_piece(im->head.is_zstd ? INFLATE_ZSTD : INFLATE_BARE, bytes, p->size, im->room,
                      cluster(im)));
    return scatter_put(s, im->room, cluster(im), at);
}

static struct err *run(struct disk_in *in, struct scratch *scratch, struct qcow2 *im)
{
    uint32_t l1 = im->head.l1_entries * 8, most = 2 * cluster(im) + 512;
    struct scatter s = {
        .in = in, .scratch = scratch, .take = take, .arg = im, .part_max = l1 > most ? l1 : most};
    struct err *e = NULL;
    if (l1)
        e = scatter_add(&s, (struct part){.at = im->head.l1_at, .size = l1, .kind = PART_L1});
    if (!e)
        e = scatter_run(&s);
    scatter_done(&s);
    return e;
}

static struct err *alone(void)
{
    return import_error("the qcow2 image is a difference to another image, which is not here");
}

struct err *qcow2_measure(const char *first, size_t size, uint64_t *ret)
{
    struct qcow2_head h;
    const char *why = "it is too short";
    if (size < QCOW2_HEAD_SIZE || qcow2_head_parse(first, &h, &why) < 0)
        return import_error("the qcow2 image cannot be read: %s", why);
    if (h.is_difference)
        return alone();
    *ret = h.size;
    return NULL;
}

struct err *qcow2_receive(struct disk_in *in, struct scratch *scratch)
{
    char first[QCOW2_HEAD_SIZE];
    struct qcow2 im = {0};
    const char *why = "";
    TRY(source_take(&in->src, first, sizeof(first)));
    if (qcow2_head_parse(first, &im.head, &why) < 0)
        return import_error("the qcow2 image cannot be read: %s", why);
    if (im.head.is_difference && in->is_fresh)
        return alone();
    TRY(foreign_check_size(in, im.head.size));
    if (!im.head.is_difference && !in->is_fresh)
        TRY(diskio_zero(in->disk, in->size, 0));
    im.room = mem_zalloc(cluster(&im), 1);
    struct err *e = run(in, scratch, &im);
    free(im.room);
    return e;
}
