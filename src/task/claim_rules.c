/*
 * claim_rules.c: the named rules of the model, and which objects look at which.
 *
 * Each function is pure: it reads rows through the view and returns an error or NULL.
 */
#include "task/claim_rules.h"

#include <string.h>

#include "base/str.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "state/db.h"
#include "state/txn.h"

static const struct rec_VM *vm_of(const struct claim_view *v, const char *ref)
{
    return rec_VM(claim_view_row(v, CLASS_VM, ref));
}

static struct err *not_live(const struct rec_VM *vm, const char *ref)
{
    static const char *const names[] = {"halted", "paused", "running", "suspended"};
    return vm ? err_VM_BAD_POWER_STATE(ref, "running, paused", names[vm->power_state])
              : err_HANDLE_INVALID("VM", ref);
}

/* ---- VM ---- */

static struct err *halted_unless_control_domain(const struct claim_view *v, const struct row *row,
                                                int operation)
{
    const struct rec_VM *vm = rec_VM(row);
    if (vm->power_state == VM_POWER_STATE_HALTED || vm->is_control_domain)
        return NULL;
    return err_VM_BAD_POWER_STATE(row->ref, "halted", "running");
}

/* What is suspended knows its disks; a second one that knows the same is for snapshots alone. */
static struct err *vm_clonable(const struct claim_view *v, const struct row *row, int operation)
{
    const struct rec_VM *vm = rec_VM(row);
    static const char *const names[] = {"halted", "paused", "running", "suspended"};
    bool asleep = vm->power_state == VM_POWER_STATE_SUSPENDED && vm->is_a_snapshot;
    if (vm->power_state == VM_POWER_STATE_HALTED || asleep)
        return NULL;
    return err_VM_BAD_POWER_STATE(row->ref, "halted", names[vm->power_state]);
}

/* ---- VM_appliance ---- */

/* Something must be there to be done: a VM that is down can be started, one that is up shut down.
 */
static struct err *appliance_has_vms(const struct claim_view *v, const struct row *row,
                                     int operation)
{
    bool up = false, down = false, running = false;
    const struct val *vms = rec_VM_appliance(row)->VMs;
    val_each (ref, vms) {
        const struct rec_VM *vm = vm_of(v, ref);
        if (!vm)
            continue;
        down = down || vm->power_state == VM_POWER_STATE_HALTED;
        up = up || vm->power_state != VM_POWER_STATE_HALTED;
        running = running || vm->power_state == VM_POWER_STATE_RUNNING;
    }
    if (!up && !down)
        return err_OPERATION_NOT_ALLOWED("the appliance has no VMs");
    if (operation == VM_APPLIANCE_OPERATION_START && !down)
        return err_OPERATION_NOT_ALLOWED("no VM of the appliance is halted");
    if (operation == VM_APPLIANCE_OPERATION_CLEAN_SHUTDOWN && !running)
        return err_OPERATION_NOT_ALLOWED("no VM of the appliance is running");
    if (operation != VM_APPLIANCE_OPERATION_START && !up)
        return err_OPERATION_NOT_ALLOWED("all VMs of the appliance are halted");
    return NULL;
}

/* ---- VBD and VIF ---- */

static struct err *vbd_usable(const struct claim_view *v, const struct row *row, int operation)
{
    const struct rec_VBD *vbd = rec_VBD(row);
    const struct row *vdi = claim_view_row(v, CLASS_VDI, vbd->VDI);
    if (vbd->empty || ref_is_null(vbd->VDI))
        return NULL;
    if (!vdi)
        return err_HANDLE_INVALID("VDI", vbd->VDI);
    if (rec_VDI(vdi)->missing)
        return err_VDI_MISSING(rec_VDI(vdi)->SR, vdi->ref);
    if (rec_VDI(vdi)->read_only && vbd->mode == VBD_MODE_RW)
        return err_VDI_READONLY(vdi->ref);
    if (rec_VDI(vdi)->sharable || vbd->mode == VBD_MODE_RO)
        return NULL;
    val_each (other, rec_VDI(vdi)->VBDs) {
        const struct rec_VBD *o = rec_VBD(claim_view_row(v, CLASS_VBD, other));
        bool busy = o && (o->currently_attached || val_count(o->current_operations) > 0);
        if (busy && o->mode == VBD_MODE_RW && strcmp(other, row->ref) != 0)
            return err_VDI_IN_USE(vdi->ref, "attach");
    }
    return NULL;
}

static struct err *vbd_plug(const struct claim_view *v, const struct row *row, int operation)
{
    const struct rec_VM *vm = vm_of(v, rec_VBD(row)->VM);
    if (!vm || vm->power_state != VM_POWER_STATE_RUNNING)
        return not_live(vm, rec_VBD(row)->VM);
    if (rec_VBD(row)->type == VBD_TYPE_CD)
        return err_OPERATION_NOT_ALLOWED("a CD drive cannot be plugged into a running VM");
    if (rec_VBD(row)->empty)
        return err_VBD_IS_EMPTY(row->ref);
    return vbd_usable(v, row, operation);
}

static struct err *vbd_unplug(const struct claim_view *v, const struct row *row, int operation)
{
    const struct rec_VM *vm = vm_of(v, rec_VBD(row)->VM);
    if (!vm || vm->power_state != VM_POWER_STATE_RUNNING)
        return not_live(vm, rec_VBD(row)->VM);
    if (rec_VBD(row)->type == VBD_TYPE_CD || !rec_VBD(row)->unpluggable)
        return err_VBD_NOT_UNPLUGGABLE(row->ref);
    return NULL;
}

static struct err *removable(const struct row *row)
{
    return rec_VBD(row)->type == VBD_TYPE_CD ? NULL : err_VBD_NOT_REMOVABLE_MEDIA(row->ref);
}

static struct err *not_suspended(const struct claim_view *v, const struct row *row)
{
    const struct rec_VM *vm = vm_of(v, rec_VBD(row)->VM);
    if (vm && vm->power_state == VM_POWER_STATE_SUSPENDED)
        return err_VM_BAD_POWER_STATE(vm->row.ref, "halted, running, paused", "suspended");
    return NULL;
}

static struct err *vbd_insert(const struct claim_view *v, const struct row *row, int operation)
{
    struct err *e = removable(row);
    if (!e)
        e = not_suspended(v, row);
    if (!e && !rec_VBD(row)->empty)
        e = err_VBD_NOT_EMPTY(row->ref);
    return e;
}

static struct err *vbd_eject(const struct claim_view *v, const struct row *row, int operation)
{
    struct err *e = removable(row);
    if (!e)
        e = not_suspended(v, row);
    if (!e && rec_VBD(row)->empty)
        e = err_VBD_IS_EMPTY(row->ref);
    return e;
}

static struct err *vif_live(const struct claim_view *v, const struct row *row, int operation)
{
    const struct rec_VM *vm = vm_of(v, rec_VIF(row)->VM);
    if (!vm || vm->power_state != VM_POWER_STATE_RUNNING)
        return not_live(vm, rec_VIF(row)->VM);
    return NULL;
}

/* ---- VDI and SR ---- */

static const struct snap *view_snap(const struct claim_view *v)
{
    return v->txn ? txn_snap(v->txn) : v->snap;
}

/* Does the storage manager of that kind of repository do it? One that nobody has registered is
 * asked and answers for itself. */
static bool manager_can(const struct claim_view *v, const struct rec_SR *sr, const char *feature)
{
    snap_each (row, view_snap(v), CLASS_SM) {
        if (strcmp(rec_SM(row)->type, sr->type) == 0)
            return val_set_has(rec_SM(row)->capabilities, feature);
    }
    return true;
}

static struct err *check_manager(const struct claim_view *v, const struct row *sr,
                                 const char *feature)
{
    if (!sr || !feature || manager_can(v, rec_SR(sr), feature))
        return NULL;
    return err_SR_OPERATION_NOT_SUPPORTED(sr->ref);
}

static const char *feature_of_vdi_operation(int operation)
{
    bool is_cbt =
        operation == VDI_OPERATIONS_ENABLE_CBT || operation == VDI_OPERATIONS_DISABLE_CBT ||
        operation == VDI_OPERATIONS_DATA_DESTROY || operation == VDI_OPERATIONS_LIST_CHANGED_BLOCKS;
    return operation == VDI_OPERATIONS_DESTROY         ? "VDI_DELETE"
           : operation == VDI_OPERATIONS_RESIZE        ? "VDI_RESIZE"
           : operation == VDI_OPERATIONS_RESIZE_ONLINE ? "VDI_RESIZE_ONLINE"
           : operation == VDI_OPERATIONS_SNAPSHOT      ? "VDI_SNAPSHOT"
           : operation == VDI_OPERATIONS_CLONE         ? "VDI_CLONE"
           : operation == VDI_OPERATIONS_SET_ON_BOOT   ? "VDI_RESET_ON_BOOT"
           : is_cbt                                    ? "VDI_CONFIG_CBT"
                                                       : NULL;
}

static const char *feature_of_sr_operation(int operation)
{
    bool is_cbt = operation == STORAGE_OPERATIONS_VDI_ENABLE_CBT ||
                  operation == STORAGE_OPERATIONS_VDI_DISABLE_CBT ||
                  operation == STORAGE_OPERATIONS_VDI_DATA_DESTROY ||
                  operation == STORAGE_OPERATIONS_VDI_LIST_CHANGED_BLOCKS;
    return operation == STORAGE_OPERATIONS_VDI_CREATE          ? "VDI_CREATE"
           : operation == STORAGE_OPERATIONS_VDI_DESTROY       ? "VDI_DELETE"
           : operation == STORAGE_OPERATIONS_VDI_RESIZE        ? "VDI_RESIZE"
           : operation == STORAGE_OPERATIONS_VDI_RESIZE_ONLINE ? "VDI_RESIZE_ONLINE"
           : operation == STORAGE_OPERATIONS_VDI_SNAPSHOT      ? "VDI_SNAPSHOT"
           : operation == STORAGE_OPERATIONS_VDI_CLONE         ? "VDI_CLONE"
           : operation == STORAGE_OPERATIONS_VDI_SET_ON_BOOT   ? "VDI_RESET_ON_BOOT"
           : is_cbt                                            ? "VDI_CONFIG_CBT"
                                                               : NULL;
}

static struct err *vdi_managed(const struct claim_view *v, const struct row *row, int operation)
{
    if (!rec_VDI(row)->managed)
        return err_VDI_NOT_MANAGED(row->ref);
    if (rec_VDI(row)->missing)
        return err_VDI_MISSING(rec_VDI(row)->SR, row->ref);
    return check_manager(v, claim_view_row(v, CLASS_SR, rec_VDI(row)->SR),
                         feature_of_vdi_operation(operation));
}

/* A suspended VM's disks are in use as well: its memory image knows their content. One that is a
 * snapshot never goes on itself: its disks can be read. */
static struct err *vdi_detached(const struct claim_view *v, const struct row *row, int operation)
{
    val_each (ref, rec_VDI(row)->VBDs) {
        const struct rec_VBD *vbd = rec_VBD(claim_view_row(v, CLASS_VBD, ref));
        const struct rec_VM *vm = vbd ? vm_of(v, vbd->VM) : NULL;
        bool used = vbd && (vbd->currently_attached || val_count(vbd->current_operations) > 0);
        if (operation == VDI_OPERATIONS_COPY && vm && vm->is_a_snapshot)
            continue;
        if (used || (vm && vm->power_state == VM_POWER_STATE_SUSPENDED))
            return err_VDI_IN_USE(row->ref, enum_vdi_operations.values[operation]);
    }
    return NULL;
}

static struct err *vdi_unused(const struct claim_view *v, const struct row *row, int operation)
{
    struct err *e = rec_VDI(row)->missing
                        ? check_manager(v, claim_view_row(v, CLASS_SR, rec_VDI(row)->SR),
                                        feature_of_vdi_operation(operation))
                        : vdi_managed(v, row, operation);
    return e ? e : vdi_detached(v, row, operation);
}

/* It can be moved: nobody has it attached, or one running VM alone, which may write. */
static struct err *vdi_movable(const struct claim_view *v, const struct row *row, int operation)
{
    unsigned users = 0;
    TRY(vdi_managed(v, row, operation));
    val_each (ref, rec_VDI(row)->VBDs) {
        const struct rec_VBD *vbd = rec_VBD(claim_view_row(v, CLASS_VBD, ref));
        const struct rec_VM *vm = vbd ? vm_of(v, vbd->VM) : NULL;
        bool asleep = vm && vm->power_state == VM_POWER_STATE_SUSPENDED;
        bool used = vbd && vbd->currently_attached && !asleep;
        users += used;
        if (users > 1 || (used && vbd->mode == VBD_MODE_RO) ||
            (vbd && val_count(vbd->current_operations) > 0))
            return err_VDI_IN_USE(row->ref, enum_vdi_operations.values[operation]);
    }
    return NULL;
}

static bool is_attached(const struct claim_view *v, const struct row *sr)
{
    bool attached = false;
    val_each (ref, rec_SR(sr)->PBDs) {
        const struct rec_PBD *pbd = rec_PBD(claim_view_row(v, CLASS_PBD, ref));
        attached = attached || (pbd && pbd->currently_attached);
    }
    return attached;
}

static struct err *sr_attached(const struct claim_view *v, const struct row *row, int operation)
{
    if (val_count(rec_SR(row)->PBDs) == 0)
        return err_SR_HAS_NO_PBDS(row->ref);
    if (!is_attached(v, row))
        return err_SR_NOT_ATTACHED(row->ref);
    return check_manager(v, row, feature_of_sr_operation(operation));
}

static struct err *sr_detached(const struct claim_view *v, const struct row *row, int operation)
{
    return is_attached(v, row) ? err_SR_HAS_PBD(row->ref) : NULL;
}

/* ---- task ---- */

static struct err *task_cancellable(const struct claim_view *v, const struct row *row,
                                    int operation)
{
    if (val_set_has(rec_task(row)->allowed_operations, "cancel"))
        return NULL;
    return err_OPERATION_NOT_ALLOWED("the task cannot be cancelled");
}

/* ---- tables ---- */

static const struct {
    const char *name;
    claim_rule_fn fn;
} rules[] = {
    {"appliance_has_vms", appliance_has_vms},
    {"halted_unless_control_domain", halted_unless_control_domain},
    {"sr_attached", sr_attached},
    {"sr_detached", sr_detached},
    {"task_cancellable", task_cancellable},
    {"vbd_eject", vbd_eject},
    {"vbd_insert", vbd_insert},
    {"vbd_plug", vbd_plug},
    {"vbd_unplug", vbd_unplug},
    {"vbd_usable", vbd_usable},
    {"vdi_detached", vdi_detached},
    {"vdi_managed", vdi_managed},
    {"vdi_movable", vdi_movable},
    {"vdi_unused", vdi_unused},
    {"vif_plug", vif_live},
    {"vif_unplug", vif_live},
    {"vm_clonable", vm_clonable},
};

claim_rule_fn claim_rule_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (strcmp(rules[i].name, name) == 0)
            return rules[i].fn;
    }
    return NULL;
}

/* A VM's power state decides over its devices, a device over its VM and disk, PBDs over their SR.
 */
static const struct {
    const char *cls;
    const char *const *fields;
} followers[] = {
    {"VM", (const char *const[]){"VBDs", "VIFs", "appliance", NULL}},
    {"VBD", (const char *const[]){"VM", "VDI", NULL}},
    {"VIF", (const char *const[]){"VM", NULL}},
    {"VDI", (const char *const[]){"VBDs", NULL}},
    {"PBD", (const char *const[]){"SR", NULL}},
};

const char *const *claim_rule_followers(const char *cls)
{
    for (size_t i = 0; i < ARRAY_LEN(followers); i++) {
        if (strcmp(followers[i].cls, cls) == 0)
            return followers[i].fields;
    }
    return NULL;
}

bool claim_rule_reads(const struct type *type)
{
    switch (type->kind) {
    case TYPE_BOOL:
    case TYPE_INT:
    case TYPE_ENUM:
    case TYPE_REF:
        return true;
    case TYPE_SET:
    case TYPE_OPTION:
        return claim_rule_reads(type->elem);
    case TYPE_MAP:
        return claim_rule_reads(type->key) || claim_rule_reads(type->elem);
    default:
        return false;
    }
}
