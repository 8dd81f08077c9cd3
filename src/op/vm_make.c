/*
 * vm_make.c: VM.create, provision, destroy.
 *
 * The disks that a template asks for (other_config:disks) are made by provision.
 */
#include <stdio.h>
#include <string.h>

#include "gen/msg.h"
#include "op/provision_xml.h"
#include "op/vm_ops.h"
#include "op/world.h"

/* ---- what every new VM gets ---- */

void vm_new_mac_seed(struct rec_VM *vm)
{
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    val_assign(&vm->other_config, val_with(vm->other_config, "mac_seed", uuid));
}

void vm_add_metrics(struct txn *t, struct rec_VM *vm)
{
    struct rec_VM_metrics *m = txn_add_VM_metrics(t);
    rstr_assign(&vm->metrics, m->row.ref);
    m->install_time = now_s();
    m->last_updated = now_s();
}

/* ---- create ---- */

struct create_arg {
    const struct val *rec;
    const char *ref;
};

static struct err *create_txn(struct txn *t, void *arg)
{
    struct create_arg *a = arg;
    struct rec_VM *vm = (struct rec_VM *)txn_add(t, CLASS_VM, a->ref, NULL);
    TRY(rec_take_given(&vm->row, a->rec));
    TRY(vm_check_memory(vm));
    TRY(vm_check_vcpus(vm));
    if (vm->power_state != VM_POWER_STATE_HALTED)
        return err_INVALID_VALUE("power_state", rec_str(a->rec, "power_state"));
    rstr_set(&vm->suspend_VDI, REF_NULL);
    vm->domid = -1;
    if (!val_map_get(vm->other_config, "mac_seed"))
        vm_new_mac_seed(vm);
    if (vm->domain_type == DOMAIN_TYPE_UNSPECIFIED)
        vm->domain_type = DOMAIN_TYPE_HVM;
    vm_add_metrics(t, vm);
    return NULL;
}

struct err *msg_VM_create(struct op *op, const struct args_VM_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct create_arg arg = {a->args, ref};
    TRY(op_write(op, "create VM", create_txn, &arg));
    *ret = val_rstr(ref);
    return NULL;
}

/* ---- provision ---- */

static void disk_key(char out[40], size_t i, const char *what)
{
    snprintf(out, 40, "disk.%zu.%s", i, what);
}

static void put_disk(struct op *op, size_t i, const char *what, const char *value)
{
    char key[40];
    disk_key(key, i, what);
    op_put(op, key, value);
}

static const char *get_disk(struct op *op, size_t i, const char *what)
{
    char key[40];
    disk_key(key, i, what);
    return op_get(op, key);
}

static struct err *disk_sr(struct op *op, const struct snap *s, const char *uuid, const char **ret)
{
    if (*uuid) {
        const struct rec_SR *sr = snap_SR_by_uuid(s, uuid);
        if (!sr)
            return err_UUID_INVALID("SR", uuid);
        *ret = sr->row.ref;
        return NULL;
    }
    const struct rec_pool *pool = snap_pool(s, ops_of(op)->pool_ref);
    if (!pool || !snap_SR(s, pool->default_SR))
        return err_DEFAULT_SR_NOT_FOUND(pool ? pool->default_SR : REF_NULL);
    *ret = pool->default_SR;
    return NULL;
}

static struct err *plan_disk(struct op *op, const struct snap *s, size_t i,
                             const struct provision_disk *d)
{
    const char *sr = NULL;
    char uuid[UUID_SIZE], size[24];
    TRY(disk_sr(op, s, d->sr, &sr));
    str_uuid(uuid);
    snprintf(size, sizeof(size), "%llu", (unsigned long long)d->size_bytes);
    put_disk(op, i, "sr", sr);
    put_disk(op, i, "uuid", uuid);
    put_disk(op, i, "size", size);
    put_disk(op, i, "device", d->device);
    put_disk(op, i, "bootable", d->bootable ? "true" : "false");
    put_disk(op, i, "type", d->system ? "system" : "user");
    return NULL;
}

static struct err *plan_disks(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    struct provision *p = mem_new(struct provision);
    const char *xml = val_map_str(vm->other_config, "disks", "");
    struct err *e =
        provision_parse(xml, p) < 0 ? err_INVALID_VALUE("other_config:disks", xml) : NULL;
    for (size_t i = 0; !e && i < p->n; i++)
        e = plan_disk(op, s, i, &p->disks[i]);
    op_put_int(op, "disks", (int64_t)p->n);
    free(p);
    return e;
}

static struct err *make_disk(struct op *op, const struct rec_VM *vm, size_t i)
{
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    _cleanup_(freep) char *name = mem_printf("%s %s", vm->name_label, get_disk(op, i, "device"));
    uint64_t size = 0;
    TRY(str_u64(view_of(get_disk(op, i, "size")), 1, INT64_MAX, &size) < 0
            ? err_internal("the size of disk %zu is lost", i)
            : NULL);
    struct vdi_make m = {.sr = get_disk(op, i, "sr"),
                         .uuid = get_disk(op, i, "uuid"),
                         .name = name,
                         .description = "Made for a new VM",
                         .size_bytes = size,
                         .type = str_eq(get_disk(op, i, "type"), "system") ? VDI_TYPE_SYSTEM
                                                                           : VDI_TYPE_USER};
    TRY(vdi_make(op, &m, &ref));
    put_disk(op, i, "vdi", ref);
    return NULL;
}

static struct err *make_disks(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    size_t n = (size_t)op_get_int(op, "disks");
    TRY(need_VM(s, op->self, &vm));
    for (size_t i = 0; i < n; i++) {
        TRY(op_check(op));
        TRY(make_disk(op, vm, i));
        op_progress(op, (double)(i + 1) / (double)n);
    }
    return NULL;
}

static struct err *unmake_disks(struct op *op)
{
    struct err *e = NULL;
    for (size_t i = 0; i < (size_t)op_get_int(op, "disks"); i++)
        e = err_first(e, vdi_unmake(op, get_disk(op, i, "uuid"), get_disk(op, i, "sr")));
    return e;
}

static void add_vbd(struct txn *t, struct op *op, size_t i)
{
    struct rec_VBD *vbd = txn_add_VBD(t);
    rstr_set(&vbd->VM, op->self);
    rstr_set(&vbd->VDI, get_disk(op, i, "vdi"));
    rstr_set(&vbd->userdevice, get_disk(op, i, "device"));
    vbd->bootable = str_eq(get_disk(op, i, "bootable"), "true");
    vbd->mode = VBD_MODE_RW;
    vbd->type = VBD_TYPE_DISK;
    vbd->unpluggable = true;
    char name[16];
    unsigned number = 0;
    if (device_number(vbd->userdevice, &number)) {
        device_name(number, name, sizeof(name));
        rstr_set(&vbd->device, name);
    }
    struct val *oc = val_map();
    val_put_str(oc, "owner", "");
    val_assign(&vbd->other_config, oc);
}

static struct err *provisioned_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    struct rec_VM *vm = txn_edit_VM(t, op->self);
    if (!vm)
        return err_HANDLE_INVALID("VM", op->self);
    for (size_t i = 0; i < (size_t)op_get_int(op, "disks"); i++)
        add_vbd(t, op, i);
    val_assign(&vm->other_config, val_without(vm->other_config, "disks"));
    vm->is_a_template = false;
    vm->is_default_template = false;
    return NULL;
}

static struct err *mark_provisioned(struct op *op)
{
    return op_commit(op, "mark provisioned", provisioned_txn, op);
}

static const struct step provision_steps[] = {
    {"plan disks", plan_disks, NULL, .weight = 1},
    {"make disks", make_disks, unmake_disks, .weight = 8},
    {"mark provisioned", mark_provisioned, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_provision = OP_KIND("VM.provision", provision_steps);

struct err *msg_VM_provision(struct op *op, const struct args_VM_provision *a, struct val **ret)
{
    return op_run_steps(op, "VM.provision");
}

/* ---- destroy ---- */

static struct err *destroyed_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_VM *vm = txn_VM(t, op->self);
    if (!vm)
        return NULL;
    if (!ref_is_null(vm->suspend_VDI))
        op_put(op, "suspend_VDI", vm->suspend_VDI);
    op_put(op, "uuid", vm->uuid);
    boot_drop(t, vm->uuid);
    delete_refs(t, CLASS_VBD, vm->VBDs);
    delete_refs(t, CLASS_VIF, vm->VIFs);
    delete_refs(t, CLASS_console, vm->consoles);
    delete_refs(t, CLASS_VTPM, vm->VTPMs);
    txn_delete(t, CLASS_VM_metrics, vm->metrics);
    txn_delete(t, CLASS_VM_guest_metrics, vm->guest_metrics);
    txn_delete(t, CLASS_VM, op->self);
    return NULL;
}

static struct err *mark_destroyed(struct op *op)
{
    return op_commit(op, "destroy VM", destroyed_txn, op);
}

static struct err *forget_guest(struct op *op)
{
    struct verb v = op_verb(op, VERB_TIME);
    const char *uuid = op_get(op, "uuid");
    return *uuid ? host_vm_forget(op->host, &v, uuid) : NULL;
}

static const struct step destroy_steps[] = {
    {"destroy record", mark_destroyed, NULL, .weight = 1, .commit = true},
    {"forget guest", forget_guest, NULL, .weight = 1},
    {"delete image", delete_suspend_image, NULL, .weight = 1},
};
const struct op_kind kind_vm_destroy = OP_KIND("VM.destroy", destroy_steps);

struct err *msg_VM_destroy(struct op *op, const struct args_VM_destroy *a, struct val **ret)
{
    return op_run_steps(op, "VM.destroy");
}
