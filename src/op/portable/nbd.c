/*
 * nbd.c: a VDI over NBD, for as long as somebody reads it; see portable.h. The data path serves it
 * read-only on a socket of this host; whoever asked carries the bytes.
 */
#include "op/portable/portable_impl.h"
#include "op/vdi_cbt.h"
#include "op/vm_ops.h"

static struct err *serve(struct op *op)
{
    const struct vdi_nbd *n = op_lent(op);
    TRY(portable_serve(op, n->vdi, 0, true));
    _cleanup_(freep) char *socket = host_disk_nbd_path(op->host, op_id(op), 0);
    return n->serve(n->arg, op, socket ? socket : "");
}

static struct err *serve_and_detach(struct op *op)
{
    struct err *e = portable_error(op, serve(op), "");
    return err_first(e, portable_detach(op));
}

static const struct step steps[] = {
    {"serve", serve_and_detach, portable_detach, .weight = 1},
    {"keep", step_keep, NULL, .weight = 0, .commit = true},
};
const struct op_kind kind_vdi_nbd = OP_KIND("VDI.nbd", steps);

struct err *vdi_serve_nbd(struct op *op, const struct vdi_nbd *n)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, n->vdi, &vdi));
    TRY(cbt_need_data(vdi));
    TRY(op_claim(op, CLASS_VDI, n->vdi, VDI_OPERATIONS_COPY));
    op_lend(op, (void *)n);
    return op_run_steps(op, "VDI.nbd");
}
