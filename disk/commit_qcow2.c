/*
 * commit_qcow2.c: group commit of qcow2 metadata. Called by engine_qcow2.c on its thread; owns its
 * transfers.
 */
#include "disk/commit_qcow2.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/image_qcow2.h"

#define SECTOR           512u
#define ENTRIES_A_SECTOR 64u

/* A part of an L2 table, or a sector of the L1 table. */
struct q2_io {
    struct io io;
    struct iovec iov;
    struct q2_commit *c;
    struct q2_table *table;
    uint32_t l1_sector;
    struct q2_io *next;
    uint8_t bytes[];
};

/* The wrong order, for a test that must fail with it. */
#ifdef COMMIT_WITHOUT_SYNC
#define MAY_SYNC false
#else
#define MAY_SYNC true
#endif

static void start(struct q2_commit *c);
static void prepare(struct q2_commit *c, struct q2_table *t);
static void sync_then(struct q2_commit *c, bool wanted, void (*next)(struct q2_commit *c));
static void sync_done(struct io *io, int err);
static void start_tables(struct q2_commit *c);
static void table_written(struct io *io, int err);
static void tables_written(struct q2_commit *c);
static void start_l1(struct q2_commit *c);
static void l1_written(struct io *io, int err);
static void finish(struct q2_commit *c);
static struct q2_io *io_new(struct q2_commit *c, uint64_t at, uint64_t size,
                            void (*done)(struct io *, int));
static void io_submit(struct q2_io *i);
static void wave_drop(struct q2_commit *c);

void q2_commit_init(struct q2_commit *c, struct engine *e)
{
    *c = (struct q2_commit){.e = e, .image = e->leaf};
    c->waiting_end = &c->waiting;
}

void q2_commit_done(struct q2_commit *c)
{
    vec_done(&c->batch);
    vec_done(&c->l1_sectors);
}

void q2_commit_join(struct q2_commit *c, struct piece *p)
{
    p->next = NULL;
    *c->waiting_end = p;
    c->waiting_end = &p->next;
    if (!c->running)
        start(c);
}

static void start(struct q2_commit *c)
{
    c->running = c->waiting;
    c->waiting = NULL;
    c->waiting_end = &c->waiting;
    bool needs_sync = false;
    for (struct piece *p = c->running; p; p = p->next) {
        struct q2_table *t = p->meta;
        if (t->batch)
            continue;
        t->batch = c;
        t->err = 0;
        vec_push(&c->batch, t);
        if (!t->is_dirty)
            continue;
        needs_sync |= t->needs_sync;
        prepare(c, t);
    }
    sync_then(c, needs_sync, start_tables);
}

/* Entries that are set from now on belong to data that the sync may not see. */
static void prepare(struct q2_commit *c, struct q2_table *t)
{
    const struct q2_map *m = &c->image->qcow2->map;
    uint32_t from = t->from / ENTRIES_A_SECTOR * ENTRIES_A_SECTOR;
    uint32_t to = (t->to + ENTRIES_A_SECTOR - 1) / ENTRIES_A_SECTOR * ENTRIES_A_SECTOR;
    bool whole = t->is_new && t->is_whole && !t->is_written;
    if (whole)
        from = 0, to = m->n_entries;
    struct q2_io *i =
        io_new(c, t->at + (uint64_t)from * 8, (uint64_t)(to - from) * 8, table_written);
    for (uint32_t k = from; k < to; k++) {
        if (t->entries[k] & Q2_NEW)
            t->entries[k] ^= Q2_NEW | Q2_COMMITTING;
        put_be64(i->bytes + (size_t)(k - from) * 8, t->entries[k] & ~Q2_COMMITTING);
    }
    t->taken_from = t->from;
    t->taken_to = t->to;
    t->taken_sync = t->needs_sync;
    t->is_dirty = t->needs_sync = false;
    i->table = t;
    i->next = c->prepared;
    c->prepared = i;
}

/* What was taken is dirty again. */
static void give_back(struct q2_table *t, int err)
{
    for (uint32_t k = t->taken_from; k < t->taken_to; k++)
        if (t->entries[k] & Q2_COMMITTING) {
            t->entries[k] &= ~Q2_COMMITTING;
            q2_set(t, k, t->entries[k]);
        }
    t->needs_sync |= t->taken_sync;
    t->taken_from = t->taken_to = 0;
    t->err = err;
}

static void sync_then(struct q2_commit *c, bool wanted, void (*next)(struct q2_commit *c))
{
    c->pending = 1;
    c->next_wave = next;
    if (wanted && MAY_SYNC && !c->sync_err) {
        c->pending++;
        c->sync = (struct io){.op = IO_SYNC, .file = c->image->file, .done = sync_done};
        backend_submit(c->e->backend, &c->sync);
    }
    wave_drop(c);
}

static void sync_done(struct io *io, int err)
{
    struct q2_commit *c = (struct q2_commit *)((char *)io - offsetof(struct q2_commit, sync));
    if (err)
        c->sync_err = err;
    wave_drop(c);
}

static void start_tables(struct q2_commit *c)
{
    struct q2_io *i = c->prepared;
    c->prepared = NULL;
    c->pending = 1;
    c->next_wave = tables_written;
    while (i) {
        struct q2_io *next = i->next;
        if (c->sync_err) {
            i->table->err = c->sync_err;
            free(i);
        } else {
            io_submit(i);
        }
        i = next;
    }
    wave_drop(c);
}

static void table_written(struct io *io, int err)
{
    struct q2_io *i = (struct q2_io *)io;
    struct q2_commit *c = i->c;
    if (err)
        i->table->err = err;
    else if (i->table->is_new)
        i->table->is_written = true;
    free(i);
    wave_drop(c);
}

static void tables_written(struct q2_commit *c)
{
    bool needs_sync = false;
    vec_each (t, &c->batch)
        needs_sync |= (*t)->is_new && (*t)->is_whole;
    sync_then(c, needs_sync, start_l1);
}

static void add_l1_sector(struct q2_commit *c, uint32_t sector)
{
    for (size_t k = 0; k < c->l1_sectors.n; k++)
        if (c->l1_sectors.v[k] == sector)
            return;
    vec_push(&c->l1_sectors, sector);
}

static void start_l1(struct q2_commit *c)
{
    struct q2_map *m = &c->image->qcow2->map;
    c->pending = 1;
    c->next_wave = finish;
    c->l1_sectors.n = 0;
    vec_each (t, &c->batch) {
        if (c->sync_err && !(*t)->err)
            (*t)->err = c->sync_err;
        if ((*t)->is_new && !(*t)->err)
            add_l1_sector(c, (*t)->index / ENTRIES_A_SECTOR);
    }
    for (size_t k = 0; k < c->l1_sectors.n; k++) {
        uint32_t sector = c->l1_sectors.v[k];
        struct q2_io *i = io_new(c, m->l1_at + (uint64_t)sector * SECTOR, SECTOR, l1_written);
        i->l1_sector = sector;
        q2_l1_sector(m, sector, i->bytes);
        io_submit(i);
    }
    wave_drop(c);
}

static void l1_written(struct io *io, int err)
{
    struct q2_io *i = (struct q2_io *)io;
    struct q2_commit *c = i->c;
    for (size_t k = 0; err && k < c->batch.n; k++) {
        struct q2_table *t = c->batch.v[k];
        if (t->is_new && t->index / ENTRIES_A_SECTOR == i->l1_sector)
            t->err = err;
    }
    free(i);
    wave_drop(c);
}

/* The pieces hold the tables, so these live until the last of them was told. */
static void finish(struct q2_commit *c)
{
    vec_each (p, &c->batch) {
        struct q2_table *t = *p;
        t->batch = NULL;
        if (t->err) {
            give_back(t, t->err);
            continue;
        }
        t->is_new = false;
        for (uint32_t k = t->taken_from; k < t->taken_to; k++)
            t->entries[k] &= ~Q2_COMMITTING;
        t->taken_from = t->taken_to = 0;
    }
    c->batch.n = 0;
    struct piece *p = c->running;
    while (p) {
        struct piece *next = p->next;
        struct q2_table *t = p->meta;
        int err = t->err;
        q2_unpin(&c->image->qcow2->map, t);
        if (p->req)
            piece_done(&p->io, err);
        else
            piece_settled(p, err);
        p = next;
    }
    c->running = NULL;
    if (c->waiting)
        start(c);
}

static struct q2_io *io_new(struct q2_commit *c, uint64_t at, uint64_t size,
                            void (*done)(struct io *, int))
{
    struct q2_io *i = mem_zalloc(1, sizeof(*i) + size);
    i->c = c;
    i->iov = (struct iovec){i->bytes, (size_t)size};
    i->io = (struct io){.op = IO_WRITE,
                        .file = c->image->file,
                        .offset = at,
                        .size = size,
                        .iov = &i->iov,
                        .n_iov = 1,
                        .done = done};
    return i;
}

static void io_submit(struct q2_io *i)
{
    i->c->pending++;
    i->c->writes++;
    backend_submit(i->c->e->backend, &i->io);
}

static void wave_drop(struct q2_commit *c)
{
    if (--c->pending == 0)
        c->next_wave(c);
}
