/*
 * vdi_move.c: VDI.pool_migrate: a disk goes to another repository. Here: one that nobody uses, or a
 * suspended VM; vdi_move_live.c: one that a guest writes to.
 *
 *     make volume there - copy content - (devices show the new one, the old record goes) - delete
 *
 * Until the commit the old disk is untouched, so a failure leaves everything as it was. The new VDI
 * is another record, as clients expect; vdi_move_tree.c: its snapshots, which come along.
 */
#include "op/vdi_move.h"

#include "gen/msg.h"
#include "op/vdi_cbt.h"
#include "op/vm_ops.h"
#include "op/world.h"

struct err *move_note(struct op *op)
{
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    op_put(op, "image.uuid", uuid);
    return vdi_note_volume(op);
}

struct err *move_make(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    struct vdi_make m = vdi_make_like(vdi, op_get(op, "to"), op_get(op, "image.uuid"));
    _cleanup_(val_unrefp) struct val *config = val_map();
    if (*op_get(op, "format"))
        val_put_str(config, "image-format", op_get(op, "format"));
    m.sm_config = config;
    m.size_bytes = (uint64_t)op_get_int(op, "move.size");
    TRY(vdi_make(op, &m, &ref));
    op_put(op, "result", ref);
    return NULL;
}

struct err *move_unmake(struct op *op)
{
    return vdi_unmake(op, op_get(op, "image.uuid"), op_get(op, "to"));
}

/* What a guest that runs or sleeps knows of its disk. */
static struct err *move_boot(struct txn *t, const struct rec_VBD *vbd, const struct image *to)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    const struct rec_VM *vm = txn_VM(t, vbd->VM);
    const struct rec_boot *row = vm ? txn_boot_by_uuid(t, vm->uuid) : NULL;
    if (!row)
        return NULL;
    TRY(boot_parse(row->record, &b));
    struct boot_disk *d = boot_disk_by_id(b, vbd->uuid);
    if (!d)
        return NULL;
    image_move(&d->image, to);
    boot_put(t, vm, b);
    return NULL;
}

struct err *move_devices(struct txn *t, const struct rec_VDI *old, const char *to,
                         const struct image *image)
{
    _cleanup_(val_unrefp) struct val *refs = val_ref(old->VBDs);
    val_each (ref, refs) {
        struct rec_VBD *vbd = txn_edit_VBD(t, ref);
        if (!vbd)
            continue;
        rstr_set(&vbd->VDI, to);
        if (image)
            TRY(move_boot(t, vbd, image));
    }
    return NULL;
}

void move_fields(struct rec_VDI *new, const struct rec_VDI *old)
{
    new->read_only = old->read_only;
    new->allow_caching = old->allow_caching;
    val_assign(&new->tags, val_ref(old->tags));
    val_assign(&new->xenstore_data, val_ref(old->xenstore_data));
}

struct switch_arg {
    struct op *op;
    const struct image *image; /* the new one */
};

static struct err *switch_txn(struct txn *t, void *data)
{
    const struct switch_arg *a = data;
    const char *to = op_get(a->op, "result"), *from = a->op->self;
    const struct rec_VDI *old = txn_VDI(t, from);
    struct rec_VDI *new = txn_edit_VDI(t, to);
    if (!old || !new)
        return err_HANDLE_INVALID("VDI", old ? to : from);
    move_fields(new, old);
    new->is_a_snapshot = old->is_a_snapshot;
    rstr_set(&new->snapshot_of, old->snapshot_of);
    new->snapshot_time = old->snapshot_time;
    TRY(move_devices(t, old, to, a->image));
    TRY(move_put_snapshots(t, a->op));
    txn_delete(t, CLASS_VDI, from);
    return NULL;
}

struct err *move_image(struct op *op, const char *ref, struct image *ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, ref, &vdi));
    return boot_build_image(op, s, vdi, false, ret);
}

struct err *move_commit(struct op *op)
{
    struct image image = {0};
    TRY(move_image(op, op_get(op, "result"), &image));
    struct err *e = op_commit(op, "move VDI", switch_txn, &(struct switch_arg){op, &image});
    image_done(&image);
    return e;
}

static const struct step move_steps[] = {
    {"name volumes", move_note, NULL, .weight = 1},
    {"make volume", move_make, move_unmake, .weight = 1},
    {"copy snapshots", move_copy_snapshots, move_drop_snapshots, .weight = 10},
    {"copy content", move_copy_disk, vdi_copy_end, .weight = 20},
    {"switch over", move_commit, NULL, .weight = 1, .commit = true},
    {"delete old volumes", move_delete_old, NULL, .weight = 1},
};
const struct op_kind kind_vdi_move = OP_KIND("VDI.pool_migrate", move_steps);

static struct err *take_options(struct op *op, const struct val *options)
{
    const char *format = val_map_str(options, "dest-img-format", "");
    if (*format && !str_eq(format, "vhd") && !str_eq(format, "qcow2"))
        return err_INVALID_VALUE("dest-img-format", format);
    op_put(op, "format", format);
    return NULL;
}

static struct err *check_disk(const struct snap *s, const struct rec_VDI *vdi)
{
    if (vdi->type != VDI_TYPE_USER && vdi->type != VDI_TYPE_SYSTEM)
        return err_VDI_INCOMPATIBLE_TYPE(vdi->row.ref, enum_vdi_type.values[vdi->type]);
    if (vdi->cbt_enabled)
        return err_VDI_CBT_ENABLED(vdi->row.ref);
    if (vdi->on_boot == ON_BOOT_RESET)
        return err_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION();
    return NULL;
}

/* Nobody stops, saves or starts a VM while its disk moves; halted ones claim the VDI themselves. */
static struct err *claim_users(struct op *op, const struct snap *s, const struct rec_VDI *vdi,
                               bool *ret_live)
{
    val_each (ref, vdi->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        const struct rec_VM *vm = vbd ? snap_VM(s, vbd->VM) : NULL;
        if (!vm || vm->power_state == VM_POWER_STATE_HALTED || vm->is_a_snapshot)
            continue;
        bool asleep = vm->power_state == VM_POWER_STATE_SUSPENDED;
        if (!asleep && !vbd->currently_attached)
            continue;
        TRY(op_claim(op, CLASS_VM, vbd->VM, VM_OPERATIONS_MIGRATE_SEND));
        if (asleep)
            continue;
        TRY(op_claim(op, CLASS_VBD, ref, VBD_OPERATIONS_PAUSE));
        *ret_live = true;
    }
    return NULL;
}

struct err *msg_VDI_pool_migrate(struct op *op, const struct args_VDI_pool_migrate *a,
                                 struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    bool live = false;
    TRY(need_VDI(s, op->self, &vdi));
    if (!snap_SR(s, a->sr))
        return err_HANDLE_INVALID("SR", a->sr);
    TRY(take_options(op, a->options));
    TRY(check_disk(s, vdi));
    TRY(op_claim(op, CLASS_SR, a->sr, STORAGE_OPERATIONS_VDI_CREATE));
    TRY(claim_users(op, s, vdi, &live));
    TRY(move_plan_snapshots(op));
    op_put(op, "to", a->sr);
    op_put(op, "live", live ? "true" : "");
    TRY(op_run_steps(op, live ? MOVE_LIVE : "VDI.pool_migrate"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}
