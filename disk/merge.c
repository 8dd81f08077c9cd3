/*
 * merge.c: copying a child's sectors into its parent. Called by coalesce.c on the loop's thread;
 * owns the two engines and the buffers.
 */
#include "disk/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void load(struct merge *m);
static void loaded(struct blk_req *req, int err);
static void copy(struct merge *m, uint64_t size);
static void was_read(struct blk_req *req, int err);
static void was_written(struct blk_req *req, int err);
static void flushed(struct blk_req *req, int err);
static void pass(struct merge *m, uint64_t size, bool is_allocated);
static void end(struct merge *m);

void merge_init(struct merge *m, struct image *child, struct image *parent, struct backend *backend)
{
    *m = (struct merge){0};
    m->child = (struct chain){.image = {child}, .n = 1, .size = child->size};
    m->parent = (struct chain){.image = {parent}, .n = 1, .size = parent->size};
    m->from = engine_new(&m->child, backend, NULL, NULL);
    m->to = engine_new(&m->parent, backend, NULL, NULL);
    engine_answer_early(m->to);
    m->total = child->ops->allocated(child);
}

void merge_done(struct merge *m)
{
    for (unsigned i = 0; i < MERGE_COPIES; i++)
        free(m->copies[i].iov.iov_base);
    engine_free(m->from);
    engine_free(m->to);
}

/* Whatever ends meanwhile is seen by the loop that already runs. */
void merge_go_on(struct merge *m)
{
    if (m->is_going || m->is_ended)
        return;
    m->is_going = true;
    while (!m->err && !m->is_cancelled && !m->is_loading && m->at < m->child.size &&
           m->in_flight < MERGE_COPIES) {
        struct extent e;
        uint64_t left = m->child.size - m->at;
        image_map(m->child.image[0], m->at, left, &e);
        if (e.kind != EXTENT_HOLE && e.size > MERGE_SIZE)
            e.size = MERGE_SIZE;
        if (e.kind == EXTENT_LOAD)
            load(m);
        else if (e.kind == EXTENT_HOLE)
            pass(m, e.size, e.offset != 0);
        else if (!m->may_go || m->may_go(m->arg, e.size))
            copy(m, e.size);
        else
            break;
    }
    m->is_going = false;
    if (m->in_flight == 0 && (m->err || m->is_cancelled || m->at == m->child.size))
        end(m);
}

/* Reading a sector brings the block's bitmap in. */
static void load(struct merge *m)
{
    m->is_loading = true;
    m->in_flight++;
    m->probe_iov = (struct iovec){m->probe_bytes, sizeof(m->probe_bytes)};
    m->probe = (struct blk_req){.op = BLK_READ,
                                .offset = m->at,
                                .size = sizeof(m->probe_bytes),
                                .iov = &m->probe_iov,
                                .n_iov = 1,
                                .done = loaded};
    engine_submit(m->from, &m->probe);
}

static void loaded(struct blk_req *req, int err)
{
    struct merge *m = (struct merge *)((char *)req - offsetof(struct merge, probe));
    m->is_loading = false;
    m->in_flight--;
    if (err)
        m->err = err;
    merge_go_on(m);
}

static void copy(struct merge *m, uint64_t size)
{
    struct merge_copy *c = m->copies;
    while (c->is_busy)
        c++;
    if (!c->iov.iov_base && posix_memalign(&c->iov.iov_base, 4096, MERGE_SIZE)) {
        m->err = -ENOMEM;
        return;
    }
    c->is_busy = true;
    c->m = m;
    c->iov.iov_len = (size_t)size;
    c->req = (struct blk_req){.op = BLK_READ,
                              .offset = m->at,
                              .size = size,
                              .iov = &c->iov,
                              .n_iov = 1,
                              .done = was_read};
    m->in_flight++;
    pass(m, size, true);
    engine_submit(m->from, &c->req);
}

static bool is_zero(const uint8_t *p, size_t size)
{
    return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

static void was_read(struct blk_req *req, int err)
{
    struct merge_copy *c = (struct merge_copy *)req;
    if (err) {
        was_written(req, err);
        return;
    }
    req->op = is_zero(c->iov.iov_base, c->iov.iov_len) ? BLK_ZEROES : BLK_WRITE;
    req->done = was_written;
    engine_submit(c->m->to, req);
}

static void was_written(struct blk_req *req, int err)
{
    struct merge_copy *c = (struct merge_copy *)req;
    struct merge *m = c->m;
    c->is_busy = false;
    m->in_flight--;
    if (err && !m->err)
        m->err = err;
    merge_go_on(m);
}

static void pass(struct merge *m, uint64_t size, bool is_allocated)
{
    m->at += size;
    if (is_allocated)
        m->done += size;
}

/* Also after an error: what was answered early ends before the flush does. */
static void end(struct merge *m)
{
    m->is_ended = true;
    if (!m->err && m->is_cancelled)
        m->err = -ECANCELED;
    m->flush = (struct blk_req){.op = BLK_FLUSH, .done = flushed};
    engine_submit(m->to, &m->flush);
}

static void flushed(struct blk_req *req, int err)
{
    struct merge *m = (struct merge *)((char *)req - offsetof(struct merge, flush));
    m->on_end(m->arg, m->err ? m->err : err);
}
