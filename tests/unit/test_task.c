/*
 * test_task.c: the layer of tasks by itself - threads, waits, steps and their undo, retention,
 * recovery from the journal - on a database in memory, without a host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "gen/typed.h"
#include "state/db.h"
#include "state/row.h"
#include "task/claim.h"
#include "task/claim_rules.h"
#include "task/fault.h"
#include "task/op.h"
#include "task/runner.h"
#include "task/task.h"
#include "task/waitable.h"

/* ---- threads ---- */

static atomic_int ran, most, now_running;

static void count_up(void *arg)
{
    int n = atomic_fetch_add(&now_running, 1) + 1;
    for (int m = most; n > m && !atomic_compare_exchange_weak(&most, &m, n);)
        ;
    struct waitable never = WAITABLE_INIT;
    waitable_wait(&never, NULL, clock_now() + 2 * USEC_PER_MSEC);
    atomic_fetch_sub(&now_running, 1);
    atomic_fetch_add(&ran, 1);
}

static void a_pool_runs_everything_on_so_many_threads(void **state)
{
    struct runner *r = runner_new("test", 4);
    ran = most = 0;
    for (int i = 0; i < 40; i++)
        runner_submit(r, count_up, NULL);
    runner_free(r);
    assert_int_equal(ran, 40);
    assert_in_range(most, 1, 4);
}

static void fire(void *arg)
{
    waitable_fire(arg);
}

static void what_is_fired_stays_fired(void **state)
{
    struct waitable w = WAITABLE_INIT;
    struct runner *r = runner_new("test", 1);
    assert_false(waitable_wait(&w, NULL, clock_now() + USEC_PER_MSEC));
    runner_submit(r, fire, &w);
    assert_true(waitable_wait(&w, NULL, clock_now() + 5 * USEC_PER_SEC));
    assert_true(waitable_is_fired(&w));
    waitable_clear(&w);
    assert_false(waitable_is_fired(&w));
    runner_free(r);
}

/* ---- fixture: a database with a task layer ---- */

static struct db *db;
static struct tasks *ts;
static char trace[256];
static const char *fail_at; /* name of the step that fails */

static void ok(struct err *e)
{
    char *text = e ? err_text(e) : NULL;
    if (text)
        print_error("%s\n", text);
    free(text);
    err_free(e);
    assert_null(e);
}

static int begin(void **state)
{
    log_set_level(NULL, LOG_ERR);
    log_set_level("step", LOG_ERR);
    ok(db_open(&(struct db_config){0}, &db));
    claim_hook(db);
    ok(tasks_new(&(struct tasks_config){.db = db}, &ts));
    ok(tasks_recover(ts));
    trace[0] = '\0';
    fail_at = "";
    fault_clear();
    return 0;
}

static int end(void **state)
{
    tasks_stop(ts, clock_now() + 5 * USEC_PER_SEC);
    db_close(db);
    return 0;
}

/* ---- steps ---- */

static struct err *note(struct op *op, const char *what)
{
    size_t at = strlen(trace);
    snprintf(trace + at, sizeof(trace) - at, "%s ", what);
    return str_eq(fail_at, what) ? err_OPERATION_NOT_ALLOWED(what) : NULL;
}

#define STEP(name)                                                                                 \
    static struct err *run_##name(struct op *op)                                                   \
    {                                                                                              \
        return note(op, #name);                                                                    \
    }                                                                                              \
    static struct err *undo_##name(struct op *op)                                                  \
    {                                                                                              \
        return note(op, "-" #name);                                                                \
    }
STEP(a)
STEP(b)
STEP(d)

static struct err *nothing(struct txn *t, void *arg)
{
    return NULL;
}

static struct err *run_c(struct op *op)
{
    struct err *e = note(op, "c");
    return e ? e : op_commit(op, "c", nothing, NULL);
}

static const struct step steps[] = {
    {"a", run_a, undo_a, .weight = 1},
    {"b", run_b, undo_b, .weight = 1},
    {"c", run_c, NULL, .weight = 1, .commit = true},
    {"d", run_d, undo_d, .weight = 1},
};
static const struct op_kind kind = OP_KIND("test.steps", steps);

static struct err *walk(struct op *op, const void *args, struct val **ret)
{
    op_put(op, "result", "OpaqueRef:x");
    return op_run_steps(op, "test.steps");
}

static struct err *call(msg_fn fn)
{
    op_kind_register(&kind);
    struct run_request rq = {.msg = desc_msg("VM.start"), .fn = fn, .caller = caller_internal};
    return tasks_call(ts, &rq, NULL);
}

static void steps_run_in_order(void **state)
{
    ok(call(walk));
    assert_string_equal(trace, "a b c d ");
}

static void a_failure_is_undone_in_reverse(void **state)
{
    fail_at = "b";
    struct err *e = call(walk);
    assert_true(err_is(e, "OPERATION_NOT_ALLOWED"));
    err_free(e);
    assert_string_equal(trace, "a b -b -a ");
    struct snap *s = snap_get(db);
    assert_int_equal(snap_count(s, CLASS_op), 0);
    assert_int_equal(snap_count(s, CLASS_task), 0);
    snap_unref(s);
}

static void behind_the_commit_it_goes_on(void **state)
{
    fail_at = "d";
    struct err *e = call(walk);
    assert_true(err_is(e, "OPERATION_NOT_ALLOWED"));
    err_free(e);
    assert_string_equal(trace, "a b c d d d d ");
}

static void an_undo_that_fails_is_tried_again(void **state)
{
    fail_at = "-a";
    fault_fail_nth(4); /* after b */
    struct err *e = call(walk);
    assert_non_null(e);
    err_free(e);
    assert_string_equal(trace, "a b -b -a -a -a -a ");
}

/* ---- the journal of a dead process ---- */

struct left {
    const char *task;
    int64_t step;
    bool committed;
};

static struct err *leave_row(struct txn *t, void *arg)
{
    const struct left *l = arg;
    struct rec_op *row = txn_add_op(t);
    rstr_set(&row->message, "VM.start");
    rstr_set(&row->kind, "test.steps");
    rstr_set(&row->task, l->task);
    rstr_set(&row->label, "Async.VM.start");
    row->keep_task = true;
    row->step = l->step;
    row->committed = l->committed;
    row->epoch = 0;
    struct val *context = val_map();
    val_put_str(context, "result", "OpaqueRef:made");
    val_assign(&row->context, context);
    return NULL;
}

static enum task_status_type recover(const char *task, int64_t step, bool committed)
{
    struct left l = {task, step, committed};
    op_kind_register(&kind);
    ok(db_write(db, "leave", leave_row, &l));
    trace[0] = '\0';
    ok(tasks_recover(ts));
    struct snap *s = snap_get(db);
    const struct rec_task *row = snap_task(s, task);
    assert_non_null(row);
    enum task_status_type status = row->status;
    assert_int_equal(snap_count(s, CLASS_op), 0);
    snap_unref(s);
    return status;
}

static void before_the_commit_it_is_undone(void **state)
{
    assert_int_equal(recover("OpaqueRef:t1", 1, false), TASK_STATUS_TYPE_FAILURE);
    assert_string_equal(trace, "-b -a ");
}

static void behind_the_commit_it_is_finished(void **state)
{
    assert_int_equal(recover("OpaqueRef:t2", 2, true), TASK_STATUS_TYPE_SUCCESS);
    assert_string_equal(trace, "d ");
    assert_int_equal(recover("OpaqueRef:t3", 3, true), TASK_STATUS_TYPE_SUCCESS);
    assert_string_equal(trace, "d ");
}

/* ---- work of the house, which waits for claims ---- */

static struct waitable go, begun, over;
static atomic_int n_internal;

static struct err *hold_it(struct op *op, const void *args, struct val **ret)
{
    waitable_wait(&go, NULL, USEC_NEVER);
    return NULL;
}

static struct err *outcome; /* asserted on the test's own thread */

static void on_begun(void *arg, struct err *e, const char *task)
{
    outcome = e;
    waitable_fire(&begun);
}

static void on_over(void *arg, struct err *e, struct val *result)
{
    outcome = e;
    waitable_fire(&over);
}

/* Asked on core before the claims are: who holds them drops them while we are being refused. */
static bool let_go(struct txn *t, struct op *op)
{
    waitable_fire(&go);
    return false;
}

static struct err *count_one(struct op *op)
{
    atomic_fetch_add(&n_internal, 1);
    return op_commit(op, "count", nothing, NULL);
}

static const struct step house_steps[] = {{"count", count_one, NULL, .weight = 1, .commit = true}};
static const struct op_kind house = {"test.house", house_steps, ARRAY_LEN(house_steps), let_go};

static struct err *add_vm(struct txn *t, void *arg)
{
    *(const char **)arg = rstr_ref(txn_add_VM(t)->row.ref);
    return NULL;
}

static void claims_dropped_during_a_refusal_are_noticed(void **state)
{
    _cleanup_(rstr_unrefp) const char *vm = NULL;
    op_kind_register(&house);
    ok(db_write(db, "add", add_vm, &vm));
    n_internal = 0;
    for (int i = 0; i < 200; i++) {
        waitable_clear(&go);
        waitable_clear(&begun);
        waitable_clear(&over);
        tasks_run(ts,
                  &(struct run_request){.msg = desc_msg("VM.destroy"),
                                        .fn = hold_it,
                                        .self = vm,
                                        .caller = caller_internal},
                  on_begun, on_over, NULL);
        waitable_wait(&begun, NULL, USEC_NEVER);
        ok(steal(&outcome));
        tasks_run_internal(ts, "test.house", CLASS_VM, vm, VM_OPERATIONS_DESTROY, NULL);
        waitable_wait(&over, NULL, USEC_NEVER);
        ok(steal(&outcome));
        assert_true(tasks_settle(ts, clock_now() + 60 * USEC_PER_SEC));
        assert_int_equal(n_internal, i + 1);
    }
}

static struct err *tidy(struct op *op)
{
    waitable_fire(&begun);
    waitable_wait(&go, NULL, USEC_NEVER);
    return op_commit(op, "tidy", nothing, NULL);
}

static const struct step tidy_steps[] = {{"tidy", tidy, NULL, .weight = 1, .commit = true}};
static const struct op_kind tidies = OP_KIND("test.tidy", tidy_steps);

static struct err *add_vdi(struct txn *t, void *arg)
{
    struct rec_VDI *vdi = txn_add_VDI(t);
    struct rec_PBD *pbd = txn_add_PBD(t);
    rstr_set(&vdi->SR, txn_add_SR(t)->row.ref);
    rstr_set(&pbd->SR, vdi->SR);
    pbd->currently_attached = true;
    *(const char **)arg = rstr_ref(vdi->row.ref);
    return NULL;
}

static struct err *return_at_once(struct op *op, const void *args, struct val **ret)
{
    return NULL;
}

/* As a transfer of a disk does, and what claims more when it has begun. */
static struct err *claim_disk(struct op *op, const void *args, struct val **ret)
{
    return op_claim(op, CLASS_VDI, args, VDI_OPERATIONS_UPDATE);
}

static void *free_the_house(void *arg)
{
    ok(db_write(db, "after the first try", nothing, NULL));
    waitable_fire(&go);
    return NULL;
}

static void who_claims_what_the_house_holds_waits(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    pthread_t thread;
    ok(db_write(db, "add", add_vdi, &vdi));
    waitable_clear(&go);
    waitable_clear(&begun);
    tasks_run_internal(ts, "test.tidy", CLASS_VDI, vdi, VDI_OPERATIONS_BLOCKED, NULL);
    waitable_wait(&begun, NULL, USEC_NEVER);
    assert_int_equal(pthread_create(&thread, NULL, free_the_house, NULL), 0);
    struct run_request rq = {
        .fn = claim_disk, .args = (void *)vdi, .label = "a transfer", .caller = caller_internal};
    ok(tasks_transfer(ts, &rq, NULL));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(tasks_settle(ts, clock_now() + 60 * USEC_PER_SEC));
}

static void who_meets_the_house_at_a_disk_waits(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    op_kind_register(&tidies);
    ok(db_write(db, "add", add_vdi, &vdi));
    for (int async = 0; async < 2; async++) {
        waitable_clear(&go);
        waitable_clear(&begun);
        waitable_clear(&over);
        tasks_run_internal(ts, "test.tidy", CLASS_VDI, vdi, VDI_OPERATIONS_BLOCKED, NULL);
        waitable_wait(&begun, NULL, USEC_NEVER);
        tasks_run(ts,
                  &(struct run_request){.msg = desc_msg("VDI.update"),
                                        .fn = return_at_once,
                                        .self = vdi,
                                        .async = async,
                                        .caller = caller_internal},
                  NULL, on_over, NULL);
        ok(db_write(db, "after its first try", nothing, NULL));
        waitable_fire(&go);
        waitable_wait(&over, NULL, USEC_NEVER);
        ok(steal(&outcome));
        assert_true(tasks_settle(ts, clock_now() + 60 * USEC_PER_SEC));
    }
}

/* ---- retention ---- */

static size_t count_tasks(void)
{
    struct snap *s = snap_get(db);
    size_t n = snap_count(s, CLASS_task);
    snap_unref(s);
    return n;
}

static void old_tasks_are_forgotten(void **state)
{
    const char *done = NULL, *pending = NULL;
    ok(tasks_create(ts, &caller_internal, "one", "", &done));
    ok(tasks_create(ts, &caller_internal, "two", "", &pending));
    ok(tasks_finish(ts, done, NULL, NULL, NULL));
    ok(tasks_gc(ts));
    assert_int_equal(count_tasks(), 2);
    clock_fake(clock_wall() + 66 * 60 * USEC_PER_SEC);
    ok(tasks_gc(ts));
    assert_int_equal(count_tasks(), 1);
    clock_advance(24 * 60 * 60 * USEC_PER_SEC);
    ok(tasks_gc(ts));
    assert_int_equal(count_tasks(), 0);
    clock_real();
    rstr_unref(done);
    rstr_unref(pending);
}

static void no_more_than_two_hundred(void **state)
{
    for (int i = 0; i < 210; i++) {
        _cleanup_(rstr_unrefp) const char *ref = NULL;
        ok(tasks_create(ts, &caller_internal, "t", "", &ref));
        if (i < 205)
            ok(tasks_finish(ts, ref, NULL, NULL, NULL));
    }
    ok(tasks_gc(ts));
    assert_int_equal(count_tasks(), 200);
}

static void an_ended_task_stays_as_it_ended(void **state)
{
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    ok(tasks_create(ts, &caller_internal, "t", "", &ref));
    ok(tasks_finish(ts, ref, NULL, NULL, NULL));
    _cleanup_(err_freep) struct err *e = err_OPERATION_NOT_ALLOWED("late");
    ok(tasks_finish(ts, ref, NULL, NULL, e));
    struct snap *s = snap_get(db);
    assert_int_equal(snap_task(s, ref)->status, TASK_STATUS_TYPE_SUCCESS);
    snap_unref(s);
}

/* ---- the model's rules have their functions ---- */

static void every_named_rule_exists(void **state)
{
    for (unsigned c = 0; c < desc_n_classes; c++) {
        for (unsigned op = 0; op < desc_classes[c]->n_ops; op++) {
            const struct op_desc *rule = claim_rule(desc_classes[c], (int)op);
            if (rule && rule->custom && !claim_rule_named(rule->custom))
                fail_msg("no rule is named '%s'", rule->custom);
        }
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

/* However often it moves, the store has nothing to do. */
static void progress_is_no_durable_change(void **state)
{
    _cleanup_(rstr_unrefp) const char *task = NULL;
    ok(tasks_create(ts, &caller_internal, "long", "", &task));
    _cleanup_(snap_unrefp) struct snap *before = snap_get(db);
    for (int i = 1; i <= 100; i++)
        ok(tasks_set_progress(ts, task, i / 100.0));
    _cleanup_(snap_unrefp) struct snap *now = snap_get(db);
    assert_int_equal(snap_generation(now), snap_generation(before));
    assert_true(snap_task(now, task)->progress == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(progress_is_no_durable_change),
        cmocka_unit_test(a_pool_runs_everything_on_so_many_threads),
        cmocka_unit_test(what_is_fired_stays_fired),
        T(steps_run_in_order),
        T(a_failure_is_undone_in_reverse),
        T(behind_the_commit_it_goes_on),
        T(an_undo_that_fails_is_tried_again),
        T(before_the_commit_it_is_undone),
        T(behind_the_commit_it_is_finished),
        T(claims_dropped_during_a_refusal_are_noticed),
        T(who_meets_the_house_at_a_disk_waits),
        T(who_claims_what_the_house_holds_waits),
        T(old_tasks_are_forgotten),
        T(no_more_than_two_hundred),
        T(an_ended_task_stays_as_it_ended),
        T(every_named_rule_exists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
