/*
 * vbd.c: VBD.create, destroy, plug, unplug, insert, eject, set_mode.
 *
 *     plug:   open in diskd - plug into the guest - mark attached
 *     unplug: out of the guest - mark detached - close in diskd
 *
 * A guest's boot record is kept up with what is plugged, in the transaction that marks it.
 */
#include <stdio.h>

#include "gen/msg.h"
#include "op/vdi_cbt.h"
#include "op/read_cache.h"
#include "op/vm_ops.h"
#include "op/world.h"
#include "state/row.h"
#include "task/claim.h"

/* ---- create ---- */

struct create_arg {
    const struct val *rec;
    const char *ref;
};

/* The number given, or the lowest free one for "" and "autodetect". */
static struct err *choose_device(struct txn *t, const struct rec_VM *vm, const char *wanted,
                                 struct rec_VBD *vbd)
{
    _cleanup_(val_unrefp) struct val *numbers = vm_free_vbd_numbers(txn_snap(t), vm);
    unsigned number;
    char text[12];
    if (!*wanted || str_eq(wanted, "autodetect")) {
        if (val_count(numbers) == 0)
            return err_INVALID_DEVICE(wanted);
        rstr_set(&vbd->userdevice, val_str_at(numbers, 0));
        return NULL;
    }
    if (!device_number(wanted, &number))
        return err_INVALID_DEVICE(wanted);
    snprintf(text, sizeof(text), "%u", number);
    if (!val_set_has(numbers, text))
        return err_DEVICE_ALREADY_EXISTS(wanted);
    rstr_set(&vbd->userdevice, wanted);
    return NULL;
}

static struct err *check_media(struct txn *t, const struct rec_VBD *vbd)
{
    bool cd = vbd->type == VBD_TYPE_CD;
    if (vbd->type == VBD_TYPE_FLOPPY)
        return err_VALUE_NOT_SUPPORTED("type", "Floppy", "guests have no floppy drives");
    if (cd && vbd->mode != VBD_MODE_RO)
        return err_VBD_CDS_MUST_BE_READONLY();
    if (vbd->empty)
        return cd ? NULL : err_OPERATION_NOT_ALLOWED("only a CD drive can be empty");
    const struct rec_VDI *vdi = txn_VDI(t, vbd->VDI);
    if (!vdi)
        return err_HANDLE_INVALID("VDI", vbd->VDI);
    if (vdi->read_only && vbd->mode == VBD_MODE_RW)
        return err_VDI_READONLY(vbd->VDI);
    return cbt_need_data(vdi);
}

static struct err *create_txn(struct txn *t, void *arg)
{
    struct create_arg *a = arg;
    const char *vm_ref = rec_str(a->rec, "VM");
    const struct rec_VM *vm = txn_VM(t, vm_ref);
    if (!vm)
        return err_HANDLE_INVALID("VM", vm_ref);
    struct rec_VBD *vbd = (struct rec_VBD *)txn_add(t, CLASS_VBD, a->ref, NULL);
    TRY(rec_take_given(&vbd->row, a->rec));
    vbd->currently_attached = false;
    struct val *algorithms = val_set();
    val_add_str(algorithms, "ratelimit");
    val_assign(&vbd->qos_supported_algorithms, algorithms);
    vbd->empty = vbd->empty || ref_is_null(vbd->VDI);
    if (vbd->empty)
        rstr_set(&vbd->VDI, REF_NULL);
    TRY(choose_device(t, vm, rec_str(a->rec, "userdevice"), vbd));
    TRY(check_media(t, vbd));
    char name[16];
    unsigned number = 0;
    if (device_number(vbd->userdevice, &number)) {
        device_name(number, name, sizeof(name));
        rstr_set(&vbd->device, name);
    }
    return NULL;
}

struct err *msg_VBD_create(struct op *op, const struct args_VBD_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct create_arg arg = {a->args, ref};
    TRY(op_write(op, "create VBD", create_txn, &arg));
    *ret = val_rstr(ref);
    return NULL;
}

static struct err *destroy_txn(struct txn *t, void *arg)
{
    const struct rec_VBD *vbd = txn_VBD(t, arg);
    if (!vbd)
        return err_HANDLE_INVALID("VBD", arg);
    if (vbd->currently_attached)
        return err_OPERATION_NOT_ALLOWED("the VBD is attached to a running VM");
    TRY(need_idle("VBD", arg, vbd->current_operations));
    txn_delete(t, CLASS_VBD, arg);
    return NULL;
}

struct err *msg_VBD_destroy(struct op *op, const struct args_VBD_destroy *a, struct val **ret)
{
    return op_write(op, "destroy VBD", destroy_txn, (void *)a->self);
}

/* ---- what the steps work on ---- */

struct drive {
    struct snap *snap;
    const struct rec_VBD *vbd;
    const struct rec_VM *vm;
    bool live; /* the VM has a guest */
};

static void drive_done(struct drive *d)
{
    snap_unref(d->snap);
}

static struct err *drive_get(struct op *op, struct drive *ret)
{
    ret->snap = snap_get(op->db);
    TRY(need_VBD(ret->snap, op->self, &ret->vbd));
    TRY(need_VM(ret->snap, ret->vbd->VM, &ret->vm));
    ret->live = ret->vm->power_state == VM_POWER_STATE_RUNNING ||
                ret->vm->power_state == VM_POWER_STATE_PAUSED;
    return NULL;
}

static struct err *drive_number(const struct drive *d, unsigned *ret)
{
    return device_number(d->vbd->userdevice, ret) ? NULL : err_INVALID_DEVICE(d->vbd->userdevice);
}

/* The drive as it is, or as it will be with the context's VDI in it. */
static struct err *drive_disk(struct op *op, const struct drive *d, struct boot_disk **ret)
{
    const char *vdi = op_get(op, "vdi");
    if (!*vdi)
        return boot_build_disk(op, d->snap, d->vbd, ret);
    struct rec_VBD *with = (struct rec_VBD *)row_copy(&d->vbd->row);
    rstr_set(&with->VDI, vdi);
    with->empty = false;
    struct err *e = boot_build_disk(op, d->snap, with, ret);
    row_unref(&with->row);
    return e;
}

/* ---- steps ---- */

/* Verbs of the host about a disk, by its record and by its number. */
typedef struct err *(*give_fn)(struct host *h, const struct verb *v, const char *vm,
                               const struct boot_disk *disk);
typedef struct err *(*take_fn)(struct host *h, const struct verb *v, const char *vm,
                               unsigned device);

/* Both do nothing for a VM that does not run. */
static struct err *give_disk(struct op *op, give_fn verb)
{
    _cleanup_(drive_done) struct drive d = {0};
    struct boot_disk *disk = NULL;
    TRY(drive_get(op, &d));
    if (!d.live)
        return NULL;
    TRY(drive_disk(op, &d, &disk));
    struct verb v = op_verb(op, VERB_TIME);
    struct err *e = verb(op->host, &v, d.vm->uuid, disk);
    boot_disk_free(disk);
    return e;
}

static struct err *take_disk(struct op *op, take_fn verb)
{
    _cleanup_(drive_done) struct drive d = {0};
    unsigned number;
    TRY(drive_get(op, &d));
    TRY(drive_number(&d, &number));
    if (!d.live)
        return NULL;
    struct verb v = op_verb(op, VERB_TIME);
    return verb(op->host, &v, d.vm->uuid, number);
}

static struct err *open_disk(struct op *op)
{
    return give_disk(op, host_disk_attach);
}

static struct err *close_disk(struct op *op)
{
    return take_disk(op, host_disk_detach);
}

static struct err *plug_disk(struct op *op)
{
    _cleanup_(drive_done) struct drive d = {0};
    struct boot_disk *disk = NULL;
    TRY(drive_get(op, &d));
    TRY(drive_disk(op, &d, &disk));
    struct verb v = op_verb(op, VERB_TIME);
    struct err *e = host_vm_plug_disk(op->host, &v, d.vm->uuid, disk);
    boot_disk_free(disk);
    return e;
}

static struct err *unplug(struct op *op, bool force, usec_t wait)
{
    _cleanup_(drive_done) struct drive d = {0};
    unsigned number;
    TRY(drive_get(op, &d));
    TRY(drive_number(&d, &number));
    struct verb v = op_verb(op, wait);
    return host_vm_unplug_disk(op->host, &v, d.vm->uuid, number, force);
}

static struct err *unplug_disk(struct op *op)
{
    return unplug(op, op_get_bool(op, "force"), VERB_TIME);
}

/* ---- the record and the boot record together ---- */

struct mark_arg {
    struct op *op;
    const struct boot_disk *disk; /* NULL: taken out of the boot record */
    const char *vdi;              /* NULL: stays */
    bool attached;
};

static struct err *mark_txn(struct txn *t, void *arg)
{
    struct mark_arg *a = arg;
    struct rec_VBD *vbd = txn_edit_VBD(t, a->op->self);
    const struct rec_VM *vm = vbd ? txn_VM(t, vbd->VM) : NULL;
    _cleanup_(boot_freep) struct boot *b = NULL;
    unsigned number = 0;
    if (!vm)
        return err_HANDLE_INVALID("VBD", a->op->self);
    if (a->vdi) {
        rstr_set(&vbd->VDI, a->vdi);
        vbd->empty = ref_is_null(a->vdi);
    }
    if (!txn_boot_by_uuid(t, vm->uuid))
        return NULL;
    vbd->currently_attached = a->attached;
    read_cache_note(t, vbd->VDI);
    TRY(boot_load(txn_snap(t), vm, &b));
    if (a->disk)
        boot_set_disk(b, a->disk);
    else if (device_number(vbd->userdevice, &number))
        boot_del_disk(b, number);
    boot_put(t, vm, b);
    return NULL;
}

static struct err *mark_with_disk(struct op *op, op_write_fn write, const char *vdi)
{
    _cleanup_(drive_done) struct drive d = {0};
    struct boot_disk *disk = NULL;
    TRY(drive_get(op, &d));
    if (d.live)
        TRY(drive_disk(op, &d, &disk));
    struct mark_arg a = {op, disk, vdi, true};
    struct err *e = write(op, "mark attached", mark_txn, &a);
    boot_disk_free(disk);
    return e;
}

static struct err *mark_plugged(struct op *op)
{
    return mark_with_disk(op, op_commit, NULL);
}

/* What a guest does not give back soon it keeps, and the record says so. */
static struct err *unplug_or_keep(struct op *op)
{
    struct err *e = unplug(op, true, RELEASE_TIME);
    if (!err_is(e, "DEVICE_DETACH_TIMEOUT"))
        return e;
    err_free(e);
    return mark_with_disk(op, op_write, NULL);
}

static struct err *close_unless_kept(struct op *op)
{
    _cleanup_(drive_done) struct drive d = {0};
    TRY(drive_get(op, &d));
    return d.vbd->currently_attached ? NULL : close_disk(op);
}

static struct err *mark_unplugged(struct op *op)
{
    struct mark_arg a = {op, NULL, NULL, false};
    return op_commit(op, "mark detached", mark_txn, &a);
}

static const struct step plug_steps[] = {
    {"open disk", open_disk, close_unless_kept, .weight = 2},
    {"plug disk", plug_disk, unplug_or_keep, .weight = 2},
    {"mark attached", mark_plugged, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vbd_plug = OP_KIND("VBD.plug", plug_steps);

/* A guest that has let go of a disk has closed it: nothing is lost if it is plugged in again. */
static const struct step unplug_steps[] = {
    {"unplug disk", unplug_disk, plug_disk, .weight = 2},
    {"mark detached", mark_unplugged, NULL, .weight = 1, .commit = true},
    {"close disk", close_disk, NULL, .weight = 2},
};
const struct op_kind kind_vbd_unplug = OP_KIND("VBD.unplug", unplug_steps);

/* The same after the guest has let go at last. */
static bool is_detached(struct txn *t, struct op *op)
{
    const struct rec_VBD *vbd = txn_VBD(t, op->self);
    return !vbd || !vbd->currently_attached;
}
const struct op_kind kind_vbd_gone = {"VBD gone", unplug_steps, ARRAY_LEN(unplug_steps),
                                      is_detached};

struct err *msg_VBD_plug(struct op *op, const struct args_VBD_plug *a, struct val **ret)
{
    return op_run_steps(op, "VBD.plug");
}

struct err *msg_VBD_unplug(struct op *op, const struct args_VBD_unplug *a, struct val **ret)
{
    return op_run_steps(op, "VBD.unplug");
}

struct err *msg_VBD_unplug_force(struct op *op, const struct args_VBD_unplug_force *a,
                                 struct val **ret)
{
    op_put_bool(op, "force", true);
    return op_run_steps(op, "VBD.unplug");
}

/* Both take the disk whether or not the guest likes it; neither asks whether it is in use. */
struct err *msg_VBD_unplug_force_no_safety_check(
    struct op *op, const struct args_VBD_unplug_force_no_safety_check *a, struct val **ret)
{
    op_put_bool(op, "force", true);
    return op_run_steps(op, "VBD.unplug");
}

/* ---- CDs ---- */

static struct err *insert_cd(struct op *op)
{
    return give_disk(op, host_vm_insert_cd);
}

static struct err *eject_cd(struct op *op)
{
    return take_disk(op, host_vm_eject_cd);
}

static struct err *mark_inserted(struct op *op)
{
    return mark_with_disk(op, op_commit, op_get(op, "vdi"));
}

static struct err *mark_ejected(struct op *op)
{
    _cleanup_(drive_done) struct drive d = {0};
    struct boot_disk *disk = NULL;
    TRY(drive_get(op, &d));
    struct rec_VBD *empty = (struct rec_VBD *)row_copy(&d.vbd->row);
    empty->empty = true;
    struct err *e = boot_build_disk(op, d.snap, empty, &disk);
    row_unref(&empty->row);
    TRY(e);
    struct mark_arg a = {op, disk, REF_NULL, d.live};
    e = op_commit(op, "mark ejected", mark_txn, &a);
    boot_disk_free(disk);
    return e;
}

static const struct step insert_steps[] = {
    {"open image", open_disk, close_disk, .weight = 2},
    {"insert CD", insert_cd, eject_cd, .weight = 2},
    {"mark inserted", mark_inserted, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vbd_insert = OP_KIND("VBD.insert", insert_steps);

static const struct step eject_steps[] = {
    {"eject CD", eject_cd, insert_cd, .weight = 2},
    {"mark ejected", mark_ejected, NULL, .weight = 1, .commit = true},
    {"close image", close_disk, NULL, .weight = 1},
};
const struct op_kind kind_vbd_eject = OP_KIND("VBD.eject", eject_steps);

struct err *msg_VBD_insert(struct op *op, const struct args_VBD_insert *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, a->vdi, &vdi));
    op_put(op, "vdi", a->vdi);
    return op_run_steps(op, "VBD.insert");
}

struct err *msg_VBD_eject(struct op *op, const struct args_VBD_eject *a, struct val **ret)
{
    return op_run_steps(op, "VBD.eject");
}

/* ---- the rest ---- */

static struct err *mode_txn(struct txn *t, void *arg)
{
    const struct args_VBD_set_mode *a = arg;
    struct rec_VBD *vbd = txn_edit_VBD(t, a->self);
    if (!vbd)
        return err_HANDLE_INVALID("VBD", a->self);
    if (vbd->currently_attached)
        return err_DEVICE_ALREADY_ATTACHED(a->self);
    vbd->mode = a->value;
    return check_media(t, vbd);
}

struct err *msg_VBD_set_mode(struct op *op, const struct args_VBD_set_mode *a, struct val **ret)
{
    return op_write(op, "set VBD mode", mode_txn, (void *)a);
}

struct err *msg_VBD_assert_attachable(struct op *op, const struct args_VBD_assert_attachable *a,
                                      struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VBD *vbd;
    TRY(need_VBD(s, a->self, &vbd));
    return claim_check(&(struct claim_view){.snap = s}, &vbd->row, VBD_OPERATIONS_ATTACH);
}
