/*
 * disk.c: the state machine of a disk and the accounting of its requests. Called by the front ends
 * and by control.c on the loop's thread; owns the chain, the engine and the front ends.
 */
#include "disk/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_MODULE "disk"

#include "base/log.h"
#include "base/mem.h"
#include "disk/backend/lcache.h"
#include "disk/backend/pace.h"
#include "disk/gate.h"
#include "disk/keeper.h"
#include "disk/mirror.h"
#include "disk/park.h"
#include "disk/room.h"

#define STALLED_US 10000000u

/* Opening or closing, on its way through the job thread. */
struct disk_job {
    struct job job;
    struct disk *d;
    struct chain_item items[CHAIN_MAX]; /* open: copies */
    unsigned n;
    bool is_readonly;
    struct chain *chain; /* open: the result; close: what to close */
    char *cbt_path;      /* open: a copy, or NULL */
    struct cbt *cbt;     /* as chain */
    enum cbt_state cbt_state;
    char *copy_path;       /* open: likewise */
    struct lcache *lcache; /* as chain */
    int held;              /* as chain */
    int err;
    struct image_why why;
};

static void begin(struct blk_req *req, void *arg);
static void submit(struct disk *d, struct blk_req *req);
static void open_work(struct job *j);
static void open_done(struct job *j);
static void close_work(struct job *j);
static void close_done(struct job *j);
static void drained(struct disk *d);
static void on_drained(struct ring_op *op, int res);
static void on_req_done(struct blk_req *req, int err, void *arg);
static void count_out(struct disk *d);
static void answer(struct disk *d, struct blk_req *req, int err);
static void end(struct disk *d, int err, const char *why);
static void remember_error(struct disk *d, int err, const char *text);

const char *disk_state_name(enum disk_state s)
{
    static const char *const names[] = {
        [DISK_ATTACHED] = "attached",
        [DISK_ACTIVATING] = "activating",
        [DISK_ACTIVE] = "active",
        [DISK_DRAINING] = "draining",
    };
    return names[s];
}

struct disk *disk_new(const char *id, const char *vdi, uint64_t size, bool readonly,
                      const char *serial, struct ring *ring, struct jobs *jobs,
                      struct backend *backend)
{
    struct disk *d = mem_new(struct disk);
    d->id = mem_strdup(id);
    d->vdi = mem_strdup(vdi);
    d->size = size;
    d->is_readonly = readonly;
    (void)snprintf(d->serial, sizeof(d->serial), "%s", serial);
    d->ring = ring;
    d->jobs = jobs;
    d->backend = backend;
    d->waiting_end = &d->waiting;
    d->drain.done = on_drained;
    return d;
}

void disk_free(struct disk *d)
{
    if (!d)
        return;
    budget_close(d->budget);
    gate_free(steal(&d->gate));
    park_free(steal(&d->park));
    while (d->waiting) {
        struct blk_req *req = d->waiting;
        d->waiting = req->next;
        req->done(req, -ESHUTDOWN);
    }
    vec_each (f, &d->fronts)
        front_close(*f);
    vec_done(&d->fronts);
    free(d->id);
    free(d->vdi);
    free(d->path);
    free(d->cbt_path);
    free(d->copy_path);
    free(d);
}

int disk_add_front(struct disk *d, const char *type, const char *path,
                   const struct front_options *options)
{
    struct front *f;
    int r = front_open(type, d, d->ring, path, options, &f);
    if (r == 0)
        vec_push(&d->fronts, f);
    return r;
}

int disk_activate(struct disk *d, const struct chain_item *items, unsigned n, disk_fn on_end,
                  void *arg)
{
    if (d->state != DISK_ATTACHED || n == 0 || n > CHAIN_MAX)
        return -EBUSY;
    struct disk_job *j = mem_new(struct disk_job);
    j->job = (struct job){.work = open_work, .done = open_done};
    j->d = d;
    j->is_readonly = d->is_readonly;
    j->cbt_path = d->cbt_path ? mem_strdup(d->cbt_path) : NULL;
    j->copy_path = d->copy_path ? mem_strdup(d->copy_path) : NULL;
    j->n = n;
    for (unsigned i = 0; i < n; i++)
        j->items[i] = (struct chain_item){mem_strdup(items[i].path), items[i].format};
    free(d->path);
    d->path = mem_strdup(items[0].path);
    d->format = items[0].format;
    d->state = DISK_ACTIVATING;
    d->job = j;
    d->on_end = on_end;
    d->on_end_arg = arg;
    jobs_post(d->jobs, &j->job);
    return 0;
}

/* A log that cannot be used is no reason not to serve the disk. */
static void open_log(struct disk_job *j)
{
    if (j->is_readonly || !j->cbt_path)
        return;
    int r = cbt_open(j->cbt_path, j->chain->size, &j->cbt, &j->why);
    j->cbt_state = r == 0 ? CBT_TRACKING : r == -ENOENT ? CBT_NONE : CBT_LOST;
}

/* Of a parent that has none itself: then nobody may change it while we have it open. */
static void open_copy(struct disk_job *j)
{
    if (!j->copy_path || j->n != 2)
        return;
    int r = lcache_open(j->copy_path, j->chain->image[1]->file, j->d->backend, &j->lcache);
    if (r < 0)
        log_warn("event=no-copy disk=%s path=%s why=\"%s\"", j->d->id, j->copy_path, strerror(-r));
}

static void open_work(struct job *job)
{
    struct disk_job *j = (struct disk_job *)job;
    j->err = chain_open(j->items, j->n, j->is_readonly, &j->chain, &j->why);
    j->held = -1;
    if (j->err == 0 && j->chain->size == j->d->size) {
        chain_cache(j->chain, !j->d->is_uncached);
        open_log(j);
        open_copy(j);
        if (!chain_leaf(j->chain)->is_readonly && chain_leaf(j->chain)->has_parent)
            j->held = keeper_hold(chain_leaf(j->chain)->file);
    }
    if (j->err < 0 || j->chain->size == j->d->size)
        return;
    why_set(&j->why, "the disk '%s' has %llu bytes, not %llu", j->items[0].path,
            (unsigned long long)j->chain->size, (unsigned long long)j->d->size);
    (void)chain_close(j->chain, NULL);
    j->chain = NULL;
    j->err = -ERANGE;
}

static uint64_t clock_of(void *ring)
{
    return ring_round_us(ring);
}

static void open_done(struct job *job)
{
    struct disk_job *j = (struct disk_job *)job;
    struct disk *d = j->d;
    d->job = NULL;
    if (j->err < 0) {
        d->state = DISK_ATTACHED;
        remember_error(d, j->err, j->why.text);
    } else {
        d->chain = j->chain;
        d->cbt = j->cbt;
        d->cbt_state = j->cbt_state;
        d->lcache = j->lcache;
        chain_leaf(d->chain)->file->split = d->split;
        if (d->budget)
            d->pace = pace_new(d->backend, steal(&d->budget), clock_of, d->ring);
        d->engine =
            engine_new(d->chain, d->pace ? pace_backend(d->pace) : d->backend, on_req_done, d);
        d->held = j->held;
        engine_keep_ahead(d->engine, d->held);
        d->state = DISK_ACTIVE;
        room_look(d);
    }
    end(d, j->err, j->why.text);
    for (unsigned i = 0; i < j->n; i++)
        free((char *)j->items[i].path);
    free(j->cbt_path);
    free(j->copy_path);
    free(j);
    struct blk_req *req = d->engine ? d->waiting : NULL;
    if (!d->engine)
        return;
    d->waiting = NULL;
    d->waiting_end = &d->waiting;
    d->n_waiting = 0;
    while (req) {
        struct blk_req *next = req->next;
        submit(d, req);
        req = next;
    }
    disk_retry(d);
    vec_each (f, &d->fronts)
        (*f)->ops->wake(*f);
}

int disk_deactivate(struct disk *d, disk_fn on_end, void *arg)
{
    if (d->state != DISK_ACTIVE)
        return -EBUSY;
    d->state = DISK_DRAINING;
    d->on_end = on_end;
    d->on_end_arg = arg;
    bool is_idle = d->in_flight == 0;
    if (d->mirror)
        mirror_let_go(d->mirror);
    if (is_idle)
        drained(d);
    return 0;
}

static void on_settled(struct blk_req *req, int err)
{
    struct disk *d = (struct disk *)((char *)req - offsetof(struct disk, last_flush));
    d->drain_err = err;
    ring_later(d->ring, &d->drain);
}

/* What is ahead of the file goes there before it is closed. */
static bool settles(struct disk *d)
{
    if (d->last_flush.done || !engine_is_ahead(d->engine))
        return false;
    d->last_flush = (struct blk_req){.op = BLK_FLUSH, .owner = d, .done = on_settled};
    engine_submit(d->engine, &d->last_flush);
    return true;
}

/* Nothing of the guest is in flight any more; what copies the disk still reads it. */
static void drained(struct disk *d)
{
    if (d->mirror)
        mirror_drain(d->mirror);
    else
        ring_later(d->ring, &d->drain);
}

static void on_copied(void *arg)
{
    struct disk *d = arg;
    ring_later(d->ring, &d->drain);
}

static void on_drained(struct ring_op *op, int res)
{
    struct disk *d = (struct disk *)((char *)op - offsetof(struct disk, drain));
    if (settles(d) || (d->lcache && lcache_settles(d->lcache, on_copied, d)))
        return;
    d->last_flush.done = NULL;
    struct disk_job *j = mem_new(struct disk_job);
    j->job = (struct job){.work = close_work, .done = close_done};
    j->d = d;
    d->cache_stats = disk_get_cache_stats(d);
    d->copy_stats = disk_get_copy_stats(d);
    j->lcache = steal(&d->lcache);
    j->chain = steal(&d->chain);
    j->cbt = steal(&d->cbt);
    j->held = d->held;
    j->err = d->drain_err;
    d->drain_err = 0;
    d->engine_stats = disk_engine_stats(d);
    engine_free(d->engine);
    d->engine = NULL;
    pace_free(steal(&d->pace));
    d->job = j;
    jobs_post(d->jobs, &j->job);
}

static void close_work(struct job *job)
{
    struct disk_job *j = (struct disk_job *)job;
    keeper_drop(j->held);
    int r = chain_close(j->chain, j->err < 0 ? NULL : &j->why);
    lcache_close(j->lcache);
    if (j->err < 0)
        why_set(&j->why, "'%s' could not be made whole: %s", j->d->path, strerror(-j->err));
    else
        j->err = r;
    (void)cbt_close(j->cbt); /* what fails leaves a log that nobody believes */
}

static void close_done(struct job *job)
{
    struct disk_job *j = (struct disk_job *)job;
    struct disk *d = j->d;
    d->job = NULL;
    d->state = DISK_ATTACHED;
    if (j->err < 0)
        remember_error(d, j->err, j->why.text);
    end(d, j->err, j->why.text);
    free(j);
}

void disk_set_budget(struct disk *d, struct budget *budget)
{
    budget_close(d->budget);
    d->budget = budget;
}

int disk_set_size(struct disk *d, uint64_t size)
{
    if (d->state != DISK_ATTACHED)
        return -EBUSY;
    d->size = size;
    vec_each (f, &d->fronts)
        if ((*f)->ops->resized)
            (*f)->ops->resized(*f);
    return 0;
}

void disk_limit(struct disk *d, uint64_t bytes_per_s, uint64_t ops_per_s)
{
    if (!d->gate && (bytes_per_s || ops_per_s))
        d->gate = gate_new(d->ring, begin, d);
    if (d->gate)
        gate_set(d->gate, bytes_per_s, ops_per_s);
}

bool disk_is_remote(const struct disk *d)
{
    return d->chain && chain_leaf(d->chain)->file->backend;
}

uint64_t disk_stalled_us(const struct disk *d)
{
    uint64_t us = d->in_flight ? ring_now_us() - d->moved_us : 0;
    return us > STALLED_US ? us : 0;
}

static void count_in(struct disk *d)
{
    if (d->in_flight++ == 0)
        d->moved_us = ring_round_us(d->ring);
}

static bool can_try(void *arg)
{
    return disk_is_active(arg);
}

static void try_again(struct blk_req *req, void *arg)
{
    struct disk *d = arg;
    count_in(d);
    engine_submit(d->engine, req);
}

void disk_may_park(struct disk *d)
{
    if (!d->park)
        d->park = park_new(d->ring, try_again, can_try, d);
}

void disk_may_halt(struct disk *d)
{
    d->halt.is_on = true;
}

/* What the client is told. A flush that failed once fails for ever, which it has to know. */
static int halt_seen(struct disk *d, const struct blk_req *req, int err)
{
    struct halt *h = &d->halt;
    if (req->op == BLK_FLUSH)
        return err ? -EIO : 0;
    if (!err && h->since && h->is_asked_again && req->op == h->op) {
        log_info("event=goes-on disk=%s", d->id);
        h->since = 0;
    }
    if (!err || !park_is_for(err, disk_is_remote(d)))
        return err;
    if (!h->since)
        log_warn("event=halted disk=%s error=%s", d->id, strerrorname_np(-err));
    *h = (struct halt){.is_on = true,
                       .is_asked_again = false,
                       .op = req->op,
                       .why = err,
                       .since = h->since ? h->since : time(NULL)};
    return -ENOSPC;
}

void disk_retry(struct disk *d)
{
    d->halt.is_asked_again = true;
    if (d->park)
        park_retry(d->park);
}

static void refuse_one(struct blk_req *req, int err, void *arg)
{
    answer(arg, req, err);
}

void disk_refuse(struct disk *d)
{
    if (d->park)
        park_refuse(d->park, refuse_one);
}

void disk_sort_out(struct disk *d)
{
    if (d->park)
        park_sort_out(d->park);
}

void disk_submit(struct disk *d, struct blk_req *req)
{
    req->started_us = ring_round_us(d->ring);
    if (!d->gate || !gate_hold(d->gate, req))
        begin(req, d);
}

static bool is_change(const struct blk_req *req)
{
    return req->op == BLK_WRITE || req->op == BLK_DISCARD || req->op == BLK_ZEROES;
}

static void submit(struct disk *d, struct blk_req *req)
{
    bool is_inside = req->offset <= d->size && req->size <= d->size - req->offset;
    if (d->cbt && is_change(req) && is_inside)
        cbt_mark(d->cbt, req->offset, req->size);
    count_in(d);
    engine_submit(d->engine, req);
}

static void begin(struct blk_req *req, void *arg)
{
    struct disk *d = arg;
    if (d->state == DISK_ACTIVE) {
        submit(d, req);
        return;
    }
    req->next = NULL;
    *d->waiting_end = req;
    d->waiting_end = &req->next;
    d->n_waiting++;
}

static unsigned latency_bucket(uint64_t us)
{
    unsigned bits = us ? 64 - (unsigned)__builtin_clzll(us) : 0;
    return bits < DISK_LATENCIES ? bits : DISK_LATENCIES - 1;
}

static void on_req_done(struct blk_req *req, int err, void *arg)
{
    struct disk *d = arg;
    d->moved_us = ring_round_us(d->ring);
    if (d->room.low && is_change(req))
        room_look(d);
    if (d->halt.is_on)
        err = halt_seen(d, req, err);
    if (err && d->park && req->op != BLK_FLUSH && park_is_for(err, disk_is_remote(d)))
        park_put(d->park, req, err);
    else if (d->mirror && is_change(req) && mirror_changed(d->mirror, req, err))
        return; /* on_let_go() */
    else
        answer(d, req, err);
    count_out(d);
}

static void count_out(struct disk *d)
{
    if (--d->in_flight == 0 && d->state == DISK_DRAINING)
        drained(d);
}

/* ---- a mirror ---- */

static void on_let_go(void *arg, struct blk_req *req)
{
    answer(arg, req, 0);
    count_out(arg);
}

static void on_left(void *arg)
{
    struct disk *d = arg;
    d->mirror = NULL;
    if (d->in_flight == 0 && d->state == DISK_DRAINING)
        ring_later(d->ring, &d->drain);
}

bool disk_can_be_mirrored(const struct disk *d)
{
    return d->state == DISK_ACTIVE && !d->mirror;
}

void disk_mirror(struct disk *d, struct mirror *m)
{
    d->mirror = m;
    mirror_attach(m, &(struct mirror_source){.engine = d->engine,
                                             .in_flight = &d->in_flight,
                                             .answer = on_let_go,
                                             .left = on_left,
                                             .arg = d});
}

static void answer(struct disk *d, struct blk_req *req, int err)
{
    struct disk_op_stats *s = &d->stats[req->op];
    s->ops++;
    uint64_t us = ring_round_us(d->ring) - req->started_us;
    s->us += us;
    s->latency[latency_bucket(us)]++;
    if (err == 0) {
        s->bytes += req->size;
    } else {
        s->errors++;
        remember_error(d, err, NULL);
    }
    if (d->park)
        park_seen(d->park, req);
    req->done(req, err);
}

void disk_status(struct disk *d, uint64_t at, uint64_t size, uint64_t *ret_size, bool *ret_hole)
{
    engine_status(d->engine, at, size, ret_size, ret_hole);
}

struct engine_stats disk_engine_stats(const struct disk *d)
{
    struct engine_stats s = d->engine_stats;
    if (d->engine) {
        s.blocks_allocated += engine_get_stats(d->engine)->blocks_allocated;
        s.metadata_writes += engine_get_stats(d->engine)->metadata_writes;
    }
    return s;
}

struct disk_cache_stats disk_get_cache_stats(const struct disk *d)
{
    struct disk_cache_stats s = d->cache_stats, now = {0, 0};
    if (d->chain)
        chain_cache_bytes(d->chain, &now.hit, &now.miss);
    s.hit += now.hit;
    s.miss += now.miss;
    return s;
}

struct lcache_stats disk_get_copy_stats(const struct disk *d)
{
    struct lcache_stats s = d->copy_stats;
    if (d->lcache) {
        struct lcache_stats now = lcache_get_stats(d->lcache);
        s.hit += now.hit;
        s.miss += now.miss;
        s.unkept += now.unkept;
    }
    return s;
}

static void end(struct disk *d, int err, const char *why)
{
    disk_fn fn = d->on_end;
    d->on_end = NULL;
    if (fn)
        fn(d->on_end_arg, err, why);
}

static void remember_error(struct disk *d, int err, const char *text)
{
    d->last_error.code = err;
    d->last_error.time = time(NULL);
    if (text)
        (void)snprintf(d->last_error.text, sizeof(d->last_error.text), "%s", text);
    else
        (void)snprintf(d->last_error.text, sizeof(d->last_error.text), "I/O on '%s' failed: %s",
                       d->path, strerror(-err));
}
