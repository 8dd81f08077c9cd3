/*
 * vm_config.c: VM settings that are more than a field: memory limits, VCPUs, and what looks at the
 * state of others. Each is one transaction.
 */
#include <stdio.h>

#include "gen/msg.h"
#include "op/vm_change.h"
#include "op/vm_ops.h"
#include "op/world.h"
#include "task/claim.h"

#define VCPUS_MOST   255 /* that a guest's machine can have */
#define MEMORY_ORDER "static_min ≤ dynamic_min ≤ dynamic_max ≤ static_max"

struct err *vm_check_memory(const struct rec_VM *vm)
{
    bool ordered = vm->memory_static_min >= 0 && vm->memory_static_min <= vm->memory_dynamic_min &&
                   vm->memory_dynamic_min <= vm->memory_dynamic_max &&
                   vm->memory_dynamic_max <= vm->memory_static_max;
    return ordered ? NULL : err_MEMORY_CONSTRAINT_VIOLATION(MEMORY_ORDER);
}

static struct err *number_error(const char *field, int64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return err_INVALID_VALUE(field, text);
}

struct err *vm_check_vcpus(const struct rec_VM *vm)
{
    if (vm->VCPUs_max < 1 || vm->VCPUs_max > VCPUS_MOST)
        return number_error("VCPUs_max", vm->VCPUs_max);
    if (vm->VCPUs_at_startup < 1 || vm->VCPUs_at_startup > vm->VCPUs_max)
        return number_error("VCPUs_at_startup", vm->VCPUs_at_startup);
    return NULL;
}

struct err *vm_change_txn(struct txn *t, void *arg)
{
    const struct vm_change *c = arg;
    struct rec_VM *vm = txn_edit_VM(t, c->vm);
    return vm ? c->apply(vm, c->args) : err_HANDLE_INVALID("VM", c->vm);
}

struct err *vm_add_key(const struct val **map, const char *field, const struct rec_VM *vm,
                       const char *key, const char *value)
{
    if (!*key)
        return err_internal("the key of an entry may not be empty");
    if (val_map_get(*map, key))
        return err_MAP_DUPLICATE_KEY("VM", field, vm->row.ref, key);
    val_assign(map, val_with(*map, key, value));
    return NULL;
}

/* ---- memory ---- */

VM_CHANGE(set_memory_limits, {
    vm->memory_static_min = a->static_min;
    vm->memory_static_max = a->static_max;
    vm->memory_dynamic_min = a->dynamic_min;
    vm->memory_dynamic_max = a->dynamic_max;
    return vm_check_memory(vm);
})

VM_CHANGE(set_memory, {
    vm->memory_static_max = a->value;
    vm->memory_dynamic_max = a->value;
    vm->memory_dynamic_min = a->value;
    if (vm->memory_static_min > a->value)
        vm->memory_static_min = a->value;
    return vm_check_memory(vm);
})

VM_CHANGE(set_memory_static_max, {
    vm->memory_static_max = a->value;
    return vm_check_memory(vm);
})

VM_CHANGE(set_memory_static_min, {
    vm->memory_static_min = a->value;
    return vm_check_memory(vm);
})

VM_CHANGE(set_memory_static_range, {
    vm->memory_static_min = a->min;
    vm->memory_static_max = a->max;
    return vm_check_memory(vm);
})

/* ---- VCPUs, boot, other ---- */

VM_CHANGE(set_VCPUs_max, {
    vm->VCPUs_max = a->value;
    return vm_check_vcpus(vm);
})

VM_CHANGE(set_VCPUs_at_startup, {
    vm->VCPUs_at_startup = a->value;
    return vm_check_vcpus(vm);
})

VM_CHANGE(set_HVM_boot_policy, {
    rstr_set(&vm->HVM_boot_policy, a->value);
    return NULL;
})

VM_CHANGE(set_domain_type, {
    if (a->value != DOMAIN_TYPE_HVM && a->value != DOMAIN_TYPE_UNSPECIFIED)
        return err_VALUE_NOT_SUPPORTED("domain_type", enum_domain_type.values[a->value],
                                       "guests run fully virtualized");
    vm->domain_type = a->value;
    rstr_set(&vm->HVM_boot_policy, a->value == DOMAIN_TYPE_HVM ? BIOS_ORDER : "");
    return NULL;
})

VM_CHANGE(set_actions_after_crash, {
    vm->actions_after_crash = a->value;
    return NULL;
})

VM_CHANGE(set_start_delay, {
    if (a->value < 0)
        return number_error("start_delay", a->value);
    vm->start_delay = a->value;
    return NULL;
})

VM_CHANGE(set_shutdown_delay, {
    if (a->value < 0)
        return number_error("shutdown_delay", a->value);
    vm->shutdown_delay = a->value;
    return NULL;
})

VM_CHANGE(set_order, {
    if (a->value < 0)
        return number_error("order", a->value);
    vm->order = a->value;
    return NULL;
})

VM_CHANGE(set_is_a_template, {
    if (vm->is_control_domain)
        return err_OPERATION_NOT_ALLOWED("a control domain cannot be a template");
    if (a->value && vm->power_state != VM_POWER_STATE_HALTED)
        return err_VM_BAD_POWER_STATE(vm->row.ref, "halted", "running");
    vm->is_a_template = a->value;
    if (!a->value)
        vm->is_default_template = false;
    return NULL;
})

VM_CHANGE(set_other_config, {
    val_assign(&vm->other_config, val_ref(a->value));
    return NULL;
})

VM_CHANGE(remove_from_other_config, {
    val_assign(&vm->other_config, val_without(vm->other_config, a->key));
    return NULL;
})

VM_CHANGE(set_platform, {
    val_assign(&vm->platform, val_ref(a->value));
    return NULL;
})

VM_CHANGE(remove_from_platform, {
    val_assign(&vm->platform, val_without(vm->platform, a->key));
    return NULL;
})

VM_CHANGE(add_to_other_config,
          { return vm_add_key(&vm->other_config, "other_config", vm, a->key, a->value); })

VM_CHANGE(add_to_platform, { return vm_add_key(&vm->platform, "platform", vm, a->key, a->value); })

VM_CHANGE(set_blocked_operations, {
    val_assign(&vm->blocked_operations, val_ref(a->value));
    return NULL;
})

VM_CHANGE(add_to_blocked_operations, {
    return vm_add_key(&vm->blocked_operations, "blocked_operations", vm,
                      enum_vm_operations.values[a->key], a->value);
})

VM_CHANGE(remove_from_blocked_operations, {
    val_assign(&vm->blocked_operations,
               val_without(vm->blocked_operations, enum_vm_operations.values[a->key]));
    return NULL;
})

VM_CHANGE(set_suspend_VDI, {
    if (vm->power_state != VM_POWER_STATE_SUSPENDED)
        return err_VM_BAD_POWER_STATE(vm->row.ref, "suspended", "halted");
    rstr_set(&vm->suspend_VDI, a->value);
    return NULL;
})

VM_CHANGE(set_has_vendor_device, {
    if (vm->power_state != VM_POWER_STATE_HALTED)
        return err_VM_BAD_POWER_STATE(vm->row.ref, "halted", "running");
    vm->has_vendor_device = a->value;
    return NULL;
})

static struct err *default_txn(struct txn *t, void *arg)
{
    const struct args_VM_set_is_default_template *a = arg;
    struct rec_VM *vm = txn_edit_VM(t, a->vm);
    if (!vm)
        return err_HANDLE_INVALID("VM", a->vm);
    if (a->value && !vm->is_a_template)
        return err_OPERATION_NOT_ALLOWED("only a template can be a default template");
    vm->is_default_template = a->value;
    return NULL;
}

struct err *msg_VM_set_is_default_template(struct op *op,
                                           const struct args_VM_set_is_default_template *a,
                                           struct val **ret)
{
    return op_write(op, "set default template", default_txn, (void *)a);
}

/* ---- questions ---- */

struct err *msg_VM_assert_operation_valid(struct op *op,
                                          const struct args_VM_assert_operation_valid *a,
                                          struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->self, &vm));
    return claim_check(&(struct claim_view){.snap = s}, &vm->row, (int)a->op);
}

/* They are true at all times; the message only has to exist. */
struct err *msg_VM_update_allowed_operations(struct op *op,
                                             const struct args_VM_update_allowed_operations *a,
                                             struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    return need_VM(s, a->self, &vm);
}

struct err *msg_VM_get_possible_hosts(struct op *op, const struct args_VM_get_possible_hosts *a,
                                      struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->vm, &vm));
    struct err *e = place_check(ops_of(op), s, vm);
    *ret = val_set();
    if (!e)
        val_add_str(*ret, ops_of(op)->host_ref);
    err_free(e);
    return NULL;
}

struct err *msg_VM_assert_can_boot_here(struct op *op, const struct args_VM_assert_can_boot_here *a,
                                        struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->self, &vm));
    if (!snap_host(s, a->host))
        return err_HANDLE_INVALID("host", a->host);
    return place_check(ops_of(op), s, vm);
}

struct err *msg_VM_compute_memory_overhead(struct op *op,
                                           const struct args_VM_compute_memory_overhead *a,
                                           struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->vm, &vm));
    *ret = val_int(vm->memory_overhead);
    return NULL;
}

/* What is left of `total` for the guest; there is no overhead that grows with the guest. */
struct err *msg_VM_maximise_memory(struct op *op, const struct args_VM_maximise_memory *a,
                                   struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->self, &vm));
    int64_t left = a->total - vm->memory_overhead;
    *ret = val_int(left > 0 ? left : 0);
    return NULL;
}

/* Numbers that no device of the VM has, as text. */
static struct val *free_numbers(unsigned max, const bool *taken)
{
    struct val *set = val_set();
    for (unsigned i = 0; i < max; i++) {
        char text[12];
        snprintf(text, sizeof(text), "%u", i);
        if (!taken[i])
            val_add_str(set, text);
    }
    return set;
}

struct val *vm_free_vbd_numbers(const struct snap *s, const struct rec_VM *vm)
{
    bool taken[BOOT_DISKS_MAX] = {0};
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        unsigned number;
        if (vbd && device_number(vbd->userdevice, &number))
            taken[number] = true;
    }
    return free_numbers(BOOT_DISKS_MAX, taken);
}

struct val *vm_free_vif_numbers(const struct snap *s, const struct rec_VM *vm)
{
    bool taken[BOOT_NICS] = {0};
    val_each (ref, vm->VIFs) {
        const struct rec_VIF *vif = snap_VIF(s, ref);
        uint64_t number;
        if (vif && str_u64(view_of(vif->device), 0, BOOT_NICS - 1, &number) == 0)
            taken[number] = true;
    }
    return free_numbers(BOOT_NICS, taken);
}

struct err *msg_VM_get_allowed_VBD_devices(struct op *op,
                                           const struct args_VM_get_allowed_VBD_devices *a,
                                           struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->vm, &vm));
    *ret = vm_free_vbd_numbers(s, vm);
    return NULL;
}

struct err *msg_VM_get_allowed_VIF_devices(struct op *op,
                                           const struct args_VM_get_allowed_VIF_devices *a,
                                           struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->vm, &vm));
    *ret = vm_free_vif_numbers(s, vm);
    return NULL;
}
