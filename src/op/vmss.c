/*
 * vmss.c: snapshot schedules: their messages, and the clock that makes them due.
 *
 * The wall clock of the host (host.timezone) counts. Every tick looks which schedules fell due
 * since the tick before; what falls due while nobody looks, for the daemon is down or the clock is
 * set forward, is not made up for, and after a gap an alert says so.
 *
 * A snapshot that is due is an operation of the house: it waits until the VM is free. When it has
 * been taken, the oldest ones that are too many go with their disks. One that fails raises
 * VMSS_SNAPSHOT_FAILED, and last_run_time, the time of the last snapshot, stays as it is.
 */
#include <stdio.h>
#include <time.h>

#include "base/zone.h"
#include "gen/msg.h"
#include "op/schedule.h"
#include "op/vm_change.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"
#include "op/vm_twin.h"
#include "op/world.h"

#define RETAINED_MAX 10
#define QUARTER_S    900
#define GAP_S        QUARTER_S /* between two ticks: more is time that nobody looked */

/* ---- settings ---- */

static struct err *check_retained(int64_t n)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)n);
    return n < 1 || n > RETAINED_MAX ? err_INVALID_VALUE("retained_snapshots", text) : NULL;
}

/* Guests cannot be asked to write out what they hold in memory. */
static struct err *check_type(enum vmss_type type)
{
    return type == VMSS_TYPE_SNAPSHOT_WITH_QUIESCE
               ? err_INVALID_VALUE("type", enum_vmss_type.values[type])
               : NULL;
}

struct create_arg {
    const struct val *rec;
    const char *ref;
};

static struct err *create_txn(struct txn *t, void *arg)
{
    const struct create_arg *a = arg;
    struct rec_VMSS *v = (struct rec_VMSS *)txn_add(t, CLASS_VMSS, a->ref, NULL);
    TRY(rec_take_given(&v->row, a->rec));
    TRY(check_type(v->type));
    TRY(check_retained(v->retained_snapshots));
    TRY(schedule_check(v->schedule));
    val_assign(&v->schedule, schedule_complete(v->frequency, v->schedule));
    return NULL;
}

struct err *msg_VMSS_create(struct op *op, const struct args_VMSS_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct create_arg arg = {a->args, ref};
    TRY(op_write(op, "VMSS.create", create_txn, &arg));
    *ret = val_rstr(ref);
    return NULL;
}

static struct err *destroy_txn(struct txn *t, void *arg)
{
    const struct rec_VMSS *v = txn_VMSS(t, arg);
    if (!v)
        return err_HANDLE_INVALID("VMSS", arg);
    if (val_count(v->VMs) > 0)
        return err_VMSS_HAS_VM();
    txn_each (row, t, CLASS_message) {
        if (str_eq(rec_message(row)->obj_uuid, v->uuid))
            txn_delete(t, CLASS_message, row->ref);
    }
    txn_delete(t, CLASS_VMSS, arg);
    return NULL;
}

struct err *msg_VMSS_destroy(struct op *op, const struct args_VMSS_destroy *a, struct val **ret)
{
    return op_write(op, "VMSS.destroy", destroy_txn, (void *)a->self);
}

struct change {
    const char *self;
    struct err *(*apply)(struct rec_VMSS *v, const void *args);
    const void *args;
};

static struct err *change_txn(struct txn *t, void *arg)
{
    const struct change *c = arg;
    struct rec_VMSS *v = txn_edit_VMSS(t, c->self);
    return v ? c->apply(v, c->args) : err_HANDLE_INVALID("VMSS", c->self);
}

#define VMSS_CHANGE(message, code)                                                                 \
    static struct err *apply_##message(struct rec_VMSS *v, const void *args)                       \
    {                                                                                              \
        const struct args_VMSS_##message *a = args;                                                \
        code                                                                                       \
    }                                                                                              \
    struct err *msg_VMSS_##message(struct op *op, const struct args_VMSS_##message *a,             \
                                   struct val **ret)                                               \
    {                                                                                              \
        struct change c = {a->self, apply_##message, a};                                           \
        return op_write(op, "VMSS." #message, change_txn, &c);                                     \
    }

VMSS_CHANGE(set_retained_snapshots, {
    v->retained_snapshots = a->value;
    return check_retained(a->value);
})

VMSS_CHANGE(set_type, {
    v->type = a->value;
    return check_type(a->value);
})

VMSS_CHANGE(set_frequency, {
    v->frequency = a->value;
    val_assign(&v->schedule, schedule_complete(a->value, v->schedule));
    return NULL;
})

VMSS_CHANGE(set_schedule, {
    val_assign(&v->schedule, schedule_complete(v->frequency, a->value));
    return schedule_check(a->value);
})

/* Clients change a key by taking it away and adding it: there is a default in between. */
VMSS_CHANGE(remove_from_schedule, {
    _cleanup_(val_unrefp) struct val *rest = val_without(v->schedule, a->key);
    val_assign(&v->schedule, schedule_complete(v->frequency, rest));
    return NULL;
})

VMSS_CHANGE(add_to_schedule, {
    _cleanup_(val_unrefp) struct val *one = val_map();
    val_put_str(one, a->key, a->value);
    TRY(schedule_check(one));
    _cleanup_(val_unrefp) struct val *all = val_with(v->schedule, a->key, a->value);
    val_assign(&v->schedule, schedule_complete(v->frequency, all));
    return NULL;
})

VMSS_CHANGE(set_last_run_time, {
    v->last_run_time = a->value;
    return NULL;
})

VM_CHANGE(set_snapshot_schedule, {
    if (vm->is_control_domain || vm->is_a_template)
        return err_OPERATION_NOT_ALLOWED("only a VM can have a snapshot schedule");
    rstr_set(&vm->snapshot_schedule, a->value);
    return NULL;
})

/* ---- what is due ---- */

#define TRIES 4

static struct err *failed_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_VM *vm = txn_VM(t, op->self);
    const struct rec_VMSS *v = txn_VMSS(t, op_get(op, "schedule"));
    if (!vm || !v)
        return NULL;
    _cleanup_(freep) char *body =
        mem_printf("The scheduled snapshot of VM '%s' could not be taken", vm->name_label);
    alert_add(t, "VMSS_SNAPSHOT_FAILED", 3, CLS_VMSS, v->uuid, body);
    return NULL;
}

/* Work of the house is tried four times; what fails for good is told. */
struct err *vmss_failed(struct op *op)
{
    int64_t tries = op_get_int(op, "tries.schedule") + 1;
    op_put_int(op, "tries.schedule", tries);
    if (!*op_get(op, "schedule") || tries < TRIES)
        return NULL;
    return op_write(op, "schedule failed", failed_txn, op);
}

void vmss_taken(struct txn *t, const char *vmss)
{
    struct rec_VMSS *v = txn_edit_VMSS(t, vmss);
    if (v)
        v->last_run_time = now_s();
}

/* Its disks go, then its record: operations of the house, each on its own. */
static void retire_one(struct op *op, const struct snap *s, const struct rec_VM *old)
{
    val_each (ref, old->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (twin_is_own_disk(s, vbd))
            tasks_run_internal(op->tasks, "VDI.destroy", CLASS_VDI, vbd->VDI,
                               VDI_OPERATIONS_DESTROY, NULL);
    }
    tasks_run_internal(op->tasks, "VM.destroy", CLASS_VM, old->row.ref, VM_OPERATIONS_DESTROY,
                       NULL);
}

void vmss_retire(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VMSS *v = snap_VMSS(s, op_get(op, "schedule"));
    int64_t n = 0;
    snap_each (row, s, CLASS_VM)
        n += rec_VM(row)->is_vmss_snapshot && str_eq(rec_VM(row)->snapshot_of, op->self);
    snap_each (row, s, CLASS_VM) { /* the oldest first */
        const struct rec_VM *old = rec_VM(row);
        if (!v || n <= v->retained_snapshots)
            return;
        if (!old->is_vmss_snapshot || !str_eq(old->snapshot_of, op->self))
            continue;
        retire_one(op, s, old);
        n--;
    }
}

static void begin_one(struct ops *ops, const struct snap *s, const struct rec_VMSS *v,
                      const char *ref)
{
    const struct rec_VM *vm = snap_VM(s, ref);
    if (!vm)
        return;
    bool memory = v->type == VMSS_TYPE_CHECKPOINT && vm->power_state != VM_POWER_STATE_HALTED;
    struct val *ctx = val_map();
    char when[32];
    time_t now = (time_t)now_s();
    struct tm tm;
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    _cleanup_(freep) char *name = mem_printf("%s %s", v->name_label, when);
    val_put_str(ctx, "name", name);
    val_put_str(ctx, "schedule", v->row.ref);
    tasks_run_internal(ops->cfg.tasks, memory ? "VM.checkpoint" : "VM.snapshot", CLASS_VM, ref,
                       memory ? VM_OPERATIONS_CHECKPOINT : VM_OPERATIONS_SNAPSHOT, ctx);
}

static void begin(struct ops *ops, const char *vmss)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_VMSS *v = snap_VMSS(s, vmss);
    for (size_t i = 0; v && i < val_count(v->VMs); i++)
        begin_one(ops, s, v, val_str_at(v->VMs, i));
}

struct err *msg_VMSS_snapshot_now(struct op *op, const struct args_VMSS_snapshot_now *a,
                                  struct val **ret)
{
    begin(ops_of(op), a->vmss);
    *ret = val_str("");
    return NULL;
}

static void tell_missed(struct txn *t, const struct rec_VMSS *v)
{
    _cleanup_(freep) char *body =
        mem_printf("The snapshots of schedule '%s' were missed: the clock was set forward, or the "
                   "host stood still",
                   v->name_label);
    alert_add(t, "VMSS_SNAPSHOT_MISSED_EVENT", 3, CLS_VMSS, v->uuid, body);
}

static struct err *missed_txn(struct txn *t, void *arg)
{
    val_each (ref, (const struct val *)arg) {
        const struct rec_VMSS *v = txn_VMSS(t, ref);
        if (v)
            tell_missed(t, v);
    }
    return NULL;
}

/* Zones are read from files, so this is not for a transaction. */
static struct val *collect_due(struct ops *ops, int64_t from, int64_t to)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_host *host = snap_host(s, ops->host_ref);
    struct val *set = val_set();
    snap_each (row, s, CLASS_VMSS) {
        const struct rec_VMSS *v = rec_VMSS(row);
        if (host && v->enabled && val_count(v->VMs) > 0 &&
            schedule_next(v->frequency, v->schedule, host->timezone, zone_offset, from) <= to)
            val_add_str(set, row->ref);
    }
    return set;
}

struct err *vmss_due(struct ops *ops, int64_t from, int64_t to)
{
    if (from >= to || from / QUARTER_S == to / QUARTER_S)
        return NULL;
    _cleanup_(val_unrefp) struct val *set = collect_due(ops, from, to);
    if (to - from > GAP_S)
        return val_count(set) ? db_write(ops->cfg.db, "schedules", missed_txn, set) : NULL;
    val_each (ref, set)
        begin(ops, ref);
    return NULL;
}
