/*
 * park.c: a queue behind a disk. Called by disk.c on the loop's thread; lives on after park_free()
 * until its timer has ended.
 */
#include "disk/park.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define LOG_MODULE "park"

#include "base/log.h"
#include "base/mem.h"

#define PAUSE_FIRST_MS 100u
#define PAUSE_MAX_MS   5000u

struct park {
    struct ring_op timer;
    struct ring *ring;
    void (*again)(struct blk_req *req, void *arg);
    bool (*can_try)(void *arg);
    void *arg;
    struct blk_req *first, **end;
    const struct blk_req *trying; /* the one that shows whether it goes on */
    unsigned n, pause_ms;
    int why;
    int64_t since;
    bool is_timing, is_dead;
};

static void on_timer(struct ring_op *op, int res);

struct park *park_new(struct ring *ring, void (*again)(struct blk_req *req, void *arg),
                      bool (*can_try)(void *arg), void *arg)
{
    struct park *p = mem_new(struct park);
    p->timer.done = on_timer;
    p->ring = ring;
    p->again = again;
    p->can_try = can_try;
    p->arg = arg;
    p->end = &p->first;
    return p;
}

bool park_is_for(int err, bool is_remote)
{
    switch (-err) {
    case ENOSPC:
    case EDQUOT:
    case ESTALE:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENOTCONN:
    case ECONNRESET:
    case ECONNREFUSED:
        return true;
    case EIO:
        return is_remote;
    default:
        return false;
    }
}

static struct blk_req *take_first(struct park *p)
{
    struct blk_req *req = p->first;
    p->first = req->next;
    if (!p->first)
        p->end = &p->first;
    p->n--;
    return req;
}

static void put_last(struct park *p, struct blk_req *req)
{
    req->next = NULL;
    *p->end = req;
    p->end = &req->next;
    p->n++;
}

static void put_first(struct park *p, struct blk_req *req)
{
    req->next = p->first;
    p->first = req;
    if (!req->next)
        p->end = &req->next;
    p->n++;
}

static void set_timer(struct park *p)
{
    if (p->is_timing)
        return;
    p->is_timing = true;
    ring_timer(p->ring, &p->timer, p->pause_ms);
}

static void begin(struct park *p)
{
    if (p->since)
        return;
    p->since = time(NULL);
    p->pause_ms = PAUSE_FIRST_MS;
}

void park_put(struct park *p, struct blk_req *req, int err)
{
    bool was_tried = p->trying == req;
    if (was_tried)
        p->trying = NULL;
    p->why = err;
    if (req->stays && !req->stays(req)) {
        if (p->n)
            set_timer(p);
        else
            p->since = 0;
        req->done(req, BLK_ABANDONED);
        return;
    }
    if (!p->since)
        log_warn("event=parked error=%s", strerrorname_np(-err));
    begin(p);
    if (was_tried) {
        put_first(p, req);
        p->pause_ms = p->pause_ms * 2 < PAUSE_MAX_MS ? p->pause_ms * 2 : PAUSE_MAX_MS;
    } else {
        put_last(p, req);
    }
    set_timer(p);
}

void park_seen(struct park *p, const struct blk_req *req)
{
    if (p->trying != req)
        return;
    p->trying = NULL;
    log_info("event=goes-on parked=%u", p->n);
    p->since = 0;
    p->why = 0;
    /* Who is refused again comes back behind these. */
    for (unsigned n = p->n; n && p->first; n--)
        p->again(take_first(p), p->arg);
}

void park_retry(struct park *p)
{
    if (!p->first || p->trying)
        return;
    if (!p->can_try(p->arg)) {
        set_timer(p);
        return;
    }
    struct blk_req *req = take_first(p);
    p->trying = req;
    p->again(req, p->arg);
}

static void on_timer(struct ring_op *op, int res)
{
    struct park *p = (struct park *)op;
    (void)res;
    p->is_timing = false;
    if (p->is_dead)
        free(p);
    else
        park_retry(p);
}

void park_sort_out(struct park *p)
{
    for (unsigned n = p->n; n && p->first; n--) {
        struct blk_req *req = take_first(p);
        if (req->stays && !req->stays(req))
            req->done(req, BLK_ABANDONED);
        else
            put_last(p, req);
    }
    if (!p->n && !p->trying)
        p->since = 0;
}

void park_refuse(struct park *p, void (*answer)(struct blk_req *req, int err, void *arg))
{
    int why = p->why;
    for (unsigned n = p->n; n && p->first; n--)
        answer(take_first(p), why, p->arg);
    if (!p->n && !p->trying)
        p->since = 0;
}

unsigned park_count(const struct park *p)
{
    return p->n + (p->trying != NULL);
}

int park_why(const struct park *p, int64_t *ret_since)
{
    *ret_since = p->since;
    return p->why;
}

void park_free(struct park *p)
{
    if (!p)
        return;
    while (p->first) {
        struct blk_req *req = take_first(p);
        req->done(req, BLK_ABANDONED);
    }
    p->is_dead = true;
    if (p->is_timing)
        ring_cancel(p->ring, &p->timer);
    else
        free(p);
}
