/*
 * task.c: the life of a call - begin, run, end.
 *
 *     tasks_run ──begin transaction──> started ──> queue ──> handler on a thread
 *                 (task, claims, journal)                          │
 *                       done <── end transaction (claims dropped, task ended, journal row gone)
 */
#include "task/task.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/rstr.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "gen/typed.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/op_run.h"
#include "task/tasks_impl.h"

#define MAX_OPS     64
#define MAX_ENDERS  8
#define MAX_WAITING 1000 /* calls beyond the pool's size */

/* ---- the registry ---- */

struct err *tasks_new(const struct tasks_config *cfg, struct tasks **ret)
{
    struct tasks *ts = mem_new(struct tasks);
    ts->cfg = *cfg;
    ts->host_ref = rstr_new(cfg->host_ref ? cfg->host_ref : REF_NULL);
    pthread_mutex_init(&ts->lock, NULL);
    pthread_cond_init(&ts->quiet, NULL);
    ts->waiting_last = &ts->waiting;
    if (!cfg->single) {
        ts->pool = runner_new("op", cfg->max_ops ? cfg->max_ops : MAX_OPS);
        ts->enders = runner_new("op-end", cfg->max_end_ops ? cfg->max_end_ops : MAX_ENDERS);
    }
    *ret = ts;
    return NULL;
}

static void cancel_run(struct op_run *r)
{
    r->cancelled = true;
    waitable_fire(&r->cancel);
}

bool tasks_wind_down(struct tasks *ts, usec_t deadline)
{
    pthread_mutex_lock(&ts->lock);
    ts->stopping = true;
    for (struct op_run *r = ts->running; r; r = r->next)
        cancel_run(r);
    while (ts->n_running > 0 && clock_wait(&ts->quiet, &ts->lock, deadline))
        ;
    bool quiet = ts->n_running == 0;
    pthread_mutex_unlock(&ts->lock);
    return quiet;
}

bool tasks_settle(struct tasks *ts, usec_t deadline)
{
    pthread_mutex_lock(&ts->lock);
    bool busy = ts->n_running > 0 || internal_is_trying(ts);
    while (busy && clock_wait(&ts->quiet, &ts->lock, deadline))
        busy = ts->n_running > 0 || internal_is_trying(ts);
    pthread_mutex_unlock(&ts->lock);
    return !busy;
}

bool tasks_stop(struct tasks *ts, usec_t deadline)
{
    if (!ts)
        return true;
    if (!tasks_wind_down(ts, deadline)) {
        log_warn("event=stop-late running=%u hint='they are recovered at the next start'",
                 ts->n_running);
        return false;
    }
    runner_free(ts->pool);
    runner_free(ts->enders);
    internal_free(ts);
    rstr_unref(ts->host_ref);
    pthread_mutex_destroy(&ts->lock);
    pthread_cond_destroy(&ts->quiet);
    free(ts);
    return true;
}

void tasks_set_host_ref(struct tasks *ts, const char *ref)
{
    rstr_set(&ts->host_ref, ref);
}

const char *tasks_host_ref(const struct tasks *ts)
{
    return ts->host_ref;
}

struct err *tasks_need_own_host(const struct tasks *ts, struct db *db, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    if (!snap_host(s, ref))
        return err_HANDLE_INVALID("host", ref);
    return str_eq(ref, ts->host_ref) ? NULL : err_HOST_OFFLINE(ref);
}

void tasks_set_world(struct tasks *ts, void *world)
{
    ts->cfg.world = world;
}

void tasks_enlist(struct tasks *ts, struct op_run *r)
{
    pthread_mutex_lock(&ts->lock);
    r->next = ts->running;
    ts->running = r;
    ts->n_running++;
    if (ts->stopping)
        cancel_run(r);
    pthread_mutex_unlock(&ts->lock);
}

void tasks_delist(struct tasks *ts, struct op_run *r)
{
    pthread_mutex_lock(&ts->lock);
    for (struct op_run **p = &ts->running; *p; p = &(*p)->next) {
        if (*p == r) {
            *p = r->next;
            break;
        }
    }
    if (--ts->n_running == 0)
        pthread_cond_broadcast(&ts->quiet);
    pthread_mutex_unlock(&ts->lock);
}

/* ---- one call ---- */

struct op_run *op_run_new(struct tasks *ts)
{
    struct op_run *r = mem_new(struct op_run);
    r->op = (struct op){.db = ts->cfg.db,
                        .tasks = ts,
                        .host = ts->cfg.host,
                        .world = ts->cfg.world,
                        .self = rstr_new(""),
                        .task = rstr_new(""),
                        .caller = caller_copy(&caller_internal),
                        .run = r};
    r->op_ref = ref_new();
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    r->op_uuid = rstr_new(uuid);
    r->label = rstr_new("");
    r->ctx = val_map();
    r->holder = r->op_ref;
    r->began = clock_now();
    return r;
}

void op_run_free(struct op_run *r)
{
    if (r->args && !r->transfer)
        (r->free_args ? r->free_args : free)(r->args);
    claim_list_free(r->claims, r->n_claims);
    caller_done(&r->op.caller);
    rstr_unref(r->op.self);
    rstr_unref(r->op.task);
    rstr_unref(r->op_ref);
    rstr_unref(r->op_uuid);
    rstr_unref(r->label);
    rstr_unref(r->subtask_of);
    rstr_unref(r->kind_name);
    val_unref(r->ctx);
    val_unref(r->other_config);
    val_unref(r->result);
    err_free(r->failed);
    free(r);
}

static void set_label(struct op_run *r, const struct run_request *rq)
{
    _cleanup_(freep) char *name = mem_printf("%s%s.%s", rq->async ? "Async." : "",
                                             desc_classes[rq->msg->cls]->name, rq->msg->name);
    rstr_set(&r->label, rq->label ? rq->label : name);
}

/* Do calls of it make a task, even if nobody waits for it? */
static bool has_task(const struct msg_desc *m)
{
    return m && !(desc_classes[m->cls]->flags & CLASS_NO_TASK) && (m->flags & MSG_ASYNC);
}

static struct op_run *make_run(struct tasks *ts, const struct run_request *rq)
{
    struct op_run *r = op_run_new(ts);
    r->op.msg = rq->msg;
    rstr_set(&r->op.self, rq->self ? rq->self : "");
    caller_done(&r->op.caller);
    r->op.caller = caller_copy(&rq->caller);
    r->fn = rq->fn;
    r->args = rq->args;
    r->free_args = rq->free_args;
    r->async = rq->async;
    r->given_task = rq->task != NULL;
    r->transfer = !rq->msg;
    r->is_patient = !r->transfer && !ts->cfg.single;
    r->make_task = !r->given_task && (rq->async || has_task(rq->msg));
    r->keep_task = r->transfer ? r->given_task || rq->async : rq->async && !r->given_task;
    if (rq->subtask_of)
        r->subtask_of = rstr_new(rq->subtask_of);
    r->other_config = rq->other_config ? val_ref(rq->other_config) : NULL;
    if (rq->trace)
        r->trace = *rq->trace;
    if (rq->msg)
        set_label(r, rq);
    else
        rstr_set(&r->label, rq->label);
    rstr_unref(r->op.task);
    r->op.task = r->given_task ? rstr_new(rq->task) : r->make_task ? ref_new() : rstr_new("");
    r->holder = *r->op.task ? r->op.task : r->op_ref;
    return r;
}

/* ---- begin ---- */

static bool needs_journal(const struct op_run *r)
{
    return r->n_claims > 0 || (r->async && !r->transfer);
}

static struct err *take_claims(struct txn *t, struct op_run *r)
{
    struct claim_view v = {.txn = t};
    if (!*r->op.self)
        return NULL;
    TRY(claim_list(&v, r->op.msg, r->op.self, &r->claims, &r->n_claims));
    return claim_take(t, r->claims, r->n_claims, r->holder);
}

bool is_held_by_house(struct txn *t, const struct err *refused)
{
    if (!err_is(refused, "OTHER_OPERATION_IN_PROGRESS") ||
        !str_eq(err_param(refused, 2), enum_vdi_operations.values[VDI_OPERATIONS_BLOCKED]))
        return false;
    const struct rec_op *holder = txn_op(t, err_param(refused, 3));
    return holder && !*holder->message;
}

/* A refused Async call has a task all the same, and the refusal is in it. */
static struct err *begin_txn(struct txn *t, void *arg)
{
    struct op_run *r = arg;
    if (r->given_task && !txn_task(t, r->op.task))
        return err_HANDLE_INVALID("task", r->op.task);
    struct err *refused = take_claims(t, r);
    r->is_held_up = r->is_patient && refused && is_held_by_house(t, refused);
    if (refused && (!r->keep_task || r->is_held_up))
        return refused;
    r->failed = refused;
    if (r->make_task)
        TRY(task_row_add(t, r));
    if (r->transfer && *r->op.task)
        task_row_taken_over(t, r->op.task);
    if (refused) {
        task_row_end(t, r);
        return NULL;
    }
    if (needs_journal(r)) {
        TRY(journal_add(t, r));
        r->journaled = true;
    }
    return NULL;
}

static void call_done(struct op_run *r)
{
    if (r->done)
        r->done(r->done_arg, steal(&r->failed), steal(&r->result));
}

/* Refused before it began: nothing is left behind. */
static void not_begun(struct op_run *r, struct err *e)
{
    if (r->started)
        r->started(r->done_arg, e, NULL);
    else if (r->done)
        r->done(r->done_arg, e, NULL);
    else
        err_free(e);
    tasks_delist(r->op.tasks, r);
    op_run_free(r);
}

static bool is_ender(const struct op_run *r)
{
    static const char *const names[] = {
        "hard_shutdown", "clean_shutdown", "shutdown",          "cancel",
        "unplug",        "unplug_force",   "power_state_reset", "eject"};
    for (size_t i = 0; r->op.msg && i < ARRAY_LEN(names); i++) {
        if (strcmp(r->op.msg->name, names[i]) == 0)
            return true;
    }
    return false;
}

static void run_call(void *arg);

static void begun(void *arg, struct err *e, uint64_t generation);

/* Who was held up tries again, for a while. On a thread of the pool. */
static void begin_later(void *arg)
{
    struct op_run *r = arg;
    usec_t until = clock_now() + HELD_UP_MAX;
    struct err *e = NULL;
    do {
        err_free(e);
        waitable_wait(&r->cancel, NULL, clock_now() + HELD_UP_TRY);
        r->is_patient = clock_now() < until && !r->cancelled;
        claim_list_free(r->claims, r->n_claims);
        r->claims = NULL;
        r->n_claims = 0;
        e = db_write(r->op.db, "begin", begin_txn, r);
    } while (e && r->is_held_up);
    begun(r, e, 0);
}

static void begun(void *arg, struct err *e, uint64_t generation)
{
    struct op_run *r = arg;
    struct tasks *ts = r->op.tasks;
    if (e && r->is_held_up) {
        err_free(e);
        runner_submit(is_ender(r) ? ts->enders : ts->pool, begin_later, r);
        return;
    }
    if (e) {
        not_begun(r, e);
        return;
    }
    if (r->started)
        r->started(r->done_arg, NULL, r->op.task);
    if (r->failed) {
        call_done(r);
        tasks_delist(ts, r);
        op_run_free(r);
        return;
    }
    if (ts->cfg.single || r->transfer)
        run_call(r);
    else
        runner_submit(is_ender(r) ? ts->enders : ts->pool, run_call, r);
}

static bool nothing_to_write(const struct op_run *r)
{
    bool claims = r->op.msg && r->op.msg->op && *r->op.self;
    return !r->make_task && !r->given_task && !claims;
}

void tasks_run(struct tasks *ts, const struct run_request *rq, tasks_started_fn started,
               tasks_done_fn done, void *arg)
{
    struct op_run *r = make_run(ts, rq);
    r->started = started;
    r->done = done;
    r->done_arg = arg;
    tasks_enlist(ts, r);
    if (ts->stopping || (ts->pool && runner_queued(ts->pool) > MAX_WAITING))
        not_begun(r, err_TOO_MANY_PENDING_TASKS());
    else if (nothing_to_write(r))
        begun(r, NULL, 0);
    else if (ts->cfg.single)
        begun(r, db_write(ts->cfg.db, "begin", begin_txn, r), 0);
    else
        db_write_async(ts->cfg.db, "begin", begin_txn, r, begun);
}

/* ---- run and end ---- */

static struct err *end_txn(struct txn *t, void *arg)
{
    struct op_run *r = arg;
    claim_drop(t, r->claims, r->n_claims, r->holder);
    task_row_end(t, r);
    if (r->journaled)
        journal_del(t, r);
    return NULL;
}

void tasks_end_run(struct op_run *r)
{
    struct tasks *ts = r->op.tasks;
    if (r->journaled || r->make_task || r->n_claims || r->keep_task) {
        struct err *e = db_write(ts->cfg.db, "end", end_txn, r);
        r->failed = err_first(r->failed, e);
    }
    call_done(r);
    internal_kick(ts); /* before it leaves the list: tasks_settle sees the one or the other */
    tasks_delist(ts, r);
    op_run_free(r);
}

static void set_log_context(const struct op_run *r)
{
    char text[256];
    snprintf(text, sizeof(text), "op=%s task=%s call=%s", r->op_uuid, r->op.task, r->label);
    log_ctx(text);
}

/* Whoever noticed the cancel may not have known the task. */
static struct err *name_cancelled(const struct op_run *r, struct err *e)
{
    if (!err_is(e, "TASK_CANCELLED") || str_eq(err_param(e, 0), r->op.task))
        return e;
    err_free(e);
    return err_TASK_CANCELLED(r->op.task);
}

static void run_call(void *arg)
{
    struct op_run *r = arg;
    set_log_context(r);
    r->failed = name_cancelled(r, r->fn(&r->op, r->args, &r->result));
    if (r->failed) {
        _cleanup_(freep) char *text = err_text(r->failed);
        log_info("event=call-failed call=%s error=%s", r->label, text);
    }
    tasks_end_run(r);
    log_ctx(NULL);
}

/* ---- waiting callers ---- */

struct waiter {
    struct waitable over;
    struct err *e;
    struct val *result;
};

static void wake_waiter(void *arg, struct err *e, struct val *result)
{
    struct waiter *w = arg;
    w->e = e;
    w->result = result;
    waitable_fire(&w->over);
}

struct err *tasks_call(struct tasks *ts, const struct run_request *rq, struct val **ret)
{
    struct waiter w = {0};
    tasks_run(ts, rq, NULL, wake_waiter, &w);
    waitable_wait(&w.over, NULL, USEC_NEVER);
    if (ret && !w.e)
        *ret = w.result;
    else
        val_unref(w.result);
    return w.e;
}

/* ---- transfers ---- */

struct err *tasks_transfer(struct tasks *ts, const struct run_request *rq, struct val **ret)
{
    struct waiter w = {0};
    struct op_run *r = make_run(ts, rq);
    r->done = wake_waiter;
    r->done_arg = &w;
    tasks_enlist(ts, r);
    if (ts->stopping)
        not_begun(r, err_TOO_MANY_PENDING_TASKS());
    else
        begun(r, nothing_to_write(r) ? NULL : db_write(ts->cfg.db, "begin", begin_txn, r), 0);
    if (ret && !w.e)
        *ret = w.result;
    else
        val_unref(w.result);
    return w.e;
}

/* ---- cancel ---- */

struct cancel_arg {
    const char *task, *by;
};

static struct err *cancel_txn(struct txn *t, void *arg)
{
    struct cancel_arg *a = arg;
    struct rec_task *row = txn_edit_task(t, a->task);
    if (!row)
        return err_HANDLE_INVALID("task", a->task);
    if (!val_set_has(row->allowed_operations, "cancel"))
        return err_OPERATION_NOT_ALLOWED("the task cannot be cancelled");
    val_assign(&row->current_operations, val_with(row->current_operations, a->by, "cancel"));
    return NULL;
}

struct err *tasks_cancel(struct tasks *ts, const char *task_ref, const char *by_task)
{
    struct cancel_arg a = {task_ref, by_task && *by_task ? by_task : task_ref};
    TRY(db_write(ts->cfg.db, "cancel", cancel_txn, &a));
    pthread_mutex_lock(&ts->lock);
    for (struct op_run *r = ts->running; r; r = r->next) {
        if (str_eq(r->op.task, task_ref))
            cancel_run(r);
    }
    pthread_mutex_unlock(&ts->lock);
    return NULL;
}

/* ---- asking ---- */

void tasks_dump(struct tasks *ts, struct buf *out)
{
    pthread_mutex_lock(&ts->lock);
    for (struct op_run *r = ts->running; r; r = r->next) {
        const struct op_kind *k = atomic_load(&r->kind);
        unsigned step = atomic_load(&r->step);
        bool undoing = atomic_load(&r->undoing);
        buf_printf(out,
                   "op=%s task=%s call=%s object=%s kind=%s step='%s' phase=%s since_ms=%llu\n",
                   r->op_uuid, r->op.task, r->label, r->op.self, k ? k->name : "",
                   k ? k->steps[step].name : "", undoing ? "undo" : "run",
                   (unsigned long long)((clock_now() - r->began) / USEC_PER_MSEC));
    }
    pthread_mutex_unlock(&ts->lock);
}
