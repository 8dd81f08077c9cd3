/*
 * task_row.c: rows of class task - born, moved, ended, forgotten. All functions that take a txn run
 * on core.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "gen/typed.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/op_run.h"
#include "task/tasks_impl.h"

#define FINISHED_KEEP_S (65 * 60)
#define PENDING_KEEP_S  (24 * 60 * 60)
#define TASKS_MAX       200

static int64_t now_s(void)
{
    return (int64_t)(clock_wall() / USEC_PER_SEC);
}

static struct rec_task *add_row(struct txn *t, struct tasks *ts, const char *ref, const char *uuid,
                                const char *label)
{
    struct rec_task *row = (struct rec_task *)txn_add(t, CLASS_task, ref, uuid);
    rstr_set(&row->name_label, label);
    rstr_set(&row->type, "<none/>");
    row->created = now_s();
    row->finished = 0;
    row->status = TASK_STATUS_TYPE_PENDING;
    if (txn_host(t, ts->host_ref))
        rstr_set(&row->resident_on, ts->host_ref);
    return row;
}

static void set_owner(struct txn *t, struct rec_task *row, const struct caller *c)
{
    if (*c->session && txn_session(t, c->session))
        rstr_set(&row->session, c->session);
}

struct err *task_row_add(struct txn *t, struct op_run *r)
{
    struct rec_task *row = add_row(t, r->op.tasks, r->op.task, NULL, r->label);
    set_owner(t, row, &r->op.caller);
    if (r->other_config)
        val_assign(&row->other_config, val_ref(r->other_config));
    if (r->subtask_of && txn_task(t, r->subtask_of))
        rstr_set(&row->subtask_of, r->subtask_of);
    return NULL;
}

void task_row_revive(struct txn *t, struct tasks *ts, const struct rec_op *op)
{
    if (!*op->task || txn_task(t, op->task))
        return;
    struct rec_task *row =
        add_row(t, ts, op->task, *op->task_uuid ? op->task_uuid : NULL, op->label);
    row->created = op->created;
    if (*op->session && txn_session(t, op->session))
        rstr_set(&row->session, op->session);
}

void task_row_progress(struct txn *t, const char *ref, double progress)
{
    struct rec_task *row = txn_edit_task(t, ref);
    if (row && row->status == TASK_STATUS_TYPE_PENDING)
        row->progress = progress;
}

void task_row_cancellable(struct txn *t, const char *ref, bool can)
{
    struct rec_task *row = txn_edit_task(t, ref);
    if (!row)
        return;
    struct val *ops = val_set();
    if (can)
        val_add_str(ops, "cancel");
    val_assign(&row->allowed_operations, ops);
}

void task_row_taken_over(struct txn *t, const char *ref)
{
    task_row_progress(t, ref, 0);
    task_row_cancellable(t, ref, true);
}

static void end_failed(struct rec_task *row, const struct err *e)
{
    struct val *info = val_set();
    val_add_str(info, err_code(e));
    for (unsigned i = 0; i < err_n_params(e); i++)
        val_add_str(info, err_param(e, i));
    val_assign(&row->error_info, info);
    row->status =
        err_is(e, "TASK_CANCELLED") ? TASK_STATUS_TYPE_CANCELLED : TASK_STATUS_TYPE_FAILURE;
}

static void end_row(struct tasks *ts, struct rec_task *row, const struct val *result,
                    const struct type *type, const struct err *e)
{
    if (row->status == TASK_STATUS_TYPE_SUCCESS || row->status == TASK_STATUS_TYPE_FAILURE ||
        row->status == TASK_STATUS_TYPE_CANCELLED)
        return;
    val_assign(&row->allowed_operations, val_set());
    val_assign(&row->current_operations, val_map());
    row->finished = now_s();
    row->progress = 1.0;
    if (e) {
        end_failed(row, e);
        return;
    }
    row->status = TASK_STATUS_TYPE_SUCCESS;
    _cleanup_(freep) char *text = ts->cfg.render ? ts->cfg.render(result, type) : NULL;
    rstr_set(&row->result, text ? text : "");
}

/* Somebody has destroyed it while it ran. */
static bool is_given_up(const struct rec_task *row)
{
    for (size_t i = 0; i < val_count(row->current_operations); i++)
        if (str_eq(val_str_at(row->current_operations, i), "destroy"))
            return true;
    return false;
}

void task_row_end(struct txn *t, struct op_run *r)
{
    if (!*r->op.task || (r->given_task && !r->transfer))
        return;
    struct rec_task *row = txn_edit_task(t, r->op.task);
    if (!row)
        return;
    if (!r->keep_task || is_given_up(row)) {
        txn_delete(t, CLASS_task, r->op.task);
        return;
    }
    end_row(r->op.tasks, row, r->result, r->op.msg ? r->op.msg->result : NULL, r->failed);
}

/* ---- tasks without a call of their own ---- */

struct create_arg {
    struct tasks *ts;
    const struct caller *caller;
    const char *ref, *label, *description;
};

static struct err *create_txn(struct txn *t, void *arg)
{
    struct create_arg *a = arg;
    struct rec_task *row = add_row(t, a->ts, a->ref, NULL, a->label);
    rstr_set(&row->name_description, a->description);
    set_owner(t, row, a->caller);
    return NULL;
}

struct err *tasks_create(struct tasks *ts, const struct caller *c, const char *label,
                         const char *description, const char **ret_ref)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct create_arg a = {ts, c, ref, label, description};
    TRY(db_write(ts->cfg.db, "task.create", create_txn, &a));
    *ret_ref = steal(&ref);
    return NULL;
}

struct finish_arg {
    struct tasks *ts;
    const char *ref;
    const struct val *result;
    const struct type *type;
    const struct err *e;
    double progress;
};

static struct err *finish_txn(struct txn *t, void *arg)
{
    struct finish_arg *a = arg;
    struct rec_task *row = txn_edit_task(t, a->ref);
    if (!row)
        return err_HANDLE_INVALID("task", a->ref);
    end_row(a->ts, row, a->result, a->type, a->e);
    return NULL;
}

struct err *tasks_finish(struct tasks *ts, const char *task_ref, const struct val *result,
                         const struct type *type, const struct err *e)
{
    struct finish_arg a = {.ts = ts, .ref = task_ref, .result = result, .type = type, .e = e};
    return db_write(ts->cfg.db, "end task", finish_txn, &a);
}

static struct err *progress_txn(struct txn *t, void *arg)
{
    struct finish_arg *a = arg;
    if (!txn_task(t, a->ref))
        return err_HANDLE_INVALID("task", a->ref);
    task_row_progress(t, a->ref, a->progress);
    return NULL;
}

struct err *tasks_set_progress(struct tasks *ts, const char *task_ref, double progress)
{
    struct finish_arg a = {.ts = ts, .ref = task_ref, .progress = progress};
    return db_write(ts->cfg.db, "task progress", progress_txn, &a);
}

/* ---- retention ---- */

static bool is_over(const struct rec_task *row)
{
    return row->status != TASK_STATUS_TYPE_PENDING && row->status != TASK_STATUS_TYPE_CANCELLING;
}

static bool too_old(const struct rec_task *row, int64_t now)
{
    if (is_over(row))
        return now - row->finished > FINISHED_KEEP_S;
    return row->progress == 0 && now - row->created > PENDING_KEEP_S;
}

static int by_finished(const void *a, const void *b)
{
    const struct rec_task *const *x = a, *const *y = b;
    return ((*x)->finished > (*y)->finished) - ((*x)->finished < (*y)->finished);
}

/* The oldest finished ones beyond TASKS_MAX. */
static void drop_surplus(struct txn *t)
{
    VEC(const struct rec_task *) over = {0};
    size_t n = 0;
    txn_each (row, t, CLASS_task) {
        n++;
        if (is_over(rec_task(row)))
            vec_push(&over, rec_task(row));
    }
    if (over.n)
        qsort(over.v, over.n, sizeof(*over.v), by_finished);
    for (size_t i = 0; i < over.n && n > TASKS_MAX; i++, n--)
        txn_delete(t, CLASS_task, over.v[i]->row.ref);
    vec_done(&over);
}

static struct err *gc_txn(struct txn *t, void *arg)
{
    int64_t now = now_s();
    VEC(const char *) old = {0};
    txn_each (row, t, CLASS_task) {
        if (too_old(rec_task(row), now))
            vec_push(&old, row->ref);
    }
    vec_each (ref, &old)
        txn_delete(t, CLASS_task, *ref);
    vec_done(&old);
    drop_surplus(t);
    return NULL;
}

struct err *tasks_gc(struct tasks *ts)
{
    return db_write(ts->cfg.db, "task retention", gc_txn, NULL);
}
