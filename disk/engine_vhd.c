/*
 * engine_vhd.c: how growing VHDs are written: allocation, sector bitmaps and their loads, and the
 * wait for the commit. Called by engine.c on the loop's thread; owns the commits and the loads.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "codec/vhd.h"
#include "disk/engine_int.h"
#include "disk/keeper.h"

/* A sector bitmap on its way in; the bitmap's waiters are pieces. */
struct load {
    struct io io;
    struct iovec iov;
    struct engine *e;
    struct image *image;
    struct bitmap *bitmap;
    uint8_t bits[BITMAP_MAX_SIZE];
};

static void wait_for_load(struct engine *e, struct image *im, uint32_t block, struct blk_req *req,
                          uint64_t at, uint64_t size);
static void load_done(struct io *io, int err);
static void piece_written(struct io *io, int err);
static void piece_commit(struct piece *p);
static void piece_has_block(struct commit_waiter *w, int err);
static void piece_committed(struct commit_waiter *w, int err);
static void ahead_committed(struct commit_waiter *w, int err);
static bool put_ahead(struct engine *e, struct bitmap *b);

/* A bitmap with bits ahead of the file, pinned. */
struct ahead {
    struct commit_waiter waiter; /* its place, while settling, is in the commit's list */
    struct engine *e;
    struct keeper_note *note;
    struct ahead *next;
};

/* The writer's state. */
struct leaf {
    struct commit commit;
    struct ahead *ahead; /* those that no commit has */
    unsigned n_settling; /* those that one has */
    int settle_err;
};

static void begin(struct engine *e)
{
    struct leaf *l = mem_new(struct leaf);
    commit_init(&l->commit, e->leaf, e->backend);
    e->leaf_state = l;
}

static void end(struct engine *e)
{
    struct leaf *l = e->leaf_state;
    while (l->ahead) {
        struct ahead *a = l->ahead;
        l->ahead = a->next;
        keeper_forget(a->note);
        free(a);
    }
    commit_done(&l->commit);
    free(l);
}

static uint64_t metadata_writes(const struct engine *e)
{
    return ((const struct leaf *)e->leaf_state)->commit.writes;
}

static int sync_err(const struct engine *e)
{
    return ((const struct leaf *)e->leaf_state)->commit.sync_err;
}

/* ---- bits ahead of the file ---- */

static void keep_ahead(struct engine *e, int held)
{
    struct leaf *l = e->leaf_state;
    l->commit.bits_later = held >= 0;
}

static bool is_ahead(const struct engine *e)
{
    const struct leaf *l = e->leaf_state;
    return l->ahead || l->n_settling;
}

/* The bits that are set: with the keeper, if it has room. */
static bool put_ahead(struct engine *e, struct bitmap *b)
{
    struct leaf *l = e->leaf_state;
    struct ahead *a = b->ahead;
    if (l->commit.sync_err)
        return false;
    if (a) {
        keeper_renew(a->note, b->bits);
        return true;
    }
    struct keeper_note *n =
        keeper_note(e->held, blockmap_bitmap_at(&e->leaf->map, b->block), b->bits);
    if (!n) {
        if (e->held >= 0)
            engine_make_room(e);
        return false;
    }
    a = b->ahead = mem_new(struct ahead);
    a->e = e;
    a->note = n;
    a->waiter.bitmap = b;
    a->waiter.done = ahead_committed;
    a->next = l->ahead;
    l->ahead = a;
    bitmap_pin(&e->leaf->map, b);
    return true;
}

static bool settle(struct engine *e)
{
    struct leaf *l = e->leaf_state;
    struct commit_waiter *list = NULL;
    l->settle_err = 0;
    for (struct ahead *a = l->ahead; a; a = a->next) {
        a->waiter.next = list;
        list = &a->waiter;
        l->n_settling++;
    }
    l->ahead = NULL;
    if (list)
        commit_join_all(&l->commit, list);
    return list;
}

/* What was set meanwhile, or failed, stays ahead. */
static void ahead_committed(struct commit_waiter *w, int err)
{
    struct ahead *a = (struct ahead *)w;
    struct engine *e = a->e;
    struct leaf *l = e->leaf_state;
    struct bitmap *b = w->bitmap;
    if (err && !l->settle_err)
        l->settle_err = err;
    if (b->is_dirty) {
        a->next = l->ahead;
        l->ahead = a;
    } else {
        keeper_forget(a->note);
        b->ahead = NULL;
        bitmap_unpin(&e->leaf->map, b);
        free(a);
    }
    if (--l->n_settling == 0)
        engine_settled(e, l->settle_err);
}

/* The bitmap that a write to the block has to set, if any: 1 when it must be loaded first. */
static int prepare_block(struct engine *e, uint32_t block, struct bitmap **ret)
{
    struct blockmap *m = &e->leaf->map;
    *ret = NULL;
    if (m->bat[block] != VHD_UNALLOCATED) {
        if (blockmap_is_full(m, block))
            return 0;
        struct bitmap *b = blockmap_find(m, block);
        if (!b || b->state == BITMAP_LOADING)
            return 1;
        *ret = b;
        return 0;
    }
    uint64_t at = (uint64_t)block * m->block_size, left = e->leaf->size - at;
    bool over_zeroes = engine_is_hole_below(e, at, left < m->block_size ? left : m->block_size);
    int r = blockmap_allocate(m, block, over_zeroes, ret);
    if (r < 0)
        return r;
    e->leaf->is_touched = true;
    e->stats.blocks_allocated++;
    return 0;
}

static void write_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    struct image *im = e->leaf;
    while (size) {
        uint32_t block = (uint32_t)(at / im->map.block_size);
        uint64_t inside = at % im->map.block_size;
        uint64_t n = im->map.block_size - inside < size ? im->map.block_size - inside : size;
        struct bitmap *b;
        int r = prepare_block(e, block, &b);
        if (r > 0) {
            wait_for_load(e, im, block, req, at, n);
        } else if (r < 0) {
            req->err = r;
        } else {
            struct piece *p = piece_new(e, req, at, n);
            p->meta = b;
            p->io.done = piece_written;
            if (b)
                bitmap_pin(&im->map, b);
            piece_start(p, IO_WRITE, im->file, blockmap_data_at(&im->map, block) + inside);
        }
        at += n;
        size -= n;
    }
}

/*
 * Zeroes in one block of a VHD. An absent block reads as zeroes unless an ancestor has something
 * there; to hide that, the block is allocated and the bits are set. A discard hides nothing. In a
 * present block no bit has to change without a parent.
 */
static void zero_block(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    struct image *im = e->leaf;
    uint32_t block = (uint32_t)(at / im->map.block_size);
    bool hides = req->op == BLK_ZEROES && im->has_parent;
    bool is_absent = im->map.bat[block] == VHD_UNALLOCATED;
    if (is_absent && (!hides || engine_is_hole_below(e, at, size)))
        return;
    struct bitmap *b = NULL;
    int r = hides ? prepare_block(e, block, &b) : 0;
    if (r != 0) {
        if (r < 0)
            req->err = r;
        else
            wait_for_load(e, im, block, req, at, size);
        return;
    }
    struct piece *p = piece_new(e, req, at, size);
    p->meta = hides ? b : NULL;
    if (p->meta)
        bitmap_pin(&im->map, b);
    p->wrote = piece_written;
    piece_zero(p, im->file, blockmap_data_at(&im->map, block) + at % im->map.block_size);
}

static void zero_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    uint64_t block_size = e->leaf->map.block_size;
    while (size) {
        uint64_t inside = at % block_size;
        uint64_t n = block_size - inside < size ? block_size - inside : size;
        zero_block(e, req, at, n);
        at += n;
        size -= n;
    }
}

static void wait_for_load(struct engine *e, struct image *im, uint32_t block, struct blk_req *req,
                          uint64_t at, uint64_t size)
{
    struct bitmap *b = blockmap_find(&im->map, block);
    struct load *l = NULL;
    if (!b) {
        l = mem_new(struct load);
        b = blockmap_load_begin(&im->map, block);
        l->e = e;
        l->image = im;
        l->bitmap = b;
        l->iov = (struct iovec){l->bits, sizeof(l->bits)};
        l->io = (struct io){.op = IO_READ,
                            .file = im->file,
                            .offset = blockmap_bitmap_at(&im->map, block),
                            .size = sizeof(l->bits),
                            .iov = &l->iov,
                            .n_iov = 1,
                            .done = load_done};
    }
    struct piece *p = piece_new(e, req, at, size);
    p->next = b->waiters;
    b->waiters = p;
    if (l)
        backend_submit(e->backend, &l->io);
}

static void load_done(struct io *io, int err)
{
    struct load *l = (struct load *)io;
    struct blockmap *m = &l->image->map;
    struct piece *list = l->bitmap->waiters;
    l->bitmap->waiters = NULL;
    struct bitmap *b = blockmap_load_end(m, l->bitmap, err ? NULL : l->bits);
    engine_retry(l->e, list, err);
    if (b)
        bitmap_unpin(m, b);
    free(l);
}

static void piece_written(struct io *io, int err)
{
    struct piece *p = (struct piece *)io;
    struct engine *e = p->e;
    struct blockmap *m = &e->leaf->map;
    struct bitmap *b = p->meta;
    if (b && !err) {
        bitmap_set(b, (uint32_t)(p->at % m->block_size / VHD_SECTOR),
                   (uint32_t)(p->size / VHD_SECTOR));
        bool waits = b->is_new || ((b->is_dirty || b->batch) && !put_ahead(e, b));
        if (waits) {
            piece_commit(p);
            return;
        }
    }
    if (b)
        bitmap_unpin(m, b);
    piece_done(io, err);
}

static void piece_commit(struct piece *p)
{
    struct leaf *l = p->e->leaf_state;
    p->waiter.bitmap = p->meta;
    p->waiter.done = commit_is_later(&l->commit, p->meta) ? piece_has_block : piece_committed;
    struct blk_req *req = piece_answer_early(p) ? steal(&p->req) : NULL;
    commit_join(&l->commit, &p->waiter);
    if (req)
        req_drop(p->e, req);
}

/* The block is there, with no bit in the file. */
static void piece_has_block(struct commit_waiter *w, int err)
{
    struct piece *p = (struct piece *)((char *)w - offsetof(struct piece, waiter));
    if (err || put_ahead(p->e, p->meta))
        piece_committed(w, err);
    else
        piece_commit(p);
}

static void piece_committed(struct commit_waiter *w, int err)
{
    struct piece *p = (struct piece *)((char *)w - offsetof(struct piece, waiter));
    bitmap_unpin(&p->e->leaf->map, p->meta);
    if (p->req)
        piece_done(&p->io, err);
    else
        piece_settled(p, err);
}

const struct writer writer_vhd = {
    .begin = begin,
    .end = end,
    .metadata_writes = metadata_writes,
    .sync_err = sync_err,
    .keep_ahead = keep_ahead,
    .settle = settle,
    .is_ahead = is_ahead,
    .write = write_range,
    .zero = zero_range,
    .load = wait_for_load,
};
