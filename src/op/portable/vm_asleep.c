/*
 * vm_asleep.c: a suspended VM, or a checkpoint of one, that travels with its memory image.
 *
 * Its description holds the boot record that the image belongs to (last_booted_record). Here it
 * is made to fit: the new VM's uuid, its disks, its network cards. A guest in memory knows its MAC
 * addresses, so they stay whatever else is new.
 */
#include <stdio.h>

#include "op/portable/importing.h"
#include "op/portable/portable_impl.h"

bool import_is_asleep(const struct ova_object *vm)
{
    return import_takes_vm(vm) && str_eq(ova_text(vm->rec, "power_state"), "Suspended") &&
           !ref_is_null(ova_text(vm->rec, "suspend_VDI"));
}

struct err *import_check_asleep(const struct ova_object *vm)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    struct err *e = boot_parse(ova_text(vm->rec, "last_booted_record"), &b);
    if (!e)
        return NULL;
    err_free(e);
    return import_error("the VM was suspended by another kind of host; shut it down to move it");
}

/* ---- the boot record ---- */

static struct err *fit_disks(struct op *op, const struct snap *s, const struct rec_VM *vm,
                             struct boot *b)
{
    for (unsigned device = 0; device < 256; device++) {
        const struct rec_VBD *found = NULL;
        unsigned number;
        if (!boot_disk(b, device))
            continue;
        val_each (ref, vm->VBDs) {
            const struct rec_VBD *vbd = snap_VBD(s, ref);
            if (vbd && device_number(vbd->userdevice, &number) && number == device)
                found = vbd;
        }
        struct boot_disk *d = NULL;
        if (!found)
            return import_error("the VM was suspended with a disk that is not in the archive");
        TRY(boot_build_disk(op, s, found, &d));
        boot_set_disk(b, d);
        boot_disk_free(d);
    }
    return NULL;
}

static void fit_nics(const struct snap *s, const struct rec_VM *vm, struct boot *b)
{
    val_each (ref, vm->VIFs) {
        const struct rec_VIF *vif = snap_VIF(s, ref);
        uint64_t number = 0;
        bool known = vif && str_u64(view_of(vif->device), 0, UINT32_MAX, &number) == 0;
        struct boot_nic *n = known ? boot_nic(b, (unsigned)number) : NULL;
        if (!n)
            continue;
        free(n->id);
        n->id = mem_strdup(vif->uuid);
    }
}

/* ---- the memory image ---- */

static struct err *readdress(struct op *op, const char *vdi, const char *uuid)
{
    _cleanup_(diskio_freep) struct diskio *d = NULL;
    TRY(portable_attach(op, vdi, 0, false, &d));
    return diskio_readdress(d, uuid);
}

/* ---- the records ---- */

struct sleeping {
    const char *vm, *vdi;
    const struct boot *b;
};

static struct err *asleep_txn(struct txn *t, void *arg)
{
    struct sleeping *a = arg;
    struct rec_VM *vm = txn_edit_VM(t, a->vm);
    if (!vm)
        return err_HANDLE_INVALID("VM", a->vm);
    rstr_set(&vm->suspend_VDI, a->vdi);
    boot_put(t, vm, a->b);
    _cleanup_(val_unrefp) struct val *vifs = val_ref(vm->VIFs);
    val_each (ref, vifs) {
        struct rec_VIF *vif = txn_edit_VIF(t, ref);
        const struct boot_nic *n = boot_nic_by_id(a->b, vif->uuid);
        if (n)
            rstr_set(&vif->MAC, n->mac);
    }
    vm_becomes_suspended(t, a->vm);
    return NULL;
}

/* ---- those that were noted: "asleep" (how many), asleep.<i>.vm, .boot, .vdi ---- */

static const char *noted(struct op *op, int64_t i, const char *what)
{
    char key[40];
    snprintf(key, sizeof(key), "asleep.%lld.%s", (long long)i, what);
    return op_get(op, key);
}

static void note(struct op *op, int64_t i, const char *what, const char *value)
{
    char key[40];
    snprintf(key, sizeof(key), "asleep.%lld.%s", (long long)i, what);
    op_put(op, key, value);
}

void import_note_asleep(struct op *op, const char *vm, const char *boot, const char *vdi)
{
    int64_t i = op_get_int(op, "asleep");
    note(op, i, "vm", vm);
    note(op, i, "boot", boot);
    note(op, i, "vdi", vdi);
    op_put_int(op, "asleep", i + 1);
}

static struct err *put_one(struct op *op, int64_t i)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(boot_freep) struct boot *b = NULL;
    const char *ref = noted(op, i, "vm"), *vdi = noted(op, i, "vdi");
    const struct rec_VM *vm;
    TRY(need_VM(s, ref, &vm));
    TRY(boot_parse(noted(op, i, "boot"), &b));
    free(b->vm);
    b->vm = mem_strdup(vm->uuid);
    TRY(fit_disks(op, s, vm, b));
    fit_nics(s, vm, b);
    const struct rec_VM *of = snap_VM(s, vm->snapshot_of); /* who will wake from it */
    struct err *e = readdress(op, vdi, of ? of->uuid : vm->uuid);
    TRY(err_first(e, portable_detach(op)));
    struct sleeping a = {ref, vdi, b};
    return op_write(op, "imported asleep", asleep_txn, &a);
}

struct err *import_put_asleep(struct op *op)
{
    struct err *e = NULL;
    for (int64_t i = 0; i < op_get_int(op, "asleep"); i++)
        e = err_first(e, put_one(op, i));
    return e;
}
