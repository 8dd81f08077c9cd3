/*
 * vmss.c: snapshot schedules: their messages, and the clock that makes them due.
 *
 * The wall clock of the host (host.timezone) counts. Every tick looks which schedules fell due
 * since the tick before; what falls due while nobody looks, for the daemon is down or the clock is
 * set forward, is not made up for, and after a gap an alert says so.
 *
 * Snapshots need storage that can take them, which there is none of yet: a schedule that is due
 * raises VMSS_SNAPSHOT_FAILED for each of its VMs, and last_run_time, the time of the last
 * snapshot, stays as it is.
 */
#include <stdio.h>

#include "base/zone.h"
#include "gen/msg.h"
#include "op/schedule.h"
#include "op/vm_change.h"
#include "op/vm_ops.h"
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

static void tell_failure(struct txn *t, const struct rec_VMSS *v)
{
    val_each (ref, v->VMs) {
        const struct rec_VM *vm = txn_VM(t, ref);
        _cleanup_(freep) char *body =
            mem_printf("The scheduled snapshot of VM '%s' could not be taken: no storage here can "
                       "take snapshots",
                       vm ? vm->name_label : ref);
        alert_add(t, "VMSS_SNAPSHOT_FAILED", 3, CLS_VMSS, v->uuid, body);
    }
}

static void tell_missed(struct txn *t, const struct rec_VMSS *v)
{
    _cleanup_(freep) char *body =
        mem_printf("The snapshots of schedule '%s' were missed: the clock was set forward, or the "
                   "host stood still",
                   v->name_label);
    alert_add(t, "VMSS_SNAPSHOT_MISSED_EVENT", 3, CLS_VMSS, v->uuid, body);
}

struct due {
    struct val *schedules; /* refs */
    bool missed;
};

static struct err *tell_txn(struct txn *t, void *arg)
{
    const struct due *d = arg;
    val_each (ref, d->schedules) {
        const struct rec_VMSS *v = txn_VMSS(t, ref);
        if (v && d->missed)
            tell_missed(t, v);
        else if (v)
            tell_failure(t, v);
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
    struct due d = {set, to - from > GAP_S};
    return val_count(set) ? db_write(ops->cfg.db, "schedules", tell_txn, &d) : NULL;
}
