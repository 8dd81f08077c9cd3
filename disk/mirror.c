/*
 * mirror.c: see mirror.h. Called by tasks.c and disk.c on the loop's thread; owns the target and
 * the buffers. The bits of a piece are cleared before it is read, so a change meanwhile sets them
 * again; a piece is not begun while another that overlaps is under way.
 */
#include "disk/mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define COPIES    4
#define COPY_MAX  (1u << 20)
#define COPY_BUSY (256u << 10) /* one at a time, while the guest has requests in flight */
#define SKIPS     256u         /* holes passed in one go */
#define TICK_MS   500u
#define STALL_US  10000000u

struct copy {
    struct blk_req req;
    struct iovec iov, below; /* what the disk has; what the target has, if that is compared */
    struct mirror *m;
    uint64_t at, size;
    bool is_busy, is_first;
};

struct mirror {
    struct job job;
    struct ring *ring;
    struct jobs *jobs;
    struct backend *backend;
    struct chain_item items[CHAIN_MAX]; /* copies */
    unsigned n;
    uint64_t size;
    struct mirror_source from;
    bool is_attached; /* to the disk */

    struct chain *chain; /* the target */
    struct engine *to;
    bool is_open, is_fresh;
    uint64_t *dirty;
    uint64_t units, n_dirty;
    uint64_t at;         /* unit, where the search goes on */
    bool is_past_first;  /* everything has been copied once */
    uint64_t may_change; /* units that may be in the set then, before answers are held back */

    struct copy copies[COPIES];
    unsigned n_busy, n_reading, n_writing;
    bool is_going, is_completing, is_final, is_flushing, is_ending, lets_go;
    struct blk_req *held, **held_end;
    struct blk_req flush;
    struct ring_op later, timer;
    bool is_later, is_timing;
    uint64_t moved_us;
    int err, job_err; /* job_err, job_why: what the job thread found */
    struct image_why why, job_why;
    mirror_fn on_end;
    void *arg;
};

static void open_work(struct job *j);
static void opened(struct job *j);
static void close_work(struct job *j);
static void closed(struct job *j);
static void go_on(struct mirror *m);
static void on_later(struct ring_op *op, int res);
static void on_timer(struct ring_op *op, int res);
static void was_read(struct blk_req *req, int err);
static void was_compared(struct blk_req *req, int err);
static void was_written(struct blk_req *req, int err);
static void flushed(struct blk_req *req, int err);
static void settle(struct mirror *m);

struct mirror *mirror_new(struct ring *ring, struct jobs *jobs, struct backend *backend,
                          const struct chain_item *items, unsigned n, uint64_t size,
                          mirror_fn on_end, void *arg)
{
    struct mirror *m = mem_new(struct mirror);
    m->ring = ring;
    m->jobs = jobs;
    m->backend = backend;
    m->n = n;
    for (unsigned i = 0; i < n; i++)
        m->items[i] = (struct chain_item){mem_strdup(items[i].path), items[i].format};
    m->size = size;
    m->units = (size + MIRROR_UNIT - 1) / MIRROR_UNIT;
    m->n_dirty = m->units;
    m->dirty = mem_zalloc((size_t)(m->units + 63) / 64, sizeof(uint64_t));
    for (uint64_t i = 0; i < m->units; i++)
        m->dirty[i / 64] |= UINT64_C(1) << i % 64;
    m->held_end = &m->held;
    m->later.done = on_later;
    m->timer.done = on_timer;
    m->on_end = on_end;
    m->arg = arg;
    m->job = (struct job){.work = open_work, .done = opened};
    jobs_post(jobs, &m->job);
    return m;
}

void mirror_free(struct mirror *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < COPIES; i++) {
        free(m->copies[i].iov.iov_base);
        free(m->copies[i].below.iov_base);
    }
    for (unsigned i = 0; i < m->n; i++)
        free((char *)(uintptr_t)m->items[i].path);
    free(m->dirty);
    free(m);
}

void mirror_attach(struct mirror *m, const struct mirror_source *from)
{
    m->from = *from;
    m->is_attached = true;
}

/* ---- opening ---- */

static void open_work(struct job *j)
{
    struct mirror *m = (struct mirror *)j;
    m->job_err = chain_open(m->items, m->n, false, &m->chain, &m->job_why);
    if (m->job_err < 0 || m->chain->size == m->size)
        return;
    why_set(&m->job_why, "the target '%s' has %llu bytes, not %llu", m->items[0].path,
            (unsigned long long)m->chain->size, (unsigned long long)m->size);
    m->job_err = -ERANGE;
    (void)chain_close(steal(&m->chain), NULL);
}

static void fail(struct mirror *m, int err, const char *what)
{
    if (m->err || m->is_ending)
        return;
    m->err = err;
    why_set(&m->why, "%s '%s': %s", what, m->items[0].path, strerror(-err));
}

static void opened(struct job *j)
{
    struct mirror *m = (struct mirror *)j;
    if (m->job_err < 0) {
        m->err = m->job_err;
        m->why = m->job_why;
        closed(j);
        return;
    }
    const struct image *leaf = chain_leaf(m->chain);
    m->is_open = true;
    m->is_fresh = m->n == 1 && (leaf->format != IMAGE_RAW || !leaf->is_device || leaf->is_elastic);
    m->to = engine_new(m->chain, m->backend, NULL, NULL);
    engine_answer_early(m->to);
    m->moved_us = ring_now_us();
    m->is_timing = true;
    ring_timer(m->ring, &m->timer, TICK_MS);
    go_on(m);
}

/* ---- the set ---- */

static bool is_dirty(const struct mirror *m, uint64_t unit)
{
    return m->dirty[unit / 64] >> unit % 64 & 1;
}

static void set_dirty(struct mirror *m, uint64_t unit, bool on)
{
    uint64_t bit = UINT64_C(1) << unit % 64;
    if (is_dirty(m, unit) == on)
        return;
    m->dirty[unit / 64] ^= bit;
    m->n_dirty += on ? 1 : UINT64_MAX;
}

/* Out of the set. The search goes on behind it: what is changed again is met the next time around,
 * when the target is not taken for empty there. */
static void take(struct mirror *m, uint64_t at, uint64_t size)
{
    uint64_t u = at / MIRROR_UNIT;
    for (; u * MIRROR_UNIT < at + size; u++)
        set_dirty(m, u, false);
    m->at = u;
}

/* Once around: from now on the guest is held to half of what is copied. */
static void pass_over(struct mirror *m)
{
    m->at = 0;
    if (m->is_past_first)
        return;
    m->is_past_first = true;
    m->may_change = m->n_dirty;
}

static bool find_dirty(struct mirror *m)
{
    while (m->at < m->units && !is_dirty(m, m->at))
        m->at += m->dirty[m->at / 64] || m->at % 64 ? 1 : 64;
    return m->at < m->units;
}

/* The next piece: its start, and its size up to `most` or the first unit that is clean. */
static bool next(struct mirror *m, uint64_t most, uint64_t *ret_at, uint64_t *ret_size)
{
    if (!find_dirty(m)) {
        pass_over(m);
        if (!m->n_dirty || !find_dirty(m))
            return false;
    }
    uint64_t end = m->at;
    while (end < m->units && (end - m->at) * MIRROR_UNIT < most && is_dirty(m, end))
        end++;
    uint64_t stop = end * MIRROR_UNIT < m->size ? end * MIRROR_UNIT : m->size;
    *ret_at = m->at * MIRROR_UNIT;
    *ret_size = stop - *ret_at;
    return true;
}

static bool is_under_way(const struct mirror *m, uint64_t at, uint64_t size)
{
    for (const struct copy *c = m->copies; c < m->copies + COPIES; c++)
        if (c->is_busy && at < c->at + c->size && c->at < at + size)
            return true;
    return false;
}

/* How much from `at` on is a hole in whole units, at most `size`; 0: data. */
static uint64_t hole_at(const struct mirror *m, uint64_t at, uint64_t size)
{
    uint64_t len;
    bool is_hole;
    engine_status(m->from.engine, at, size, &len, &is_hole);
    if (!is_hole)
        return 0;
    return len >= size ? size : len / MIRROR_UNIT * MIRROR_UNIT;
}

/* ---- copying ---- */

static uint64_t limit_of(const struct mirror *m)
{
    const uint64_t least = MIRROR_REST / MIRROR_UNIT;
    return m->may_change > least ? m->may_change : least;
}

static bool is_behind(const struct mirror *m)
{
    return m->is_past_first && m->n_dirty > limit_of(m);
}

static bool is_leisurely(const struct mirror *m)
{
    return !m->is_final && !is_behind(m) && *m->from.in_flight > 0;
}

static void start_copy(struct mirror *m, uint64_t at, uint64_t size)
{
    struct copy *c = m->copies;
    while (c->is_busy)
        c++;
    if (!c->iov.iov_base && posix_memalign(&c->iov.iov_base, 4096, COPY_MAX)) {
        c->iov.iov_base = NULL;
        fail(m, -ENOMEM, "cannot copy to");
        return;
    }
    take(m, at, size);
    c->m = m;
    c->at = at;
    c->size = size;
    c->is_busy = true;
    c->is_first = !m->is_past_first && m->is_fresh;
    c->iov.iov_len = (size_t)size;
    c->req = (struct blk_req){.op = BLK_READ,
                              .offset = at,
                              .size = size,
                              .iov = &c->iov,
                              .n_iov = 1,
                              .done = was_read,
                              .owner = m};
    m->n_busy++;
    m->n_reading++;
    engine_submit(m->from.engine, &c->req);
}

static void end_copy(struct copy *c)
{
    struct mirror *m = c->m;
    c->is_busy = false;
    m->n_busy--;
    uint64_t half = (c->size / MIRROR_UNIT + 1) / 2;
    if (m->is_past_first)
        m->may_change -= m->may_change < half ? m->may_change : half;
    go_on(m);
}

/* The target's turn: op is of the copy's request. */
static void ask_target(struct copy *c, enum blk_op op, struct iovec *iov,
                       void (*done)(struct blk_req *req, int err))
{
    struct mirror *m = c->m;
    if (m->n_writing++ == 0)
        m->moved_us = ring_now_us();
    c->req = (struct blk_req){
        .op = op, .offset = c->at, .size = c->size, .iov = iov, .n_iov = iov ? 1 : 0, .done = done};
    engine_submit(m->to, &c->req);
}

static void target_answered(struct mirror *m, int err)
{
    m->n_writing--;
    m->moved_us = ring_now_us();
    if (err)
        fail(m, err, "cannot copy to");
}

static bool is_zero(const uint8_t *p, size_t size)
{
    return p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

static void write_out(struct copy *c)
{
    if (!is_zero(c->iov.iov_base, c->iov.iov_len))
        ask_target(c, BLK_WRITE, &c->iov, was_written);
    else if (c->is_first)
        end_copy(c);
    else
        ask_target(c, BLK_ZEROES, NULL, was_written);
}

static void was_read(struct blk_req *req, int err)
{
    struct copy *c = (struct copy *)req;
    struct mirror *m = c->m;
    m->n_reading--;
    if (err)
        fail(m, err, "cannot read what is copied to");
    if (!m->err && m->n > 1 && !c->below.iov_base &&
        posix_memalign(&c->below.iov_base, 4096, COPY_MAX)) {
        c->below.iov_base = NULL;
        fail(m, -ENOMEM, "cannot copy to");
    }
    if (m->err) {
        end_copy(c);
    } else if (m->n > 1) {
        c->below.iov_len = c->iov.iov_len;
        ask_target(c, BLK_READ, &c->below, was_compared);
    } else {
        write_out(c);
    }
}

static void was_compared(struct blk_req *req, int err)
{
    struct copy *c = (struct copy *)req;
    target_answered(c->m, err);
    if (err || memcmp(c->iov.iov_base, c->below.iov_base, c->iov.iov_len) == 0)
        end_copy(c);
    else
        write_out(c);
}

static void was_written(struct blk_req *req, int err)
{
    struct copy *c = (struct copy *)req;
    target_answered(c->m, err);
    end_copy(c);
}

/* A hole needs no reading; in the first pass over a new image nothing at all. */
static bool pass_hole(struct mirror *m, uint64_t at, uint64_t size)
{
    uint64_t hole = m->is_past_first || !m->is_fresh ? 0 : hole_at(m, at, size);
    if (!hole)
        return false;
    take(m, at, hole);
    return true;
}

static bool may_begin(const struct mirror *m)
{
    return m->is_attached && m->is_open && !m->err && !m->is_flushing && !m->is_ending &&
           m->n_busy < (is_leisurely(m) ? 1 : COPIES);
}

static void go_on(struct mirror *m)
{
    uint64_t at, size;
    if (m->is_going)
        return;
    m->is_going = true;
    for (unsigned i = 0; may_begin(m); i++) {
        if (!next(m, is_leisurely(m) ? COPY_BUSY : COPY_MAX, &at, &size) ||
            is_under_way(m, at, size))
            break;
        if (i >= SKIPS) {
            if (!m->is_later)
                ring_later(m->ring, &m->later);
            m->is_later = true;
            break;
        }
        if (!pass_hole(m, at, size))
            start_copy(m, at, size);
    }
    m->is_going = false;
    settle(m);
}

static void on_later(struct ring_op *op, int res)
{
    struct mirror *m = (struct mirror *)((char *)op - offsetof(struct mirror, later));
    m->is_later = false;
    go_on(m);
}

/* ---- the guest's changes ---- */

bool mirror_changed(struct mirror *m, struct blk_req *req, int err)
{
    if (m->err || req->offset >= m->size)
        return false;
    uint64_t end = req->size < m->size - req->offset ? req->offset + req->size : m->size;
    for (uint64_t u = req->offset / MIRROR_UNIT; u * MIRROR_UNIT < end; u++)
        set_dirty(m, u, true);
    bool is_held = !err && !m->lets_go && is_behind(m);
    if (is_held) {
        req->next = NULL;
        *m->held_end = req;
        m->held_end = &req->next;
    }
    go_on(m);
    return is_held;
}

static void answer_held(struct mirror *m)
{
    struct blk_req *req = m->held;
    m->held = NULL;
    m->held_end = &m->held;
    while (req) {
        struct blk_req *following = req->next;
        m->from.answer(m->from.arg, req);
        req = following;
    }
}

void mirror_let_go(struct mirror *m)
{
    m->lets_go = true;
    answer_held(m);
}

/* ---- the end ---- */

static void leave(struct mirror *m)
{
    if (!m->is_attached || m->n_reading)
        return;
    answer_held(m);
    m->is_attached = false;
    m->from.left(m->from.arg);
}

/* Also after an error: what was answered early ends before the flush does. */
static void start_flush(struct mirror *m)
{
    m->is_flushing = true;
    m->moved_us = ring_now_us();
    m->flush = (struct blk_req){.op = BLK_FLUSH, .done = flushed};
    engine_submit(m->to, &m->flush);
}

static void settle(struct mirror *m)
{
    if (m->held && (m->err || !is_behind(m)))
        answer_held(m);
    if (m->err)
        leave(m);
    if (!m->is_open || m->is_flushing || m->is_ending || m->n_busy || m->is_later)
        return;
    if (m->err || (m->is_final && m->is_past_first && !m->n_dirty))
        start_flush(m);
}

/* Called from inside the engine, which therefore is freed after closing. */
static void flushed(struct blk_req *req, int err)
{
    struct mirror *m = (struct mirror *)((char *)req - offsetof(struct mirror, flush));
    if (err)
        fail(m, err, "cannot flush");
    m->is_ending = true;
    leave(m);
    m->job = (struct job){.work = close_work, .done = closed};
    if (m->is_timing)
        ring_cancel(m->ring, &m->timer);
    else
        jobs_post(m->jobs, &m->job);
}

static void close_work(struct job *j)
{
    struct mirror *m = (struct mirror *)j;
    m->job_err = chain_close(steal(&m->chain), &m->job_why);
}

static void closed(struct job *j)
{
    struct mirror *m = (struct mirror *)j;
    m->is_ending = true;
    leave(m);
    if (!m->err && m->job_err) {
        m->err = m->job_err;
        m->why = m->job_why;
    }
    if (m->to)
        engine_free(steal(&m->to));
    m->on_end(m->arg, m->err, m->err ? m->why.text : "");
}

/* A target that does not answer is given up. */
static void on_timer(struct ring_op *op, int res)
{
    struct mirror *m = (struct mirror *)((char *)op - offsetof(struct mirror, timer));
    m->is_timing = false;
    if (m->is_ending) {
        jobs_post(m->jobs, &m->job);
        return;
    }
    bool waits = m->n_writing || m->is_flushing;
    if (waits && ring_now_us() - m->moved_us > STALL_US) {
        fail(m, -ETIMEDOUT, "no answer from");
        leave(m);
    }
    m->is_timing = true;
    ring_timer(m->ring, &m->timer, TICK_MS);
    go_on(m);
}

void mirror_cancel(struct mirror *m)
{
    fail(m, -ECANCELED, "cancelled: copying to");
    go_on(m);
}

int mirror_complete(struct mirror *m)
{
    if (m->err || !mirror_get_progress(m).is_ready)
        return m->err ? m->err : -EAGAIN;
    m->is_completing = true;
    return 0;
}

void mirror_drain(struct mirror *m)
{
    m->is_final = true;
    if (!m->is_completing)
        fail(m, -ECANCELED, "the disk was closed: copying to");
    go_on(m);
}

struct mirror_progress mirror_get_progress(const struct mirror *m)
{
    uint64_t left = m->n_dirty * MIRROR_UNIT;
    return (struct mirror_progress){
        .done = left < m->size ? m->size - left : 0,
        .total = m->size,
        .is_ready = m->is_open && !m->err && m->is_past_first && left <= MIRROR_REST,
    };
}
