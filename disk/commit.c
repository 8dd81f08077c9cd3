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
    uint8_t bytes[(BITMAP_PAD_MAX + 1) * VHD_SECTOR];
};

/* The wrong order, for a test that must fail with it. */
#ifdef COMMIT_BAT_FIRST
#define BAT_FIRST true
#else
#define BAT_FIRST false
#endif

static void start(struct commit *c);
static void prepare_bitmap(struct commit *c, struct bitmap *b);
static void sync_then(struct commit *c, bool wanted, void (*next)(struct commit *c));
static void sync_done(struct io *io, int err);
static void start_bitmaps(struct commit *c);
static void bitmap_written(struct io *io, int err);
static void bitmap_failed(struct bitmap *b, int err);
static void write_footer(struct commit *c);
static void footer_written(struct io *io, int err);
static void bitmaps_written(struct commit *c);
static void start_bat(struct commit *c);
static void bat_written(struct io *io, int err);
static void finish(struct commit *c);
static struct commit_io *io_new(struct commit *c, uint64_t at, uint64_t size,
                                void (*done)(struct io *, int));
static void io_submit(struct commit_io *ci);
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

bool commit_is_later(const struct commit *c, const struct bitmap *b)
{
    return c->bits_later && b->is_new && !b->is_plain;
}

void commit_join(struct commit *c, struct commit_waiter *w)
{
    /* What such a commit writes does not depend on who waits for it. */
    if (w->bitmap->batch && commit_is_later(c, w->bitmap)) {
        w->next = c->running;
        c->running = w;
        return;
    }
    w->next = NULL;
    commit_join_all(c, w);
}

void commit_join_all(struct commit *c, struct commit_waiter *list)
{
    *c->waiting_end = list;
    while (*c->waiting_end)
        c->waiting_end = &(*c->waiting_end)->next;
    if (!c->running)
        start(c);
}

static void start(struct commit *c)
{
    c->running = c->waiting;
    c->waiting = NULL;
    c->waiting_end = &c->waiting;
    bool needs_sync = false;
    for (struct commit_waiter *w = c->running; w; w = w->next) {
        struct bitmap *b = w->bitmap;
        if (b->batch)
            continue;
        b->batch = c;
        b->err = 0;
        vec_push(&c->batch, b);
        if (!b->is_dirty)
            continue;
        needs_sync |= !commit_is_later(c, b) && (!b->is_new || !b->is_plain);
        prepare_bitmap(c, b);
        b->is_written |= BAT_FIRST;
    }
    sync_then(c, needs_sync, BAT_FIRST ? start_bat : start_bitmaps);
}

/* Bits that are set from now on belong to data that the sync may not see. */
static void prepare_bitmap(struct commit *c, struct bitmap *b)
{
    uint64_t pad = b->is_new && !b->is_written ? (uint64_t)b->pad * VHD_SECTOR : 0;
    uint64_t at = blockmap_bitmap_at(&c->image->map, b->block) - pad;
    struct commit_io *ci = io_new(c, at, pad + VHD_SECTOR, bitmap_written);
    bool later = commit_is_later(c, b);
    memset(ci->bytes, 0, pad + (later ? BITMAP_MAX_SIZE : 0));
    if (!later)
        memcpy(ci->bytes + pad, b->bits, BITMAP_MAX_SIZE);
    ci->bitmap = b;
    b->is_dirty = later;
    ci->next = c->prepared;
    c->prepared = ci;
}

static void sync_then(struct commit *c, bool wanted, void (*next)(struct commit *c))
{
    c->pending = 1;
    c->next_wave = next;
    if (wanted && !c->sync_err) {
        c->pending++;
        c->sync = (struct io){.op = IO_SYNC, .file = c->image->file, .done = sync_done};
        backend_submit(c->backend, &c->sync);
    }
    wave_drop(c);
}

static void sync_done(struct io *io, int err)
{
    struct commit *c = (struct commit *)((char *)io - offsetof(struct commit, sync));
    if (err)
        c->sync_err = err;
    wave_drop(c);
}

static void start_bitmaps(struct commit *c)
{
    struct commit_io *ci = c->prepared;
    c->prepared = NULL;
    c->pending = 1;
    c->next_wave = BAT_FIRST ? finish : bitmaps_written;
    while (ci) {
        struct commit_io *next = ci->next;
        if (c->sync_err) {
            bitmap_failed(ci->bitmap, c->sync_err);
            ci->next = c->spare;
            c->spare = ci;
        } else {
            io_submit(ci);
        }
        ci = next;
    }
    if (!c->image->is_device && c->image->map.next_free != c->image->footer_sector)
        write_footer(c);
    wave_drop(c);
}

static void bitmap_written(struct io *io, int err)
{
    struct commit_io *ci = (struct commit_io *)io;
    struct bitmap *b = ci->bitmap;
    if (err)
        bitmap_failed(b, err);
    else if (b->is_new)
        b->is_written = true;
    io_done(ci);
}

static void bitmap_failed(struct bitmap *b, int err)
{
    b->err = err;
    b->is_dirty = true;
}

static void write_footer(struct commit *c)
{
    struct image *im = c->image;
    struct commit_io *ci = io_new(c, im->map.next_free * VHD_SECTOR, VHD_SECTOR, footer_written);
    memcpy(ci->bytes, im->footer_bytes, VHD_SECTOR);
    im->footer_sector = im->map.next_free;
    io_submit(ci);
}

/* Without it the copy at offset 0 stands; closing the image tries again. */
static void footer_written(struct io *io, int err)
{
    struct commit_io *ci = (struct commit_io *)io;
    if (err)
        ci->c->image->footer_sector = 0;
    io_done(ci);
}

static void bitmaps_written(struct commit *c)
{
    bool has_new = false;
    for (size_t i = 0; i < c->batch.n; i++)
        has_new |= c->batch.v[i]->is_new;
    sync_then(c, has_new && c->image->is_device, start_bat);
}

static void start_bat(struct commit *c)
{
    c->pending = 1;
    c->next_wave = BAT_FIRST ? start_bitmaps : finish;
    c->bat_sectors.n = 0;
    for (size_t i = 0; i < c->batch.n; i++) {
        struct bitmap *b = c->batch.v[i];
        if (c->sync_err && !b->err)
            b->err = c->sync_err;
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
        io_submit(ci);
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
                         .file = c->image->file,
                         .offset = at,
                         .size = size,
                         .iov = &ci->iov,
                         .n_iov = 1,
                         .done = done};
    return ci;
}

static void io_submit(struct commit_io *ci)
{
    ci->c->pending++;
    ci->c->writes++;
    backend_submit(ci->c->backend, &ci->io);
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
