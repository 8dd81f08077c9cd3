/*
 * engine_qcow2.c: how qcow2 images are written: clusters that are filled, L2 tables and their
 * loads. Called by engine.c on the loop's thread; owns the fills, the commit and the loads.
 *
 * A cluster that the leaf does not have is filled: it gets a place, and there its whole content;
 * what the request does not say is read from below. Only then its entry is set. Who comes for such
 * a cluster meanwhile waits, readers excepted: they read what was there before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/commit_qcow2.h"
#include "disk/image_qcow2.h"

#define ALIGN 4096u

struct fill {
    struct piece *p;         /* what it is for; its meta is the table */
    uint64_t at;             /* of the disk: where the clusters begin */
    uint32_t n;              /* clusters; more than one are written whole by the request */
    uint64_t place;          /* in the file */
    bool is_plain;           /* what the clusters replace reads as zeroes, as their place does */
    uint8_t *bytes;          /* a cluster; NULL: the request's own memory does */
    struct blk_req parts[2]; /* what is read before and behind the request's own bytes */
    struct iovec iov[2];
    unsigned reading;
    int err;
    struct piece *waiters;
    struct fill *next;
};

struct state {
    struct q2_commit commit;
    struct fill *fills;
};

struct load {
    struct io io;
    struct iovec iov;
    struct engine *e;
    struct q2_map *map;
    struct q2_table *table;
};

static void load_done(struct io *io, int err);
static int fill_start(struct engine *e, struct blk_req *req, struct q2_table *t, uint64_t at,
                      uint64_t size, uint32_t n);
static int fill_read(struct engine *e, struct fill *f, bool over_zeroes);
static void fill_write(struct fill *f);
static void fill_done(struct io *io, int err);
static void written(struct io *io, int err);

static struct q2_map *map_of(const struct engine *e)
{
    return &e->leaf->qcow2->map;
}

static void begin(struct engine *e)
{
    struct state *s = mem_new(struct state);
    q2_commit_init(&s->commit, e);
    e->leaf_state = s;
}

static void end(struct engine *e)
{
    struct state *s = e->leaf_state;
    q2_commit_done(&s->commit);
    free(s);
}

static uint64_t metadata_writes(const struct engine *e)
{
    return ((const struct state *)e->leaf_state)->commit.writes;
}

static int sync_err(const struct engine *e)
{
    return ((const struct state *)e->leaf_state)->commit.sync_err;
}

/* ---- loads ---- */

static void wait_for_load(struct engine *e, struct image *im, uint32_t block, struct blk_req *req,
                          uint64_t at, uint64_t size)
{
    struct q2_map *m = &im->qcow2->map;
    struct q2_table *t = q2_find(m, block);
    struct load *l = NULL;
    if (!t) {
        l = mem_new(struct load);
        *l = (struct load){.e = e, .map = m, .table = t = q2_load_begin(m, block)};
        l->iov = (struct iovec){t->entries, (size_t)m->cluster_size};
        l->io = (struct io){.op = IO_READ,
                            .file = im->file,
                            .offset = t->at,
                            .size = m->cluster_size,
                            .iov = &l->iov,
                            .n_iov = 1,
                            .done = load_done};
    }
    struct piece *p = piece_new(e, req, at, size);
    p->next = t->waiters;
    t->waiters = p;
    if (l)
        backend_submit(e->backend, &l->io);
}

static void load_done(struct io *io, int err)
{
    struct load *l = (struct load *)io;
    struct piece *list = l->table->waiters;
    l->table->waiters = NULL;
    err = q2_load_end(l->map, l->table, err);
    engine_retry(l->e, list, err);
    if (!err)
        q2_unpin(l->map, l->table);
    free(l);
}

/* ---- looking ---- */

/* The fill that has something of the range, and how much of the range lies before its end. */
static struct fill *find_fill(struct engine *e, uint64_t at, uint64_t size)
{
    const struct q2_map *m = map_of(e);
    struct fill *f = ((struct state *)e->leaf_state)->fills;
    while (f && (at >= f->at + f->n * m->cluster_size || f->at >= at + size))
        f = f->next;
    return f;
}

static void wait_for_fill(struct engine *e, struct fill *f, struct blk_req *req, uint64_t at,
                          uint64_t size)
{
    struct piece *p = piece_new(e, req, at, size);
    p->next = f->waiters;
    f->waiters = p;
}

static uint32_t index_in(const struct q2_map *m, uint64_t at)
{
    return (uint32_t)(at % m->span / m->cluster_size);
}

/* The table for `at`: 0 and NULL when there is none, 1 when it must be loaded. */
static int find_table(struct engine *e, uint64_t at, struct q2_table **ret)
{
    struct q2_map *m = map_of(e);
    uint32_t index = (uint32_t)(at / m->span);
    *ret = NULL;
    if (m->l1[index] == 0)
        return 0;
    struct q2_table *t = q2_find(m, index);
    if (!t || t->is_loading)
        return 1;
    *ret = t;
    return 0;
}

/* May its data be changed in place? */
static bool is_own(uint64_t entry)
{
    return q2_is_data(entry) && entry & QCOW2_COPIED;
}

/* How much of the range is in place in one piece from `at` on, and whether the file knows. */
static uint64_t run_in_place(const struct q2_map *m, const struct q2_table *t, uint64_t at,
                             uint64_t size, bool *ret_known)
{
    uint32_t i = index_in(m, at);
    uint64_t n = m->cluster_size - at % m->cluster_size;
    uint64_t flags = t->entries[i];
    for (uint32_t k = i + 1; n < size && k < m->n_entries; k++, n += m->cluster_size) {
        uint64_t place = (t->entries[k - 1] & QCOW2_OFFSET_MASK) + m->cluster_size;
        if (!is_own(t->entries[k]) || (t->entries[k] & QCOW2_OFFSET_MASK) != place)
            break;
        flags |= t->entries[k];
    }
    *ret_known = !(flags & (Q2_NEW | Q2_COMMITTING));
    return n < size ? n : size;
}

static uint64_t place_of(const struct q2_map *m, const struct q2_table *t, uint64_t at)
{
    return (t->entries[index_in(m, at)] & QCOW2_OFFSET_MASK) + at % m->cluster_size;
}

/* What the range of whole clusters loses when its entries change: nothing, or what reads as zeroes.
 * Data that others may refer to is neither. */
static bool is_over_zeroes(struct engine *e, const struct q2_table *t, uint64_t at, uint64_t size)
{
    const struct q2_map *m = map_of(e);
    uint64_t entry = t ? t->entries[index_in(m, at)] : 0;
    if (entry & QCOW2_ZERO && size <= m->cluster_size)
        return true;
    for (uint64_t done = 0; t && done < size; done += m->cluster_size)
        if (q2_is_data(t->entries[index_in(m, at + done)]))
            return false;
    return engine_is_hole_below(e, at, size);
}

/* An entry becomes another; a cluster that it had is lost until the counts are made anew. */
static void change(struct engine *e, struct q2_table *t, uint32_t i, uint64_t value)
{
    if (t->entries[i] & QCOW2_OFFSET_MASK)
        e->leaf->qcow2->needs_count = true;
    q2_set(t, i, value);
}

/* ---- writing ---- */

/* Whole clusters, as many as are not there, or one. */
static uint32_t clusters_to_fill(struct engine *e, const struct q2_table *t, uint64_t at,
                                 uint64_t size)
{
    const struct q2_map *m = map_of(e);
    uint32_t n = 1, i = index_in(m, at);
    if (at % m->cluster_size)
        return 1;
    while ((n + 1) * m->cluster_size <= size && i + n < m->n_entries &&
           (!t || !is_own(t->entries[i + n])))
        n++;
    return n;
}

/* A part of the range; returns how much. */
static uint64_t write_part(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    struct q2_map *m = map_of(e);
    struct q2_table *t;
    uint64_t left = m->span - at % m->span;
    uint64_t n = size < left ? size : left;
    if (find_table(e, at, &t) > 0) {
        wait_for_load(e, e->leaf, (uint32_t)(at / m->span), req, at, n);
        return n;
    }
    if (t && is_own(t->entries[index_in(m, at)])) {
        bool known;
        n = run_in_place(m, t, at, n, &known);
        struct piece *p = piece_new(e, req, at, n);
        p->meta = known ? NULL : t;
        if (p->meta)
            q2_pin(m, t);
        p->io.done = written;
        piece_start(p, IO_WRITE, e->leaf->file, place_of(m, t, at));
        return n;
    }
    uint32_t clusters = clusters_to_fill(e, t, at, n);
    left = clusters * m->cluster_size - at % m->cluster_size;
    n = n < left ? n : left;
    struct fill *f = find_fill(e, at, n);
    if (f) {
        wait_for_fill(e, f, req, at, n);
        return n;
    }
    int r = t ? 0 : q2_table_new(m, (uint32_t)(at / m->span), &t);
    if (r == 0)
        r = fill_start(e, req, t, at, n, clusters);
    if (r < 0)
        req->err = r;
    return n;
}

static void write_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    while (size) {
        uint64_t n = write_part(e, req, at, size);
        at += n;
        size -= n;
    }
}

static void written(struct io *io, int err)
{
    struct piece *p = (struct piece *)io;
    struct state *s = p->e->leaf_state;
    if (p->meta && !err) {
        struct engine *e = p->e;
        struct blk_req *req = piece_answer_early(p) ? steal(&p->req) : NULL;
        q2_commit_join(&s->commit, p);
        if (req)
            req_drop(e, req);
        return;
    }
    if (p->meta)
        q2_unpin(map_of(p->e), p->meta);
    piece_done(io, err);
}

/* ---- filling ---- */

static int fill_start(struct engine *e, struct blk_req *req, struct q2_table *t, uint64_t at,
                      uint64_t size, uint32_t n)
{
    struct q2_map *m = map_of(e);
    struct state *s = e->leaf_state;
    uint64_t begin = at - at % m->cluster_size, all = n * m->cluster_size, place;
    uint64_t inside = e->leaf->size - begin < all ? e->leaf->size - begin : all;
    bool over_zeroes = is_over_zeroes(e, t, begin, inside);
    int r = q2_allocate(m, n, &place);
    if (r < 0)
        return r;
    struct fill *f = mem_new(struct fill);
    *f = (struct fill){.at = begin, .n = n, .place = place};
    f->is_plain = over_zeroes && m->zeroes_behind;
    f->p = piece_new(e, req, at, size);
    f->p->meta = t;
    f->p->owner = f;
    q2_pin(m, t);
    f->next = s->fills;
    s->fills = f;
    if (req->op == BLK_WRITE && (f->is_plain || size == all))
        fill_write(f);
    else
        return fill_read(e, f, over_zeroes);
    return 0;
}

static void part_read(struct blk_req *req, int err)
{
    struct fill *f = req->owner;
    if (err)
        f->err = err;
    if (--f->reading)
        return;
    if (f->err)
        fill_done(&f->p->io, f->err);
    else
        fill_write(f);
}

static void read_part(struct engine *e, struct fill *f, int i, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    f->iov[i] = (struct iovec){f->bytes + (from - f->at), (size_t)(to - from)};
    f->parts[i] = (struct blk_req){.op = BLK_READ,
                                   .offset = from,
                                   .size = to - from,
                                   .iov = &f->iov[i],
                                   .n_iov = 1,
                                   .done = part_read,
                                   .owner = f};
    f->reading++;
    engine_read_own(e, &f->parts[i]);
}

/* What lies before and behind the request's bytes in its one cluster. */
static int fill_read(struct engine *e, struct fill *f, bool over_zeroes)
{
    struct q2_map *m = map_of(e);
    struct piece *p = f->p;
    void *bytes = NULL;
    uint64_t end = f->at + m->cluster_size;
    if (end > e->leaf->size)
        end = e->leaf->size;
    bool is_whole = p->at == f->at && p->at + p->size == end;
    bool is_open = !e->chain->image[e->chain->n - 1]->has_parent;
    int r = posix_memalign(&bytes, ALIGN, (size_t)m->cluster_size) ? -ENOMEM : 0;
    if (r == 0)
        memset(bytes, 0, (size_t)m->cluster_size);
    if (r == 0 && !over_zeroes && !is_whole && !is_open)
        r = -EOPNOTSUPP;
    f->bytes = bytes;
    f->reading = 1;
    f->err = r;
    if (r == 0 && !over_zeroes) {
        read_part(e, f, 0, f->at, p->at);
        read_part(e, f, 1, p->at + p->size, end);
    }
    f->parts[0].owner = f;
    part_read(&f->parts[0], 0);
    return 0;
}

static void fill_write(struct fill *f)
{
    struct piece *p = f->p;
    struct blk_req *req = p->req;
    struct engine *e = p->e;
    const struct q2_map *m = map_of(e);
    p->io.done = fill_done;
    if (!f->bytes) {
        piece_start(p, IO_WRITE, e->leaf->file, f->place + (p->at - f->at));
        return;
    }
    if (req->op == BLK_WRITE) {
        struct iovec *iov = mem_new_n(struct iovec, (size_t)req->n_iov);
        int n = iov_slice(req->iov, req->n_iov, p->at - req->offset, p->size, iov);
        iov_copy_out(iov, n, f->bytes + (p->at - f->at), p->size);
        free(iov);
    }
    p->small[0] = (struct iovec){f->bytes, (size_t)m->cluster_size};
    p->io.op = IO_WRITE;
    p->io.file = e->leaf->file;
    p->io.is_data = true;
    p->io.offset = f->place;
    p->io.size = m->cluster_size;
    p->io.iov = p->small;
    p->io.n_iov = 1;
    backend_submit(e->backend, &p->io);
}

static void fill_done(struct io *io, int err)
{
    struct piece *p = (struct piece *)io;
    struct engine *e = p->e;
    struct fill *f = p->owner;
    struct q2_table *t = p->meta;
    const struct q2_map *m = map_of(e);
    struct state *s = e->leaf_state;
    struct fill **link = &s->fills;
    while (*link != f)
        link = &(*link)->next;
    *link = f->next;
    for (uint32_t i = 0; !err && i < f->n; i++)
        change(e, t, index_in(m, f->at) + i, (f->place + i * m->cluster_size) | QCOW2_COPIED);
    if (err)
        e->leaf->qcow2->needs_count = true; /* its place is lost */
    else
        t->needs_sync |= !f->is_plain;
    e->stats.blocks_allocated += err ? 0 : f->n;
    struct piece *waiters = f->waiters;
    free(f->bytes);
    free(f);
    written(io, err);
    engine_retry(e, waiters, 0);
}

/* ---- zeroes ---- */

/* A whole cluster becomes one that reads as zeroes, whatever an ancestor has. */
static void hide(struct engine *e, struct blk_req *req, struct q2_table *t, uint64_t at,
                 uint64_t size)
{
    struct q2_map *m = map_of(e);
    struct piece *p = piece_new(e, req, at, size);
    uint32_t first = index_in(m, at);
    p->meta = t;
    q2_pin(m, t);
    change(e, t, first, QCOW2_ZERO);
    written(&p->io, 0);
}

/* In a cluster that the leaf does not have. A discard hides nothing. */
static int zero_absent(struct engine *e, struct blk_req *req, struct q2_table *t, uint64_t at,
                       uint64_t size)
{
    struct q2_map *m = map_of(e);
    bool is_whole =
        at % m->cluster_size == 0 && (size == m->cluster_size || at + size == e->leaf->size);
    if (req->op == BLK_DISCARD || is_over_zeroes(e, t, at, size))
        return 0;
    int r = t ? 0 : q2_table_new(m, (uint32_t)(at / m->span), &t);
    if (r == 0 && is_whole)
        hide(e, req, t, at, size);
    else if (r == 0)
        r = fill_start(e, req, t, at, size, 1);
    return r;
}

static uint64_t zero_part(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    struct q2_map *m = map_of(e);
    struct q2_table *t;
    uint64_t left = m->cluster_size - at % m->cluster_size;
    uint64_t n = size < left ? size : left;
    if (find_table(e, at, &t) > 0) {
        wait_for_load(e, e->leaf, (uint32_t)(at / m->span), req, at, n);
        return n;
    }
    struct fill *f = find_fill(e, at, n);
    if (f) {
        wait_for_fill(e, f, req, at, n);
        return n;
    }
    uint64_t entry = t ? t->entries[index_in(m, at)] : 0;
    struct piece *p = NULL;
    if (is_own(entry) || entry & QCOW2_ZERO) {
        p = piece_new(e, req, at, n);
        p->meta = entry & (Q2_NEW | Q2_COMMITTING) ? t : NULL;
        p->wrote = written;
        if (p->meta)
            q2_pin(m, t);
    }
    int r = 0;
    if (!p)
        r = zero_absent(e, req, t, at, n);
    else if (entry & QCOW2_ZERO)
        written(&p->io, 0);
    else
        piece_zero(p, e->leaf->file, place_of(m, t, at));
    if (r < 0)
        req->err = r;
    return n;
}

static void zero_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size)
{
    while (size) {
        uint64_t n = zero_part(e, req, at, size);
        at += n;
        size -= n;
    }
}

const struct writer writer_qcow2 = {
    .begin = begin,
    .end = end,
    .metadata_writes = metadata_writes,
    .sync_err = sync_err,
    .keep_ahead = NULL,
    .settle = NULL,
    .is_ahead = NULL,
    .write = write_range,
    .zero = zero_range,
    .load = wait_for_load,
};
