/*
 * gate.c: a queue in front of a disk. Called by disk.c on the loop's thread; lives on after
 * gate_free() until its timer has ended.
 */
#include "disk/gate.h"

#include <stdlib.h>

#include "base/mem.h"
#include "disk/throttle.h"

struct gate {
    struct ring_op timer;
    struct ring *ring;
    void (*pass)(struct blk_req *req, void *arg);
    void *arg;
    struct throttle throttle;
    struct blk_req *held, **held_end;
    unsigned n_held;
    bool is_timing, is_dead;
};

static void on_timer(struct ring_op *op, int res);
static void let_through(struct gate *g);

struct gate *gate_new(struct ring *ring, void (*pass)(struct blk_req *req, void *arg), void *arg)
{
    struct gate *g = mem_new(struct gate);
    g->timer.done = on_timer;
    g->ring = ring;
    g->pass = pass;
    g->arg = arg;
    g->held_end = &g->held;
    return g;
}

static uint64_t now_ns(void)
{
    return ring_now_us() * 1000;
}

void gate_set(struct gate *g, uint64_t bytes_per_s, uint64_t ops_per_s)
{
    throttle_set(&g->throttle, bytes_per_s, ops_per_s);
    if (!g->is_timing)
        let_through(g);
}

static bool is_free(const struct gate *g, const struct blk_req *req)
{
    return req->op == BLK_FLUSH || req->op == BLK_STATUS ||
           (g->throttle.bytes_per_s == 0 && g->throttle.ops_per_s == 0 && !g->held);
}

static uint64_t cost_of(const struct blk_req *req)
{
    return req->op == BLK_READ || req->op == BLK_WRITE ? req->size : 0;
}

bool gate_hold(struct gate *g, struct blk_req *req)
{
    if (is_free(g, req))
        return false;
    uint64_t now = now_ns();
    if (!g->held && throttle_wait_ns(&g->throttle, now) == 0) {
        throttle_take(&g->throttle, now, cost_of(req));
        return false;
    }
    req->next = NULL;
    *g->held_end = req;
    g->held_end = &req->next;
    g->n_held++;
    if (!g->is_timing)
        let_through(g);
    return true;
}

static struct blk_req *take_first(struct gate *g)
{
    struct blk_req *req = g->held;
    g->held = req->next;
    if (!g->held)
        g->held_end = &g->held;
    g->n_held--;
    return req;
}

/* Passes what may begin, and sets the timer for the rest. */
static void let_through(struct gate *g)
{
    while (g->held) {
        uint64_t now = now_ns(), wait = throttle_wait_ns(&g->throttle, now);
        if (wait) {
            g->is_timing = true;
            ring_timer(g->ring, &g->timer, (unsigned)(wait / 1000000 + 1));
            return;
        }
        struct blk_req *req = take_first(g);
        throttle_take(&g->throttle, now, cost_of(req));
        g->pass(req, g->arg);
    }
}

static void on_timer(struct ring_op *op, int res)
{
    struct gate *g = (struct gate *)op;
    (void)res;
    g->is_timing = false;
    if (g->is_dead)
        free(g);
    else
        let_through(g);
}

unsigned gate_held(const struct gate *g)
{
    return g->n_held;
}

void gate_limits(const struct gate *g, uint64_t *ret_bytes_per_s, uint64_t *ret_ops_per_s)
{
    *ret_bytes_per_s = g->throttle.bytes_per_s;
    *ret_ops_per_s = g->throttle.ops_per_s;
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    while (g->held) {
        struct blk_req *req = take_first(g);
        g->pass(req, g->arg);
    }
    g->is_dead = true;
    if (g->is_timing)
        ring_cancel(g->ring, &g->timer);
    else
        free(g);
}
