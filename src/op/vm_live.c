/*
 * vm_live.c: virtual CPUs, memory and buttons of a VM that runs.
 *
 *     CPUs:   add them to the guest - mark
 *     memory: ask the guest's balloon - mark
 *
 * A guest's memory is what it was started with, `memory_bytes` of its boot record; within that its
 * balloon follows the target. How far it has come is told as a fact (FACT_MEMORY) and stands in
 * VM_metrics.memory_actual. CPUs can be added up to VCPUs_max and not be taken away again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gen/msg.h"
#include "op/vm_change.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define TOLERANCE     (1 * MIB) /* between target and actual memory */
#define MEMORY_WAIT_S 256
#define LOOK_AGAIN    (200 * USEC_PER_MSEC)

/* ---- the record and the boot record together ---- */

typedef void (*put_fn)(struct op *op, struct txn *t, struct rec_VM *vm, struct boot *b);

struct mark_arg {
    struct op *op;
    put_fn put;
};

/* A VM that is gone needs no marks. */
static struct err *mark_txn(struct txn *t, void *arg)
{
    const struct mark_arg *a = arg;
    _cleanup_(boot_freep) struct boot *b = NULL;
    struct rec_VM *vm = txn_edit_VM(t, a->op->self);
    if (!vm)
        return NULL;
    TRY(boot_load(txn_snap(t), vm, &b));
    a->put(a->op, t, vm, b);
    boot_put(t, vm, b);
    return NULL;
}

static struct err *mark(struct op *op, op_write_fn write, const char *name, put_fn put)
{
    return write(op, name, mark_txn, &(struct mark_arg){op, put});
}

/* ---- virtual CPUs ---- */

static struct err *add_cpus(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_set_cpus(op->host, &v, uuid, (unsigned)op_get_int(op, "cpus"));
}

static void put_cpus(struct op *op, struct txn *t, struct rec_VM *vm, struct boot *b)
{
    unsigned n = (unsigned)op_get_int(op, "cpus");
    b->cpus = n;
    vm->VCPUs_at_startup = n;
    vm_count_cpus(t, vm, n);
}

static struct err *mark_cpus(struct op *op)
{
    return mark(op, op_commit, "mark CPUs", put_cpus);
}

/* What was added stays: the records say how many there are. */
static struct err *believe_cpus(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct guest_info info = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(host_vm_query(op->host, uuid, &info));
    if (info.state == GUEST_ABSENT)
        return NULL;
    op_put_int(op, "cpus", info.cpus);
    return mark(op, op_write, "count CPUs", put_cpus);
}

static const struct step cpus_steps[] = {
    {"add CPUs", add_cpus, believe_cpus, .weight = 2},
    {"mark", mark_cpus, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_cpus = OP_KIND("VM.set_VCPUs_number_live", cpus_steps);

struct err *msg_VM_set_VCPUs_number_live(struct op *op,
                                         const struct args_VM_set_VCPUs_number_live *a,
                                         struct val **ret)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    TRY(op_boot(op, &b));
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)a->nvcpu);
    if (a->nvcpu < 1 || a->nvcpu > b->cpus_max)
        return err_INVALID_VALUE("VCPUs_number", text);
    if (a->nvcpu < b->cpus)
        return err_OPERATION_NOT_ALLOWED("virtual CPUs cannot be taken from a running VM");
    op_put_int(op, "cpus", a->nvcpu);
    return op_run_steps(op, "VM.set_VCPUs_number_live");
}

/* ---- taking back what a guest was asked ---- */

/* Asks for what the context has as "old"; a guest that is gone need not be asked. */
static struct err *ask_again(struct op *op, struct err *(*ask)(struct op *op, const char *key))
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct guest_info info = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(host_vm_query(op->host, uuid, &info));
    return info.state == GUEST_ABSENT ? NULL : ask(op, "old");
}

/* ---- where they run ---- */

static struct err *ask_mask(struct op *op, const char *key)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_set_cpu_mask(op->host, &v, uuid, op_get(op, key));
}

static struct err *set_mask(struct op *op)
{
    return ask_mask(op, "mask");
}

static struct err *old_mask(struct op *op)
{
    return ask_again(op, ask_mask);
}

static void put_mask(struct op *op, struct txn *t, struct rec_VM *vm, struct boot *b)
{
    free(b->cpu_mask);
    b->cpu_mask = mem_strdup(op_get(op, "mask"));
    val_assign(&vm->VCPUs_params, val_with(vm->VCPUs_params, "mask", op_get(op, "mask")));
}

static struct err *mark_mask(struct op *op)
{
    return mark(op, op_commit, "mark CPU mask", put_mask);
}

static const struct step mask_steps[] = {
    {"tie CPUs", set_mask, old_mask, .weight = 2},
    {"mark", mark_mask, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_mask = OP_KIND("VM.set_cpu_mask_live", mask_steps);

/* Shares and limits (weight, cap) are not kept by a hypervisor here. */
struct err *msg_VM_add_to_VCPUs_params_live(struct op *op,
                                            const struct args_VM_add_to_VCPUs_params_live *a,
                                            struct val **ret)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    if (!str_eq(a->key, "mask"))
        return err_VALUE_NOT_SUPPORTED("key", a->key, "only the mask of a running VM can be set");
    if (!boot_mask_is_valid(a->value))
        return err_INVALID_VALUE("mask", a->value);
    TRY(op_boot(op, &b));
    op_put(op, "mask", a->value);
    op_put(op, "old", b->cpu_mask);
    return op_run_steps(op, "VM.set_cpu_mask_live");
}

/* ---- memory ---- */

static struct err *ask_for(struct op *op, const char *key)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_set_memory(op->host, &v, uuid, (uint64_t)op_get_int(op, key));
}

static struct err *set_target(struct op *op)
{
    return ask_for(op, "target");
}

static struct err *old_target(struct op *op)
{
    return ask_again(op, ask_for);
}

static void put_target(struct op *op, struct txn *t, struct rec_VM *vm, struct boot *b)
{
    b->target_bytes = (uint64_t)op_get_int(op, "target");
    vm->memory_target = op_get_int(op, "target");
    if (op_get_bool(op, "range")) {
        vm->memory_dynamic_min = op_get_int(op, "min");
        vm->memory_dynamic_max = op_get_int(op, "max");
    }
}

static struct err *mark_target(struct op *op)
{
    return mark(op, op_commit, "mark memory", put_target);
}

static const struct step memory_steps[] = {
    {"ask the guest", set_target, old_target, .weight = 2},
    {"mark", mark_target, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_memory = OP_KIND("VM.set_memory_live", memory_steps);

static struct err *memory_error(const char *field, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return err_INVALID_VALUE(field, text);
}

/* More than it was started with takes a new start. */
static struct err *balloon_to(struct op *op, const struct rec_VM *vm, const struct boot *b,
                              int64_t target)
{
    if (!b->balloon)
        return err_OPERATION_NOT_ALLOWED("the VM was started without a memory balloon");
    if ((uint64_t)target > b->memory_bytes)
        return err_OPERATION_NOT_ALLOWED(
            "the VM was started with less memory; shut it down and start it to give it more");
    op_put_int(op, "target", target);
    op_put_int(op, "old", (int64_t)boot_target(b));
    return op_run_steps(op, "VM.set_memory_live");
}

struct err *msg_VM_set_memory_target_live(struct op *op,
                                          const struct args_VM_set_memory_target_live *a,
                                          struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(boot_freep) struct boot *b = NULL;
    const struct rec_VM *vm;
    TRY(need_VM(s, a->self, &vm));
    TRY(boot_load(s, vm, &b));
    if (a->target < vm->memory_static_min || a->target < 1)
        return memory_error("target", a->target);
    return balloon_to(op, vm, b, a->target);
}

/* ---- the range it may have ---- */

struct range {
    int64_t min, max;
};

static struct err *apply_range(struct rec_VM *vm, const void *args)
{
    const struct range *r = args;
    vm->memory_dynamic_min = r->min;
    vm->memory_dynamic_max = r->max;
    return vm_check_memory(vm);
}

static struct err *set_range(struct op *op, const struct snap *s, const struct rec_VM *vm,
                             struct range r)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    struct vm_change c = {vm->row.ref, apply_range, &r};
    if (vm->power_state != VM_POWER_STATE_RUNNING || vm->is_control_domain)
        return op_write(op, "memory range", vm_change_txn, &c);
    struct rec_VM *wanted = (struct rec_VM *)row_copy(&vm->row);
    struct err *e = apply_range(wanted, &r);
    row_unref(&wanted->row);
    TRY(e);
    TRY(boot_load(s, vm, &b));
    op_put_bool(op, "range", true);
    op_put_int(op, "min", r.min);
    op_put_int(op, "max", r.max);
    return balloon_to(op, vm, b, r.max);
}

#define SET_RANGE(message, least, most)                                                            \
    struct err *msg_VM_##message(struct op *op, const struct args_VM_##message *a,                 \
                                 struct val **ret)                                                 \
    {                                                                                              \
        _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);                                  \
        const struct rec_VM *vm;                                                                   \
        TRY(need_VM(s, a->self, &vm));                                                             \
        return set_range(op, s, vm, (struct range){(least), (most)});                              \
    }

SET_RANGE(set_memory_dynamic_range, a->min, a->max)
SET_RANGE(set_memory_dynamic_min, a->value, vm->memory_dynamic_max)
SET_RANGE(set_memory_dynamic_max, vm->memory_dynamic_min, a->value)

/* ---- has the guest obeyed? ---- */

static struct err *has_obeyed(struct op *op, const struct rec_VM *vm, bool *ret)
{
    struct guest_info info = {0};
    TRY(host_vm_query(op->host, vm->uuid, &info));
    int64_t off = (int64_t)info.memory_bytes - vm->memory_target;
    *ret = info.state != GUEST_ABSENT && (uint64_t)llabs(off) <= TOLERANCE;
    return NULL;
}

struct err *msg_VM_wait_memory_target_live(struct op *op,
                                           const struct args_VM_wait_memory_target_live *a,
                                           struct val **ret)
{
    uint64_t wait_s = ops_of(op)->cfg.shutdown_wait_s;
    usec_t end = clock_now() + (wait_s ? wait_s : MEMORY_WAIT_S) * USEC_PER_SEC;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->self, &vm));
    for (bool obeyed = false;;) {
        TRY(has_obeyed(op, vm, &obeyed));
        if (obeyed)
            return NULL;
        if (clock_now() >= end)
            return err_VM_MEMORY_TARGET_WAIT_TIMEOUT(op->task);
        TRY(op_sleep(op, LOOK_AGAIN));
    }
}

struct err *msg_VM_get_cooperative(struct op *op, const struct args_VM_get_cooperative *a,
                                   struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    bool obeyed = true;
    TRY(need_VM(s, a->self, &vm));
    if (vm->power_state == VM_POWER_STATE_RUNNING && !vm->is_control_domain)
        TRY(has_obeyed(op, vm, &obeyed));
    *ret = val_bool(obeyed);
    return NULL;
}

/* The guests of a host that have not obeyed: by ref or, for domains, by uuid. */
static struct err *uncooperative(struct op *op, const char *host, bool uuids, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(val_unrefp) struct val *found = val_set();
    if (!snap_host(s, host))
        return err_HANDLE_INVALID("host", host);
    snap_each (row, s, CLASS_VM) {
        const struct rec_VM *vm = rec_VM(row);
        bool obeyed = true;
        if (vm->power_state == VM_POWER_STATE_RUNNING && !vm->is_control_domain &&
            str_eq(vm->resident_on, host))
            TRY(has_obeyed(op, vm, &obeyed));
        if (!obeyed)
            val_add_str(found, uuids ? vm->uuid : row->ref);
    }
    *ret = steal(&found);
    return NULL;
}

struct err *msg_host_get_uncooperative_resident_VMs(
    struct op *op, const struct args_host_get_uncooperative_resident_VMs *a, struct val **ret)
{
    return uncooperative(op, a->self, false, ret);
}

struct err *msg_host_get_uncooperative_domains(struct op *op,
                                               const struct args_host_get_uncooperative_domains *a,
                                               struct val **ret)
{
    return uncooperative(op, a->self, true, ret);
}

/* ---- buttons ---- */

struct err *msg_VM_send_trigger(struct op *op, const struct args_VM_send_trigger *a,
                                struct val **ret)
{
    static const struct {
        const char *name;
        enum guest_trigger what;
    } triggers[] = {{"nmi", TRIGGER_NMI}, {"power", TRIGGER_POWER}, {"s3resume", TRIGGER_WAKE}};
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    for (size_t i = 0; i < ARRAY_LEN(triggers); i++) {
        struct verb v = ops_verb(VERB_TIME);
        if (str_eq(a->trigger, triggers[i].name))
            return host_vm_trigger(op->host, &v, uuid, triggers[i].what);
    }
    return err_INVALID_VALUE("trigger", a->trigger);
}
