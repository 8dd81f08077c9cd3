/*
 * vm_record.c: messages of class VM that are about its record alone, and questions about it.
 */
#include "codec/json.h"
#include "gen/msg.h"
#include "op/vm_change.h"
#include "op/vm_ops.h"
#include "op/world.h"
#include "state/row.h"

/* ---- variables of the firmware, as records keep them ---- */

VM_CHANGE(set_NVRAM, {
    val_assign(&vm->NVRAM, val_ref(a->value));
    return NULL;
})

VM_CHANGE(add_to_NVRAM, { return vm_add_key(&vm->NVRAM, "NVRAM", vm, a->key, a->value); })

VM_CHANGE(remove_from_NVRAM, {
    val_assign(&vm->NVRAM, val_without(vm->NVRAM, a->key));
    return NULL;
})

/* ---- data for the guest ---- */

VM_CHANGE(set_xenstore_data, {
    val_assign(&vm->xenstore_data, val_ref(a->value));
    return NULL;
})

/* ---- groups ---- */

VM_CHANGE(set_appliance, {
    if (vm->is_control_domain)
        return err_OPERATION_NOT_ALLOWED("a control domain cannot be part of an appliance");
    rstr_set(&vm->appliance, a->value);
    return NULL;
})

/* Placement is by one group at most. */
VM_CHANGE(set_groups, {
    if (vm->is_control_domain)
        return err_OPERATION_NOT_ALLOWED("a control domain cannot be in a group");
    if (val_count(a->value) > 1)
        return err_TOO_MANY_GROUPS();
    val_assign(&vm->groups, val_ref(a->value));
    return NULL;
})

/* ---- where it is ---- */

struct resident_arg {
    const struct args_VM_atomic_set_resident_on *a;
    const char *here;
};

/* A guest is where it runs: saying anything else of it would be untrue. */
static struct err *resident_txn(struct txn *t, void *arg)
{
    const struct resident_arg *r = arg;
    struct rec_VM *vm = txn_edit_VM(t, r->a->vm);
    if (!vm)
        return err_HANDLE_INVALID("VM", r->a->vm);
    if (!str_eq(r->a->host, r->here))
        return err_HANDLE_INVALID("host", r->a->host);
    if (vm->power_state != VM_POWER_STATE_RUNNING && vm->power_state != VM_POWER_STATE_PAUSED)
        return err_OPERATION_NOT_ALLOWED("the VM does not run");
    rstr_set(&vm->resident_on, r->here);
    rstr_set(&vm->scheduled_to_be_resident_on, REF_NULL);
    return NULL;
}

struct err *msg_VM_atomic_set_resident_on(struct op *op,
                                          const struct args_VM_atomic_set_resident_on *a,
                                          struct val **ret)
{
    struct resident_arg r = {a, ops_of(op)->host_ref};
    return op_write(op, "VM.atomic_set_resident_on", resident_txn, &r);
}

/* ---- what the guest was started with ---- */

/* The settings that a running guest keeps, whatever was changed in the record since. */
static void put_boot(struct val *rec, const struct rec_VM *vm, const struct boot *b)
{
    val_put_str(rec, "name_label", vm->name_label);
    val_put_int(rec, "VCPUs_max", b->cpus_max);
    val_put_int(rec, "VCPUs_at_startup", b->cpus);
    val_put_int(rec, "memory_dynamic_max", (int64_t)b->memory_bytes);
    val_put_str(rec, "PV_kernel", b->kernel);
    val_put_str(rec, "PV_ramdisk", b->ramdisk);
    val_put_str(rec, "PV_args", b->args);
    struct val *boot = val_copy(vm->HVM_boot_params);
    val_put_str(boot, "order", b->order);
    val_put(rec, "HVM_boot_params", boot);
}

struct err *msg_VM_get_boot_record(struct op *op, const struct args_VM_get_boot_record *a,
                                   struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(boot_freep) struct boot *b = NULL;
    const struct rec_VM *vm;
    TRY(need_VM(s, a->self, &vm));
    _cleanup_(val_unrefp) struct val *rec = row_record(&vm->row);
    *ret = val_copy(rec);
    if (vm->is_control_domain)
        return NULL;
    struct err *e = boot_load(s, vm, &b);
    if (!e)
        put_boot(*ret, vm, b);
    else
        val_unrefp(ret);
    return e;
}

/* ---- services that a guest says it offers ---- */

struct err *msg_VM_query_services(struct op *op, const struct args_VM_query_services *a,
                                  struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->self, &vm));
    const struct rec_VM_guest_metrics *m = snap_VM_guest_metrics(s, vm->guest_metrics);
    *ret = m ? val_ref(m->services) : val_map();
    return NULL;
}
