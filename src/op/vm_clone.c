/*
 * vm_clone.c: VM.clone and VM.copy.
 *
 *     plan - make volumes - copy contents - add records
 *
 * A template without disks of its own is copied by the last step alone. Disks that the VM writes to
 * are copied whole; CDs and disks it only reads are shared.
 */
#include <stdio.h>
#include <string.h>

#include "gen/msg.h"
#include "op/vm_ops.h"
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

static bool is_own_disk(const struct snap *s, const struct rec_VBD *vbd)
{
    return vbd && vbd->type == VBD_TYPE_DISK && vbd->mode == VBD_MODE_RW && !vbd->empty &&
           snap_VDI(s, vbd->VDI);
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
        if (n < DISKS_MAX && is_own_disk(s, snap_VBD(s, vbd)))
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

static bool is_named(const char *const *names, const char *name)
{
    for (; *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

/* Every stored field but those named. */
static void copy_fields(struct row *to, const struct row *from, const char *const *but)
{
    desc_each_field (f, from->cls) {
        if ((f->flags & FIELD_DERIVED) || is_named(but, f->name))
            continue;
        _cleanup_(val_unrefp) struct val *v = row_get(from, f);
        if (row_set(to, f, v) < 0)
            continue;
    }
}

static const char *const vm_own[] = {"uuid",
                                     "allowed_operations",
                                     "current_operations",
                                     "power_state",
                                     "suspend_VDI",
                                     "resident_on",
                                     "scheduled_to_be_resident_on",
                                     "is_default_template",
                                     "domid",
                                     "domarch",
                                     "metrics",
                                     "guest_metrics",
                                     "last_booted_record",
                                     "snapshot_of",
                                     "snapshots",
                                     "snapshot_time",
                                     "snapshot_info",
                                     "is_a_snapshot",
                                     "parent",
                                     "children",
                                     "appliance",
                                     "attached_PCIs",
                                     "groups",
                                     "blobs",
                                     "requires_reboot",
                                     "is_control_domain",
                                     "transportable_snapshot_id",
                                     "snapshot_metadata",
                                     NULL};
static const char *const vbd_own[] = {"uuid",
                                      "allowed_operations",
                                      "current_operations",
                                      "VM",
                                      "currently_attached",
                                      "reserved",
                                      "device",
                                      NULL};
static const char *const vif_own[] = {"uuid",         "allowed_operations", "current_operations",
                                      "VM",           "currently_attached", "MAC",
                                      "reserved_pci", "reserved",           NULL};

bool vm_field_is_own(const char *name)
{
    return is_named(vm_own, name);
}

static void copy_vifs(struct txn *t, const struct rec_VM *from, const char *to)
{
    val_each (ref, from->VIFs) {
        const struct rec_VIF *old = txn_VIF(t, ref);
        if (!old)
            continue;
        struct rec_VIF *vif = txn_add_VIF(t);
        char mac[18];
        copy_fields(&vif->row, &old->row, vif_own);
        mac_random(mac);
        rstr_set(&vif->MAC, mac);
        vif->MAC_autogenerated = true;
        rstr_set(&vif->VM, to);
    }
}

/* The copy of a disk of its own was made before; anything else is shared with the original. */
static void copy_vbds(struct txn *t, struct op *op, const struct rec_VM *from, const char *to)
{
    val_each (ref, from->VBDs) {
        const struct rec_VBD *old = txn_VBD(t, ref);
        if (!old)
            continue;
        struct rec_VBD *vbd = txn_add_VBD(t);
        copy_fields(&vbd->row, &old->row, vbd_own);
        rstr_set(&vbd->VM, to);
        const char *copy = disk_of_vbd(op, ref);
        if (copy)
            rstr_set(&vbd->VDI, copy);
    }
}

static struct err *copied_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_VM *from = txn_VM(t, op->self);
    const char *sr = op_get(op, "sr");
    if (!from)
        return err_HANDLE_INVALID("VM", op->self);
    struct rec_VM *vm = (struct rec_VM *)txn_add(t, CLASS_VM, op_get(op, "result"), NULL);
    copy_fields(&vm->row, &from->row, vm_own);
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
    copy_vifs(t, from, vm->row.ref);
    copy_vbds(t, op, from, vm->row.ref);
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

static struct err *copy_vm(struct op *op, const char *name, const char *sr, struct val **ret)
{
    op_put(op, "name", name);
    op_put(op, "sr", sr);
    TRY(op_run_steps(op, "VM.copy"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}

struct err *msg_VM_clone(struct op *op, const struct args_VM_clone *a, struct val **ret)
{
    return copy_vm(op, a->new_name, "", ret);
}

struct err *msg_VM_copy(struct op *op, const struct args_VM_copy *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!ref_is_null(a->sr) && !snap_SR(s, a->sr))
        return err_HANDLE_INVALID("SR", a->sr);
    return copy_vm(op, a->new_name, ref_is_null(a->sr) ? "" : a->sr, ret);
}
