/*
 * op.c: what a handler can ask of its operation: context, cancel, waits, writes.
 */
#include "task/op.h"

#include <stdio.h>
#include <string.h>

#include "base/rstr.h"
#include "base/str.h"
#include "gen/error.h"
#include "loop/loop.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/op_run.h"
#include "task/tasks_impl.h"

/* ---- the caller ---- */

const struct caller caller_internal = {.session = "",
                                       .superuser = true,
                                       .local = true,
                                       .user_name = "",
                                       .user_sid = "",
                                       .originator = "",
                                       .client = "internal"};

static const char *text_or_empty(const char *s)
{
    return rstr_new(s ? s : "");
}

struct caller caller_copy(const struct caller *c)
{
    struct caller copy = *c;
    copy.session = text_or_empty(c->session);
    copy.user_name = text_or_empty(c->user_name);
    copy.user_sid = text_or_empty(c->user_sid);
    copy.originator = text_or_empty(c->originator);
    copy.client = text_or_empty(c->client);
    return copy;
}

void caller_done(struct caller *c)
{
    rstr_unref(c->session);
    rstr_unref(c->user_name);
    rstr_unref(c->user_sid);
    rstr_unref(c->originator);
    rstr_unref(c->client);
    memset(c, 0, sizeof(*c));
}

/* ---- where it runs ---- */

struct err *need_own_host(struct op *op, const char *ref)
{
    return tasks_need_own_host(op->tasks, op->db, ref);
}

/* ---- the context ---- */

const char *op_get(struct op *op, const char *key)
{
    return val_map_str(op->run->ctx, key, "");
}

int64_t op_get_int(struct op *op, const char *key)
{
    int64_t n = 0;
    if (str_i64(view_of(op_get(op, key)), INT64_MIN, INT64_MAX, &n) < 0)
        return 0;
    return n;
}

bool op_get_bool(struct op *op, const char *key)
{
    return str_eq(op_get(op, key), "true");
}

void op_put(struct op *op, const char *key, const char *value)
{
    val_put_str(op->run->ctx, key, value);
    op->run->ctx_dirty = true;
}

void op_put_int(struct op *op, const char *key, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    op_put(op, key, text);
}

void op_put_bool(struct op *op, const char *key, bool value)
{
    op_put(op, key, value ? "true" : "false");
}

struct err *op_save(struct op *op)
{
    return op->run->ctx_dirty ? journal_write(op->run, "save context") : NULL;
}

/* ---- writing ---- */

struct err *op_write(struct op *op, const char *name, struct err *(*fn)(struct txn *t, void *arg),
                     void *arg)
{
    return db_write(op->db, name, fn, arg);
}

/* ---- identity of host verbs ---- */

const char *op_id(const struct op *op)
{
    return op->run->op_uuid;
}

#define UNDO_STEPS 1000 /* the numbers of undo steps begin here */

unsigned op_step(const struct op *op)
{
    return op->run->step + (op->run->undoing ? UNDO_STEPS : 0);
}

unsigned op_next_verb(struct op *op)
{
    return op->run->verb++;
}

const void *op_args(const struct op *op)
{
    return op->run->args;
}

void op_lend(struct op *op, void *thing)
{
    op->run->lent = thing;
}

void *op_lent(const struct op *op)
{
    return op->run->lent;
}

/* ---- progress and cancel ---- */

#define PROGRESS_EVERY_US (250 * USEC_PER_MSEC)

struct progress_arg {
    const char *task;
    double progress;
};

static struct err *write_progress(struct txn *t, void *arg)
{
    struct progress_arg *p = arg;
    task_row_progress(t, p->task, p->progress);
    return NULL;
}

static double share_of_step(const struct op_run *r)
{
    const struct op_kind *k = r->kind;
    unsigned all = 0;
    for (unsigned i = 0; i < k->n_steps; i++)
        all += k->steps[i].weight;
    return all ? (double)k->steps[r->step].weight / all : 0;
}

void op_progress(struct op *op, double fraction)
{
    struct op_run *r = op->run;
    usec_t now = clock_now();
    if (!*op->task || (!r->kind && !r->transfer) || r->undoing)
        return;
    if (fraction > 0 && now - r->last_progress < PROGRESS_EVERY_US)
        return;
    double share = r->kind ? share_of_step(r) : 1;
    struct progress_arg p = {op->task, r->progress + share * fraction};
    r->last_progress = now;
    err_free(db_write(op->db, "progress", write_progress, &p));
}

bool op_is_cancelled(const struct op *op)
{
    const struct op_run *r = op->run;
    return r->cancelled && !r->committed && !r->undoing;
}

static struct err *allow_cancel(struct txn *t, void *task)
{
    task_row_cancellable(t, task, true);
    return NULL;
}

struct err *op_allow_cancel(struct op *op)
{
    return *op->task ? db_write(op->db, "cancellable", allow_cancel, (void *)op->task) : NULL;
}

struct err *op_check(struct op *op)
{
    return op_is_cancelled(op) ? err_TASK_CANCELLED(op->task) : NULL;
}

struct err *op_wait(struct op *op, struct waitable *w, usec_t deadline, bool *ret_fired)
{
    struct op_run *r = op->run;
    bool masked = r->committed || r->undoing;
    TRY(op_check(op));
    waitable_wait(w, masked ? NULL : &r->cancel, deadline);
    TRY(op_check(op));
    if (ret_fired)
        *ret_fired = w && waitable_is_fired(w);
    return NULL;
}

struct err *op_sleep(struct op *op, usec_t duration)
{
    return op_wait(op, NULL, clock_now() + duration, NULL);
}

/* ---- further claims ---- */

struct claim_more {
    struct op_run *r;
    struct claim claim;
    bool is_held_up;
};

static struct err *claim_more(struct txn *t, void *arg)
{
    struct claim_more *m = arg;
    struct err *refused = claim_take(t, &m->claim, 1, m->r->holder);
    m->is_held_up = refused && is_held_by_house(t, refused);
    return refused ? refused : journal_update(t, m->r);
}

/* The house itself does not wait: it lets go, and comes again. */
static bool is_patient(const struct op_run *r)
{
    return (r->op.msg || r->transfer) && !r->op.tasks->cfg.single;
}

static struct err *claim_in_time(struct op *op, struct claim_more *m)
{
    usec_t until = clock_now() + HELD_UP_MAX;
    struct err *e = db_write(op->db, "claim", claim_more, m);
    while (e && m->is_held_up && is_patient(m->r) && clock_now() < until && !op_is_cancelled(op)) {
        err_free(e);
        waitable_wait(&m->r->cancel, NULL, clock_now() + HELD_UP_TRY);
        e = db_write(op->db, "claim", claim_more, m);
    }
    return e;
}

struct err *op_claim(struct op *op, int cls, const char *ref, int operation)
{
    struct op_run *r = op->run;
    struct claim_more m = {r, {cls, rstr_new(ref), operation}, false};
    struct claim *more = mem_realloc(r->claims, r->n_claims + 1, sizeof(*more));
    r->claims = more;
    r->claims[r->n_claims++] = m.claim;
    struct err *e = claim_in_time(op, &m);
    if (e)
        rstr_unref(r->claims[--r->n_claims].ref);
    else
        r->journaled = true;
    return e;
}
