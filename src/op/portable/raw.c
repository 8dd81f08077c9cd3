/* raw.c: a disk's bytes as they are, in one piece or with their offsets. */
#include <stdio.h>
#include <string.h>

#include "codec/bytes.h"
#include "op/portable/portable_impl.h"

#define UNIT DISKIO_PIECE

struct err *raw_send(const struct disk_out *out)
{
    _cleanup_(freep) char *room = mem_zalloc(UNIT, 1);
    struct walk w;
    struct piece p;
    bool more;
    walk_init(&w, out->disk, out->size, UNIT);
    for (;;) {
        TRY(walk_next(&w, room, &p, &more));
        if (!more)
            return NULL;
        TRY(p.zero ? sink_zeroes(out->io, p.size) : sink_put(out->io, room, p.size));
        op_progress(out->op, (double)(p.at + p.size) / (double)out->size);
    }
}

static struct err *too_long(const struct disk_in *in)
{
    return import_error("the data is longer than the disk, which has %llu bytes",
                        (unsigned long long)in->size);
}

static struct err *short_of(const struct disk_in *in, uint64_t at)
{
    char text[96];
    snprintf(text, sizeof(text), "the data ended after %llu of %llu bytes", (unsigned long long)at,
             (unsigned long long)in->expected);
    return err_VDI_IO_ERROR(text);
}

struct err *raw_receive(struct disk_in *in)
{
    _cleanup_(freep) char *room = mem_zalloc(UNIT, 1);
    for (uint64_t at = 0; !in->src.ended;) {
        size_t n = 0;
        struct err *e = source_fill(&in->src, room, UNIT, &n);
        if (n > in->size - at)
            return err_first(e, too_long(in));
        e = err_first(e, disk_put(in->disk, room, n, at));
        if (e)
            return err_first(e, diskio_flush(in->disk)); /* what came stays */
        at += n;
        op_progress(in->op, (double)at / (double)in->size);
        if (in->src.ended && at < in->expected)
            return err_first(short_of(in, at), diskio_flush(in->disk));
    }
    return NULL;
}

/* ---- pieces: { u64 offset, u32 length } in little-endian, data; all zero: the end ---- */

static struct err *receive_piece(struct disk_in *in, char *room, uint64_t at, uint32_t size)
{
    if (at > in->size || size > in->size - at)
        return too_long(in);
    while (size) {
        uint32_t n = size < UNIT ? size : UNIT;
        TRY(source_take(&in->src, room, n));
        TRY(disk_put(in->disk, room, n, at));
        at += n;
        size -= n;
    }
    op_progress(in->op, (double)at / (double)in->size);
    return NULL;
}

struct err *chunked_receive(struct disk_in *in)
{
    _cleanup_(freep) char *room = mem_zalloc(UNIT, 1);
    for (;;) {
        uint8_t head[12];
        TRY(source_take(&in->src, head, sizeof(head)));
        if (is_all_zero(head, sizeof(head)))
            return NULL;
        TRY(receive_piece(in, room, get_le64(head), get_le32(head + 8)));
    }
}
