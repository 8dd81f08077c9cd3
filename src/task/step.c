/*
 * step.c: walks a step table.
 *
 *         begin(i)            run(i)             last step
 *     run ────────> durable ──────────> run(i+1) ────────> end
 *      │ failure, cancel (before the commit)
 *      v
 *     undo: durable, undo(i), undo(i-1) … undo(0)
 *
 * The row says "step i has been begun" before anything of it happens; so after a crash the step
 * named there may have done all, part or none of its work, and every step before it has done all.
 */
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "step"
#include "base/log.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/fault.h"
#include "task/op_run.h"

#define MAX_KINDS 128

static const struct op_kind *kinds[MAX_KINDS];
static unsigned n_kinds;

void op_kind_register(const struct op_kind *kind)
{
    if (!op_kind_find(kind->name) && n_kinds < MAX_KINDS)
        kinds[n_kinds++] = kind;
}

const struct op_kind *op_kind_find(const char *name)
{
    for (unsigned i = 0; i < n_kinds; i++) {
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    }
    return NULL;
}

const struct op_kind *const *op_kinds(unsigned *ret_n)
{
    *ret_n = n_kinds;
    return kinds;
}

/* ---- one step ---- */

#define HELD_LOOK (10 * USEC_PER_MSEC)

/* Ends early by a cancel, where the operation may still be cancelled. */
static struct err *wait_while_held(struct op_run *r, const char *name)
{
    while (fault_is_held(name))
        TRY(op_sleep(&r->op, HELD_LOOK));
    return NULL;
}

static struct err *mark(struct op_run *r, const char *where, bool may_fail)
{
    char name[160];
    snprintf(name, sizeof(name), "%s/%s/%s", r->kind->name, r->kind->steps[r->step].name, where);
    struct err *e = wait_while_held(r, name);
    if (!e && may_fail)
        return fault_point(name);
    fault_mark(name);
    if (may_fail)
        return e;
    err_free(e);
    return NULL;
}

static double share_before(const struct op_kind *k, unsigned step)
{
    unsigned before = 0, all = 0;
    for (unsigned i = 0; i < k->n_steps; i++) {
        all += k->steps[i].weight;
        before += i < step ? k->steps[i].weight : 0;
    }
    return all ? (double)before / all : 0;
}

static struct err *begin(struct op_run *r, unsigned i)
{
    r->step = i;
    r->verb = 0;
    TRY(journal_write(r, "begin step"));
    r->progress = share_before(r->kind, i);
    op_progress(&r->op, 0);
    return NULL;
}

static struct err *do_one(struct op_run *r, unsigned i)
{
    const struct step *s = &r->kind->steps[i];
    TRY(begin(r, i));
    usec_t start = clock_now();
    TRY(mark(r, "before", !r->committed));
    TRY(s->run(&r->op));
    TRY(mark(r, "after", !r->committed));
    log_debug("event=step kind=%s step='%s' us=%llu", r->kind->name, s->name,
              (unsigned long long)(clock_now() - start));
    if (s->commit)
        r->committed = true;
    return NULL;
}

static enum trace_part part_of(const struct op_run *r)
{
    int cls = r->op.msg ? r->op.msg->cls : r->internal_cls;
    bool disks = cls == CLASS_SR || cls == CLASS_VDI || cls == CLASS_PBD;
    return disks ? TRACE_DISKS : TRACE_GUESTS;
}

static void trace_step_end(struct op_run *r, struct trace_span *span, const char *what,
                           const struct err *e)
{
    char name[160];
    snprintf(name, sizeof(name), "%s: %s%s", r->kind->name, what, r->kind->steps[r->step].name);
    trace_end(span, name, r->op.task, e);
}

static struct err *run_one(struct op_run *r, unsigned i)
{
    struct trace_span span;
    trace_begin(&span, part_of(r), &r->trace);
    struct err *e = do_one(r, i);
    if (span.on)
        trace_step_end(r, &span, "", e);
    return e;
}

/* ---- where there is no way back ---- */

#define ATTEMPTS    4
#define FIRST_PAUSE (20 * USEC_PER_MSEC) /* doubled each time */

/* Clearing up has nothing to fall back on, so what fails is tried again before it is given up. */
static bool again(struct op_run *r, const char *what, unsigned attempt, const struct err *e)
{
    _cleanup_(freep) char *text = err_text(e);
    bool last = attempt + 1 == ATTEMPTS;
    log_at(last ? LOG_ERR : LOG_WARN, "event=%s-failed kind='%s' step='%s' attempt=%u error=%s",
           what, r->kind->name, r->kind->steps[r->step].name, attempt + 1, text);
    if (!last)
        waitable_wait(NULL, NULL, clock_now() + (FIRST_PAUSE << attempt));
    return !last;
}

/* A step that fails for good is told and left, the next ones still do their part. */
static struct err *roll_forward(struct op_run *r, unsigned from)
{
    struct err *first = NULL;
    for (unsigned i = from; i < r->kind->n_steps; i++) {
        struct err *e = run_one(r, i);
        for (unsigned attempt = 0; e && again(r, "step", attempt, e); attempt++) {
            err_free(e);
            e = r->kind->steps[i].run(&r->op);
        }
        first = err_first(first, e);
    }
    return first;
}

struct err *step_run(struct op_run *r)
{
    for (unsigned i = r->step; i < r->kind->n_steps; i++) {
        if (r->committed)
            return roll_forward(r, i);
        struct err *e = op_check(&r->op);
        if (!e)
            e = run_one(r, i);
        if (e && r->committed)
            return err_first(e, roll_forward(r, i + 1));
        if (e)
            return step_undo(r, e);
    }
    return NULL;
}

/* ---- undo ---- */

static struct err *do_undo(struct op_run *r)
{
    const struct step *s = &r->kind->steps[r->step];
    err_free(mark(r, "before undo", false));
    struct err *e = s->undo(&r->op);
    for (unsigned attempt = 0; e && again(r, "undo", attempt, e); attempt++) {
        err_free(e);
        e = s->undo(&r->op);
    }
    err_free(mark(r, "after undo", false));
    return e;
}

static struct err *undo_one(struct op_run *r)
{
    r->verb = 0;
    if (!r->kind->steps[r->step].undo)
        return NULL;
    struct trace_span span;
    trace_begin(&span, part_of(r), &r->trace);
    struct err *e = do_undo(r);
    if (span.on)
        trace_step_end(r, &span, "undo ", e);
    return e;
}

struct err *step_undo(struct op_run *r, struct err *why)
{
    r->undoing = true;
    r->failed = why;
    err_free(journal_write(r, "begin undo"));
    for (;; r->step--) {
        err_free(undo_one(r));
        if (r->step == 0)
            break;
    }
    r->failed = NULL;
    return why;
}

struct err *op_run_steps(struct op *op, const char *kind)
{
    struct op_run *r = op->run;
    r->kind = op_kind_find(kind);
    if (!r->kind)
        return err_internal("no step table is named '%s'", kind);
    if (!trace_id_is_set(&r->trace))
        trace_id_new(&r->trace);
    r->step = 0;
    return step_run(r);
}

/* ---- the commit ---- */

struct commit_arg {
    struct op_run *r;
    struct err *(*fn)(struct txn *t, void *arg);
    void *arg;
};

static struct err *commit_txn(struct txn *t, void *arg)
{
    struct commit_arg *c = arg;
    TRY(c->fn(t, c->arg));
    c->r->committed = true;
    return journal_update(t, c->r);
}

struct err *op_commit(struct op *op, const char *name, struct err *(*fn)(struct txn *t, void *arg),
                      void *arg)
{
    struct commit_arg c = {op->run, fn, arg};
    struct err *e = db_write(op->db, name, commit_txn, &c);
    op->run->committed = e == NULL;
    return e;
}
