/*
 * test_op.c: operations on a simulated host. What a message says it did is looked for by another
 * route: in the simulated hypervisor, in the repository's folder, in another record.
 */
#include "../torture/lab_test.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "task/claim.h"

/* How many disks, images and NICs the guest has, by the hypervisor's own record. */
static void devices(size_t *ret_disks, size_t *ret_images, size_t *ret_nics)
{
    struct guest_item *items = NULL;
    size_t n = 0;
    ok(host_list(w.host, &items, &n));
    assert_int_equal(n, 1);
    const struct boot *b = items[0].boot;
    *ret_disks = b->n_disks;
    *ret_nics = b->n_nics;
    *ret_images = 0;
    for (size_t i = 0; i < b->n_disks; i++)
        *ret_images += *b->disks[i].image.path != '\0';
    guest_items_free(items, n);
}

static void expect_devices(size_t disks, size_t images, size_t nics)
{
    size_t d, i, n;
    devices(&d, &i, &n);
    assert_int_equal(d, disks);
    assert_int_equal(i, images);
    assert_int_equal(n, nics);
}

static enum vm_power_state power(void)
{
    const struct rec_VM *vm = lab_vm(&w);
    enum vm_power_state state = vm->power_state;
    row_unref(&vm->row);
    return state;
}

static bool is_disk_of_vm(const struct row *row)
{
    return str_eq(rec_VBD(row)->VM, w.vm) && rec_VBD(row)->type == VBD_TYPE_DISK;
}

static bool is_cd_of_vm(const struct row *row)
{
    return str_eq(rec_VBD(row)->VM, w.vm) && rec_VBD(row)->type == VBD_TYPE_CD;
}

static bool is_image(const struct row *row)
{
    return str_eq(rec_VDI(row)->SR, w.iso);
}

static bool is_vdi(const struct row *row)
{
    return str_eq(rec_VDI(row)->SR, w.sr);
}

static unsigned files(const char *suffix)
{
    unsigned n = 0;
    _cleanup_(freep) char *cmd = mem_printf("ls %s/sr | grep -c '%s$'", w.dir, suffix);
    FILE *f = popen(cmd, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%u", &n), 1);
    pclose(f);
    return n;
}

/* ---- power ---- */

static void start_runs_a_guest(void **state)
{
    START();
    assert_int_equal(guest().state, GUEST_RUNNING);
    assert_int_equal(power(), VM_POWER_STATE_RUNNING);
    expect(VM(start), "VM_BAD_POWER_STATE %s halted running", w.vm);
}

static void start_on_takes_this_host_only(void **state)
{
    expect(VM(start_on, .host = "OpaqueRef:x"), "HANDLE_INVALID host OpaqueRef:x");
    ok(VM(start_on, .host = w.host_ref));
    assert_int_equal(guest().state, GUEST_RUNNING);
    expect(VM(start_on, .host = w.host_ref), "VM_BAD_POWER_STATE %s halted running", w.vm);
}

static void paused_guests_stand_still(void **state)
{
    ok(VM(start, .start_paused = true));
    assert_int_equal(guest().state, GUEST_PAUSED);
    expect(VM(pause), "VM_BAD_POWER_STATE %s running paused", w.vm);
    ok(VM(unpause));
    assert_int_equal(guest().state, GUEST_RUNNING);
    expect(VM(unpause), "VM_BAD_POWER_STATE %s paused running", w.vm);
    ok(VM(pause));
    assert_int_equal(guest().state, GUEST_PAUSED);
}

static void clean_shutdown_asks_the_guest(void **state)
{
    START();
    guest_does(SIM_DEAF, 1);
    expect(VM(clean_shutdown), "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT %s", w.vm);
    assert_int_equal(guest().state, GUEST_RUNNING);
    guest_does(SIM_DEAF, 0);
    ok(VM(clean_shutdown));
    assert_int_equal(guest().state, GUEST_ABSENT);
    expect(VM(clean_shutdown), "VM_BAD_POWER_STATE %s running halted", w.vm);
}

static void hard_shutdown_does_not_ask(void **state)
{
    START();
    guest_does(SIM_DEAF, 1);
    ok(VM(hard_shutdown));
    assert_int_equal(guest().state, GUEST_ABSENT);
    expect(VM(hard_shutdown), "VM_BAD_POWER_STATE %s paused, running, suspended halted", w.vm);
}

static void shutdown_asks_and_then_does_not(void **state)
{
    START();
    guest_does(SIM_DEAF, 1);
    ok(VM(shutdown));
    assert_int_equal(guest().state, GUEST_ABSENT);
    expect(VM(shutdown), "VM_BAD_POWER_STATE %s paused, running, suspended halted", w.vm);
}

static void a_reboot_takes_the_next_domid(void **state)
{
    expect(VM(hard_reboot), "VM_BAD_POWER_STATE %s paused, running halted", w.vm);
    expect(VM(clean_reboot), "VM_BAD_POWER_STATE %s running halted", w.vm);
    START();
    int64_t domid = guest().domid;
    ok(VM(hard_reboot));
    assert_int_equal(guest().domid, domid + 1);
    ok(VM(clean_reboot));
    assert_int_equal(guest().domid, domid + 2);
    guest_does(SIM_REBOOT, 0);
    assert_int_equal(guest().domid, domid + 3);
    assert_int_equal(alerts("VM_REBOOTED"), 3);
}

static bool is_forgetful(const struct row *row)
{
    return rec_VDI(row)->on_boot == ON_BOOT_RESET;
}

static struct err *stay_off_txn(struct txn *t, void *arg)
{
    txn_edit_VM(t, arg)->actions_after_reboot = ON_NORMAL_EXIT_DESTROY;
    return NULL;
}

static void a_guest_whose_disk_forgets_reboots_by_a_start(void **state)
{
    _cleanup_(rstr_unrefp) const char *vbd = ref_of(CLASS_VBD, is_disk_of_vm);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    const char *vdi = snap_VBD(s, vbd)->VDI;
    ok(lab_call(&w, VDI_set_on_boot, vdi, .self = vdi, .value = ON_BOOT_RESET));
    rstr_unref(ref_of(CLASS_VDI, is_forgetful));
    START();
    int64_t domid = guest().domid;
    guest_does(SIM_REBOOT, 0);
    assert_int_equal(power(), VM_POWER_STATE_RUNNING);
    assert_true(guest().domid > domid);
    assert_int_equal(alerts("VM_STARTED"), 2);
    ok(db_write(w.db, "stay off", stay_off_txn, (void *)w.vm));
    guest_does(SIM_REBOOT, 0);
    assert_int_equal(power(), VM_POWER_STATE_HALTED);
}

static void suspend_keeps_the_memory_in_a_vdi(void **state)
{
    expect(VM(suspend), "VM_BAD_POWER_STATE %s running halted", w.vm);
    START();
    unsigned before = files(".*");
    ok(VM(suspend));
    assert_int_equal(guest().state, GUEST_ABSENT);
    assert_int_equal(files(".*"), before + 1);
    ok(VM(resume));
    assert_int_equal(guest().state, GUEST_RUNNING);
    assert_int_equal(files(".*"), before);
    expect(VM(resume), "VM_BAD_POWER_STATE %s suspended running", w.vm);
    ok(VM(suspend));
    ok(VM(resume_on, .host = w.host_ref));
    assert_int_equal(guest().state, GUEST_RUNNING);
    expect(VM(resume_on, .host = w.host_ref), "VM_BAD_POWER_STATE %s suspended running", w.vm);
}

static void memory_is_counted(void **state)
{
    int64_t much = INT64_C(5) << 30;
    ok(lab_call(&w, VM_set_memory_limits, w.vm, .self = w.vm, .static_max = much,
                .dynamic_min = much, .dynamic_max = much));
    expect(VM(start), "HOST_NOT_ENOUGH_FREE_MEMORY 5368709120 4294967296");
    expect(lab_call(&w, VM_assert_can_boot_here, w.vm, .self = w.vm, .host = w.host_ref),
           "HOST_NOT_ENOUGH_FREE_MEMORY 5368709120 4294967296");
    ok(lab_call(&w, VM_set_memory, w.vm, .self = w.vm, .value = 64 << 20));
    START();
    assert_int_equal(guest().memory_bytes, 64 << 20);
    ok(VM(hard_shutdown));
}

static void memory_limits_keep_their_order(void **state)
{
    const char *order = "static_min ≤ dynamic_min ≤ dynamic_max ≤ static_max";
    expect(lab_call(&w, VM_set_memory_dynamic_max, w.vm, .self = w.vm, .value = 128 << 20),
           "MEMORY_CONSTRAINT_VIOLATION %s", order);
    ok(lab_call(&w, VM_set_memory_static_max, w.vm, .self = w.vm, .value = 128 << 20));
    ok(lab_call(&w, VM_set_memory_dynamic_max, w.vm, .self = w.vm, .value = 128 << 20));
    START();
    assert_int_equal(guest().memory_bytes, 128 << 20);
}

static void blocked_operations_are_refused(void **state)
{
    ok(lab_call(&w, VM_add_to_blocked_operations, w.vm, .self = w.vm, .key = VM_OPERATIONS_START,
                .value = "kept off"));
    expect(VM(start), "OPERATION_BLOCKED %s kept off", w.vm);
    ok(lab_call(&w, VM_remove_from_blocked_operations, w.vm, .self = w.vm,
                .key = VM_OPERATIONS_START));
    START();
}

/* ---- what guests do ---- */

static void a_guest_that_powers_off_is_halted(void **state)
{
    START();
    guest_does(SIM_POWER_OFF, 0);
    assert_int_equal(power(), VM_POWER_STATE_HALTED);
    assert_int_equal(alerts("VM_SHUTDOWN"), 1);
}

static void a_guest_that_loses_its_process_stays_down(void **state)
{
    START();
    ok(lab_call(&w, VM_set_actions_after_crash, w.vm, .self = w.vm,
                .value = ON_CRASH_BEHAVIOUR_RESTART));
    guest_does(SIM_LOSE, 0);
    assert_int_equal(power(), VM_POWER_STATE_HALTED);
    assert_int_equal(alerts("VM_CRASHED"), 1);
}

static void a_guest_that_crashes_is_told_and_restarted(void **state)
{
    START();
    int64_t domid = guest().domid;
    ok(lab_call(&w, VM_set_actions_after_crash, w.vm, .self = w.vm,
                .value = ON_CRASH_BEHAVIOUR_RESTART));
    guest_does(SIM_CRASH, 0);
    assert_int_equal(alerts("VM_CRASHED"), 1);
    assert_int_equal(guest().state, GUEST_RUNNING);
    assert_int_equal(guest().domid, domid + 1);
    ok(lab_call(&w, VM_set_actions_after_crash, w.vm, .self = w.vm,
                .value = ON_CRASH_BEHAVIOUR_DESTROY));
    guest_does(SIM_CRASH, 0);
    assert_int_equal(power(), VM_POWER_STATE_HALTED);
}

static void the_clock_is_written_back(void **state)
{
    START();
    guest_does(SIM_RTC, 7200);
    const struct rec_VM *vm = lab_vm(&w);
    assert_string_equal(val_map_str(vm->platform, "timeoffset", ""), "7200");
    row_unref(&vm->row);
}

static void the_agent_fills_guest_metrics(void **state)
{
    START();
    guest_does(SIM_AGENT, 9);
    const struct rec_VM *vm = lab_vm(&w);
    struct snap *s = snap_get(w.db);
    const struct rec_VM_guest_metrics *m = snap_VM_guest_metrics(s, vm->guest_metrics);
    assert_non_null(m);
    assert_true(m->live && m->PV_drivers_detected);
    assert_string_equal(val_map_str(m->networks, "0/ip", ""), "10.0.0.9");
    snap_unref(s);
    row_unref(&vm->row);
}

static void a_guest_lost_while_nobody_looked_is_halted(void **state)
{
    START();
    const struct rec_VM *vm = lab_vm(&w);
    lab_close(&w);
    _cleanup_(freep) char *file = mem_printf("%s/run/world/%s.guest", lab_dir, vm->uuid);
    assert_int_equal(unlink(file), 0);
    row_unref(&vm->row);
    ok(lab_open(lab_dir, &w));
    assert_int_equal(power(), VM_POWER_STATE_HALTED);
    assert_int_equal(alerts("VM_CRASHED"), 1);
}

static void guests_are_found_again(void **state)
{
    START();
    int64_t domid = guest().domid;
    lab_close(&w);
    ok(lab_open(lab_dir, &w));
    assert_int_equal(power(), VM_POWER_STATE_RUNNING);
    assert_int_equal(guest().domid, domid);
    ok(VM(clean_shutdown));
}

/* ---- tasks, claims, cancel ---- */

struct outcome {
    struct waitable begun, over;
    const char *task;
    struct err *e;
};

static void on_begun(void *arg, struct err *e, const char *task)
{
    struct outcome *o = arg;
    o->e = e;
    o->task = rstr_new(task ? task : "");
    waitable_fire(&o->begun);
}

static void on_over(void *arg, struct err *e, struct val *result)
{
    struct outcome *o = arg;
    o->e = e;
    val_unref(result);
    waitable_fire(&o->over);
}

static void begin_async(struct outcome *o, const char *name, msg_fn fn)
{
    struct run_request rq = {.msg = desc_msg(name),
                             .fn = fn,
                             .self = w.vm,
                             .async = true,
                             .args = mem_zalloc(1, 64),
                             .caller = caller_internal};
    memset(o, 0, sizeof(*o));
    tasks_run(w.tasks, &rq, on_begun, on_over, o);
    assert_true(waitable_wait(&o->begun, NULL, clock_now() + 5 * USEC_PER_SEC));
}

#define ASYNC(o, message) begin_async((o), #message, (msg_fn)(void (*)(void))msg_##message)

/* Until the task may be cancelled: then the operation has begun its first step. */
static void await_step(const char *task)
{
    for (usec_t end = clock_now() + 60 * USEC_PER_SEC; clock_now() < end;) {
        struct snap *s = snap_get(w.db);
        const struct rec_task *row = snap_task(s, task);
        bool can = row && val_set_has(row->allowed_operations, "cancel");
        snap_unref(s);
        if (can)
            return;
        struct waitable never = WAITABLE_INIT;
        waitable_wait(&never, NULL, clock_now() + 2 * USEC_PER_MSEC);
    }
    fail();
}

static enum task_status_type status(const char *task)
{
    struct snap *s = snap_get(w.db);
    enum task_status_type st = snap_task(s, task)->status;
    snap_unref(s);
    return st;
}

static void finish(struct outcome *o)
{
    assert_true(waitable_wait(&o->over, NULL, clock_now() + 10 * USEC_PER_SEC));
    rstr_unref(o->task);
}

static void an_async_call_ends_in_its_task(void **state)
{
    struct outcome o;
    ASYNC(&o, VM_start);
    assert_true(waitable_wait(&o.over, NULL, clock_now() + 10 * USEC_PER_SEC));
    assert_null(o.e);
    assert_int_equal(status(o.task), TASK_STATUS_TYPE_SUCCESS);
    finish(&o);
    ASYNC(&o, VM_start);
    assert_true(waitable_wait(&o.over, NULL, clock_now() + 10 * USEC_PER_SEC));
    assert_int_equal(status(o.task), TASK_STATUS_TYPE_FAILURE);
    struct snap *s = snap_get(w.db);
    assert_string_equal(val_str_at(snap_task(s, o.task)->error_info, 0), "VM_BAD_POWER_STATE");
    snap_unref(s);
    expect(o.e, "VM_BAD_POWER_STATE %s halted running", w.vm);
    finish(&o);
}

static void a_waiting_operation_can_be_cancelled(void **state)
{
    struct outcome o;
    START();
    guest_does(SIM_DEAF, 1);
    ASYNC(&o, VM_clean_shutdown);
    await_step(o.task);
    ok(tasks_cancel(w.tasks, o.task, ""));
    assert_true(waitable_wait(&o.over, NULL, clock_now() + 5 * USEC_PER_SEC));
    expect(o.e, "TASK_CANCELLED %s", o.task);
    assert_int_equal(status(o.task), TASK_STATUS_TYPE_CANCELLED);
    assert_int_equal(guest().state, GUEST_RUNNING);
    expect(tasks_cancel(w.tasks, o.task, ""), "OPERATION_NOT_ALLOWED the task cannot be cancelled");
    finish(&o);
}

static void one_operation_at_a_time(void **state)
{
    struct outcome o;
    START();
    guest_does(SIM_DEAF, 1);
    ASYNC(&o, VM_clean_shutdown);
    await_step(o.task);
    expect(VM(pause), "OTHER_OPERATION_IN_PROGRESS VM %s clean_shutdown %s", w.vm, o.task);
    ok(VM(hard_shutdown));
    finish(&o);
    err_free(o.e);
    assert_int_equal(guest().state, GUEST_ABSENT);
}

/* What is listed is accepted, what is not is refused, for every object there is. */
static void check_allowed(void)
{
    struct snap *s = snap_get(w.db);
    struct claim_view v = {.snap = s};
    static const int classes[] = {CLASS_VM, CLASS_VBD, CLASS_VIF, CLASS_VDI, CLASS_SR};
    for (size_t c = 0; c < ARRAY_LEN(classes); c++) {
        const struct class_desc *cls = desc_classes[classes[c]];
        const struct field_desc *f = &cls->fields[cls->field_allowed];
        snap_each (row, s, classes[c]) {
            struct val *allowed = row_get(row, f);
            for (size_t i = 0; i < val_count(allowed); i++) {
                int op = desc_enum_value(f->type->elem->enm, val_str_at(allowed, i));
                ok(claim_check(&v, row, op));
            }
            val_unref(allowed);
        }
    }
    snap_unref(s);
}

static void allowed_operations_are_true(void **state)
{
    check_allowed();
    assert_true(allows("start") && allows("destroy") && !allows("pause"));
    START();
    check_allowed();
    assert_true(allows("pause") && allows("hard_shutdown") && !allows("start"));
    ok(VM(suspend));
    check_allowed();
    assert_true(allows("resume") && !allows("pause"));
    ok(VM(resume));
    ok(VM(hard_shutdown));
    check_allowed();
    expect(lab_call(&w, VM_assert_operation_valid, w.vm, .self = w.vm, .op = VM_OPERATIONS_PAUSE),
           "VM_BAD_POWER_STATE %s running halted", w.vm);
    ok(lab_call(&w, VM_assert_operation_valid, w.vm, .self = w.vm, .op = VM_OPERATIONS_START));
}

/* ---- copies ---- */

static void a_template_is_cloned_and_provisioned(void **state)
{
    _cleanup_(val_unrefp) struct val *result = NULL;
    expect(VM(provision), "OPERATION_NOT_ALLOWED the VM is not a template");
    _cleanup_(rstr_unrefp) const char *vbd = ref_of(CLASS_VBD, is_disk_of_vm);
    ok(lab_call(&w, VBD_destroy, vbd, .self = vbd));
    ok(lab_call(&w, VM_set_is_a_template, w.vm, .self = w.vm, .value = true));
    expect(VM(start), "VM_IS_TEMPLATE %s start", w.vm);
    ok(lab_call(&w, VM_add_to_other_config, w.vm, .self = w.vm, .key = "disks",
                .value = "<provision><disk device=\"0\" size=\"8388608\" sr=\"\" bootable=\"true\" "
                         "type=\"system\"/></provision>"));
    unsigned before = files(".vhd");
    ok(lab_ask(&w, &result, VM_clone, w.vm, .vm = w.vm, .new_name = "copy"));
    rstr_set(&w.vm, val_get_str(result));
    ok(VM(provision));
    assert_int_equal(files(".vhd"), before + 1);
    START();
    expect(VM(clone, .new_name = "x"), "VM_BAD_POWER_STATE %s halted running", w.vm);
}

static void copies_have_disks_of_their_own(void **state)
{
    _cleanup_(val_unrefp) struct val *result = NULL;
    unsigned before = files(".vhd");
    ok(lab_ask(&w, &result, VM_copy, w.vm, .vm = w.vm, .new_name = "copy", .sr = w.sr));
    assert_int_equal(files(".vhd"), before + 1);
    START();
    expect(VM(copy, .new_name = "x", .sr = w.sr), "VM_BAD_POWER_STATE %s halted running", w.vm);
    ok(VM(hard_shutdown));
    rstr_set(&w.vm, val_get_str(result));
    START();
    expect_devices(2, 1, 1);
}

static void a_disk_is_copied_while_nobody_writes(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = ref_of(CLASS_VDI, is_vdi);
    unsigned before = files(".vhd");
    ok(lab_call(&w, VDI_copy, vdi, .vdi = vdi, .sr = w.sr, .base_vdi = REF_NULL,
                .into_vdi = REF_NULL));
    assert_int_equal(files(".vhd"), before + 1);
    START();
    expect(lab_call(&w, VDI_copy, vdi, .vdi = vdi, .sr = w.sr, .base_vdi = REF_NULL,
                    .into_vdi = REF_NULL),
           "VDI_IN_USE %s copy", vdi);
}

static void destroy_takes_the_record_only(void **state)
{
    unsigned before = files(".vhd");
    START();
    expect(lab_call(&w, VM_destroy, w.vm, .self = w.vm),
           "VM_BAD_POWER_STATE %s halted, suspended running", w.vm);
    ok(VM(hard_shutdown));
    ok(lab_call(&w, VM_destroy, w.vm, .self = w.vm));
    assert_null(lab_vm(&w));
    assert_int_equal(files(".vhd"), before);
}

/* ---- devices ---- */

static void disks_are_plugged_into_running_guests(void **state)
{
    _cleanup_(rstr_unrefp) const char *vbd = NULL;
    ok(lab_add_disk(&w, &vbd));
    expect(lab_call(&w, VBD_plug, vbd, .self = vbd), "VM_BAD_POWER_STATE %s running, paused halted",
           w.vm);
    ok(VM(start));
    expect_devices(3, 2, 1);
    expect(lab_call(&w, VBD_plug, vbd, .self = vbd), "DEVICE_ALREADY_ATTACHED %s", vbd);
    ok(lab_call(&w, VBD_unplug, vbd, .self = vbd));
    expect_devices(2, 1, 1);
    expect(lab_call(&w, VBD_unplug, vbd, .self = vbd), "DEVICE_ALREADY_DETACHED %s", vbd);
    ok(lab_call(&w, VBD_plug, vbd, .self = vbd));
    expect_devices(3, 2, 1);
    expect(lab_call(&w, VBD_destroy, vbd, .self = vbd),
           "OPERATION_NOT_ALLOWED the VBD is attached to a running VM");
    ok(lab_call(&w, VBD_unplug_force, vbd, .self = vbd));
    ok(lab_call(&w, VBD_destroy, vbd, .self = vbd));
}

static void cds_come_and_go(void **state)
{
    _cleanup_(rstr_unrefp) const char *cd = ref_of(CLASS_VBD, is_cd_of_vm);
    _cleanup_(rstr_unrefp) const char *disk = ref_of(CLASS_VBD, is_disk_of_vm);
    _cleanup_(rstr_unrefp) const char *image = ref_of(CLASS_VDI, is_image);
    START();
    expect(lab_call(&w, VBD_eject, cd, .vbd = cd), "VBD_IS_EMPTY %s", cd);
    ok(lab_call(&w, VBD_insert, cd, .vbd = cd, .vdi = image));
    expect_devices(2, 2, 1);
    expect(lab_call(&w, VBD_insert, cd, .vbd = cd, .vdi = image), "VBD_NOT_EMPTY %s", cd);
    expect(lab_call(&w, VBD_eject, disk, .vbd = disk), "VBD_NOT_REMOVABLE_MEDIA %s", disk);
    ok(lab_call(&w, VBD_eject, cd, .vbd = cd));
    expect_devices(2, 1, 1);
    ok(VM(hard_shutdown));
    ok(lab_call(&w, VBD_insert, cd, .vbd = cd, .vdi = image));
    START();
    expect_devices(2, 2, 1);
}

static void nics_are_plugged_into_running_guests(void **state)
{
    _cleanup_(rstr_unrefp) const char *vif = NULL;
    START();
    ok(lab_add_nic(&w, &vif));
    ok(lab_call(&w, VIF_plug, vif, .self = vif));
    expect_devices(2, 1, 2);
    expect(lab_call(&w, VIF_plug, vif, .self = vif), "DEVICE_ALREADY_ATTACHED %s", vif);
    ok(lab_call(&w, VIF_unplug, vif, .self = vif));
    expect_devices(2, 1, 1);
    expect(lab_call(&w, VIF_unplug, vif, .self = vif), "DEVICE_ALREADY_DETACHED %s", vif);
    ok(lab_call(&w, VIF_destroy, vif, .self = vif));
}

/* ---- storage ---- */

/* As the record and as the storage have it. */
static int64_t size_of(const char *vdi)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    const struct rec_VDI *v = snap_VDI(s, vdi);
    _cleanup_(freep) char *path = mem_printf("%s/sr/%s", w.dir, v->location);
    struct stat st = {0};
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(v->virtual_size, st.st_size);
    return v->virtual_size;
}

static void a_disk_in_use_stays(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = ref_of(CLASS_VDI, is_vdi);
    START();
    expect(lab_call(&w, VDI_destroy, vdi, .self = vdi), "VDI_IN_USE %s destroy", vdi);
    expect(lab_call(&w, VDI_resize, vdi, .vdi = vdi, .size = 16 << 20), "VDI_IN_USE %s resize",
           vdi);
    ok(lab_call(&w, VDI_resize_online, vdi, .vdi = vdi, .size = 14 << 20));
    expect(lab_call(&w, VDI_resize_online, vdi, .vdi = vdi, .size = 12 << 20),
           "VDI_TOO_SMALL %s 14680064", vdi);
    assert_int_equal(size_of(vdi), 14 << 20);
    ok(VM(suspend));
    expect(lab_call(&w, VDI_destroy, vdi, .self = vdi), "VDI_IN_USE %s destroy", vdi);
    ok(VM(hard_shutdown));
    ok(lab_call(&w, VDI_resize, vdi, .vdi = vdi, .size = 16 << 20));
    expect(lab_call(&w, VDI_resize, vdi, .vdi = vdi, .size = 1 << 20), "VDI_TOO_SMALL %s 16777216",
           vdi);
    ok(lab_call(&w, VDI_destroy, vdi, .self = vdi));
    assert_int_equal(files(".vhd"), 0);
}

static bool is_second_sr(const struct row *row)
{
    return str_eq(rec_SR(row)->name_label, "second");
}

static void make_second_sr(void)
{
    _cleanup_(val_unrefp) struct val *config = val_map();
    _cleanup_(freep) char *path = mem_printf("%s/sr2", w.dir);
    val_put_str(config, "location", path);
    ok(lab_call(&w, SR_create, NULL, .host = w.host_ref, .device_config = config,
                .name_label = "second", .name_description = "", .type = "file",
                .content_type = "user", .sm_config = val_empty_map()));
}

static struct err *move_to(const char *vdi, const char *sr, const struct val *options)
{
    return lab_call(&w, VDI_pool_migrate, vdi, .vdi = vdi, .sr = sr, .options = options);
}

static void a_disk_moves_with_its_devices(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = ref_of(CLASS_VDI, is_vdi);
    _cleanup_(val_unrefp) struct val *odd = val_map();
    make_second_sr();
    _cleanup_(rstr_unrefp) const char *sr = ref_of(CLASS_SR, is_second_sr);
    struct snap *s = snap_get(w.db);
    _cleanup_(rstr_unrefp) const char *vbd = rstr_ref(val_str_at(snap_VDI(s, vdi)->VBDs, 0));
    snap_unref(s);
    val_put_str(odd, "dest-img-format", "vmdk");
    expect(move_to(vdi, sr, odd), "INVALID_VALUE dest-img-format vmdk");
    unsigned before = files(".vhd");
    ok(move_to(vdi, sr, val_empty_map()));
    assert_int_equal(files(".vhd"), before - 1);
    s = snap_get(w.db);
    assert_null(snap_VDI(s, vdi));
    assert_string_equal(snap_VDI(s, snap_VBD(s, vbd)->VDI)->SR, sr);
    snap_unref(s);
    START();
}

static const char *disk_shown_by(const char *vbd)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return rstr_ref(snap_VBD(s, vbd)->VDI);
}

static bool is_at(const char *vdi, const char *sr)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w.db);
    return str_eq(snap_VDI(s, vdi)->SR, sr);
}

/* Where the boot record, the data path and the record agree is what lab_check() looks at. */
static void a_disk_moves_under_its_guest(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = ref_of(CLASS_VDI, is_vdi);
    struct snap *s = snap_get(w.db);
    _cleanup_(rstr_unrefp) const char *vbd = rstr_ref(val_str_at(snap_VDI(s, vdi)->VBDs, 0));
    _cleanup_(rstr_unrefp) const char *first = rstr_ref(snap_VDI(s, vdi)->SR);
    snap_unref(s);
    make_second_sr();
    _cleanup_(rstr_unrefp) const char *sr = ref_of(CLASS_SR, is_second_sr);
    START();
    ok(move_to(vdi, sr, val_empty_map()));
    _cleanup_(rstr_unrefp) const char *there = disk_shown_by(vbd);
    assert_true(is_at(there, sr));
    char *wrong = lab_check(&w);
    assert_null(wrong);
    ok(VM(pause));
    expect(move_to(there, first, val_empty_map()),
           "VM_BAD_POWER_STATE %s halted, running, suspended paused", w.vm);
    ok(VM(unpause));
    ok(VM(suspend));
    ok(move_to(there, first, val_empty_map()));
    _cleanup_(rstr_unrefp) const char *back = disk_shown_by(vbd);
    assert_true(is_at(back, first));
    wrong = lab_check(&w);
    assert_null(wrong);
    ok(VM(resume));
    ok(VM(hard_shutdown));
}

static void cd_images_are_deleted_with_their_files(void **state)
{
    _cleanup_(rstr_unrefp) const char *image = ref_of(CLASS_VDI, is_image);
    struct snap *s = snap_get(w.db);
    assert_true(val_set_has(snap_VDI(s, image)->allowed_operations, "destroy"));
    assert_true(val_set_has(snap_SR(s, w.iso)->allowed_operations, "vdi_create"));
    snap_unref(s);
    ok(lab_call(&w, VDI_destroy, image, .self = image));
    ok(lab_call(&w, SR_scan, w.iso, .sr = w.iso));
    s = snap_get(w.db);
    assert_null(snap_VDI(s, image));
    assert_false(val_set_has(snap_SR(s, w.iso)->VDIs, image));
    snap_unref(s);
}

static void a_forgotten_disk_is_found_again(void **state)
{
    _cleanup_(rstr_unrefp) const char *vdi = NULL;
    ok(lab_make_vdi(&w, &vdi));
    unsigned before = files(".vhd");
    ok(lab_call(&w, VDI_forget, vdi, .vdi = vdi));
    assert_int_equal(files(".vhd"), before);
    struct snap *s = snap_get(w.db);
    size_t without = snap_count(s, CLASS_VDI);
    snap_unref(s);
    ok(lab_call(&w, SR_scan, w.sr, .sr = w.sr));
    s = snap_get(w.db);
    assert_int_equal(snap_count(s, CLASS_VDI), without + 1);
    snap_unref(s);
}

static void a_pbd_in_use_stays(void **state)
{
    struct snap *s = snap_get(w.db);
    const char *pbd = val_str_at(snap_SR(s, w.sr)->PBDs, 0);
    START();
    refused(lab_call(&w, PBD_unplug, pbd, .self = pbd), "VDI_IN_USE");
    ok(VM(hard_shutdown));
    ok(lab_call(&w, PBD_unplug, pbd, .self = pbd));
    refused(VM(start), "VM_REQUIRES_SR");
    ok(lab_call(&w, PBD_plug, pbd, .self = pbd));
    START();
    snap_unref(s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_test_begin, lab_test_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(start_runs_a_guest),
        T(start_on_takes_this_host_only),
        T(paused_guests_stand_still),
        T(clean_shutdown_asks_the_guest),
        T(hard_shutdown_does_not_ask),
        T(shutdown_asks_and_then_does_not),
        T(a_reboot_takes_the_next_domid),
        T(a_guest_whose_disk_forgets_reboots_by_a_start),
        T(suspend_keeps_the_memory_in_a_vdi),
        T(memory_is_counted),
        T(memory_limits_keep_their_order),
        T(blocked_operations_are_refused),
        T(a_guest_that_powers_off_is_halted),
        T(a_guest_that_loses_its_process_stays_down),
        T(a_guest_that_crashes_is_told_and_restarted),
        T(the_clock_is_written_back),
        T(the_agent_fills_guest_metrics),
        T(a_guest_lost_while_nobody_looked_is_halted),
        T(guests_are_found_again),
        T(an_async_call_ends_in_its_task),
        T(a_waiting_operation_can_be_cancelled),
        T(one_operation_at_a_time),
        T(allowed_operations_are_true),
        T(a_template_is_cloned_and_provisioned),

        T(copies_have_disks_of_their_own),
        T(a_disk_is_copied_while_nobody_writes),
        T(destroy_takes_the_record_only),
        T(disks_are_plugged_into_running_guests),
        T(cds_come_and_go),
        T(nics_are_plugged_into_running_guests),
        T(a_disk_in_use_stays),
        T(a_disk_moves_with_its_devices),
        T(a_disk_moves_under_its_guest),
        T(cd_images_are_deleted_with_their_files),
        T(a_forgotten_disk_is_found_again),
        T(a_pbd_in_use_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
