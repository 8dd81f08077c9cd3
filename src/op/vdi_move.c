/*
 * vdi_move.c: VDI.pool_migrate: a disk that nobody uses goes to another repository.
 *
 *     make volume there - copy content - (devices show the new one, the old record goes) - delete
 *
 * Until the commit the old disk is untouched, so a failure leaves everything as it was. The new VDI
 * is another record, as clients expect; snapshots of the old one stay where they are.
 */
#include "gen/msg.h"
#include "op/vdi_cbt.h"
#include "op/vm_ops.h"
#include "op/world.h"

static struct err *note_both(struct op *op)
{
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    op_put(op, "image.uuid", uuid);
    return vdi_note_volume(op);
}

static struct err *make_target(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    struct vdi_make m = vdi_make_like(vdi, op_get(op, "to"), op_get(op, "image.uuid"));
    TRY(vdi_make(op, &m, &ref));
    op_put(op, "result", ref);
    return NULL;
}

static struct err *drop_target(struct op *op)
{
    return vdi_unmake(op, op_get(op, "image.uuid"), op_get(op, "to"));
}

static struct err *copy_content(struct op *op)
{
    return vdi_copy_content(op, op->self, op_get(op, "result"));
}

static void move_devices(struct txn *t, const struct rec_VDI *old, const char *to)
{
    _cleanup_(val_unrefp) struct val *refs = val_ref(old->VBDs);
    val_each (ref, refs) {
        struct rec_VBD *vbd = txn_edit_VBD(t, ref);
        if (vbd)
            rstr_set(&vbd->VDI, to);
    }
}

static struct err *switch_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const char *to = op_get(op, "result");
    const struct rec_VDI *old = txn_VDI(t, op->self);
    struct rec_VDI *new = txn_edit_VDI(t, to);
    if (!old || !new)
        return err_HANDLE_INVALID("VDI", old ? to : op->self);
    new->read_only = old->read_only;
    new->allow_caching = old->allow_caching;
    val_assign(&new->tags, val_ref(old->tags));
    val_assign(&new->xenstore_data, val_ref(old->xenstore_data));
    move_devices(t, old, to);
    txn_delete(t, CLASS_VDI, op->self);
    return NULL;
}

static struct err *switch_over(struct op *op)
{
    return op_commit(op, "move VDI", switch_txn, op);
}

static const struct step move_steps[] = {
    {"name volumes", note_both, NULL, .weight = 1},
    {"make volume", make_target, drop_target, .weight = 1},
    {"copy content", copy_content, vdi_copy_end, .weight = 20},
    {"switch over", switch_over, NULL, .weight = 1, .commit = true},
    {"delete old volume", vdi_delete_noted, NULL, .weight = 1},
};
const struct op_kind kind_vdi_move = OP_KIND("VDI.pool_migrate", move_steps);

static struct err *check_options(const struct val *options)
{
    const char *format = val_map_str(options, "dest-img-format", "vhd");
    return str_eq(format, "vhd") ? NULL : err_INVALID_VALUE("dest-img-format", format);
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

struct err *msg_VDI_pool_migrate(struct op *op, const struct args_VDI_pool_migrate *a,
                                 struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    if (!snap_SR(s, a->sr))
        return err_HANDLE_INVALID("SR", a->sr);
    TRY(check_options(a->options));
    TRY(check_disk(s, vdi));
    TRY(op_claim(op, CLASS_SR, a->sr, STORAGE_OPERATIONS_VDI_CREATE));
    op_put(op, "to", a->sr);
    TRY(op_run_steps(op, "VDI.pool_migrate"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}
