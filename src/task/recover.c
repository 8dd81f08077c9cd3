/*
 * recover.c: what a dead process left in the journal.
 *
 * First everything is put back as it was held: tasks (which are not stored) and claims. Then each
 * operation is ended in the order in which they began: undone if it stood before its commit, rolled
 * forward if it stood behind it. The task says truthfully which.
 */
#include "base/log.h"
#include "base/rstr.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/op_run.h"
#include "task/tasks_impl.h"

static bool is_left_over(struct db *db, const struct rec_op *row)
{
    return (uint64_t)row->epoch < db_epoch(db);
}

static struct err *restore_txn(struct txn *t, void *arg)
{
    struct tasks *ts = arg;
    txn_each (row, t, CLASS_op) {
        if (!is_left_over(txn_db(t), rec_op(row)))
            continue;
        struct op_run *r = journal_read(ts, rec_op(row));
        task_row_revive(t, ts, rec_op(row));
        claim_restore(t, r->claims, r->n_claims, r->holder);
        op_run_free(r);
    }
    return NULL;
}

/* A call without a step table: it was one transaction or none, nobody can say which. */
static struct err *interrupted(void)
{
    return err_internal("cairnd ended while the call was running");
}

static struct err *finish(struct op_run *r)
{
    struct err *why = steal(&r->failed);
    if (!r->kind || r->step >= r->kind->n_steps)
        return why ? why : interrupted();
    if (!r->committed)
        return step_undo(r, why ? why : err_internal("cairnd ended before the call's commit"));
    err_free(why);
    if (r->kind->steps[r->step].commit)
        r->step++;
    struct err *e = step_run(r);
    const char *result = op_get(&r->op, "result");
    if (!e && *result)
        r->result = val_str(result);
    return e;
}

static void recover_one(struct tasks *ts, const struct rec_op *row)
{
    struct op_run *r = journal_read(ts, row);
    tasks_enlist(ts, r);
    log_info("event=recover call=%s object=%s kind=%s step=%u committed=%d", row->message,
             row->object, row->kind, r->step, r->committed);
    r->failed = finish(r);
    tasks_end_run(r);
}

struct err *tasks_recover(struct tasks *ts)
{
    TRY(db_write(ts->cfg.db, "restore claims", restore_txn, ts));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ts->cfg.db);
    snap_each (row, s, CLASS_op) {
        if (is_left_over(ts->cfg.db, rec_op(row)))
            recover_one(ts, rec_op(row));
    }
    pthread_mutex_lock(&ts->lock);
    ts->recovered = true;
    pthread_mutex_unlock(&ts->lock);
    internal_kick(ts);
    return NULL;
}
