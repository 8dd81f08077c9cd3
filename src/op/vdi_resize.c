/*
 * vdi_resize.c: VDI.resize, resize_online, update: how large volumes are.
 *
 * A volume that has grown cannot shrink, and growing it again to the same size does nothing:
 * growing is the commit, and can be repeated. Under a guest its requests wait meanwhile; when the
 * image is opened again its size is asked of it, the guest is told, and so also whoever takes the
 * place of a data path that died in between.
 */
#include <stdio.h>

#include "gen/msg.h"
#include "op/vdi_cbt.h"
#include "op/vm_ops.h"
#include "op/world.h"

/* The volume of the operation's VDI, as the storage knows it. */
struct place {
    struct snap *s; /* what the rest is borrowed from */
    const struct rec_VDI *vdi;
    struct sr_ref sr;
};

static void place_done(struct place *p)
{
    snap_unref(p->s);
}

static struct err *find_place(struct op *op, const char *ref, struct place *ret)
{
    const struct rec_SR *sr;
    ret->s = snap_get(op->db);
    TRY(need_VDI(ret->s, ref, &ret->vdi));
    TRY(need_SR(ret->s, ret->vdi->SR, &sr));
    return sr_ref_of(ret->s, sr, true, &ret->sr);
}

/* ---- what is known of its size ---- */

struct size_arg {
    const char *ref;
    const struct sr_volume *vol;
};

static struct err *size_txn(struct txn *t, void *arg)
{
    struct size_arg *a = arg;
    struct rec_VDI *vdi = txn_edit_VDI(t, a->ref);
    if (!vdi)
        return err_HANDLE_INVALID("VDI", a->ref);
    vdi->virtual_size = (int64_t)a->vol->virtual_bytes;
    vdi->physical_utilisation = (int64_t)a->vol->physical_bytes;
    return NULL;
}

struct err *vdi_note_size(struct op *op, const char *ref)
{
    _cleanup_(place_done) struct place p = {0};
    struct sr_volume vol = {0};
    TRY(find_place(op, ref, &p));
    TRY(sr_vdi_info(op->host, &p.sr, p.vdi->location, &vol));
    struct size_arg arg = {ref, &vol};
    struct err *e = op_write(op, "VDI size", size_txn, &arg);
    sr_volume_done(&vol);
    return e;
}

struct err *msg_VDI_update(struct op *op, const struct args_VDI_update *a, struct val **ret)
{
    return vdi_note_size(op, op->self);
}

/* ---- steps ---- */

static struct err *grow_to(struct op *op, const char *ref, int64_t size)
{
    _cleanup_(place_done) struct place p = {0};
    struct sr_volume vol = {0};
    TRY(find_place(op, ref, &p));
    struct verb v = op_verb(op, VERB_TIME);
    TRY(sr_vdi_resize(op->host, &v, &p.sr, p.vdi->location, (uint64_t)size, &vol));
    struct size_arg a = {ref, &vol};
    struct err *e = op_write(op, "VDI size", size_txn, &a);
    sr_volume_done(&vol);
    return e;
}

struct err *vdi_grow(struct op *op, const char *ref, int64_t size)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, ref, &vdi));
    return size > vdi->virtual_size ? grow_to(op, ref, size) : NULL;
}

static struct err *grow_volume(struct op *op)
{
    return grow_to(op, op->self, op_get_int(op, "size"));
}

static struct err *pause_users(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    TRY(find_place(op, op->self, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_pause(op->host, &v, &p.sr, p.vdi->location);
}

static struct err *resume_users(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    TRY(find_place(op, op->self, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_resume(op->host, &v, &p.sr, p.vdi->location);
}

static const struct step resize_steps[] = {
    {"decide", step_keep, NULL, .weight = 1, .commit = true},
    {"grow volume", grow_volume, NULL, .weight = 8},
};
const struct op_kind kind_vdi_resize = OP_KIND("VDI.resize", resize_steps);

/* Before the commit only the pause has to be undone: a volume that has grown stays so, and its
 * record says so. */
static const struct step online_steps[] = {
    {"pause disk", pause_users, resume_users, .weight = 1},
    {"grow volume", grow_volume, NULL, .weight = 8},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
    {"resume disk", resume_users, NULL, .weight = 1},
};
const struct op_kind kind_vdi_resize_online = OP_KIND("VDI.resize_online", online_steps);

/* ---- messages ---- */

static struct err *resize(struct op *op, int64_t size, const char *steps)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    TRY(cbt_need_data(vdi));
    if (vdi->on_boot == ON_BOOT_RESET)
        return err_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION();
    if (size < vdi->virtual_size) {
        char text[24];
        snprintf(text, sizeof(text), "%lld", (long long)vdi->virtual_size);
        return err_VDI_TOO_SMALL(op->self, text);
    }
    op_put_int(op, "size", size);
    return op_run_steps(op, steps);
}

struct err *msg_VDI_resize(struct op *op, const struct args_VDI_resize *a, struct val **ret)
{
    return resize(op, a->size, "VDI.resize");
}

struct err *msg_VDI_resize_online(struct op *op, const struct args_VDI_resize_online *a,
                                  struct val **ret)
{
    return resize(op, a->size, "VDI.resize_online");
}
