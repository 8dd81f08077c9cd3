/*
 * test_appliance.c: appliances on a simulated host. In which order guests came and went is seen in
 * the alerts that each leaves.
 */
#include "../torture/lab_test.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const char *appliance; /* rstr */
static const char *vms[3];    /* rstrs; order 0, 1, 1 */

static struct err *make_appliance(struct txn *t, void *arg)
{
    appliance = rstr_ref(txn_add_VM_appliance(t)->row.ref);
    return NULL;
}

static void add_vm(unsigned i)
{
    _cleanup_(val_unrefp) struct val *r = NULL;
    char name[8];
    snprintf(name, sizeof(name), "vm%u", i);
    ok(lab_ask(&w, &r, VM_clone, w.vm, .vm = w.vm, .new_name = name));
    vms[i] = rstr_new(val_get_str(r));
    ok(lab_call(&w, VM_set_order, vms[i], .self = vms[i], .value = i > 0));
    ok(lab_call(&w, VM_set_appliance, vms[i], .self = vms[i], .value = appliance));
}

static int begin(void **state)
{
    if (lab_test_begin(state))
        return -1;
    ok(db_write(w.db, "appliance", make_appliance, NULL));
    for (unsigned i = 0; i < ARRAY_LEN(vms); i++)
        add_vm(i);
    return 0;
}

static int end(void **state)
{
    rstr_unref(appliance);
    for (unsigned i = 0; i < ARRAY_LEN(vms); i++)
        rstr_unref(vms[i]);
    return lab_test_end(state);
}

static enum vm_power_state power(unsigned i)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return snap_VM(s, vms[i])->power_state;
}

static void expect_power(enum vm_power_state a, enum vm_power_state b, enum vm_power_state c)
{
    assert_int_equal(power(0), a);
    assert_int_equal(power(1), b);
    assert_int_equal(power(2), c);
}

/* The first VM that an alert of that name tells of, and the last. */
static void alerted(const char *name, const char **first, const char **last)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    *first = *last = NULL;
    snap_each (row, s, CLASS_message) {
        const struct rec_message *m = rec_message(row);
        const struct rec_VM *vm = snap_VM_by_uuid(s, m->obj_uuid);
        if (!str_eq(m->name, name) || !vm)
            continue;
        for (unsigned i = 0; i < ARRAY_LEN(vms); i++) {
            if (str_eq(vms[i], vm->row.ref))
                *last = vms[i];
        }
        if (!*first)
            *first = *last;
    }
}

static bool offers(const char *operation)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return val_set_has(snap_VM_appliance(s, appliance)->allowed_operations, operation);
}

#define DO(what, ...) lab_call(&w, VM_appliance_##what, appliance, .self = appliance, ##__VA_ARGS__)

static void orders_come_one_after_the_other(void **state)
{
    const char *first, *last;
    assert_true(offers("start") && !offers("hard_shutdown"));
    refused(DO(hard_shutdown), "OPERATION_NOT_ALLOWED");
    refused(DO(clean_shutdown), "OPERATION_NOT_ALLOWED");
    refused(DO(shutdown), "OPERATION_NOT_ALLOWED");
    ok(DO(start));
    expect_power(VM_POWER_STATE_RUNNING, VM_POWER_STATE_RUNNING, VM_POWER_STATE_RUNNING);
    alerted("VM_STARTED", &first, &last);
    assert_string_equal(first, vms[0]);
    refused(DO(start), "OPERATION_NOT_ALLOWED");
    assert_true(!offers("start") && offers("clean_shutdown") && offers("shutdown"));
    ok(DO(clean_shutdown));
    expect_power(VM_POWER_STATE_HALTED, VM_POWER_STATE_HALTED, VM_POWER_STATE_HALTED);
    alerted("VM_SHUTDOWN", &first, &last);
    assert_string_equal(last, vms[0]);
}

static void they_may_start_paused(void **state)
{
    ok(DO(start, .paused = true));
    expect_power(VM_POWER_STATE_PAUSED, VM_POWER_STATE_PAUSED, VM_POWER_STATE_PAUSED);
    ok(DO(hard_shutdown));
    expect_power(VM_POWER_STATE_HALTED, VM_POWER_STATE_HALTED, VM_POWER_STATE_HALTED);
}

static void what_failed_is_named(void **state)
{
    ok(lab_call(&w, VM_set_memory, vms[1], .self = vms[1], .value = INT64_C(8) << 30));
    expect(DO(start), "OPERATION_PARTIALLY_FAILED VM_appliance.start %s", vms[1]);
    expect_power(VM_POWER_STATE_RUNNING, VM_POWER_STATE_HALTED, VM_POWER_STATE_RUNNING);
    ok(DO(shutdown));
    expect_power(VM_POWER_STATE_HALTED, VM_POWER_STATE_HALTED, VM_POWER_STATE_HALTED);
}

static void make_deaf(unsigned i)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    ok(sim_guest(w.host, snap_VM(s, vms[i])->uuid, SIM_DEAF, 1));
}

static void guests_that_do_not_obey_are_named(void **state)
{
    ok(DO(start));
    make_deaf(1);
    expect(DO(clean_shutdown), "OPERATION_PARTIALLY_FAILED VM_appliance.clean_shutdown %s", vms[1]);
    expect_power(VM_POWER_STATE_HALTED, VM_POWER_STATE_RUNNING, VM_POWER_STATE_HALTED);
    ok(DO(shutdown));
    assert_int_equal(power(1), VM_POWER_STATE_HALTED);
}

/* ---- cancel ---- */

struct outcome {
    struct waitable begun, over;
    const char *task;
    struct err *e;
};

static void on_begun(void *arg, struct err *e, const char *task)
{
    struct outcome *o = arg;
    ok(e);
    o->task = rstr_new(task);
    waitable_fire(&o->begun);
}

static void on_over(void *arg, struct err *e, struct val *result)
{
    struct outcome *o = arg;
    o->e = e;
    val_unref(result);
    waitable_fire(&o->over);
}

static bool waits_for_a_guest(void)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return val_count(snap_VM(s, vms[1])->current_operations) > 0 &&
           power(2) == VM_POWER_STATE_HALTED;
}

static int begin_patient(void **state)
{
    lab_wait_s = 600;
    int r = begin(state);
    lab_wait_s = 1;
    return r;
}

static void begin_async(struct outcome *o, const char *name, msg_fn fn, const void *args,
                        size_t size)
{
    *o = (struct outcome){0};
    struct run_request rq = {.msg = desc_msg(name),
                             .fn = fn,
                             .args = mem_dup(args, size),
                             .self = appliance,
                             .caller = caller_internal,
                             .async = true};
    tasks_run(w.tasks, &rq, on_begun, on_over, o);
    waitable_wait(&o->begun, NULL, USEC_NEVER);
}

static void await(bool (*fn)(void))
{
    struct waitable never = WAITABLE_INIT;
    while (!fn())
        waitable_wait(&never, NULL, clock_now() + USEC_PER_MSEC);
}

static void cancel(struct outcome *o)
{
    ok(tasks_cancel(w.tasks, o->task, ""));
    waitable_wait(&o->over, NULL, USEC_NEVER);
    refused(o->e, "TASK_CANCELLED");
    rstr_unref(o->task);
}

#define BEGIN(o, what, ...)                                                                        \
    begin_async(&(o), "VM_appliance." #what, (msg_fn)(void (*)(void))msg_VM_appliance_##what,      \
                &(struct args_VM_appliance_##what){.self = appliance},                             \
                sizeof(struct args_VM_appliance_##what))

static void a_cancel_is_handed_on(void **state)
{
    struct outcome o;
    ok(DO(start));
    make_deaf(1);
    BEGIN(o, clean_shutdown);
    await(waits_for_a_guest);
    refused(DO(hard_shutdown), "OTHER_OPERATION_IN_PROGRESS");
    cancel(&o);
    expect_power(VM_POWER_STATE_RUNNING, VM_POWER_STATE_RUNNING, VM_POWER_STATE_HALTED);
    ok(DO(hard_shutdown));
}

static bool first_runs(void)
{
    return power(0) == VM_POWER_STATE_RUNNING;
}

static void a_delay_is_kept_and_can_be_cancelled(void **state)
{
    struct outcome o;
    ok(lab_call(&w, VM_set_start_delay, vms[0], .self = vms[0], .value = 100000));
    BEGIN(o, start);
    await(first_runs);
    cancel(&o);
    expect_power(VM_POWER_STATE_RUNNING, VM_POWER_STATE_HALTED, VM_POWER_STATE_HALTED);
    ok(DO(hard_shutdown));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(orders_come_one_after_the_other),
        TEST(they_may_start_paused),
        TEST(what_failed_is_named),
        TEST(guests_that_do_not_obey_are_named),
        TEST(a_delay_is_kept_and_can_be_cancelled),
        cmocka_unit_test_setup_teardown(a_cancel_is_handed_on, begin_patient, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
