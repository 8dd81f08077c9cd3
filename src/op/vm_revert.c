/*
 * vm_revert.c: VM.revert: a VM becomes again what it was when a snapshot of it was taken; and
 * VDI.revert, the same for one disk.
 *
 *     plan - pause disks - split volumes - change records - resume disks - take guest away -
 *     swap disks - delete image
 *
 * op->self is the snapshot. Its disks are built upon once more; with the commit the VM has the
 * snapshot's fields and devices, and is off or, after a checkpoint, suspended. Then the new volumes
 * take the places of the VM's own, whose uuids stay. A disk that the VM has no more is made anew.
 */
#include <string.h>

#include "codec/json.h"
#include "gen/msg.h"
#include "op/vdi_cbt.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"
#include "op/vm_twin.h"

/* ---- plan ---- */

/* The VM's disk that a disk of the snapshot was taken of, if it is there still. */
static const struct rec_VDI *original(const struct snap *s, const struct rec_VDI *vdi)
{
    const struct rec_VDI *old = snap_VDI(s, vdi->snapshot_of);
    return old && old->managed && !old->missing && str_eq(old->SR, vdi->SR) ? old : NULL;
}

static struct err *plan_disk(struct op *op, const struct snap *s, const char *ref)
{
    const struct rec_VDI *vdi;
    size_t i = chain_count(op);
    TRY(need_VDI(s, ref, &vdi));
    TRY(chain_claim(op, ref, VDI_OPERATIONS_CLONE));
    TRY(chain_add(op, ref, CHAIN_BACK));
    const struct rec_VDI *old = original(s, vdi);
    if (!old)
        return NULL;
    TRY(chain_claim(op, old->row.ref, VDI_OPERATIONS_SNAPSHOT));
    chain_put(op, i, "old", old->row.ref);
    chain_put(op, i, "old.at", old->location);
    return NULL;
}

static struct err *plan_disks(struct op *op, const struct snap *s, const struct rec_VM *from)
{
    val_each (ref, from->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (twin_is_own_disk(s, vbd) && !chain_new_of(op, vbd->VDI))
            TRY(plan_disk(op, s, vbd->VDI));
    }
    return NULL;
}

static struct err *plan_memory(struct op *op, const struct rec_VM *from)
{
    if (from->power_state != VM_POWER_STATE_SUSPENDED)
        return NULL;
    TRY(chain_claim(op, from->suspend_VDI, VDI_OPERATIONS_CLONE));
    TRY(chain_add(op, from->suspend_VDI, CHAIN_BACK));
    op_put(op, "memory", chain_new_of(op, from->suspend_VDI));
    return NULL;
}

static struct err *plan(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *from;
    TRY(need_VM(s, op->self, &from));
    const struct rec_VM *vm = snap_VM(s, from->snapshot_of);
    if (!vm)
        return err_VM_REVERT_FAILED(from->snapshot_of, op->self);
    TRY(op_claim(op, CLASS_VM, vm->row.ref, VM_OPERATIONS_REVERTING));
    op_put(op, "vm", vm->row.ref);
    op_put(op, "vm.uuid", vm->uuid);
    TRY(plan_disks(op, s, from));
    return plan_memory(op, from);
}

/* ---- the records ---- */

static const char *disk_of(void *arg, const struct rec_VBD *vbd)
{
    struct op *op = arg;
    for (size_t i = 0; vbd->mode == VBD_MODE_RW && i < chain_count(op); i++) {
        const char *old = chain_get(op, i, "old");
        if (str_eq(chain_get(op, i, "vdi"), vbd->VDI))
            return *old ? old : chain_get(op, i, "ref");
    }
    return NULL;
}

/* The name that the VM had; the snapshot has one of its own. */
static const char *name_then(const struct rec_VM *from, const struct rec_VM *vm)
{
    _cleanup_(val_unrefp) struct val *rec = NULL;
    if (json_parse(view_of(from->snapshot_metadata), &rec) < 0 || val_kind(rec) != VAL_MAP)
        return rstr_ref(vm->name_label);
    return rstr_new(val_map_str(rec, "name_label", vm->name_label));
}

static void take_fields(struct rec_VM *vm, const struct rec_VM *from)
{
    _cleanup_(rstr_unrefp) const char *name = name_then(from, vm);
    _cleanup_(rstr_unrefp) const char *schedule = rstr_ref(vm->snapshot_schedule);
    _cleanup_(val_unrefp) struct val *blocked = val_ref(vm->blocked_operations);
    twin_fields(vm, from);
    rstr_set(&vm->name_label, name);
    rstr_set(&vm->snapshot_schedule, schedule);
    val_assign(&vm->blocked_operations, val_ref(blocked));
    vm->is_a_template = false;
    rstr_set(&vm->parent, from->row.ref);
}

static struct err *revert_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const char *ref = op_get(op, "vm"), *memory = op_get(op, "memory");
    const struct rec_VM *from = txn_VM(t, op->self);
    struct rec_VM *vm = txn_edit_VM(t, ref);
    if (!from || !vm)
        return err_VM_REVERT_FAILED(ref, op->self);
    _cleanup_(val_unrefp) struct val *ids = val_map();
    struct twin w = {op->self, ref, disk_of, op, true, ids};
    if (!ref_is_null(vm->suspend_VDI))
        op_put(op, "suspend_VDI", vm->suspend_VDI);
    vm_becomes_halted(t, ref);
    chain_put_records(t, op);
    twin_drop_devices(t, ref);
    take_fields(vm, from);
    twin_devices(t, &w);
    if (!*memory)
        return NULL;
    vm->power_state = VM_POWER_STATE_SUSPENDED;
    rstr_set(&vm->suspend_VDI, memory);
    twin_boot(t, &w);
    return NULL;
}

static struct err *change_records(struct op *op)
{
    return op_commit(op, "revert VM", revert_txn, op);
}

/* ---- the world ---- */

static struct err *take_guest_away(struct op *op)
{
    struct verb kill = op_verb(op, VERB_TIME), detach = op_verb(op, VERB_TIME);
    const char *uuid = op_get(op, "vm.uuid");
    return err_first(host_vm_kill(op->host, &kill, uuid),
                     host_disks_detach(op->host, &detach, uuid));
}

static struct err *swap(struct op *op, size_t i, const struct sr_ref *sr, const char *from)
{
    const char *at = chain_get(op, i, "old.at");
    struct verb pause = op_verb(op, VERB_TIME), replace = op_verb(op, VERB_TIME),
                resume = op_verb(op, VERB_TIME);
    struct err *e = sr_vdi_pause(op->host, &pause, sr, at);
    if (!e)
        e = sr_vdi_replace(op->host, &replace, sr, at, from);
    if (!e)
        e = cbt_revert(op, sr, chain_get(op, i, "old"), chain_get(op, i, "vdi"));
    return err_first(e, sr_vdi_resume(op->host, &resume, sr, at));
}

static struct err *swap_disks(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    struct err *e = NULL;
    for (size_t i = 0; i < chain_count(op); i++) {
        const char *at = chain_get(op, i, "old.at");
        const struct rec_SR *sr = snap_SR(s, chain_get(op, i, "sr"));
        struct sr_ref ref;
        if (!*at || !sr)
            continue;
        TRY(sr_ref_of(s, sr, true, &ref));
        _cleanup_(freep) char *from =
            sr_chain_location(sr->type, chain_get(op, i, "uuid"), chain_get(op, i, "at"));
        e = err_first(e, swap(op, i, &ref, from));
        if (!e)
            e = vdi_note_size(op, chain_get(op, i, "old"));
    }
    return e;
}

static const struct step revert_steps[] = {
    {"plan", plan, NULL, .weight = 1},
    {"pause disks", chain_pause, chain_resume, .weight = 1},
    {"split volumes", chain_split, chain_unsplit, .weight = 4},
    {"change records", change_records, NULL, .weight = 1, .commit = true},
    {"resume disks", chain_go_on, NULL, .weight = 1},
    {"take guest away", take_guest_away, NULL, .weight = 1},
    {"swap disks", swap_disks, NULL, .weight = 2},
    {"delete image", delete_suspend_image, NULL, .weight = 1},
};
const struct op_kind kind_vm_revert = OP_KIND("VM.revert", revert_steps);

struct err *msg_VM_revert(struct op *op, const struct args_VM_revert *a, struct val **ret)
{
    return op_run_steps(op, "VM.revert");
}

/* ---- VDI.revert: the same for one disk that nobody uses ---- */

static struct err *check_unused(const struct snap *s, const struct rec_VDI *vdi)
{
    val_each (ref, vdi->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        const struct rec_VM *vm = vbd ? snap_VM(s, vbd->VM) : NULL;
        bool asleep = vm && vm->power_state == VM_POWER_STATE_SUSPENDED;
        if (asleep || (vbd && vbd->currently_attached))
            return err_VDI_IN_USE(vdi->row.ref, "revert");
    }
    return NULL;
}

static struct err *plan_vdi(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    const struct rec_VDI *old = original(s, vdi);
    if (!old)
        return err_HANDLE_INVALID("VDI", vdi->snapshot_of);
    TRY(check_unused(s, old));
    return plan_disk(op, s, op->self);
}

static struct err *vdi_txn(struct txn *t, void *arg)
{
    chain_put_records(t, arg);
    return NULL;
}

static struct err *change_vdi(struct op *op)
{
    return op_commit(op, "revert VDI", vdi_txn, op);
}

static const struct step vdi_steps[] = {
    {"plan", plan_vdi, NULL, .weight = 1},
    {"pause disk", chain_pause, chain_resume, .weight = 1},
    {"split volume", chain_split, chain_unsplit, .weight = 4},
    {"change records", change_vdi, NULL, .weight = 1, .commit = true},
    {"resume disk", chain_go_on, NULL, .weight = 1},
    {"swap disks", swap_disks, NULL, .weight = 2},
};
const struct op_kind kind_vdi_revert = OP_KIND("VDI.revert", vdi_steps);

struct err *msg_VDI_revert(struct op *op, const struct args_VDI_revert *a, struct val **ret)
{
    return op_run_steps(op, "VDI.revert");
}
