/*
 * pace.c: transfers within a share. Called by the engine on the loop's thread; owns a small object
 * a transfer, kept for the next one, and the budget.
 */
#include "disk/backend/pace.h"

#include <stdlib.h>

#include "base/mem.h"
#include "disk/backend/split.h"

#define PATIENCE 4u /* a request may take so many times as long as the last ones */

struct paced {
    struct io io;
    struct io *of;
    struct pace *p;
    uint64_t size, begun_us;
    struct paced *next;
};

struct pace {
    struct backend backend;
    struct backend *to;
    struct budget *budget;
    uint64_t (*now_us)(void *arg);
    void *arg;
    uint64_t in_flight, share;
    uint64_t took_us; /* of the last requests, the slower the longer it is remembered */
    struct paced *queue, **queue_end, *spare;
    unsigned n_queued;
    bool is_passing;
};

static void submit(struct backend *backend, struct io *io);
static void pass(struct pace *p);
static void on_done(struct io *io, int err);

static const struct backend_ops pace_ops = {.submit = submit};

struct pace *pace_new(struct backend *next, struct budget *budget, uint64_t (*now_us)(void *arg),
                      void *arg)
{
    struct pace *p = mem_new(struct pace);
    p->backend.ops = &pace_ops;
    p->backend.is_front = true;
    p->to = next;
    p->budget = budget;
    p->now_us = now_us;
    p->arg = arg;
    p->queue_end = &p->queue;
    return p;
}

void pace_free(struct pace *p)
{
    if (!p)
        return;
    while (p->spare) {
        struct paced *x = p->spare;
        p->spare = x->next;
        free(x);
    }
    budget_close(p->budget);
    free(p);
}

struct backend *pace_backend(struct pace *p)
{
    return &p->backend;
}

static bool is_paced(const struct io *io)
{
    return io->is_data && (io->op == IO_READ || io->op == IO_WRITE) && !io->file->is_memory;
}

static struct paced *paced_new(struct pace *p, struct io *io)
{
    struct paced *x = p->spare;
    if (x)
        p->spare = x->next;
    else
        x = mem_new(struct paced);
    x->io = *io;
    x->io.done = on_done;
    x->of = io;
    x->p = p;
    x->size = io->size;
    x->next = NULL;
    return x;
}

static void submit(struct backend *backend, struct io *io)
{
    struct pace *p = (struct pace *)backend;
    if (!is_paced(io)) {
        backend_submit(p->to, io);
        return;
    }
    uint32_t part = io->file->direct_fd >= 0 ? io->file->split : 0;
    if (part && io->size > part) {
        split_submit(backend, io, part);
        return;
    }
    struct paced *x = paced_new(p, io);
    *p->queue_end = x;
    p->queue_end = &x->next;
    p->n_queued++;
    pass(p);
}

/* What ends at once is seen by the loop that already runs. */
static void pass(struct pace *p)
{
    if (p->is_passing || !p->queue)
        return;
    p->is_passing = true;
    uint64_t now = p->now_us(p->arg);
    p->share = budget_share(p->budget, now, p->took_us * PATIENCE);
    while (p->queue && (p->in_flight == 0 || p->in_flight + p->queue->size <= p->share)) {
        struct paced *x = p->queue;
        p->queue = x->next;
        if (!p->queue)
            p->queue_end = &p->queue;
        p->n_queued--;
        p->in_flight += x->size;
        x->begun_us = now;
        backend_submit(p->to, &x->io);
    }
    p->is_passing = false;
}

static void on_done(struct io *io, int err)
{
    struct paced *x = (struct paced *)io;
    struct pace *p = x->p;
    struct io *of = x->of;
    uint64_t took = p->now_us(p->arg) - x->begun_us;
    p->took_us = took > p->took_us ? took : p->took_us - p->took_us / 8 + took / 8;
    p->in_flight -= x->size;
    x->next = p->spare;
    p->spare = x;
    pass(p);
    of->done(of, err);
}

struct pace_stats pace_get_stats(const struct pace *p)
{
    return (struct pace_stats){.in_flight = p->in_flight,
                               .share = p->share,
                               .queued = p->n_queued,
                               .users = budget_users(p->budget, p->now_us(p->arg))};
}
