/*
 * vhd_out.c: a disk as a VHD that is read from front to back.
 *
 *     footer  header  BAT  { bitmap  2 MiB } ...  footer
 *
 * Which blocks there are must be known before the first is sent: the storage is asked for its
 * holes, or, for a differencing image, the disk is compared with its base. The image's uuid is the
 * VDI's, so a chain of exports fits together.
 */
#include <string.h>
#include <stdio.h>

#include "codec/bytes.h"
#include "codec/vhd.h"
#include "op/portable/present.h"

#define BLOCK       VHD_BLOCK_SIZE
#define BITMAP      512u
#define BAT_AT_ONCE 1024u /* entries */

/* ---- the tables ---- */

static void uuid_bytes(const char *text, uint8_t out[16])
{
    unsigned n = 0;
    for (; *text && n < 32; text++) {
        const char *digits = "0123456789abcdef", *d = *text == '-' ? NULL : strchr(digits, *text);
        if (!d)
            continue;
        uint8_t v = (uint8_t)(d - digits);
        out[n / 2] = n % 2 ? (uint8_t)(out[n / 2] | v) : (uint8_t)(v << 4);
        n++;
    }
}

static void make_footer(const struct disk_out *out, uint8_t bytes[VHD_FOOTER_SIZE])
{
    struct vhd_footer f = {.data_offset = VHD_HEADER_AT,
                           .timestamp = (uint32_t)(now_s() - VHD_UNIX_EPOCH),
                           .creator = "tap",
                           .creator_version = 1, /* none of the extensions */
                           .original_size = out->size,
                           .current_size = out->size,
                           .geometry = vhd_geometry_of(out->size),
                           .type = out->base ? VHD_DIFFERENCING : VHD_DYNAMIC};
    uuid_bytes(out->uuid, f.uuid);
    vhd_footer_put(&f, bytes);
}

static void make_header(const struct disk_out *out, const struct present *plan,
                        uint8_t bytes[VHD_HEADER_SIZE])
{
    struct vhd_header h = {
        .table_offset = VHD_TABLE_AT, .max_bat_size = (uint32_t)plan->n, .block_size = BLOCK};
    if (out->base) {
        uuid_bytes(out->base_uuid, h.parent_uuid);
        snprintf(h.parent_name, sizeof(h.parent_name), "%s.vhd", out->base_uuid);
    }
    vhd_header_put(&h, bytes);
}

static struct err *send_table(const struct disk_out *out, const struct present *plan)
{
    uint8_t entries[BAT_AT_ONCE * 4];
    uint64_t room = vhd_bat_size((uint32_t)plan->n);
    uint64_t sector = (VHD_TABLE_AT + room) / VHD_SECTOR;
    for (uint64_t i = 0; i < room / 4;) {
        size_t n = 0;
        for (; n < BAT_AT_ONCE && i < room / 4; n++, i++) {
            bool present = present_has(plan, i);
            put_be32(entries + 4 * n, present ? (uint32_t)sector : VHD_UNALLOCATED);
            sector += present ? (BITMAP + BLOCK) / VHD_SECTOR : 0;
        }
        TRY(sink_put(out->io, entries, 4 * n));
    }
    return NULL;
}

/* ---- the blocks ---- */

static struct err *send_block(const struct disk_out *out, const struct piece *p, const char *room)
{
    uint8_t bitmap[BITMAP];
    memset(bitmap, 0xff, sizeof(bitmap));
    TRY(sink_put(out->io, bitmap, sizeof(bitmap)));
    if (p->zero)
        return sink_zeroes(out->io, BLOCK);
    TRY(sink_put(out->io, room, p->size));
    return sink_zeroes(out->io, BLOCK - p->size);
}

static struct err *send_blocks(const struct disk_out *out, const struct present *plan)
{
    _cleanup_(freep) char *room = mem_zalloc(BLOCK, 1);
    struct walk w;
    struct piece p;
    bool more;
    walk_init(&w, out->disk, out->size, BLOCK);
    for (;;) {
        TRY(walk_next(&w, room, &p, &more));
        if (!more)
            return NULL;
        if (present_has(plan, p.at / BLOCK))
            TRY(send_block(out, &p, room));
        TRY(op_check(out->op));
        op_progress(out->op, (double)(p.at + p.size) / (double)out->size);
    }
}

static struct err *send_all(const struct disk_out *out, const struct present *plan)
{
    uint8_t footer[VHD_FOOTER_SIZE], header[VHD_HEADER_SIZE];
    make_footer(out, footer);
    make_header(out, plan, header);
    TRY(sink_put(out->io, footer, sizeof(footer)));
    TRY(sink_put(out->io, header, sizeof(header)));
    TRY(send_table(out, plan));
    TRY(send_blocks(out, plan));
    return sink_put(out->io, footer, sizeof(footer));
}

struct err *vhd_send(const struct disk_out *out)
{
    _cleanup_(present_done) struct present plan = {0};
    TRY(present_look(out, BLOCK, &plan));
    return send_all(out, &plan);
}
