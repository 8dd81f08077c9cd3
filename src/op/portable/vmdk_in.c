/*
 * vmdk_in.c: a VMDK in one file read from front to back, onto a disk that is all zeroes, or made
 * so. A stream says with each grain where it belongs; the tables of another one do.
 */
#include <string.h>

#include "codec/bytes.h"
#include "codec/vmdk.h"
#include "op/portable/foreign.h"
#include "op/portable/inflate.h"
#include "op/portable/scatter.h"

#define DESCRIPTOR_LOOK AHEAD_SIZE /* of it so much is looked at */

static struct err *unreadable(const char *why)
{
    return import_error("the VMDK image cannot be read: %s", why);
}

struct err *vmdk_measure(const char *first, size_t size, uint64_t *ret)
{
    struct vmdk_header h;
    const char *why = "it is too short";
    if (size < VMDK_HEADER_SIZE || vmdk_header_parse(first, &h, &why) < 0)
        return unreadable(why);
    if (h.descriptor_at < size) {
        size_t n = size - (size_t)h.descriptor_at;
        struct view text = {first + h.descriptor_at, n < h.descriptor_size ? n : h.descriptor_size};
        if (vmdk_descriptor_check(text, &why) < 0)
            return unreadable(why);
    }
    *ret = h.size;
    return NULL;
}

/* ---- a stream ---- */

static struct err *put_clipped(struct disk_in *in, const char *p, size_t size, uint64_t at)
{
    if (at >= in->size)
        return NULL;
    return disk_put(in->disk, p, size < in->size - at ? size : (size_t)(in->size - at), at);
}

/* `sector` has the first of it, its marker included. */
static struct err *take_grain(struct disk_in *in, const struct vmdk_header *h,
                              const struct vmdk_marker *m, char *sector, char *room)
{
    size_t whole = (size_t)((m->size + 12 + VMDK_SECTOR - 1) / VMDK_SECTOR * VMDK_SECTOR);
    char *packed = room + h->grain;
    if (m->at % h->grain || m->at >= h->size || m->size > 2 * (uint64_t)h->grain)
        return unreadable("a grain is where none can be");
    memcpy(packed, sector, VMDK_SECTOR);
    TRY(source_take(&in->src, packed + VMDK_SECTOR, whole - VMDK_SECTOR));
    size_t size = h->grain < h->size - m->at ? h->grain : (size_t)(h->size - m->at);
    TRY(inflate_piece(INFLATE_ZLIB, packed + 12, (size_t)m->size, room, size));
    return put_clipped(in, room, size, m->at);
}

static struct err *take_stream(struct disk_in *in, const struct vmdk_header *h, uint64_t length)
{
    _cleanup_(freep) char *room = mem_zalloc((size_t)h->grain * 3 + 2 * VMDK_SECTOR, 1);
    char sector[VMDK_SECTOR];
    TRY(source_skip_to(&in->src, h->data_at > VMDK_HEADER_SIZE ? h->data_at : VMDK_HEADER_SIZE));
    for (;;) {
        struct vmdk_marker m;
        size_t n = 0;
        TRY(source_fill(&in->src, sector, sizeof(sector), &n));
        if (n == 0 && length && in->src.at == length)
            return NULL; /* some writers leave the end away */
        if (n < sizeof(sector))
            return err_IMPORT_ERROR_PREMATURE_EOF();
        if (vmdk_marker_parse(sector, &m) < 0)
            return unreadable("something between its grains is not known");
        if (m.kind == VMDK_END)
            return NULL;
        if (m.kind == VMDK_GRAIN)
            TRY(take_grain(in, h, &m, sector, room));
        else
            TRY(source_skip_to(&in->src, in->src.at + m.size));
        if (length)
            op_progress(in->op, (double)in->src.at / (double)length);
    }
}

/* ---- tables ---- */

enum { PART_DIRECTORY, PART_TABLE, PART_GRAIN };

static struct err *take_table(struct scatter *s, const struct vmdk_header *h, const struct part *p,
                              const char *bytes)
{
    uint32_t least = h->has_zero_mark ? 2 : 1;
    for (uint32_t i = 0; i < p->size / 4; i++) {
        uint32_t sector = get_le32(bytes + 4 * (size_t)i);
        uint64_t number = p->arg * h->table + i;
        if (sector < least)
            continue;
        struct part part = {.at = (uint64_t)sector * VMDK_SECTOR};
        part.kind = p->kind == PART_DIRECTORY ? PART_TABLE : PART_GRAIN;
        part.size = part.kind == PART_TABLE ? h->table * 4 : h->grain;
        part.arg = part.kind == PART_TABLE ? i : number;
        if (part.kind == PART_TABLE || number * h->grain < h->size)
            TRY(scatter_add(s, part));
    }
    return NULL;
}

static struct err *take(struct scatter *s, const struct part *p, const char *bytes)
{
    const struct vmdk_header *h = s->arg;
    if (p->kind == PART_GRAIN)
        return scatter_put(s, bytes, p->size, p->arg * h->grain);
    return take_table(s, h, p, bytes);
}

static struct err *take_tables(struct disk_in *in, struct vmdk_header *h, struct scratch *scratch)
{
    uint32_t directory = vmdk_tables(h) * 4;
    uint32_t most = h->table * 4 > h->grain ? h->table * 4 : h->grain;
    struct scatter s = {.in = in,
                        .scratch = scratch,
                        .take = take,
                        .arg = h,
                        .part_max = directory > most ? directory : most};
    struct err *e = NULL;
    if (directory)
        e = scatter_add(
            &s, (struct part){.at = h->directory_at, .size = directory, .kind = PART_DIRECTORY});
    if (!e)
        e = scatter_run(&s);
    scatter_done(&s);
    return e;
}

struct err *vmdk_receive(struct disk_in *in, struct scratch *scratch)
{
    char first[VMDK_HEADER_SIZE];
    struct vmdk_header h;
    const char *why = "";
    TRY(source_take(&in->src, first, sizeof(first)));
    if (vmdk_header_parse(first, &h, &why) < 0)
        return unreadable(why);
    TRY(foreign_check_size(in, h.size));
    return h.is_stream ? take_stream(in, &h, scratch->size) : take_tables(in, &h, scratch);
}
