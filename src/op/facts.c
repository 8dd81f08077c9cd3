/*
 * facts.c: what guests do by themselves, and what the records make of it.
 *
 *     powered off, crashed ──> "guest ended":   mark halted - take away - (start again)
 *     rebooted             ──> "guest rebooted": next domid - tell the guest - mark rebooted
 *     clock, agent's data  ──> one transaction
 *     a folder changed     ──> "SR scan"
 *     disks wait, go on    ──> disk_wait.c
 *
 * The first two are operations of the house: they wait until the VM is free, so a fact that an
 * operation has caused (a clean shutdown) finds its work done: the domid it speaks of is gone.
 */
#include <stdio.h>

#include "base/log.h"
#include "op/sr_ops.h"
#include "op/vdi_cbt.h"
#include "op/vm_ops.h"
#include "op/world.h"

/* ---- "guest ended" ---- */

static bool is_stale(struct op *op, const struct rec_VM *vm)
{
    bool live = vm && (vm->power_state == VM_POWER_STATE_RUNNING ||
                       vm->power_state == VM_POWER_STATE_PAUSED);
    return !live || vm->domid != op_get_int(op, "fact.domid");
}

/* Often an operation has done what the fact tells of, and the claim would be in the way of the next
 * caller. */
static bool is_moot(struct txn *t, struct op *op)
{
    return is_stale(op, txn_VM(t, op->self));
}

/* actions_after_crash speaks of crashes of the guest. One whose process was taken away from it
 * stays down: whoever or whatever did that would do it again. */
static bool wants_restart(const struct rec_VM *vm, const char *how)
{
    if (str_eq(how, "crashed"))
        return vm->actions_after_crash == ON_CRASH_BEHAVIOUR_RESTART ||
               vm->actions_after_crash == ON_CRASH_BEHAVIOUR_COREDUMP_AND_RESTART ||
               vm->actions_after_crash == ON_CRASH_BEHAVIOUR_RENAME_RESTART;
    /* A reboot ends a guest also for the sake of disks that are reset then. */
    if (str_eq(how, "reboot"))
        return vm->actions_after_reboot == ON_NORMAL_EXIT_RESTART;
    return str_eq(how, "shutdown") && vm->actions_after_shutdown == ON_NORMAL_EXIT_RESTART;
}

static struct err *ended_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_VM *vm = txn_VM(t, op->self);
    if (is_stale(op, vm)) {
        op_put_bool(op, "stale", true);
        return NULL;
    }
    const char *how = op_get(op, "how");
    bool crashed = !str_eq(how, "shutdown") && !str_eq(how, "reboot");
    op_put_bool(op, "restart", wants_restart(vm, how));
    _cleanup_(freep) char *body =
        crashed ? mem_printf("VM '%s' %s: %s", vm->name_label, how, op_get(op, "reason"))
                : mem_printf("VM '%s' shut itself down", vm->name_label);
    alert_add(t, crashed ? "VM_CRASHED" : "VM_SHUTDOWN", crashed ? 2 : 5, CLS_VM, vm->uuid, body);
    vm_becomes_halted(t, op->self);
    return NULL;
}

static struct err *mark_ended(struct op *op)
{
    return op_commit(op, "guest ended", ended_txn, op);
}

static struct err *clear_away(struct op *op)
{
    if (op_get_bool(op, "stale"))
        return NULL;
    return err_first(kill_guest(op), detach_disks(op));
}

static struct err *start_again(struct op *op)
{
    if (op_get_bool(op, "restart"))
        tasks_run_internal(op->tasks, "VM.start", CLASS_VM, op->self, VM_OPERATIONS_START, NULL);
    return NULL;
}

static const struct step ended_steps[] = {
    {"mark halted", mark_ended, NULL, .weight = 1, .commit = true},
    {"clear away", clear_away, NULL, .weight = 1},
    {"start again", start_again, NULL, .weight = 1},
};
const struct op_kind kind_guest_ended = {"guest ended", ended_steps, ARRAY_LEN(ended_steps),
                                         is_moot};

/* ---- "guest rebooted" ---- */

static struct err *look(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm = snap_VM(s, op->self);
    if (is_stale(op, vm)) {
        op_put_bool(op, "stale", true);
        return NULL;
    }
    return take_domid(op);
}

static struct err *tell_domid(struct op *op)
{
    if (op_get_bool(op, "stale"))
        return NULL;
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_set_domid(op->host, &v, uuid, op_get_int(op, "domid"));
}

static struct err *believe_new_domid(struct op *op)
{
    return op_get_bool(op, "stale") ? NULL : believe_guest(op);
}

static struct err *mark_reboot(struct op *op)
{
    return op_get_bool(op, "stale") ? step_keep(op) : mark_rebooted(op);
}

static const struct step rebooted_steps[] = {
    {"next domid", look, NULL, .weight = 1},
    {"tell the guest its number", tell_domid, believe_new_domid, .weight = 1},
    {"mark rebooted", mark_reboot, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_guest_rebooted = {"guest rebooted", rebooted_steps,
                                            ARRAY_LEN(rebooted_steps), is_moot};

/* ---- "SR scan" ---- */

static struct err *scan(struct op *op)
{
    struct verb v = op_verb(op, 5 * VERB_TIME);
    return sr_follow(ops_of(op), &v, op->self);
}

static const struct step scan_steps[] = {
    {"scan", scan, NULL, .weight = 1},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_sr_scan = OP_KIND("SR scan", scan_steps);

/* ---- facts that are one transaction ---- */

struct small_fact {
    enum host_fact_kind kind;
    const char *vm; /* rstr: uuid */
    int64_t domid, rtc_offset_s, memory_bytes;
    struct val *data;
};

static void set_rtc(struct txn *t, const struct rec_VM *vm, int64_t offset)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)offset);
    struct rec_VM *edit = txn_edit_VM(t, vm->row.ref);
    val_assign(&edit->platform, val_with(edit->platform, "timeoffset", text));
}

static void take_map(const struct val **slot, const struct val *data, const char *key)
{
    const struct val *v = val_map_get(data, key);
    val_assign(slot, v && val_kind(v) == VAL_MAP ? val_ref(v) : val_map());
}

/* "8.4.0" -> major 8, minor 4 … as clients look for them. */
static struct val *driver_version(const struct val *data)
{
    struct val *map = val_map();
    const char *version = val_map_str(data, "version", "");
    static const char *const keys[] = {"major", "minor", "micro", "build"};
    struct view rest = view_of(version), part;
    for (size_t i = 0; *version && i < ARRAY_LEN(keys); i++) {
        bool more = view_split(&rest, '.', &part);
        _cleanup_(freep) char *text = view_dup(part);
        val_put_str(map, keys[i], text);
        if (!more)
            break;
    }
    return map;
}

static void set_agent(struct txn *t, const struct rec_VM *vm, const struct val *data)
{
    struct rec_VM_guest_metrics *m = txn_edit_VM_guest_metrics(t, vm->guest_metrics);
    bool there = val_count(data) > 0;
    if (!m && !there)
        return;
    if (!m) {
        m = txn_add_VM_guest_metrics(t);
        rstr_assign(&txn_edit_VM(t, vm->row.ref)->guest_metrics, m->row.ref);
    }
    m->live = there;
    m->last_updated = now_s();
    if (!there)
        return;
    m->PV_drivers_detected = true;
    m->PV_drivers_up_to_date = true;
    take_map(&m->os_version, data, "os_version");
    take_map(&m->networks, data, "networks");
    take_map(&m->other, data, "other");
    val_assign(&m->PV_drivers_version, driver_version(data));
    m->can_use_hotplug_vbd = TRISTATE_TYPE_YES;
    m->can_use_hotplug_vif = TRISTATE_TYPE_YES;
}

static void set_memory(struct txn *t, const struct rec_VM *vm, const struct small_fact *f)
{
    struct rec_VM_metrics *m = txn_edit_VM_metrics(t, vm->metrics);
    if (!m || vm->domid != f->domid)
        return;
    m->memory_actual = f->memory_bytes;
    m->last_updated = now_s();
}

static struct err *small_fact_txn(struct txn *t, void *arg)
{
    struct small_fact *f = arg;
    const struct rec_VM *vm = txn_VM_by_uuid(t, f->vm);
    if (!vm)
        return NULL;
    if (f->kind == FACT_RTC)
        set_rtc(t, vm, f->rtc_offset_s);
    else if (f->kind == FACT_MEMORY)
        set_memory(t, vm, f);
    else
        set_agent(t, vm, f->data);
    return NULL;
}

static void small_fact_done(void *arg, struct err *e, uint64_t generation)
{
    struct small_fact *f = arg;
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        log_warn("event=fact-lost vm=%s error=%s", f->vm, text);
    }
    err_free(e);
    rstr_unref(f->vm);
    val_unref(f->data);
    free(f);
}

static void post_small(struct ops *ops, const struct host_fact *fact)
{
    struct small_fact *f = mem_new(struct small_fact);
    *f = (struct small_fact){.kind = fact->kind,
                             .vm = rstr_new(fact->vm),
                             .domid = fact->domid,
                             .rtc_offset_s = fact->rtc_offset_s,
                             .memory_bytes = (int64_t)fact->memory_bytes,
                             .data = fact->data ? val_ref(fact->data) : val_map()};
    db_write_async(ops->cfg.db, "fact", small_fact_txn, f, small_fact_done);
}

/* ---- the receiver ---- */

static void post_operation(struct ops *ops, const struct host_fact *fact, const char *kind,
                           const char *how)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_VM *vm = snap_VM_by_uuid(s, fact->vm);
    if (!vm)
        return;
    struct val *ctx = val_map();
    char domid[24];
    snprintf(domid, sizeof(domid), "%lld", (long long)fact->domid);
    val_put_str(ctx, "fact.domid", domid);
    val_put_str(ctx, "how", how);
    val_put_str(ctx, "reason", fact->reason ? fact->reason : "");
    tasks_run_internal(ops->cfg.tasks, kind, CLASS_VM, vm->row.ref, VM_OPERATIONS_SHUTDOWN, ctx);
}

static void post_scan(struct ops *ops, const char *sr_uuid)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_SR *sr = snap_SR_by_uuid(s, sr_uuid);
    if (sr)
        tasks_run_internal(ops->cfg.tasks, "SR scan", CLASS_SR, sr->row.ref,
                           STORAGE_OPERATIONS_SCAN, NULL);
}

/* One that was asked for in time finds the object claimed by who asked, and its work done. */
static void post_gone(struct ops *ops, const struct host_fact *fact)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_VBD *vbd = snap_VBD_by_uuid(s, fact->reason);
    const struct rec_VIF *vif = snap_VIF_by_uuid(s, fact->reason);
    if (fact->kind == FACT_DISK_GONE && vbd)
        tasks_run_internal(ops->cfg.tasks, "VBD gone", CLASS_VBD, vbd->row.ref,
                           VBD_OPERATIONS_UNPLUG, NULL);
    else if (fact->kind == FACT_NIC_GONE && vif)
        tasks_run_internal(ops->cfg.tasks, "VIF gone", CLASS_VIF, vif->row.ref,
                           VIF_OPERATIONS_UNPLUG, NULL);
}

void ops_fact(void *arg, const struct host_fact *fact)
{
    struct ops *ops = *(struct ops **)arg;
    if (!ops)
        return;
    switch (fact->kind) {
    case FACT_SHUTDOWN:
        post_operation(ops, fact, "guest ended", "shutdown");
        break;
    case FACT_REBOOT_STOPPED:
        post_operation(ops, fact, "guest ended", "reboot");
        break;
    case FACT_CRASHED:
        post_operation(ops, fact, "guest ended", "crashed");
        break;
    case FACT_LOST:
        post_operation(ops, fact, "guest ended", "lost");
        break;
    case FACT_REBOOT:
        post_operation(ops, fact, "guest rebooted", "reboot");
        break;
    case FACT_RTC:
    case FACT_MEMORY:
    case FACT_AGENT:
        post_small(ops, fact);
        break;
    case FACT_DISK_ERROR:
        log_warn("event=disk-process-lost vm=%s reason='%s'", fact->vm, fact->reason);
        break;
    case FACT_DISK_OK:
        log_info("event=disk-process-back vm=%s", fact->vm);
        break;
    case FACT_DISK_WAITS:
    case FACT_DISK_GOES_ON:
        disk_wait_fact(ops, fact);
        break;
    case FACT_DISK_SILENT:
        disk_again(ops, fact);
        break;
    case FACT_SR_CHANGED:
        post_scan(ops, fact->sr);
        break;
    case FACT_SR_LOW:
        disk_low_fact(ops, fact);
        break;
    case FACT_DISK_GONE:
    case FACT_NIC_GONE:
        post_gone(ops, fact);
        break;
    case FACT_ROOT_NAMED:
        root_named(ops, fact);
        break;
    case FACT_CBT_LOST:
        cbt_lost(ops, fact->reason);
        break;
    }
}
