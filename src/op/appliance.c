/*
 * appliance.c: VM_appliance.start, clean_shutdown, hard_shutdown, shutdown.
 *
 * VMs of one `order` act side by side, each as a task of its own below the appliance's; the orders
 * come one after the other, ascending to start and descending to shut down, with the longest delay
 * of an order's VMs after it. A VM that fails stops nothing: at the end those that are not in the
 * state wanted are named by OPERATION_PARTIALLY_FAILED. A cancel is handed on to what runs.
 *
 * The operation owns the appliance; each VM's own operation claims and journals for itself, so
 * after a crash there is nothing here to undo.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/vec.h"
#include "gen/msg.h"
#include "op/vm_ops.h"
#include "op/world.h"
#include "task/waitable.h"

#define LOOK_AGAIN (200 * USEC_PER_MSEC)

/* What is done to each VM. */
struct action {
    const char *name;    /* of the operation, as OPERATION_PARTIALLY_FAILED names it */
    const char *message; /* of class VM */
    msg_fn fn;
    bool up;                   /* ascending order, start_delay */
    enum vm_power_state state; /* afterwards */
};

static const struct action actions[] = {
    {"VM_appliance.start", "VM.start", (msg_fn)(void (*)(void))msg_VM_start, true,
     VM_POWER_STATE_RUNNING},
    {"VM_appliance.clean_shutdown", "VM.clean_shutdown",
     (msg_fn)(void (*)(void))msg_VM_clean_shutdown, false, VM_POWER_STATE_HALTED},
    {"VM_appliance.hard_shutdown", "VM.hard_shutdown", (msg_fn)(void (*)(void))msg_VM_hard_shutdown,
     false, VM_POWER_STATE_HALTED},
    {"VM_appliance.shutdown", "VM.shutdown", (msg_fn)(void (*)(void))msg_VM_shutdown, false,
     VM_POWER_STATE_HALTED},
};

/* One VM's part. */
struct job {
    const char *vm; /* rstr */
    int64_t order, delay_s;
    _Atomic(const char *) task; /* rstr; NULL until it has begun */
    struct waitable over;
};

struct jobs {
    const struct action *action;
    bool paused;
    VEC(struct job *) v; /* by order, as they are to act */
};

static enum vm_power_state wanted_state(const struct jobs *jobs)
{
    return jobs->paused ? VM_POWER_STATE_PAUSED : jobs->action->state;
}

static void jobs_done(struct jobs *jobs)
{
    vec_each (j, &jobs->v) {
        rstr_unref((*j)->vm);
        rstr_unref((*j)->task);
        free(*j);
    }
    vec_done(&jobs->v);
}

static void add_job(struct jobs *jobs, const struct rec_VM *vm)
{
    bool up = jobs->action->up;
    struct job *j = mem_new(struct job);
    j->vm = rstr_ref(vm->row.ref);
    j->order = up ? vm->order : -vm->order;
    j->delay_s = up ? vm->start_delay : vm->shutdown_delay;
    size_t at = 0;
    while (at < jobs->v.n && jobs->v.v[at]->order <= j->order)
        at++;
    vec_push(&jobs->v, j);
    for (size_t i = jobs->v.n - 1; i > at; i--)
        jobs->v.v[i] = jobs->v.v[i - 1];
    jobs->v.v[at] = j;
}

static struct err *collect(struct op *op, struct jobs *jobs)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM_appliance *a = snap_VM_appliance(s, op->self);
    if (!a)
        return err_HANDLE_INVALID("VM_appliance", op->self);
    val_each (ref, a->VMs) {
        const struct rec_VM *vm = snap_VM(s, ref);
        if (vm && vm->power_state != wanted_state(jobs))
            add_job(jobs, vm);
    }
    return NULL;
}

/* ---- one order ---- */

static void on_started(void *arg, struct err *e, const char *task)
{
    struct job *j = arg;
    if (!e)
        j->task = rstr_new(task);
    else
        waitable_fire(&j->over);
    err_free(e);
}

/* What became of it is seen in its task and in the VM's state. */
static void on_done(void *arg, struct err *e, struct val *result)
{
    struct job *j = arg;
    err_free(e);
    val_unref(result);
    waitable_fire(&j->over);
}

static void begin(struct op *op, const struct jobs *jobs, struct job *j)
{
    struct args_VM_start start = {.vm = j->vm, .start_paused = jobs->paused};
    struct args_VM_shutdown stop = {.vm = j->vm};
    bool up = jobs->action->up;
    struct run_request rq = {.msg = desc_msg(jobs->action->message),
                             .fn = jobs->action->fn,
                             .args =
                                 up ? mem_dup(&start, sizeof(start)) : mem_dup(&stop, sizeof(stop)),
                             .self = j->vm,
                             .caller = op->caller,
                             .async = true,
                             .subtask_of = *op->task ? op->task : NULL};
    tasks_run(op->tasks, &rq, on_started, on_done, j);
}

static void cancel_all(struct op *op, const struct jobs *jobs, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const char *task = jobs->v.v[i]->task;
        if (task)
            err_free(tasks_cancel(op->tasks, task, op->task));
    }
}

/* The jobs' memory is theirs until they are over, so they are waited for in any case. */
static struct err *await_all(struct op *op, const struct jobs *jobs, size_t from, size_t to)
{
    struct err *e = NULL;
    bool fired;
    for (size_t i = from; i < to && !e; i++) {
        e = op_wait(op, &jobs->v.v[i]->over, USEC_NEVER, &fired);
        op_progress(op, (double)(i + 1) / (double)jobs->v.n);
    }
    if (!e)
        return NULL;
    for (size_t i = from; i < to; i++) {
        do
            cancel_all(op, jobs, i, to); /* one may have begun only now */
        while (!waitable_wait(&jobs->v.v[i]->over, NULL, clock_now() + LOOK_AGAIN));
    }
    return e;
}

static struct err *run_order(struct op *op, const struct jobs *jobs, size_t from, size_t *ret_to)
{
    int64_t delay_s = 0;
    size_t to = from;
    for (; to < jobs->v.n && jobs->v.v[to]->order == jobs->v.v[from]->order; to++) {
        struct job *j = jobs->v.v[to];
        delay_s = j->delay_s > delay_s ? j->delay_s : delay_s;
        begin(op, jobs, j);
    }
    *ret_to = to;
    TRY(await_all(op, jobs, from, to));
    return to < jobs->v.n && delay_s > 0 ? op_sleep(op, (usec_t)delay_s * USEC_PER_SEC) : NULL;
}

/* ---- all of them ---- */

static struct err *report(struct op *op, struct jobs *jobs)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    VEC(const char *) params = {0};
    vec_push(&params, jobs->action->name);
    vec_each (j, &jobs->v) {
        const struct rec_VM *vm = snap_VM(s, (*j)->vm);
        if (vm && vm->power_state != wanted_state(jobs))
            vec_push(&params, (*j)->vm);
    }
    struct err *e = params.n == 1 ? NULL
                                  : err_make_v("OPERATION_PARTIALLY_FAILED", __FILE__, __LINE__,
                                               (unsigned)params.n, params.v);
    vec_done(&params);
    return e;
}

static struct err *run_all(struct op *op)
{
    _cleanup_(jobs_done) struct jobs jobs = {.action = &actions[op_get_int(op, "action")],
                                             .paused = op_get_bool(op, "paused")};
    TRY(collect(op, &jobs));
    for (size_t at = 0; at < jobs.v.n;)
        TRY(run_order(op, &jobs, at, &at));
    return report(op, &jobs);
}

static const struct step steps[] = {
    {"each VM", run_all, NULL, .weight = 10},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_appliance = OP_KIND("VM_appliance", steps);

static struct err *run(struct op *op, int action, bool paused)
{
    op_put_int(op, "action", action);
    op_put_bool(op, "paused", paused);
    return op_run_steps(op, "VM_appliance");
}

struct err *msg_VM_appliance_start(struct op *op, const struct args_VM_appliance_start *a,
                                   struct val **ret)
{
    return run(op, 0, a->paused);
}

struct err *msg_VM_appliance_clean_shutdown(struct op *op,
                                            const struct args_VM_appliance_clean_shutdown *a,
                                            struct val **ret)
{
    return run(op, 1, false);
}

struct err *msg_VM_appliance_hard_shutdown(struct op *op,
                                           const struct args_VM_appliance_hard_shutdown *a,
                                           struct val **ret)
{
    return run(op, 2, false);
}

struct err *msg_VM_appliance_shutdown(struct op *op, const struct args_VM_appliance_shutdown *a,
                                      struct val **ret)
{
    return run(op, 3, false);
}
