/*
 * vdi_on_boot.c: VDI.set_on_boot, set_allow_caching, and what on_boot=reset means when a VM starts.
 *
 *     set:    pause disk - split volume - set mode - resume disk       base copy <- leaf (empty)
 *     start:  pause - an empty child of the base copy takes the leaf's place - resume
 *
 * The base copy is what the disk was when it was told to forget. While on_boot is reset the two are
 * not joined (tidy.c); persist leaves the disk as it is at that moment.
 */
#include "op/vdi_on_boot.h"

#include <stdio.h>

#include "gen/msg.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"

/* ---- which disks ---- */

/* The disk that this VBD has its VM write to, if it is one that forgets. */
static const struct rec_VDI *forgetful(const struct snap *s, const char *vbd_ref)
{
    const struct rec_VBD *vbd = snap_VBD(s, vbd_ref);
    if (!vbd || vbd->type == VBD_TYPE_CD || vbd->mode != VBD_MODE_RW)
        return NULL;
    const struct rec_VDI *vdi = snap_VDI(s, vbd->VDI);
    return vdi && vdi->on_boot == ON_BOOT_RESET ? vdi : NULL;
}

bool vm_has_resets(const struct snap *s, const struct rec_VM *vm)
{
    val_each (ref, vm->VBDs) {
        if (forgetful(s, ref))
            return true;
    }
    return false;
}

struct err *vm_need_no_resets(const struct snap *s, const char *ref)
{
    const struct rec_VM *vm;
    TRY(need_VM(s, ref, &vm));
    return vm_has_resets(s, vm) ? err_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION() : NULL;
}

/* ---- the start of a VM: context reset.<i>.vdi, .uuid ---- */

static const char *get(struct op *op, size_t i, const char *what)
{
    char key[48];
    snprintf(key, sizeof(key), "reset.%zu.%s", i, what);
    return op_get(op, key);
}

static void put(struct op *op, size_t i, const char *what, const char *value)
{
    char key[48];
    snprintf(key, sizeof(key), "reset.%zu.%s", i, what);
    op_put(op, key, value);
}

struct err *resets_plan(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    size_t n = 0;
    TRY(need_VM(s, op->self, &vm));
    bool starts = vm->power_state == VM_POWER_STATE_HALTED; /* then it gets all of its disks */
    val_each (ref, vm->VBDs) {
        const struct rec_VDI *vdi = forgetful(s, ref);
        char uuid[UUID_SIZE];
        if (!vdi || !(starts || snap_VBD(s, ref)->currently_attached))
            continue;
        TRY(chain_claim(op, vdi->row.ref, VDI_OPERATIONS_SNAPSHOT));
        str_uuid(uuid);
        put(op, n, "uuid", uuid);
        put(op, n++, "vdi", vdi->row.ref);
    }
    op_put_int(op, "resets", (int64_t)n);
    return NULL;
}

struct leaf {
    struct snap *s; /* what the rest is borrowed from */
    const struct rec_VDI *vdi;
    struct sr_ref sr;
    const char *uuid; /* of the volume that takes its place */
    char *fresh;      /* and where that one is until it does */
};

static void leaf_done(struct leaf *l)
{
    free(l->fresh);
    snap_unref(l->s);
}

static struct err *leaf_of(struct op *op, size_t i, struct leaf *ret)
{
    const struct rec_SR *sr;
    ret->s = snap_get(op->db);
    ret->uuid = get(op, i, "uuid");
    TRY(need_VDI(ret->s, get(op, i, "vdi"), &ret->vdi));
    TRY(need_SR(ret->s, ret->vdi->SR, &sr));
    TRY(sr_ref_of(ret->s, sr, true, &ret->sr));
    ret->fresh = sr_chain_location(sr->type, ret->uuid, ret->vdi->location);
    return ret->fresh ? NULL : err_SR_OPERATION_NOT_SUPPORTED(sr->row.ref);
}

static struct err *swap(struct op *op, const struct leaf *l, const char *parent)
{
    struct verb child = op_verb(op, VERB_TIME), replace = op_verb(op, VERB_TIME);
    TRY(sr_vdi_child(op->host, &child, &l->sr, parent, l->uuid));
    return sr_vdi_replace(op->host, &replace, &l->sr, l->vdi->location, l->fresh);
}

static struct err *reset_one(struct op *op, const struct leaf *l)
{
    struct sr_volume vol = {0};
    const char *at = l->vdi->location;
    TRY(sr_vdi_info(op->host, &l->sr, at, &vol));
    struct err *e = NULL;
    if (!*vol.parent)
        e = err_internal("disk '%s' has nothing to be reset to", l->vdi->uuid);
    else if (vol.is_written)
        e = swap(op, l, vol.parent);
    sr_volume_done(&vol);
    return e;
}

static struct err *reset_paused(struct op *op, size_t i)
{
    _cleanup_(leaf_done) struct leaf l = {0};
    TRY(leaf_of(op, i, &l));
    struct verb pause = op_verb(op, VERB_TIME), resume = op_verb(op, VERB_TIME);
    struct err *e = sr_vdi_pause(op->host, &pause, &l.sr, l.vdi->location);
    if (!e)
        e = reset_one(op, &l);
    e = err_first(e, sr_vdi_resume(op->host, &resume, &l.sr, l.vdi->location));
    return e ? e : vdi_note_size(op, l.vdi->row.ref);
}

struct err *resets_run(struct op *op)
{
    for (size_t i = 0; i < (size_t)op_get_int(op, "resets"); i++)
        TRY(reset_paused(op, i));
    return NULL;
}

static struct err *undo_one(struct op *op, size_t i)
{
    _cleanup_(leaf_done) struct leaf l = {0};
    TRY(leaf_of(op, i, &l));
    struct verb resume = op_verb(op, VERB_TIME), del = op_verb(op, VERB_TIME);
    return err_first(sr_vdi_resume(op->host, &resume, &l.sr, l.vdi->location),
                     sr_vdi_delete(op->host, &del, &l.sr, l.fresh));
}

struct err *resets_undo(struct op *op)
{
    struct err *e = NULL;
    for (size_t i = 0; i < (size_t)op_get_int(op, "resets"); i++)
        e = err_first(e, undo_one(op, i));
    return e;
}

/* ---- VDI.set_on_boot ---- */

static struct err *check_reset(const struct rec_VDI *vdi)
{
    if (vdi->is_a_snapshot || vdi->read_only)
        return err_OPERATION_NOT_ALLOWED("a disk that is not written has nothing to forget");
    if (vdi->sharable)
        return err_VDI_IS_SHARABLE(vdi->row.ref);
    if (vdi->type != VDI_TYPE_USER && vdi->type != VDI_TYPE_SYSTEM)
        return err_VDI_INCOMPATIBLE_TYPE(vdi->row.ref, enum_vdi_type.values[vdi->type]);
    return vdi->cbt_enabled ? err_VDI_CBT_ENABLED(vdi->row.ref) : NULL;
}

static struct err *plan(struct op *op)
{
    return chain_add(op, op->self, CHAIN_ALONE);
}

static struct err *reset_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    chain_put_records(t, op);
    struct rec_VDI *vdi = txn_edit_VDI(t, op->self);
    if (!vdi)
        return err_HANDLE_INVALID("VDI", op->self);
    vdi->on_boot = ON_BOOT_RESET;
    return NULL;
}

static struct err *set_mode(struct op *op)
{
    return op_commit(op, "VDI on_boot", reset_txn, op);
}

static const struct step on_boot_steps[] = {
    {"plan", plan, NULL, .weight = 1},
    {"pause disk", chain_pause, chain_resume, .weight = 1},
    {"split volume", chain_split, chain_unsplit, .weight = 4},
    {"set mode", set_mode, NULL, .weight = 1, .commit = true},
    {"resume disk", chain_finish, NULL, .weight = 1},
};
const struct op_kind kind_vdi_on_boot = OP_KIND("VDI.set_on_boot", on_boot_steps);

static struct err *persist_txn(struct txn *t, void *arg)
{
    struct rec_VDI *vdi = txn_edit_VDI(t, arg);
    if (!vdi)
        return err_HANDLE_INVALID("VDI", arg);
    vdi->on_boot = ON_BOOT_PERSIST;
    return NULL;
}

struct err *msg_VDI_set_on_boot(struct op *op, const struct args_VDI_set_on_boot *a,
                                struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    if (a->value == vdi->on_boot)
        return NULL;
    if (a->value == ON_BOOT_PERSIST)
        return op_write(op, "VDI on_boot", persist_txn, (void *)op->self);
    TRY(check_reset(vdi));
    return op_run_steps(op, "VDI.set_on_boot");
}

/* ---- VDI.set_allow_caching ---- */

struct caching_arg {
    const char *vdi;
    bool value;
};

static struct err *caching_txn(struct txn *t, void *arg)
{
    struct caching_arg *a = arg;
    struct rec_VDI *vdi = txn_edit_VDI(t, a->vdi);
    if (!vdi)
        return err_HANDLE_INVALID("VDI", a->vdi);
    vdi->allow_caching = a->value;
    return NULL;
}

struct err *msg_VDI_set_allow_caching(struct op *op, const struct args_VDI_set_allow_caching *a,
                                      struct val **ret)
{
    struct caching_arg arg = {op->self, a->value};
    return op_write(op, "VDI allow_caching", caching_txn, &arg);
}
