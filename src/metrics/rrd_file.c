/*
 * rrd_file.c: a database as bytes. Called by metrics.c when a guest ends, now and then, and at the
 * end of the program.
 *
 *     "cairn rrd 1\n"  crc32 of what follows  updated  archives  sources with their rings
 *
 * Little end first. Rings keep their folded form, so a quiet guest takes a few kilobytes.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "codec/crc32.h"
#include "metrics/rrd.h"

static const char magic[] = "cairn rrd 1\n";
#define HEAD_SIZE (sizeof(magic) - 1 + 4)

static uint32_t crc32_of(const void *p, size_t size)
{
    return ~crc32_add(~UINT32_C(0), p, size);
}

static void put_u16(struct buf *b, unsigned v)
{
    uint8_t raw[2];
    put_le16(raw, (uint16_t)v);
    buf_put(b, raw, sizeof(raw));
}

static void put_u32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    put_le32(raw, v);
    buf_put(b, raw, sizeof(raw));
}

static void put_f32(struct buf *b, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    put_u32(b, bits);
}

static void put_f64(struct buf *b, double v)
{
    uint64_t bits;
    uint8_t raw[8];
    memcpy(&bits, &v, sizeof(bits));
    put_le64(raw, bits);
    buf_put(b, raw, sizeof(raw));
}

static float cursor_f32(struct cursor *c)
{
    uint32_t bits = cursor_le32(c);
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static double cursor_f64(struct cursor *c)
{
    uint64_t bits = cursor_le64(c);
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

/* ---- writing ---- */

static void save_ring(struct buf *b, const struct ring *g)
{
    put_f64(b, g->cdp);
    put_u32(b, g->unknown);
    put_u16(b, g->n);
    put_u16(b, g->cap > 0);
    if (!g->cap)
        put_f32(b, g->same);
    else
        for (unsigned i = g->n; i-- > 0;)
            put_f32(b, (float)ring_peek(g, i));
}

static void save_ds(struct buf *b, const struct rrd *r, size_t i)
{
    const struct ds *d = &r->ds[i];
    size_t size = strlen(d->source->name);
    put_u16(b, (unsigned)size);
    buf_put(b, d->source->name, size);
    put_u16(b, d->source->type);
    put_f64(b, d->source->min);
    put_f64(b, d->source->max);
    put_f64(b, d->last);
    put_f64(b, d->acc);
    put_f64(b, (double)d->unknown_s);
    for (unsigned a = 0; a < r->n_archives; a++)
        save_ring(b, rrd_ring(r, i, a));
}

void rrd_save(const struct rrd *r, struct buf *b)
{
    size_t start = b->size;
    buf_put(b, magic, sizeof(magic) - 1);
    put_u32(b, 0);
    put_f64(b, r->updated);
    put_u16(b, r->n_archives);
    put_u16(b, (unsigned)r->n_ds);
    for (unsigned a = 0; a < r->n_archives; a++) {
        put_u16(b, r->archives[a].cf);
        put_u16(b, r->archives[a].rows);
        put_u32(b, r->archives[a].steps);
        put_f64(b, r->archives[a].xff);
    }
    for (size_t i = 0; i < r->n_ds; i++)
        save_ds(b, r, i);
    if (buf_ok(b))
        put_le32(b->data + start + HEAD_SIZE - 4,
                 crc32_of(b->data + start + HEAD_SIZE, b->size - start - HEAD_SIZE));
}

/* ---- reading ---- */

static bool load_archives(struct cursor *c, struct rrd *r, unsigned n)
{
    for (unsigned a = 0; a < n; a++) {
        unsigned cf = cursor_le16(c), rows = cursor_le16(c);
        uint32_t steps = cursor_le32(c);
        double xff = cursor_f64(c);
        if (c->bad || cf >= CF_N || !rows || rows > RRD_ROWS_MAX || !steps ||
            steps > RRD_STEPS_MAX || !(xff >= 0 && xff <= 1))
            return false;
        r->archives[a] = (struct archive){(enum rrd_cf)cf, steps, rows, xff};
    }
    r->n_archives = n;
    return true;
}

static bool load_ring(struct cursor *c, struct ring *g, const struct archive *a)
{
    g->cdp = cursor_f64(c);
    uint32_t unknown = cursor_le32(c);
    unsigned n = cursor_le16(c), unfolded = cursor_le16(c);
    if (c->bad || n > a->rows || unfolded > 1 || unknown > a->steps)
        return false;
    g->unknown = (uint16_t)unknown;
    if (!unfolded)
        ring_push(g, a->rows, cursor_f32(c), n);
    else
        for (unsigned i = 0; i < n && !c->bad; i++)
            ring_push(g, a->rows, cursor_f32(c), 1);
    return !c->bad;
}

static bool load_ds(struct cursor *c, struct rrd *r, struct source_pool *pool,
                    enum metrics_owner owner)
{
    size_t size = cursor_le16(c);
    const uint8_t *name = cursor_take(c, size);
    if (!name || !size || size > RRD_NAME_MAX || memchr(name, 0, size))
        return false;
    _cleanup_(freep) char *text = mem_strndup((const char *)name, size);
    unsigned type = cursor_le16(c);
    double min = cursor_f64(c), max = cursor_f64(c);
    if (c->bad || type > SOURCE_ABSOLUTE || !str_is_utf8(view_of(text)))
        return false;
    const struct source *s = source_by_name(pool, owner, text, (enum source_type)type, min, max);
    if (rrd_find(r, s) >= 0)
        return false;
    size_t at = rrd_add(r, s);
    struct ds *d = &r->ds[at];
    d->last = cursor_f64(c);
    d->acc = cursor_f64(c);
    d->unknown_s = (float)cursor_f64(c);
    for (unsigned a = 0; a < r->n_archives; a++)
        if (!load_ring(c, rrd_ring(r, at, a), &r->archives[a]))
            return false;
    return !c->bad;
}

int rrd_load(struct view bytes, struct source_pool *pool, enum metrics_owner owner,
             struct rrd **ret)
{
    if (bytes.size < HEAD_SIZE || memcmp(bytes.p, magic, sizeof(magic) - 1) != 0)
        return -EINVAL;
    struct cursor c = cursor_of(bytes.p + HEAD_SIZE, bytes.size - HEAD_SIZE);
    if (get_le32(bytes.p + HEAD_SIZE - 4) != crc32_of(c.p, c.left))
        return -EINVAL;
    double updated = cursor_f64(&c);
    unsigned archives = cursor_le16(&c), n = cursor_le16(&c);
    if (c.bad || n > RRD_DS_MAX || archives > RRD_RRA_MAX || !(updated >= 0 && updated < 1e11))
        return -EINVAL;
    _cleanup_(rrd_freep) struct rrd *r = rrd_empty(archives);
    r->updated = updated;
    if (!load_archives(&c, r, archives))
        return -EINVAL;
    rrd_reserve(r, n);
    for (unsigned i = 0; i < n; i++)
        if (!load_ds(&c, r, pool, owner))
            return -EINVAL;
    if (c.left)
        return -EINVAL;
    *ret = steal(&r);
    return 0;
}
