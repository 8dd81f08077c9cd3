/*
 * engine.c: cutting requests into pieces, mapping them, and putting the answers together. Called by
 * disk.c on the loop's thread; owns the pieces. What a format keeps besides data is engine_vhd.c's.
 */
#include "disk/engine_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "codec/vhd.h"

#define UNSETTLED_MAX 256u
#define ZERO_PART     (32ull << 20) /* a ZEROES or DISCARD transfer at most */
#define ZERO_BUF_SIZE (256u << 10)

static void read_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void write_plain(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void zero_plain(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
static void piece_zeroed(struct io *io, int err);
static void req_done(struct engine *e, struct blk_req *req, int err);
static void sync_join(struct engine *e, struct blk_req *req);
static void sync_enqueue(struct engine *e, struct blk_req *req);

/* Images that are their data. */
static const struct writer writer_plain = {
    .begin = NULL,
    .end = NULL,
    .metadata_writes = NULL,
    .sync_err = NULL,
    .keep_ahead = NULL,
    .settle = NULL,
    .is_ahead = NULL,
    .write = write_plain,
    .zero = zero_plain,
    .load = NULL,
};

static const struct writer *writer_of(const struct image *im)
{
    static const struct writer *const writers[] = {[IMAGE_RAW] = &writer_plain,
                                                   [IMAGE_VHD] = &writer_vhd,
                                                   [IMAGE_VHD_FIXED] = &writer_plain,
                                                   [IMAGE_QCOW2] = &writer_qcow2};
    return writers[im->format];
}

struct engine *engine_new(struct chain *chain, struct backend *backend,
                          void (*on_done)(struct blk_req *req, int err, void *arg), void *arg)
{
    struct engine *e = mem_new(struct engine);
    e->chain = chain;
    e->leaf = chain_leaf(chain);
    e->backend = backend;
    e->on_done = on_done;
    e->arg = arg;
    e->held = -1;
    e->writer = writer_of(e->leaf);
    if (e->writer->begin)
        e->writer->begin(e);
    return e;
}

void engine_answer_early(struct engine *e)
{
    e->answers_early = true;
}

void engine_keep_ahead(struct engine *e, int held)
{
    if (!e->writer->keep_ahead)
        return;
    e->held = held;
    e->writer->keep_ahead(e, held);
}

bool engine_is_ahead(const struct engine *e)
{
    return e->is_settling || (e->writer->is_ahead && e->writer->is_ahead(e));
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
    if (e->writer->end)
        e->writer->end(e);
    free(e);
}

bool engine_is_idle(const struct engine *e)
{
    return e->in_flight == 0;
}

const struct engine_stats *engine_get_stats(const struct engine *e)
{
    struct engine *w = (struct engine *)e;
    if (e->writer->metadata_writes)
        w->stats.metadata_writes = e->writer->metadata_writes(e);
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
    engine_start_range(e, req, req->offset, req->size);
    req_drop(e, req);
}

void engine_read_own(struct engine *e, struct blk_req *req)
{
    e->in_flight++;
    req->pending = 1;
    engine_start_range(e, req, req->offset, req->size);
    req_drop(e, req);
}

void engine_start_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    if (req->op == BLK_READ)
        read_range(e, req, at, size);
    else if (req->op == BLK_WRITE)
        e->writer->write(e, req, at, size);
    else
        e->writer->zero(e, req, at, size);
}

static void read_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    while (size) {
        struct chain_extent x;
        chain_map(e->chain, at, size, &x);
        if (x.kind == EXTENT_HOLE || x.kind == EXTENT_ZERO) {
            iov_zero(req->iov, req->n_iov, at - req->offset, x.size);
        } else if (x.kind == EXTENT_LOAD) {
            writer_of(x.image)->load(e, x.image, x.block, req, at, x.size);
        } else {
            struct piece *p = piece_new(e, req, at, x.size);
            p->io.done = piece_done;
            piece_start(p, IO_READ, x.image->file, x.offset);
        }
        at += x.size;
        size -= x.size;
    }
}

bool engine_is_hole_below(struct engine *e, uint64_t at, uint64_t size)
{
    if (e->chain->image[e->chain->n - 1]->has_parent)
        return false;
    while (size) {
        struct chain_extent x;
        chain_map_from(e->chain, 1, at, size, &x);
        if (x.kind != EXTENT_HOLE && x.kind != EXTENT_ZERO)
            return false;
        at += x.size;
        size -= x.size;
    }
    return true;
}

static void write_plain(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    struct piece *p = piece_new(e, req, at, size);
    p->io.done = piece_done;
    piece_start(p, IO_WRITE, e->leaf->file, at);
}

static void zero_plain(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    while (size) {
        uint64_t n = size < ZERO_PART ? size : ZERO_PART;
        struct piece *p = piece_new(e, req, at, n);
        p->wrote = piece_done;
        piece_zero(p, e->leaf->file, at);
        at += n;
        size -= n;
    }
}

void engine_retry(struct engine *e, struct piece *list, int err)
{
    while (list) {
        struct piece *p = list;
        struct blk_req *req = p->req;
        list = p->next;
        if (err)
            req->err = err;
        else
            engine_start_range(e, req, p->at, p->size);
        piece_free(p);
        req_drop(e, req);
    }
}

struct piece *piece_new(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
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
    p->meta = p->owner = NULL;
    p->big = NULL;
    req->pending++;
    return p;
}

void piece_start(struct piece *p, enum io_op op, struct file *file, uint64_t offset)
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

void piece_done(struct io *io, int err)
{
    struct piece *p = (struct piece *)io;
    struct engine *e = p->e;
    struct blk_req *req = p->req;
    if (err && !req->err)
        req->err = err;
    piece_free(p);
    req_drop(e, req);
}

void piece_zero(struct piece *p, struct file *file, uint64_t offset)
{
    bool punch = p->req->op == BLK_DISCARD || !p->req->keep;
    p->io.done = piece_zeroed;
    piece_start(p, punch ? IO_PUNCH : IO_ZERO, file, offset);
}

/* Where the file system cannot, a discard is no more than advice, and zeroes are written. */
static void piece_zeroed(struct io *io, int err)
{
    static uint8_t zeroes[ZERO_BUF_SIZE];
    struct piece *p = (struct piece *)io;
    if (err != -EOPNOTSUPP || p->req->op == BLK_DISCARD) {
        p->wrote(io, err == -EOPNOTSUPP ? 0 : err);
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
    p->io.done = p->wrote;
    backend_submit(p->e->backend, &p->io);
}

void piece_free(struct piece *p)
{
    free(p->big);
    p->next = p->e->spare;
    p->e->spare = p;
}

void req_drop(struct engine *e, struct blk_req *req)
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
    if (e->on_done && !req->owner)
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

static void settle_start(struct engine *e)
{
    if (e->is_settling || !e->settle_waiting)
        return;
    e->settle_running = e->settle_waiting;
    e->settle_waiting = NULL;
    e->is_settling = true;
    if (!e->writer->settle || !e->writer->settle(e))
        engine_settled(e, 0);
}

void engine_settled(struct engine *e, int err)
{
    struct blk_req *req = e->settle_running;
    e->settle_running = NULL;
    e->is_settling = false;
    while (req) {
        struct blk_req *next = req->next;
        if (err)
            req_done(e, req, err);
        else
            sync_enqueue(e, req);
        req = next;
    }
    settle_start(e);
}

void engine_make_room(struct engine *e)
{
    if (e->is_settling)
        return;
    e->is_settling = true;
    if (!e->writer->settle(e))
        e->is_settling = false;
}

static void sync_join(struct engine *e, struct blk_req *req)
{
    if (e->n_unsettled) {
        req->next = e->settling;
        e->settling = req;
        return;
    }
    req->next = e->settle_waiting;
    e->settle_waiting = req;
    settle_start(e);
}

static void sync_enqueue(struct engine *e, struct blk_req *req)
{
    if (!e->sync_err)
        e->sync_err = e->settle_err;
    if (!e->sync_err && e->writer->sync_err)
        e->sync_err = e->writer->sync_err(e);
    if (e->sync_err || e->leaf->is_readonly) {
        req_done(e, req, e->sync_err);
        return;
    }
    req->next = e->sync_waiting;
    e->sync_waiting = req;
    if (!e->sync_running)
        sync_start(e);
}

bool piece_answer_early(struct piece *p)
{
    if (!p->e->answers_early || p->e->n_unsettled >= UNSETTLED_MAX)
        return false;
    p->e->n_unsettled++;
    return true;
}

void piece_settled(struct piece *p, int err)
{
    struct engine *e = p->e;
    if (err && !e->settle_err)
        e->settle_err = err;
    piece_free(p);
    if (--e->n_unsettled)
        return;
    struct blk_req *req = e->settling;
    e->settling = NULL;
    while (req) {
        struct blk_req *next = req->next;
        sync_join(e, req);
        req = next;
    }
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
    *ret_hole = x.kind == EXTENT_HOLE || x.kind == EXTENT_ZERO;
    if (x.kind == EXTENT_DATA)
        file_status(x.image->file->fd, x.offset, x.size, ret_size, ret_hole);
}
