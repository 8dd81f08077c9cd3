/*
 * vm_snapshot.c: VM.snapshot, and VM.clone where the storage shares blocks.
 *
 *     snapshot:    plan - pause disks - split volumes - add records - resume disks
 *     clone:       the same; what becomes of it are disks of its own
 *
 * All disks of a VM are paused before the first is split, so a snapshot is one moment of them all.
 */
#include <stdio.h>
#include <string.h>

#include "codec/json.h"
#include "gen/msg.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"
#include "op/vm_twin.h"

#define METADATA_MAX (256 * KIB)
#define CLAIM_TIME   (60 * USEC_PER_SEC)
#define CLAIM_PAUSE  (50 * USEC_PER_MSEC)

/* ---- planning ---- */

static bool is_tidied(struct op *op, const char *vdi)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *row = snap_VDI(s, vdi);
    for (size_t i = 0; row && i < val_count(row->current_operations); i++) {
        if (!str_eq(val_str_at(row->current_operations, i), "blocked"))
            return false;
    }
    return row != NULL;
}

/* What the house does to a chain by itself holds a disk for a moment: nobody is refused for it. */
struct err *chain_claim(struct op *op, const char *vdi, int operation)
{
    usec_t end = clock_now() + CLAIM_TIME;
    for (;;) {
        struct err *e = op_claim(op, CLASS_VDI, vdi, operation);
        if (!err_is(e, "OTHER_OPERATION_IN_PROGRESS") || !is_tidied(op, vdi) || clock_now() > end)
            return e;
        err_free(e);
        TRY(op_sleep(op, CLAIM_PAUSE));
    }
}

static bool is_ignored(struct op *op, const char *vdi)
{
    struct view rest = view_of(op_get(op, "ignore")), one;
    for (bool more = rest.size > 0; more;) {
        more = view_split(&rest, ' ', &one);
        if (one.size == strlen(vdi) && memcmp(one.p, vdi, one.size) == 0)
            return true;
    }
    return false;
}

static struct err *plan_disks(struct op *op, const struct snap *s, const struct rec_VM *vm,
                              enum chain_use use)
{
    int operation = use == CHAIN_SNAPSHOT ? VDI_OPERATIONS_SNAPSHOT : VDI_OPERATIONS_CLONE;
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (!twin_is_own_disk(s, vbd) || is_ignored(op, vbd->VDI) || chain_new_of(op, vbd->VDI))
            continue;
        if (use == CHAIN_SNAPSHOT && snap_VDI(s, vbd->VDI)->on_boot == ON_BOOT_RESET)
            return err_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION();
        TRY(chain_claim(op, vbd->VDI, operation));
        TRY(chain_add(op, vbd->VDI, use));
    }
    return NULL;
}

static struct err *plan_twin(struct op *op, enum chain_use use, bool with_memory)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    TRY(plan_disks(op, s, vm, use));
    if (with_memory && vm->power_state == VM_POWER_STATE_SUSPENDED) {
        TRY(chain_claim(op, vm->suspend_VDI, VDI_OPERATIONS_CLONE));
        TRY(chain_add(op, vm->suspend_VDI, CHAIN_CLONE));
        op_put(op, "memory", chain_new_of(op, vm->suspend_VDI));
    }
    op_put(op, "result", ref);
    return NULL;
}

struct err *snapshot_plan(struct op *op, bool with_memory)
{
    return plan_twin(op, CHAIN_SNAPSHOT, with_memory);
}

static struct err *plan_snapshot(struct op *op)
{
    return snapshot_plan(op, false);
}

static struct err *plan_clone(struct op *op)
{
    return plan_twin(op, CHAIN_CLONE, true);
}

/* ---- the records of a twin ---- */

static const char *twin_disk(void *arg, const struct rec_VBD *vbd)
{
    struct op *op = arg;
    if (vbd->type == VBD_TYPE_DISK && is_ignored(op, vbd->VDI))
        return "";
    return vbd->mode == VBD_MODE_RW ? chain_new_of(op, vbd->VDI) : NULL;
}

static void put_snapshot_facts(struct op *op, struct rec_VM *to, struct rec_VM *from)
{
    _cleanup_(buf_done) struct buf text;
    _cleanup_(val_unrefp) struct val *rec = row_record(&from->row);
    buf_init(&text, METADATA_MAX);
    json_put_val(&text, rec);
    rstr_set(&to->snapshot_metadata, buf_ok(&text) ? buf_str(&text) : "");
    to->is_a_template = true;
    to->is_a_snapshot = true;
    rstr_set(&to->snapshot_of, from->row.ref);
    to->snapshot_time = now_s();
    struct val *info = val_map();
    val_put_str(info, "power-state-at-snapshot", enum_vm_power_state.values[from->power_state]);
    val_put_str(info, "disk-snapshot-type", "crash_consistent");
    val_assign(&to->snapshot_info, info);
    val_assign(&to->blocked_operations, val_map());
    rstr_set(&to->parent, from->parent);
    rstr_set(&from->parent, to->row.ref);
    to->is_vmss_snapshot = *op_get(op, "schedule") != '\0';
    rstr_set(&to->snapshot_schedule, REF_NULL);
}

static void copy_guest_metrics(struct txn *t, struct rec_VM *to, const struct rec_VM *from)
{
    const struct rec_VM_guest_metrics *old = txn_VM_guest_metrics(t, from->guest_metrics);
    if (!old)
        return;
    struct rec_VM_guest_metrics *m = txn_add_VM_guest_metrics(t);
    val_assign(&m->os_version, val_ref(old->os_version));
    val_assign(&m->networks, val_ref(old->networks));
    val_assign(&m->other, val_ref(old->other));
    val_assign(&m->PV_drivers_version, val_ref(old->PV_drivers_version));
    m->PV_drivers_detected = old->PV_drivers_detected;
    m->last_updated = old->last_updated;
    rstr_set(&to->guest_metrics, m->row.ref);
}

static struct err *twin_txn(struct txn *t, struct op *op, bool snapshot)
{
    struct rec_VM *from = txn_edit_VM(t, op->self);
    if (!from)
        return err_HANDLE_INVALID("VM", op->self);
    _cleanup_(val_unrefp) struct val *ids = val_map();
    const char *memory = op_get(op, "memory");
    chain_put_records(t, op);
    struct rec_VM *to = (struct rec_VM *)txn_add(t, CLASS_VM, op_get(op, "result"), NULL);
    struct twin w = {op->self, to->row.ref, twin_disk, op, snapshot, ids};
    twin_fields(to, from);
    rstr_set(&to->name_label, op_get(op, "name"));
    to->is_default_template = false;
    to->domid = -1;
    vm_add_metrics(t, to);
    if (snapshot) {
        vmss_taken(t, op_get(op, "schedule"));
        put_snapshot_facts(op, to, from);
        copy_guest_metrics(t, to, from);
    } else {
        vm_new_mac_seed(to);
    }
    if (!snapshot && from->is_default_template)
        val_assign(&to->other_config,
                   val_with(to->other_config, "base_template_name", from->name_label));
    twin_devices(t, &w);
    if (!*memory)
        return NULL;
    to->power_state = VM_POWER_STATE_SUSPENDED;
    rstr_set(&to->suspend_VDI, memory);
    twin_boot(t, &w);
    return NULL;
}

static struct err *snapshot_txn(struct txn *t, void *arg)
{
    return twin_txn(t, arg, true);
}

static struct err *clone_txn(struct txn *t, void *arg)
{
    return twin_txn(t, arg, false);
}

struct err *snapshot_add(struct op *op)
{
    return op_commit(op, "snapshot VM", snapshot_txn, op);
}

static struct err *add_clone(struct op *op)
{
    return op_commit(op, "clone VM", clone_txn, op);
}

/* ---- VM.snapshot ---- */

struct err *snapshot_finish(struct op *op)
{
    TRY(chain_finish(op));
    vmss_retire(op);
    return NULL;
}

static const struct step snapshot_steps[] = {
    {"plan", plan_snapshot, vmss_failed, .weight = 1},
    {"pause disks", chain_pause, chain_resume, .weight = 1},
    {"split volumes", chain_split, chain_unsplit, .weight = 4},
    {"add records", snapshot_add, NULL, .weight = 1, .commit = true},
    {"resume disks", snapshot_finish, NULL, .weight = 1},
};
const struct op_kind kind_vm_snapshot = OP_KIND("VM.snapshot", snapshot_steps);

static struct err *run(struct op *op, const char *kind, const char *name, struct val **ret)
{
    op_put(op, "name", name);
    TRY(op_run_steps(op, kind));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}

struct err *msg_VM_snapshot(struct op *op, const struct args_VM_snapshot *a, struct val **ret)
{
    _cleanup_(buf_done) struct buf list;
    buf_init(&list, 64 * KIB);
    val_each (vdi, a->ignore_vdis)
        buf_printf(&list, "%s ", vdi);
    op_put(op, "ignore", buf_str(&list));
    return run(op, "VM.snapshot", a->new_name, ret);
}

/* ---- VM.clone ---- */

static const struct step clone_steps[] = {
    {"plan", plan_clone, NULL, .weight = 1},
    {"pause disks", chain_pause, chain_resume, .weight = 1},
    {"split volumes", chain_split, chain_unsplit, .weight = 4},
    {"add records", add_clone, NULL, .weight = 1, .commit = true},
    {"resume disks", chain_finish, NULL, .weight = 1},
};
const struct op_kind kind_vm_clone = OP_KIND("VM.clone", clone_steps);

static bool can_share(const struct snap *s, const struct rec_VM *vm)
{
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        if (!twin_is_own_disk(s, vbd))
            continue;
        struct err *e = chain_check(s, snap_VDI(s, vbd->VDI));
        bool is_other_storage = err_is(e, "SR_OPERATION_NOT_SUPPORTED");
        err_free(e);
        if (is_other_storage)
            return false;
    }
    return true;
}

struct err *msg_VM_clone(struct op *op, const struct args_VM_clone *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    return can_share(s, vm) ? run(op, "VM.clone", a->new_name, ret)
                            : vm_copy_to(op, a->new_name, "", ret);
}
