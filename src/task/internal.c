/*
 * internal.c: work of the house itself, one at a time and in order of arrival for each object.
 *
 * A guest that powered itself off, a folder that changed: nobody waits for an answer, so a claim
 * that cannot be had now is tried again when claims were dropped, instead of being refused.
 *
 * Claims may be dropped while an entry is being tried, after it was refused and before it is back
 * in the queue: so each try notes how often claims had been dropped when it began.
 */
#include <string.h>

#include "base/log.h"
#include "base/rstr.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/op_run.h"
#include "task/tasks_impl.h"

struct queued {
    struct queued *next;
    struct op_run *run;
    bool trying;
    uint64_t n_drops; /* of the tasks, when the last try began */
};

static void drop_claims(struct op_run *r)
{
    claim_list_free(r->claims, r->n_claims);
    r->claims = NULL;
    r->n_claims = 0;
}

/* Tried more than once: what is around the object may have changed since the last time. */
static struct err *begin_internal(struct txn *t, void *arg)
{
    struct op_run *r = arg;
    struct claim_view v = {.txn = t};
    const struct op_kind *kind = op_kind_find(r->kind_name);
    drop_claims(r);
    if (kind && kind->is_moot && kind->is_moot(t, &r->op))
        return err_HANDLE_INVALID(desc_classes[r->internal_cls]->name, r->op.self);
    TRY(claim_list_op(&v, r->internal_cls, r->op.self, r->internal_op, &r->claims, &r->n_claims));
    TRY(claim_take(t, r->claims, r->n_claims, r->holder));
    return journal_add(t, r);
}

/* Takes the entry out of the queue; it has begun or never will. */
static void leave_queue(struct tasks *ts, struct queued *q)
{
    pthread_mutex_lock(&ts->lock);
    for (struct queued **p = &ts->waiting; *p; p = &(*p)->next) {
        if (*p == q) {
            *p = q->next;
            if (!q->next)
                ts->waiting_last = p;
            break;
        }
    }
    pthread_mutex_unlock(&ts->lock);
}

/* That the object has gone on meanwhile is no failure: the fact was old. */
static void log_failure(const struct op_run *r)
{
    if (err_is(r->failed, "HANDLE_INVALID") || err_is(r->failed, "VM_BAD_POWER_STATE"))
        return;
    _cleanup_(freep) char *text = err_text(r->failed);
    log_warn("event=internal-failed kind=%s object=%s error=%s", r->kind_name, r->op.self, text);
}

#define ATTEMPTS 4
#define PAUSE    (50 * USEC_PER_MSEC)

/* Nobody is there to try again, so we do, from the first step, as long as nothing is committed. */
static struct err *run_until_done(struct op_run *r)
{
    struct err *e = op_run_steps(&r->op, r->kind_name);
    for (unsigned i = 1; e && !r->committed && i < ATTEMPTS; i++) {
        err_free(e);
        r->undoing = false;
        waitable_wait(NULL, &r->cancel, clock_now() + PAUSE);
        e = op_run_steps(&r->op, r->kind_name);
    }
    return e;
}

/* Back into the queue, and the entry is not ours any more; false if it has to be tried again. */
static bool stay_queued(struct tasks *ts, struct queued *q)
{
    tasks_delist(ts, q->run);
    pthread_mutex_lock(&ts->lock);
    bool again = q->n_drops != ts->n_drops && !ts->stopping;
    q->n_drops = ts->n_drops;
    q->trying = again;
    pthread_cond_broadcast(&ts->quiet);
    pthread_mutex_unlock(&ts->lock);
    return !again;
}

/* The transaction that begins it; false if it has to wait for claims. */
static bool begin(struct tasks *ts, struct queued *q, struct err **ret_e)
{
    for (;;) {
        tasks_enlist(ts, q->run);
        *ret_e = db_write(ts->cfg.db, "begin internal", begin_internal, q->run);
        if (!err_is(*ret_e, "OTHER_OPERATION_IN_PROGRESS"))
            return true;
        err_free(*ret_e);
        if (stay_queued(ts, q))
            return false;
    }
}

static void try_run(void *arg)
{
    struct queued *q = arg;
    struct op_run *r = q->run;
    struct tasks *ts = r->op.tasks;
    struct err *e;
    if (!begin(ts, q, &e))
        return;
    leave_queue(ts, q);
    free(q);
    r->journaled = e == NULL;
    r->failed = e ? e : run_until_done(r);
    if (e)
        drop_claims(r);
    if (r->failed)
        log_failure(r);
    tasks_end_run(r);
}

static bool is_first_of_its_object(struct tasks *ts, const struct queued *q)
{
    for (const struct queued *o = ts->waiting; o != q; o = o->next) {
        if (str_eq(o->run->op.self, q->run->op.self))
            return false;
    }
    return true;
}

/* The next entry to be tried, marked as such; NULL if none. */
static struct queued *pick(struct tasks *ts)
{
    struct queued *found = NULL;
    pthread_mutex_lock(&ts->lock);
    for (struct queued *q = ts->waiting; q && !found; q = q->next) {
        if (ts->recovered && !q->trying && !ts->stopping && is_first_of_its_object(ts, q))
            found = q;
    }
    if (found) {
        found->trying = true;
        found->n_drops = ts->n_drops;
    }
    pthread_mutex_unlock(&ts->lock);
    return found;
}

static void try_waiting(struct tasks *ts)
{
    if (ts->cfg.single) {
        /* One pass: what cannot begin now is tried after the next end. */
        struct queued *q = pick(ts);
        if (q)
            try_run(q);
        return;
    }
    for (struct queued *q = pick(ts); q; q = pick(ts))
        runner_submit(ts->pool, try_run, q);
}

void internal_kick(struct tasks *ts)
{
    pthread_mutex_lock(&ts->lock);
    ts->n_drops++;
    pthread_mutex_unlock(&ts->lock);
    try_waiting(ts);
}

bool internal_is_trying(const struct tasks *ts)
{
    for (const struct queued *q = ts->waiting; q; q = q->next) {
        if (q->trying)
            return true;
    }
    return false;
}

/* The same work, not begun yet: it will see what there is to be seen now. Called locked. */
static bool is_queued(const struct tasks *ts, const struct op_run *r)
{
    for (const struct queued *q = ts->waiting; q; q = q->next) {
        if (!q->trying && str_eq(q->run->kind_name, r->kind_name) &&
            str_eq(q->run->op.self, r->op.self))
            return true;
    }
    return false;
}

void tasks_run_internal(struct tasks *ts, const char *kind, int cls, const char *ref, int operation,
                        struct val *ctx)
{
    struct op_run *r = op_run_new(ts);
    r->kind_name = rstr_new(kind);
    rstr_set(&r->label, kind);
    rstr_set(&r->op.self, ref);
    r->internal_cls = cls;
    r->internal_op = operation;
    if (ctx) {
        val_unref(r->ctx);
        r->ctx = ctx;
    }
    struct queued *q = mem_new(struct queued);
    q->run = r;
    pthread_mutex_lock(&ts->lock);
    bool needless = !ctx && is_queued(ts, r);
    if (!needless) {
        *ts->waiting_last = q;
        ts->waiting_last = &q->next;
    }
    pthread_mutex_unlock(&ts->lock);
    if (needless) {
        op_run_free(r);
        free(q);
        return;
    }
    try_waiting(ts);
}

void internal_free(struct tasks *ts)
{
    while (ts->waiting) {
        struct queued *q = ts->waiting;
        ts->waiting = q->next;
        op_run_free(q->run);
        free(q);
    }
}
