/*
 * vm_add.c: the records of imported VMs, in one transaction: VM, VBDs, VIFs, networks that are
 * missing. Runs on core; the description is read already, but nothing in it is believed.
 */
#include <stdio.h>
#include <string.h>

#include "op/portable/importing.h"
#include "op/portable/portable_impl.h"
#include "op/vm_ops.h"

struct adding {
    struct txn *t;
    struct op *op;
    struct importing *im;
    struct val *refs;    /* as for ova_take() */
    struct val *devices; /* "VM device" of the disks so far */
    struct val *macs; /* "VM MAC" of the archive -> the new one: snapshots have those of their VM */
};

static void place(struct adding *a, enum class_num cls, const char *id, const char *ref)
{
    _cleanup_(freep) char *key = ova_key(cls, id);
    val_put_str(a->refs, key, ref);
}

/* The reference here; NULL if there is none of that class. */
static const char *placed(const struct adding *a, enum class_num cls, const char *id)
{
    _cleanup_(freep) char *key = ova_key(cls, id);
    return val_map_str(a->refs, key, NULL);
}

/* ---- who is who ---- */

bool import_takes_vm(const struct ova_object *obj)
{
    return str_eq(obj->cls, "VM") && !ova_bool(obj->rec, "is_control_domain");
}

bool import_disk_of(const struct ova_in *o, const struct ova_object *vbd, struct ova_object *ret)
{
    struct ova_object vm, sr;
    if (!str_eq(vbd->cls, "VBD") || !str_eq(ova_text(vbd->rec, "type"), "Disk") ||
        !ova_find(o, "VM", ova_text(vbd->rec, "VM"), &vm) || !import_takes_vm(&vm) ||
        !ova_find(o, "VDI", ova_text(vbd->rec, "VDI"), ret))
        return false;
    bool iso = ova_find(o, "SR", ova_text(ret->rec, "SR"), &sr) &&
               str_eq(ova_text(sr.rec, "content_type"), "iso");
    return !iso;
}

/* ---- networks: by name, by bridge, or made ---- */

static const struct rec_network *find_network(struct txn *t, const struct val *rec)
{
    const char *name = ova_text(rec, "name_label"), *bridge = ova_text(rec, "bridge");
    const struct rec_network *by_bridge = NULL, *by_name = NULL;
    txn_each (row, t, CLASS_network) {
        const struct rec_network *n = rec_network(row);
        if (str_eq(n->name_label, name) && (!by_name || str_eq(n->uuid, ova_text(rec, "uuid"))))
            by_name = n;
        if (*bridge && str_eq(n->bridge, bridge) && !by_bridge)
            by_bridge = n;
    }
    return by_name ? by_name : by_bridge;
}

static const char *make_network(struct txn *t, const struct val *rec)
{
    struct rec_network *n = txn_add_network(t);
    char bridge[24];
    network_free_bridge(t, bridge);
    rstr_set(&n->name_label, ova_text(rec, "name_label"));
    rstr_set(&n->name_description, ova_text(rec, "name_description"));
    rstr_set(&n->bridge, bridge);
    n->MTU = ova_int(rec, "MTU") > 0 ? ova_int(rec, "MTU") : 1500;
    n->managed = true;
    return n->row.ref;
}

/* The ids of the networks that VIFs are on. */
static struct val *used_networks(const struct ova_in *o)
{
    struct val *used = val_map();
    for (size_t i = 0; i < ova_count(o); i++) {
        struct ova_object vif = ova_at(o, i);
        const char *id = str_eq(vif.cls, "VIF") ? ova_text(vif.rec, "network") : "";
        if (*id)
            val_put_str(used, id, "");
    }
    return used;
}

static void place_networks(struct adding *a)
{
    _cleanup_(val_unrefp) struct val *used = used_networks(&a->im->ova);
    for (size_t i = 0; i < ova_count(&a->im->ova); i++) {
        struct ova_object obj = ova_at(&a->im->ova, i);
        if (!str_eq(obj.cls, "network") || !val_map_get(used, obj.id))
            continue;
        const struct rec_network *n = find_network(a->t, obj.rec);
        place(a, CLASS_network, obj.id, n ? n->row.ref : make_network(a->t, obj.rec));
    }
}

/* ---- repositories and disks ---- */

static const struct rec_VDI *find_iso(struct txn *t, const struct val *rec)
{
    const char *location = ova_text(rec, "location");
    const struct rec_VDI *same = txn_VDI_by_uuid(t, ova_text(rec, "uuid"));
    txn_each (row, t, CLASS_VDI) {
        const struct rec_VDI *vdi = rec_VDI(row);
        const struct rec_SR *sr = txn_SR(t, vdi->SR);
        bool iso = sr && str_eq(sr->content_type, "iso");
        if (!same && iso && *location && str_eq(vdi->location, location))
            same = vdi;
    }
    return same;
}

/* A description alone: the disk is here already, under its uuid or the one that was given. */
static const struct rec_VDI *find_disk(const struct adding *a, const struct val *rec)
{
    const char *uuid = ova_text(rec, "uuid");
    const char *given = a->im->in->vdis ? val_map_str(a->im->in->vdis, uuid, NULL) : NULL;
    return txn_VDI_by_uuid(a->t, given ? given : uuid);
}

static bool is_iso(const struct ova_in *o, const struct val *vdi)
{
    struct ova_object sr;
    return ova_find(o, "SR", ova_text(vdi, "SR"), &sr) &&
           str_eq(ova_text(sr.rec, "content_type"), "iso");
}

static void place_vdis(struct adding *a)
{
    for (size_t i = 0; i < (size_t)op_get_int(a->op, "disks"); i++)
        place(a, CLASS_VDI, import_disk(a->op, i, "id"), import_disk(a->op, i, "vdi"));
    for (size_t i = 0; i < ova_count(&a->im->ova); i++) {
        struct ova_object obj = ova_at(&a->im->ova, i);
        const struct rec_VDI *vdi = NULL;
        if (str_eq(obj.cls, "VDI") && is_iso(&a->im->ova, obj.rec))
            vdi = find_iso(a->t, obj.rec);
        else if (str_eq(obj.cls, "VDI") && a->im->in->metadata)
            vdi = find_disk(a, obj.rec);
        if (vdi)
            place(a, CLASS_VDI, obj.id, vdi->row.ref);
        const struct rec_SR *sr =
            str_eq(obj.cls, "SR") ? txn_SR_by_uuid(a->t, ova_text(obj.rec, "uuid")) : NULL;
        if (sr)
            place(a, CLASS_SR, obj.id, sr->row.ref);
    }
}

/* ---- VM ---- */

static struct err *take_vm_fields(struct adding *a, struct rec_VM *vm, const struct val *rec)
{
    desc_each_field (f, vm->row.cls) {
        if ((f->flags & (FIELD_DERIVED | FIELD_VOLATILE | FIELD_INTERNAL)) ||
            vm_field_is_own(f->name))
            continue;
        TRY(ova_take(&vm->row, f, rec, a->refs));
    }
    return NULL;
}

static struct err *finish_vm(struct adding *a, struct rec_VM *vm)
{
    TRY(vm_check_memory(vm));
    TRY(vm_check_vcpus(vm));
    if (!a->im->in->restore || !val_map_get(vm->other_config, "mac_seed"))
        vm_new_mac_seed(vm);
    vm->power_state = VM_POWER_STATE_HALTED;
    vm->domid = -1;
    if (vm->domain_type == DOMAIN_TYPE_UNSPECIFIED)
        vm->domain_type = DOMAIN_TYPE_HVM;
    vm_add_metrics(a->t, vm);
    root_check(a->t, vm);
    return NULL;
}

static void note_asleep(struct adding *a, const char *ref, const struct val *rec)
{
    const char *vdi = placed(a, CLASS_VDI, ova_text(rec, "suspend_VDI"));
    import_note_asleep(a->op, ref, ova_text(rec, "last_booted_record"), vdi ? vdi : REF_NULL);
}

static struct err *add_vm(struct adding *a, const struct ova_object *obj)
{
    const char *uuid = ova_text(obj->rec, "uuid");
    bool keep = a->im->in->restore;
    const struct rec_VM *same = keep ? txn_VM_by_uuid(a->t, uuid) : NULL;
    if (same)
        return err_DUPLICATE_VM(same->row.ref);
    if (keep && !str_is_uuid(uuid))
        return import_error("'%s' is no uuid", uuid);
    struct rec_VM *vm = (struct rec_VM *)txn_add(a->t, CLASS_VM, NULL, keep ? uuid : NULL);
    TRY(take_vm_fields(a, vm, obj->rec));
    TRY(finish_vm(a, vm));
    place(a, CLASS_VM, obj->id, vm->row.ref);
    if (!import_is_snapshot(&a->im->ova, obj))
        val_add_str(a->im->vms, vm->row.ref);
    if (!a->im->in->metadata && import_is_asleep(obj))
        note_asleep(a, vm->row.ref, obj->rec);
    return NULL;
}

/* ---- devices ---- */

static struct err *take_named(struct row *row, const char *const *names, const struct val *rec,
                              const struct val *refs)
{
    for (; *names; names++)
        TRY(ova_take(row, desc_field(row->cls, *names), rec, refs));
    return NULL;
}

/* Is the number of this device free among those of its VM, which is as new as it? Takes it. */
static bool take_number(struct adding *a, const struct rec_VBD *vbd, unsigned number)
{
    _cleanup_(freep) char *key = mem_printf("%s %u", vbd->VM, number);
    if (val_map_get(a->devices, key))
        return false;
    val_put_str(a->devices, key, "");
    return true;
}

static struct err *check_vbd(struct adding *a, struct rec_VBD *vbd)
{
    unsigned number;
    char name[16];
    if (!device_number(vbd->userdevice, &number) || !take_number(a, vbd, number))
        return import_error("the device '%s' of a disk is none, or taken", vbd->userdevice);
    device_name(number, name, sizeof(name));
    rstr_set(&vbd->device, name);
    if (vbd->type == VBD_TYPE_CD) {
        vbd->mode = VBD_MODE_RO;
        vbd->empty = ref_is_null(vbd->VDI);
        return NULL;
    }
    if (!ref_is_null(vbd->VDI)) {
        vbd->empty = false;
        return NULL;
    }
    if (!a->im->in->force)
        return err_IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND();
    txn_delete(a->t, CLASS_VBD, vbd->row.ref);
    return NULL;
}

static struct err *add_vbd(struct adding *a, const struct ova_object *obj)
{
    static const char *const names[] = {
        "VM",   "VDI",         "userdevice",   "bootable",           "mode",
        "type", "unpluggable", "other_config", "qos_algorithm_type", "qos_algorithm_params",
        NULL};
    if (!placed(a, CLASS_VM, ova_text(obj->rec, "VM")))
        return NULL;
    struct rec_VBD *vbd = txn_add_VBD(a->t);
    TRY(take_named(&vbd->row, names, obj->rec, a->refs));
    return check_vbd(a, vbd);
}

/* A new one; the same for the card of a VM and that of its snapshot. */
static void new_mac(struct adding *a, const struct val *rec, char mac[18])
{
    struct ova_object vm;
    const char *id = ova_text(rec, "VM"), *of = "";
    if (ova_find(&a->im->ova, "VM", id, &vm) && import_is_snapshot(&a->im->ova, &vm))
        of = ova_text(vm.rec, "snapshot_of");
    _cleanup_(freep) char *key = mem_printf("%s %s", *of ? of : id, ova_text(rec, "MAC"));
    const char *known = val_map_str(a->macs, key, NULL);
    if (!known)
        mac_random(mac);
    else
        snprintf(mac, 18, "%s", known);
    val_put_str(a->macs, key, mac);
}

static struct err *set_mac(struct adding *a, struct rec_VIF *vif, const struct val *rec)
{
    char mac[18];
    bool keep = a->im->in->restore && mac_parse(ova_text(rec, "MAC"), mac);
    if (!keep)
        new_mac(a, rec, mac);
    rstr_set(&vif->MAC, mac);
    vif->MAC_autogenerated = keep ? ova_bool(rec, "MAC_autogenerated") : true;
    return NULL;
}

static struct err *add_vif(struct adding *a, const struct ova_object *obj)
{
    static const char *const names[] = {"VM",
                                        "network",
                                        "device",
                                        "MTU",
                                        "other_config",
                                        "qos_algorithm_type",
                                        "qos_algorithm_params",
                                        "locking_mode",
                                        "ipv4_allowed",
                                        "ipv6_allowed",
                                        NULL};
    uint64_t number;
    if (!placed(a, CLASS_VM, ova_text(obj->rec, "VM")))
        return NULL;
    struct rec_VIF *vif = txn_add_VIF(a->t);
    TRY(take_named(&vif->row, names, obj->rec, a->refs));
    if (str_u64(view_of(vif->device), 0, BOOT_NICS - 1, &number) < 0)
        return import_error("the device '%s' of a network card is none", vif->device);
    if (!txn_network(a->t, vif->network))
        return err_IMPORT_ERROR_FAILED_TO_FIND_OBJECT(ova_text(obj->rec, "network"));
    return set_mac(a, vif, obj->rec);
}

/* ---- all of it ---- */

static struct err *add_each(struct adding *a, const char *cls,
                            struct err *(*add)(struct adding *, const struct ova_object *))
{
    for (size_t i = 0; i < ova_count(&a->im->ova); i++) {
        struct ova_object obj = ova_at(&a->im->ova, i);
        if (str_eq(obj.cls, cls) && (!str_eq(cls, "VM") || import_takes_vm(&obj)))
            TRY(add(a, &obj));
    }
    return NULL;
}

/* Clients that follow the task look for it. */
static void say_created(struct adding *a)
{
    struct rec_task *task = *a->op->task ? txn_edit_task(a->t, a->op->task) : NULL;
    if (task)
        val_assign(&task->other_config,
                   val_with(task->other_config, "object_creation", "complete"));
}

struct err *import_add_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    _cleanup_(val_unrefp) struct val *refs = val_map(), *devices = val_map(), *macs = val_map();
    struct adding a = {
        .t = t, .op = op, .im = op_lent(op), .refs = refs, .devices = devices, .macs = macs};
    place_vdis(&a);
    place_networks(&a);
    TRY(add_each(&a, "VM", add_vm));
    TRY(add_each(&a, "VBD", add_vbd));
    TRY(add_each(&a, "VIF", add_vif));
    TRY(import_link(t, &a.im->ova, refs));
    say_created(&a);
    return NULL;
}
