/* present.c: see present.h. The operation's thread. */
#include "op/portable/present.h"

#include <stdlib.h>
#include <string.h>

#define ROOM (2u << 20) /* is compared at once */

void present_done(struct present *p)
{
    free(p->bits);
    *p = (struct present){0};
}

bool present_has(const struct present *p, uint64_t i)
{
    return i < p->n && p->bits[i / 8] & (1u << i % 8);
}

uint64_t present_count(const struct present *p, uint64_t from, uint64_t to)
{
    uint64_t n = 0, end = p->n / 8 + 1;
    for (uint64_t i = from / 8; i < to / 8 && i < end; i++)
        n += (unsigned)__builtin_popcount(p->bits[i]);
    return n;
}

static void add(struct present *p, uint64_t i)
{
    p->bits[i / 8] |= (uint8_t)(1u << i % 8);
}

static struct err *look_for_holes(const struct disk_out *out, struct present *p)
{
    uint64_t at = 0;
    while (at < out->size) {
        uint64_t n = 0;
        bool zero = false;
        TRY(diskio_extent(out->disk, at, &n, &zero));
        n = n < out->size - at ? n : out->size - at;
        for (uint64_t i = at / p->unit; !zero && i <= (at + n - 1) / p->unit; i++)
            add(p, i);
        at += n;
        TRY(op_check(out->op));
    }
    return NULL;
}

/* The same place of the base, zeroes where the base has ended. */
static struct err *read_base(const struct disk_out *out, char *room, const struct piece *piece)
{
    uint64_t size = diskio_size(out->base);
    size_t n = piece->at >= size ? 0 : piece->size;
    n = piece->at + n > size ? (size_t)(size - piece->at) : n;
    memset(room + n, 0, piece->size - n);
    return n ? diskio_read(out->base, room, n, piece->at) : NULL;
}

static void compare(struct present *p, const struct piece *piece, const char *a, const char *b)
{
    for (size_t done = 0; done < piece->size; done += p->unit) {
        size_t n = piece->size - done < p->unit ? piece->size - done : p->unit;
        if (memcmp(a + done, b + done, n) != 0)
            add(p, (piece->at + done) / p->unit);
    }
}

static struct err *look_for_differences(const struct disk_out *out, struct present *p)
{
    _cleanup_(freep) char *room = mem_zalloc(ROOM, 1), *base = mem_zalloc(ROOM, 1);
    struct walk w;
    struct piece piece;
    bool more;
    walk_init(&w, out->disk, out->size, ROOM);
    for (;;) {
        TRY(walk_next(&w, room, &piece, &more));
        if (!more)
            return NULL;
        if (piece.zero)
            memset(room, 0, piece.size);
        TRY(read_base(out, base, &piece));
        compare(p, &piece, room, base);
        TRY(op_check(out->op));
    }
}

struct err *present_look(const struct disk_out *out, uint32_t unit, struct present *ret)
{
    ret->unit = unit;
    ret->n = (out->size + unit - 1) / unit;
    ret->bits = mem_zalloc((size_t)(ret->n / 8) + 1, 1);
    return out->base ? look_for_differences(out, ret) : look_for_holes(out, ret);
}
