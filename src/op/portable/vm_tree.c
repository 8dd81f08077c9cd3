/*
 * vm_tree.c: what imported VMs and disks are to each other: whose snapshot, made from which. Runs
 * on core, when all of them have their places; see importing.h.
 *
 * The archive may say anything. A snapshot is one of a VM that travels with it and is none itself;
 * what stands above another is a snapshot, and nothing stands above itself.
 */
#include "op/portable/importing.h"
#include "op/portable/portable_impl.h"

static const char *placed(const struct val *refs, enum class_num cls, const char *id)
{
    _cleanup_(freep) char *key = ova_key((int)cls, id);
    return val_map_str(refs, key, NULL);
}

bool import_is_snapshot(const struct ova_in *o, const struct ova_object *vm)
{
    struct ova_object of;
    return import_takes_vm(vm) && ova_bool(vm->rec, "is_a_snapshot") &&
           ova_find(o, "VM", ova_text(vm->rec, "snapshot_of"), &of) && import_takes_vm(&of) &&
           !ova_bool(of.rec, "is_a_snapshot");
}

/* Does the way upwards end? */
static bool has_root(const struct ova_in *o, struct ova_object vm)
{
    for (size_t n = ova_count(o); n; n--)
        if (!ova_find(o, "VM", ova_text(vm.rec, "parent"), &vm))
            return true;
    return false;
}

static struct err *become_snapshot(struct rec_VM *vm, const struct ova_object *obj,
                                   const struct val *refs)
{
    static const char *const names[] = {"snapshot_of",      "snapshot_time",
                                        "snapshot_info",    "snapshot_metadata",
                                        "is_vmss_snapshot", "transportable_snapshot_id"};
    vm->is_a_snapshot = vm->is_a_template = true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        TRY(ova_take(&vm->row, desc_field(vm->row.cls, names[i]), obj->rec, refs));
    return NULL;
}

static struct err *link_vm(struct txn *t, const struct ova_in *o, const struct ova_object *obj,
                           const struct val *refs)
{
    struct ova_object parent;
    const char *ref = placed(refs, CLASS_VM, obj->id);
    struct rec_VM *vm = ref ? txn_edit_VM(t, ref) : NULL;
    if (!vm)
        return NULL;
    if (import_is_snapshot(o, obj))
        TRY(become_snapshot(vm, obj, refs));
    if (ova_find(o, "VM", ova_text(obj->rec, "parent"), &parent) &&
        import_is_snapshot(o, &parent) && has_root(o, *obj))
        TRY(ova_take(&vm->row, desc_field(vm->row.cls, "parent"), obj->rec, refs));
    return NULL;
}

/* One that is here already, and is a snapshot, stays what it is. */
static struct err *link_vdi(struct txn *t, const struct ova_in *o, const struct ova_object *obj,
                            const struct val *refs)
{
    struct ova_object of;
    if (!ova_bool(obj->rec, "is_a_snapshot") ||
        !ova_find(o, "VDI", ova_text(obj->rec, "snapshot_of"), &of) ||
        ova_bool(of.rec, "is_a_snapshot"))
        return NULL;
    const char *ref = placed(refs, CLASS_VDI, obj->id), *to = placed(refs, CLASS_VDI, of.id);
    const struct rec_VDI *old = ref && to && !str_eq(ref, to) ? txn_VDI(t, ref) : NULL;
    if (!old || old->is_a_snapshot || !ref_is_null(old->snapshot_of))
        return NULL;
    struct rec_VDI *vdi = txn_edit_VDI(t, ref);
    vdi->is_a_snapshot = true;
    rstr_set(&vdi->snapshot_of, to);
    return ova_take(&vdi->row, desc_field(vdi->row.cls, "snapshot_time"), obj->rec, refs);
}

struct err *import_link(struct txn *t, const struct ova_in *o, const struct val *refs)
{
    for (size_t i = 0; i < ova_count(o); i++) {
        struct ova_object obj = ova_at(o, i);
        if (str_eq(obj.cls, "VM") && import_takes_vm(&obj))
            TRY(link_vm(t, o, &obj, refs));
        if (str_eq(obj.cls, "VDI"))
            TRY(link_vdi(t, o, &obj, refs));
    }
    return NULL;
}
