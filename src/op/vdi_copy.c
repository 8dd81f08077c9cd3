/*
 * vdi_copy.c: VDI.copy, and what VM.copy and VM.clone need of it.
 *
 * Contents travel through the data path: a transfer of its own (a cairn-diskd under the operation's
 * id) serves the source read-only as disk 0 and the target as disk 1, both over NBD; runs of zeroes
 * stay holes.
 */
#include <stdlib.h>

#include "gen/msg.h"
#include "op/portable/portable_impl.h"
#include "op/vm_ops.h"
#include "op/world.h"

/* ---- the transfer ---- */

static struct err *move(struct op *op, struct diskio *from, struct diskio *to)
{
    _cleanup_(freep) char *room = mem_zalloc(DISKIO_PIECE, 1);
    struct walk w;
    struct piece p;
    bool more;
    walk_init(&w, from, diskio_size(from), DISKIO_PIECE);
    for (;;) {
        TRY(op_check(op));
        TRY(walk_next(&w, room, &p, &more));
        if (!more)
            return diskio_flush(to);
        if (!p.zero && !is_all_zero(room, p.size)) /* the target is new: zeroes everywhere */
            TRY(diskio_write(to, room, p.size, p.at));
        op_progress(op, (double)(p.at + p.size) / (double)w.size);
    }
}

struct err *vdi_copy_end(struct op *op)
{
    return portable_detach(op);
}

static struct err *attach_and_move(struct op *op, const char *from, const char *to)
{
    _cleanup_(diskio_freep) struct diskio *in = NULL, *out = NULL;
    TRY(portable_attach(op, from, 0, true, &in));
    TRY(portable_attach(op, to, 1, false, &out));
    return move(op, in, out);
}

struct err *vdi_copy_content(struct op *op, const char *from, const char *to)
{
    struct err *e = portable_error(op, attach_and_move(op, from, to), "");
    return err_first(e, vdi_copy_end(op));
}

/* ---- VDI.copy ---- */

static struct err *name_copy(struct op *op)
{
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    op_put(op, "image.uuid", uuid);
    return NULL;
}

static struct err *make_copy(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    struct vdi_make m = vdi_make_like(vdi, op_get(op, "sr"), op_get(op, "image.uuid"));
    TRY(vdi_make(op, &m, &ref));
    op_put(op, "result", ref);
    return NULL;
}

static struct err *drop_copy(struct op *op)
{
    return vdi_unmake(op, op_get(op, "image.uuid"), op_get(op, "sr"));
}

static struct err *fill_copy(struct op *op)
{
    return vdi_copy_content(op, op->self, op_get(op, "result"));
}

static const struct step copy_steps[] = {
    {"name copy", name_copy, NULL, .weight = 1},
    {"make volume", make_copy, drop_copy, .weight = 1},
    {"copy content", fill_copy, vdi_copy_end, .weight = 20},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vdi_copy = OP_KIND("VDI.copy", copy_steps);

struct vdi_make vdi_make_like(const struct rec_VDI *vdi, const char *sr, const char *uuid)
{
    return (struct vdi_make){.sr = sr,
                             .uuid = uuid,
                             .name = vdi->name_label,
                             .description = vdi->name_description,
                             .type = vdi->type,
                             .size_bytes = (uint64_t)vdi->virtual_size,
                             .other_config = vdi->other_config,
                             .sharable = vdi->sharable,
                             .read_only = false};
}

struct err *msg_VDI_copy(struct op *op, const struct args_VDI_copy *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    if (!ref_is_null(a->base_vdi) || !ref_is_null(a->into_vdi))
        return err_SR_OPERATION_NOT_SUPPORTED(vdi->SR);
    if (!snap_SR(s, a->sr))
        return err_HANDLE_INVALID("SR", a->sr);
    TRY(op_claim(op, CLASS_SR, a->sr, STORAGE_OPERATIONS_VDI_CREATE));
    op_put(op, "sr", a->sr);
    TRY(op_run_steps(op, "VDI.copy"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}
