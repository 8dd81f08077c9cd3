/*
 * vm_clone.c: VM.copy, and VM.clone where the storage cannot share blocks (vm_snapshot.c).
 *
 *     plan - make volumes - copy contents - add records
 *
 * A template without disks of its own is copied by the last step alone. Disks that the VM writes to
 * are copied whole; CDs and disks it only reads are shared.
 */
#include <stdio.h>

#include "gen/msg.h"
#include "op/vm_ops.h"
#include "op/vm_twin.h"
#include "op/world.h"

#define DISKS_MAX 255

/* ---- the plan, in the context: disk.<i>.vbd, .from, .uuid, .sr, .to ---- */

static void put_disk(struct op *op, size_t i, const char *what, const char *value)
{
    char key[40];
    snprintf(key, sizeof(key), "disk.%zu.%s", i, what);
    op_put(op, key, value);
}

static const char *get_disk(struct op *op, size_t i, const char *what)
{
    char key[40];
    snprintf(key, sizeof(key), "disk.%zu.%s", i, what);
    return op_get(op, key);
}

static size_t count(struct op *op)
{
    return (size_t)op_get_int(op, "disks");
}

/* The new VDI for what stood in that VBD, NULL if it is shared. */
static const char *disk_of_vbd(struct op *op, const char *vbd)
{
    for (size_t i = 0; i < count(op); i++) {
        if (str_eq(get_disk(op, i, "vbd"), vbd))
            return get_disk(op, i, "to");
    }
    return NULL;
}

static void plan_disk(struct op *op, size_t i, const struct snap *s, const struct rec_VBD *vbd)
{
    const char *sr = op_get(op, "sr");
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    put_disk(op, i, "vbd", vbd->row.ref);
    put_disk(op, i, "from", vbd->VDI);
    put_disk(op, i, "sr", *sr ? sr : snap_VDI(s, vbd->VDI)->SR);
    put_disk(op, i, "uuid", uuid);
}

static struct err *plan(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    const struct rec_VM *vm;
    size_t n = 0;
    TRY(need_VM(s, op->self, &vm));
    val_each (vbd, vm->VBDs) {
        if (n < DISKS_MAX && twin_is_own_disk(s, snap_VBD(s, vbd)))
            plan_disk(op, n++, s, snap_VBD(s, vbd));
    }
    op_put_int(op, "disks", (int64_t)n);
    op_put(op, "result", ref);
    return NULL;
}

/* ---- volumes ---- */

static struct err *make_volumes(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    for (size_t i = 0; i < count(op); i++) {
        _cleanup_(rstr_unrefp) const char *ref = NULL;
        const struct rec_VDI *vdi;
        TRY(need_VDI(s, get_disk(op, i, "from"), &vdi));
        struct vdi_make m = vdi_make_like(vdi, get_disk(op, i, "sr"), get_disk(op, i, "uuid"));
        TRY(vdi_make(op, &m, &ref));
        put_disk(op, i, "to", ref);
    }
    return NULL;
}

static struct err *unmake_volumes(struct op *op)
{
    struct err *e = NULL;
    for (size_t i = 0; i < count(op); i++)
        e = err_first(e, vdi_unmake(op, get_disk(op, i, "uuid"), get_disk(op, i, "sr")));
    return e;
}

static struct err *copy_contents(struct op *op)
{
    for (size_t i = 0; i < count(op); i++)
        TRY(vdi_copy_content(op, get_disk(op, i, "from"), get_disk(op, i, "to")));
    return NULL;
}

/* ---- copying records ---- */

static const char *twin_disk(void *arg, const struct rec_VBD *vbd)
{
    return disk_of_vbd(arg, vbd->row.ref);
}

static struct err *copied_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_VM *from = txn_VM(t, op->self);
    const char *sr = op_get(op, "sr");
    if (!from)
        return err_HANDLE_INVALID("VM", op->self);
    struct rec_VM *vm = (struct rec_VM *)txn_add(t, CLASS_VM, op_get(op, "result"), NULL);
    twin_fields(vm, from);
    rstr_set(&vm->name_label, op_get(op, "name"));
    vm->is_default_template = false;
    vm->domid = -1;
    vm_new_mac_seed(vm);
    if (*sr)
        rstr_set(&vm->suspend_SR, sr);
    if (from->is_default_template)
        val_assign(&vm->other_config,
                   val_with(vm->other_config, "base_template_name", from->name_label));
    vm_add_metrics(t, vm);
    struct twin w = {op->self, vm->row.ref, twin_disk, op, false, NULL};
    twin_devices(t, &w);
    return NULL;
}

static struct err *add_records(struct op *op)
{
    return op_commit(op, "copy VM", copied_txn, op);
}

static const struct step copy_steps[] = {
    {"plan", plan, NULL, .weight = 1},
    {"make volumes", make_volumes, unmake_volumes, .weight = 1},
    {"copy contents", copy_contents, vdi_copy_end, .weight = 20},
    {"add records", add_records, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_copy = OP_KIND("VM.copy", copy_steps);

struct err *vm_copy_to(struct op *op, const char *name, const char *sr, struct val **ret)
{
    op_put(op, "name", name);
    op_put(op, "sr", sr);
    TRY(op_run_steps(op, "VM.copy"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}

struct err *msg_VM_copy(struct op *op, const struct args_VM_copy *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!ref_is_null(a->sr) && !snap_SR(s, a->sr))
        return err_HANDLE_INVALID("SR", a->sr);
    return vm_copy_to(op, a->new_name, ref_is_null(a->sr) ? "" : a->sr, ret);
}
