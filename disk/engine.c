/*
 * engine.c: cutting requests into pieces, mapping them, and putting the answers together. Called by
 * disk.c on the loop's thread; owns the pieces, the commits and the bitmap loads.
 */
#include "disk/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "disk/commit.h"
#include "codec/vhd.h"

#define PIECE_IOV     8
#define ZERO_PART     (32ull << 20) /* a ZEROES or DISCARD transfer at most */
#define ZERO_BUF_SIZE (256u << 10)

/* One transfer of a request. */
struct piece {
    struct io io;
    struct commit_waiter waiter;
    struct engine *e;
    struct blk_req *req;
    uint64_t at, size;     /* of the disk */
    struct bitmap *bitmap; /* pinned; NULL: no metadata changes */
    struct piece *next;
    struct iovec *big; /* when `small` is too small */
    struct iovec small[PIECE_IOV];
};

/* A sector bitmap on its way in; the bitmap's waiters are pieces. */
struct load {
    struct io io;
    struct iovec iov;
    struct engine *e;
    struct image *image;
    struct bitmap *bitmap;
    uint8_t bits[BITMAP_MAX_SIZE];
};

struct engine {
    struct chain *chain;
    struct image *leaf;
    struct backend *backend;
    struct commit commit;
    void (*on_done)(struct blk_req *req, int err, void *arg);
    void *arg;
    struct engine_stats stats;
    unsigned in_flight;
    struct piece *spare;
    struct io sync;
    struct blk_req *sync_waiting, *sync_running; /* FLUSH, and FUA requests that were written */
    int sync_err;                                /* of a failed fdatasync, for ever */
};

static void start_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void read_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void write_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void zero_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void wait_for_load(struct engine *e, struct image *im, uint32_t block, struct blk_req *req,
                          uint64_t at, uint64_t size);
static void load_done(struct io *io, int err);
static struct piece *piece_new(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void piece_start(struct piece *p, enum io_op op, struct file *file, uint64_t offset);
static void piece_written(struct io *io, int err);
static void piece_committed(struct commit_waiter *w, int err);
static void piece_done(struct io *io, int err);
static void piece_zeroed(struct io *io, int err);
static void piece_free(struct piece *p);
static void req_drop(struct engine *e, struct blk_req *req);
static void req_done(struct engine *e, struct blk_req *req, int err);
static void sync_join(struct engine *e, struct blk_req *req);

struct engine *engine_new(struct chain *chain, struct backend *backend,
                          void (*on_done)(struct blk_req *req, int err, void *arg), void *arg)
{
    struct engine *e = mem_new(struct engine);
    e->chain = chain;
    e->leaf = chain_leaf(chain);
    e->backend = backend;
    e->on_done = on_done;
    e->arg = arg;
    commit_init(&e->commit, e->leaf, backend);
    return e;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    while (e->spare) {
        struct piece *p = e->spare;
        e->spare = p->next;
        free(p);
    }
    commit_done(&e->commit);
    free(e);
}

bool engine_is_idle(const struct engine *e)
{
    return e->in_flight == 0;
}

const struct engine_stats *engine_get_stats(const struct engine *e)
{
    struct engine *w = (struct engine *)e;
    w->stats.metadata_writes = e->commit.writes;
    return &e->stats;
}

void engine_submit(struct engine *e, struct blk_req *req)
{
    e->in_flight++;
    req->err = 0;
    if (req->op == BLK_FLUSH) {
        sync_join(e, req);
        return;
    }
    if (req->op == BLK_STATUS) {
        req_done(e, req, 0);
        return;
    }
    bool is_outside = req->offset > e->chain->size || req->size > e->chain->size - req->offset ||
                      (req->offset | req->size) % VHD_SECTOR;
    if (is_outside || (req->op != BLK_READ && e->leaf->is_readonly)) {
        req_done(e, req, is_outside ? -EINVAL : -EROFS);
        return;
    }
    req->pending = 1;
    start_range(e, req, req->offset, req->size);
    req_drop(e, req);
}

static void start_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    if (req->op == BLK_READ)
        read_range(e, req, at, size);
    else if (req->op == BLK_WRITE)
        write_range(e, req, at, size);
    else
        zero_range(e, req, at, size);
}

static void read_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    while (size) {
        struct chain_extent x;
        chain_map(e->chain, at, size, &x);
        if (x.kind == EXTENT_HOLE) {
            iov_zero(req->iov, req->n_iov, at - req->offset, x.size);
        } else if (x.kind == EXTENT_LOAD) {
            wait_for_load(e, x.image, x.block, req, at, x.size);
        } else {
            struct piece *p = piece_new(e, req, at, x.size);
            p->io.done = piece_done;
            piece_start(p, IO_READ, x.image->file, x.offset);
        }
        at += x.size;
        size -= x.size;
    }
}

/* Do the ancestors have nothing there? What is not known without a load, or because the chain is
 * not open to its root, counts as something. */
static bool is_hole_below(struct engine *e, uint64_t at, uint64_t size)
{
    if (e->chain->image[e->chain->n - 1]->has_parent)
        return false;
    while (size) {
        struct chain_extent x;
        chain_map_from(e->chain, 1, at, size, &x);
        if (x.kind != EXTENT_HOLE)
            return false;
        at += x.size;
        size -= x.size;
    }
    return true;
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
    bool over_zeroes = is_hole_below(e, at, left < m->block_size ? left : m->block_size);
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
    if (im->format != IMAGE_VHD) {
        struct piece *p = piece_new(e, req, at, size);
        p->io.done = piece_done;
        piece_start(p, IO_WRITE, im->file, at);
        return;
    }
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
            p->bitmap = b;
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
    if (is_absent && (!hides || is_hole_below(e, at, size)))
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
    p->bitmap = hides ? b : NULL;
    if (p->bitmap)
        bitmap_pin(&im->map, b);
    p->io.done = piece_zeroed;
    bool punch = req->op == BLK_DISCARD || !req->keep;
    piece_start(p, punch ? IO_PUNCH : IO_ZERO, im->file,
                blockmap_data_at(&im->map, block) + at % im->map.block_size);
}

static void zero_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    struct image *im = e->leaf;
    while (size) {
        uint64_t n = size < ZERO_PART ? size : ZERO_PART;
        if (im->format == IMAGE_VHD) {
            uint64_t inside = at % im->map.block_size;
            n = im->map.block_size - inside < size ? im->map.block_size - inside : size;
            zero_block(e, req, at, n);
        } else {
            struct piece *p = piece_new(e, req, at, n);
            p->io.done = piece_zeroed;
            bool punch = req->op == BLK_DISCARD || !req->keep;
            piece_start(p, punch ? IO_PUNCH : IO_ZERO, im->file, at);
        }
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
    struct engine *e = l->e;
    struct blockmap *m = &l->image->map;
    struct piece *p = l->bitmap->waiters;
    l->bitmap->waiters = NULL;
    struct bitmap *b = blockmap_load_end(m, l->bitmap, err ? NULL : l->bits);
    while (p) {
        struct piece *next = p->next;
        struct blk_req *req = p->req;
        if (err)
            req->err = err;
        else
            start_range(e, req, p->at, p->size);
        piece_free(p);
        req_drop(e, req);
        p = next;
    }
    if (b)
        bitmap_unpin(m, b);
    free(l);
}

static struct piece *piece_new(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    struct piece *p = e->spare;
    if (p)
        e->spare = p->next;
    else
        p = mem_new(struct piece);
    p->e = e;
    p->req = req;
    p->at = at;
    p->size = size;
    p->bitmap = NULL;
    p->big = NULL;
    req->pending++;
    return p;
}

static void piece_start(struct piece *p, enum io_op op, struct file *file, uint64_t offset)
{
    struct blk_req *req = p->req;
    struct iovec *iov = p->small;
    int n = 0;
    if (op == IO_READ || op == IO_WRITE) {
        if (req->n_iov > PIECE_IOV)
            iov = p->big = mem_new_n(struct iovec, (size_t)req->n_iov);
        n = iov_slice(req->iov, req->n_iov, p->at - req->offset, p->size, iov);
    }
    p->io.op = op;
    p->io.file = file;
    p->io.is_data = true;
    p->io.offset = offset;
    p->io.size = p->size;
    p->io.iov = iov;
    p->io.n_iov = n;
    backend_submit(p->e->backend, &p->io);
}

static void piece_written(struct io *io, int err)
{
    struct piece *p = (struct piece *)io;
    struct blockmap *m = &p->e->leaf->map;
    struct bitmap *b = p->bitmap;
    if (b && !err) {
        bitmap_set(b, (uint32_t)(p->at % m->block_size / VHD_SECTOR),
                   (uint32_t)(p->size / VHD_SECTOR));
        if (b->is_new || b->is_dirty || b->batch) {
            p->waiter.bitmap = b;
            p->waiter.done = piece_committed;
            commit_join(&p->e->commit, &p->waiter);
            return;
        }
    }
    if (b)
        bitmap_unpin(m, b);
    piece_done(io, err);
}

static void piece_committed(struct commit_waiter *w, int err)
{
    struct piece *p = (struct piece *)((char *)w - offsetof(struct piece, waiter));
    bitmap_unpin(&p->e->leaf->map, p->bitmap);
    piece_done(&p->io, err);
}

static void piece_done(struct io *io, int err)
{
    struct piece *p = (struct piece *)io;
    struct engine *e = p->e;
    struct blk_req *req = p->req;
    if (err && !req->err)
        req->err = err;
    piece_free(p);
    req_drop(e, req);
}

/* Where the file system cannot, a discard is no more than advice, and zeroes are written. */
static void piece_zeroed(struct io *io, int err)
{
    static uint8_t zeroes[ZERO_BUF_SIZE];
    struct piece *p = (struct piece *)io;
    if (err != -EOPNOTSUPP || p->req->op == BLK_DISCARD) {
        piece_written(io, err == -EOPNOTSUPP ? 0 : err);
        return;
    }
    size_t n = (size_t)((p->size + sizeof(zeroes) - 1) / sizeof(zeroes));
    p->big = mem_new_n(struct iovec, n);
    for (size_t i = 0; i < n; i++)
        p->big[i] = (struct iovec){zeroes, sizeof(zeroes)};
    p->big[n - 1].iov_len = (size_t)(p->size - (n - 1) * sizeof(zeroes));
    p->io.op = IO_WRITE;
    p->io.iov = p->big;
    p->io.n_iov = (int)n;
    p->io.done = piece_written;
    backend_submit(p->e->backend, &p->io);
}

static void piece_free(struct piece *p)
{
    free(p->big);
    p->next = p->e->spare;
    p->e->spare = p;
}

static void req_drop(struct engine *e, struct blk_req *req)
{
    if (--req->pending)
        return;
    if (req->fua && !req->err && req->op != BLK_READ)
        sync_join(e, req);
    else
        req_done(e, req, req->err);
}

static void req_done(struct engine *e, struct blk_req *req, int err)
{
    e->in_flight--;
    if (e->on_done)
        e->on_done(req, err, e->arg);
    else
        req->done(req, err);
}

static void sync_start(struct engine *e);

static void sync_done(struct io *io, int err)
{
    struct engine *e = (struct engine *)((char *)io - offsetof(struct engine, sync));
    if (err && !e->sync_err)
        e->sync_err = err;
    struct blk_req *req = e->sync_running;
    e->sync_running = NULL;
    if (e->sync_waiting)
        sync_start(e);
    while (req) {
        struct blk_req *next = req->next;
        req_done(e, req, err ? err : e->sync_err);
        req = next;
    }
}

static void sync_start(struct engine *e)
{
    e->sync_running = e->sync_waiting;
    e->sync_waiting = NULL;
    e->sync = (struct io){.op = IO_SYNC, .file = e->leaf->file, .done = sync_done};
    backend_submit(e->backend, &e->sync);
}

static void sync_join(struct engine *e, struct blk_req *req)
{
    if (!e->sync_err)
        e->sync_err = e->commit.sync_err;
    if (e->sync_err || e->leaf->is_readonly) {
        req_done(e, req, e->sync_err);
        return;
    }
    req->next = e->sync_waiting;
    e->sync_waiting = req;
    if (!e->sync_running)
        sync_start(e);
}

/* Holes inside raw files and inside present blocks are the file system's to know. */
static void file_status(int fd, uint64_t offset, uint64_t size, uint64_t *ret_size, bool *ret_hole)
{
    *ret_size = size;
    *ret_hole = false;
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
    if (data < 0) {
        *ret_hole = errno == ENXIO;
        return;
    }
    *ret_hole = (uint64_t)data > offset;
    off_t end = *ret_hole ? data : lseek(fd, (off_t)offset, SEEK_HOLE);
    if (end > 0 && (uint64_t)end - offset < size)
        *ret_size = (uint64_t)end - offset;
}

void engine_status(struct engine *e, uint64_t at, uint64_t size, uint64_t *ret_size, bool *ret_hole)
{
    struct chain_extent x;
    chain_map(e->chain, at, size, &x);
    *ret_size = x.size;
    *ret_hole = x.kind == EXTENT_HOLE;
    if (x.kind == EXTENT_DATA)
        file_status(x.image->file->fd, x.offset, x.size, ret_size, ret_hole);
}
