/*
 * boot_row.c: the boot record of a VM in the store: one row of class `boot` under the VM's uuid.
 */
#include "op/world.h"

struct err *boot_load(const struct snap *s, const struct rec_VM *vm, struct boot **ret)
{
    const struct rec_boot *row = snap_boot_by_uuid(s, vm->uuid);
    if (!row)
        return err_internal("VM '%s' has no boot record", vm->uuid);
    return boot_parse(row->record, ret);
}

void boot_put(struct txn *t, const struct rec_VM *vm, const struct boot *b)
{
    const struct rec_boot *old = txn_boot_by_uuid(t, vm->uuid);
    struct rec_boot *row = old ? txn_edit_boot(t, old->row.ref)
                               : (struct rec_boot *)txn_add(t, CLASS_boot, NULL, vm->uuid);
    _cleanup_(freep) char *text = boot_format(b);
    rstr_set(&row->record, text);
    rstr_assign(&row->VM, vm->row.ref);
    row->domid = b->domid;
    row->created = now_s();
}

void boot_drop(struct txn *t, const char *vm_uuid)
{
    const struct rec_boot *row = txn_boot_by_uuid(t, vm_uuid);
    if (row)
        txn_delete(t, CLASS_boot, row->row.ref);
}
