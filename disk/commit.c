/*
 * commit.c: group commit of VHD metadata. Called by engine.c on its thread; owns its transfers and
 * their buffers.
 */
#include "disk/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/vhd.h"

#define ENTRIES_A_SECTOR (VHD_SECTOR / 4)

struct commit_io {
    struct io io;
    struct iovec iov;
    struct commit *c;
    struct bitmap *bitmap; /* first wave */
    uint32_t bat_sector;   /* second wave */
    struct commit_io *next;
    uint8_t bytes[8 * VHD_SECTOR];
};

static void start(struct commit *c);
static void write_bitmap(struct commit *c, struct bitmap *b);
static void bitmap_written(struct io *io, int err);
static void write_footer(struct commit *c);
static void footer_written(struct io *io, int err);
static void start_bat(struct commit *c);
static void bat_written(struct io *io, int err);
static void finish(struct commit *c);
static struct commit_io *io_new(struct commit *c, uint64_t at, uint64_t size,
                                void (*done)(struct io *, int));
static void io_done(struct commit_io *ci);
static void wave_drop(struct commit *c);

void commit_init(struct commit *c, struct image *image, struct backend *backend)
{
    *c = (struct commit){.image = image, .backend = backend};
    c->waiting_end = &c->waiting;
}

void commit_done(struct commit *c)
{
    while (c->spare) {
        struct commit_io *ci = c->spare;
        c->spare = ci->next;
        free(ci);
    }
    vec_done(&c->batch);
    vec_done(&c->bat_sectors);
}

void commit_join(struct commit *c, struct commit_waiter *w)
{
    w->next = NULL;
    *c->waiting_end = w;
    c->waiting_end = &w->next;
    if (!c->running)
        start(c);
}

static void start(struct commit *c)
{
    c->running = c->waiting;
    c->waiting = NULL;
    c->waiting_end = &c->waiting;
    c->pending = 1;
    c->next_wave = start_bat;
    for (struct commit_waiter *w = c->running; w; w = w->next) {
        if (w->bitmap->batch)
            continue;
        w->bitmap->batch = c;
        w->bitmap->err = 0;
        vec_push(&c->batch, w->bitmap);
    }
    for (size_t i = 0; i < c->batch.n; i++)
        if (c->batch.v[i]->is_dirty)
            write_bitmap(c, c->batch.v[i]);
    if (c->image->map.next_free != c->image->footer_sector)
        write_footer(c);
    wave_drop(c);
}

static void write_bitmap(struct commit *c, struct bitmap *b)
{
    uint64_t pad = b->is_new && !b->is_written ? (uint64_t)b->pad * VHD_SECTOR : 0;
    uint64_t at = blockmap_bitmap_at(&c->image->map, b->block) - pad;
    struct commit_io *ci = io_new(c, at, pad + VHD_SECTOR, bitmap_written);
    memset(ci->bytes, 0, pad);
    memcpy(ci->bytes + pad, b->bits, BITMAP_MAX_SIZE);
    ci->bitmap = b;
    b->is_dirty = false;
    backend_submit(c->backend, &ci->io);
}

static void bitmap_written(struct io *io, int err)
{
    struct commit_io *ci = (struct commit_io *)io;
    struct bitmap *b = ci->bitmap;
    if (err) {
        b->err = err;
        b->is_dirty = true;
    } else if (b->is_new) {
        b->is_written = true;
    }
    io_done(ci);
}

static void write_footer(struct commit *c)
{
    struct image *im = c->image;
    struct commit_io *ci = io_new(c, im->map.next_free * VHD_SECTOR, VHD_SECTOR, footer_written);
    memcpy(ci->bytes, im->footer_bytes, VHD_SECTOR);
    im->footer_sector = im->map.next_free;
    backend_submit(c->backend, &ci->io);
}

/* Without it the copy at offset 0 stands; closing the image tries again. */
static void footer_written(struct io *io, int err)
{
    struct commit_io *ci = (struct commit_io *)io;
    if (err)
        ci->c->image->footer_sector = 0;
    io_done(ci);
}

static void start_bat(struct commit *c)
{
    c->pending = 1;
    c->next_wave = finish;
    c->bat_sectors.n = 0;
    for (size_t i = 0; i < c->batch.n; i++) {
        const struct bitmap *b = c->batch.v[i];
        uint32_t sector = b->block / ENTRIES_A_SECTOR;
        size_t k = 0;
        while (k < c->bat_sectors.n && c->bat_sectors.v[k] != sector)
            k++;
        if (b->is_new && !b->err && k == c->bat_sectors.n)
            vec_push(&c->bat_sectors, sector);
    }
    for (size_t k = 0; k < c->bat_sectors.n; k++) {
        uint32_t sector = c->bat_sectors.v[k];
        uint64_t at = c->image->map.table_offset + (uint64_t)sector * VHD_SECTOR;
        struct commit_io *ci = io_new(c, at, VHD_SECTOR, bat_written);
        ci->bat_sector = sector;
        blockmap_bat_sector(&c->image->map, sector, ci->bytes);
        backend_submit(c->backend, &ci->io);
    }
    wave_drop(c);
}

static void bat_written(struct io *io, int err)
{
    struct commit_io *ci = (struct commit_io *)io;
    struct commit *c = ci->c;
    for (size_t i = 0; err && i < c->batch.n; i++) {
        struct bitmap *b = c->batch.v[i];
        if (b->is_new && b->block / ENTRIES_A_SECTOR == ci->bat_sector)
            b->err = err;
    }
    io_done(ci);
}

/* The waiters hold the bitmaps, so these live until the last of them was told. */
static void finish(struct commit *c)
{
    for (size_t i = 0; i < c->batch.n; i++) {
        struct bitmap *b = c->batch.v[i];
        b->batch = NULL;
        if (b->is_new && !b->err) {
            b->is_new = b->is_written = false;
            c->image->map.n_new--;
        }
    }
    c->batch.n = 0;
    struct commit_waiter *w = c->running;
    while (w) {
        struct commit_waiter *next = w->next;
        w->done(w, w->bitmap->err);
        w = next;
    }
    c->running = NULL;
    if (c->waiting)
        start(c);
}

static struct commit_io *io_new(struct commit *c, uint64_t at, uint64_t size,
                                void (*done)(struct io *, int))
{
    struct commit_io *ci = c->spare;
    if (ci)
        c->spare = ci->next;
    else
        ci = mem_new(struct commit_io);
    ci->c = c;
    ci->iov = (struct iovec){ci->bytes, (size_t)size};
    ci->io = (struct io){.op = IO_WRITE,
                         .fd = c->image->fd,
                         .offset = at,
                         .size = size,
                         .iov = &ci->iov,
                         .n_iov = 1,
                         .done = done};
    c->pending++;
    c->writes++;
    return ci;
}

static void io_done(struct commit_io *ci)
{
    struct commit *c = ci->c;
    ci->next = c->spare;
    c->spare = ci;
    wave_drop(c);
}

static void wave_drop(struct commit *c)
{
    if (--c->pending == 0)
        c->next_wave(c);
}
