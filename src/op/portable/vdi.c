/*
 * vdi.c: the contents of one VDI as a stream, out and in.
 *
 *     export:  send content                                      (a transfer that is ended by undo)
 *     import:  name - make volume - receive content - note size  (the first two for a new VDI only)
 *
 * What an import has written into a VDI that was there before stays, whatever becomes of it.
 */
#include "op/portable/foreign.h"
#include "op/portable/portable_impl.h"
#include "op/vm_ops.h"
#include "task/claim.h"

bool portable_format_of(const char *name, enum portable_format *ret)
{
    static const char *const names[] = {
        [PORTABLE_RAW] = "raw",     [PORTABLE_VHD] = "vhd",   [PORTABLE_TAR] = "tar",
        [PORTABLE_QCOW2] = "qcow2", [PORTABLE_VMDK] = "vmdk",
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (!str_eq(name, names[i]))
            continue;
        *ret = i;
        return true;
    }
    return false;
}

/* ---- export ---- */

static struct err *send_as(const struct disk_out *out, enum portable_format format)
{
    TRY(out->io->begin(out->io->arg));
    switch (format) {
    case PORTABLE_VHD:
        return vhd_send(out);
    case PORTABLE_TAR:
        return tar_send_disk(out);
    case PORTABLE_QCOW2:
        return qcow2_send(out);
    case PORTABLE_RAW:
    case PORTABLE_VMDK:
        break;
    }
    return raw_send(out);
}

static struct err *send_content(struct op *op)
{
    const struct vdi_stream *st = op_lent(op);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(diskio_freep) struct diskio *disk = NULL, *base = NULL;
    const struct rec_VDI *vdi, *base_vdi = NULL;
    TRY(need_VDI(s, st->vdi, &vdi));
    TRY(portable_serve(op, st->vdi, 0, true));
    if (st->base)
        TRY(need_VDI(s, st->base, &base_vdi));
    if (st->base)
        TRY(portable_serve(op, st->base, 1, true));
    TRY(portable_open(op, 0, &disk));
    if (st->base)
        TRY(portable_open(op, 1, &base));
    return send_as(&(struct disk_out){.op = op,
                                      .disk = disk,
                                      .base = base,
                                      .size = diskio_size(disk),
                                      .uuid = vdi->uuid,
                                      .base_uuid = base_vdi ? base_vdi->uuid : NULL,
                                      .io = st->io},
                   st->format);
}

static struct err *send_and_detach(struct op *op)
{
    struct err *e = portable_error(op, send_content(op), "");
    return err_first(e, portable_detach(op));
}

static const struct step export_steps[] = {
    {"send content", send_and_detach, portable_detach, .weight = 1},
    {"keep", step_keep, NULL, .weight = 0, .commit = true},
};
const struct op_kind kind_vdi_export = OP_KIND("VDI.export", export_steps);

#define VHD_LIMIT (2040ull << 30)

struct err *vdi_export(struct op *op, const struct vdi_stream *st)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, st->vdi, &vdi));
    if (st->format == PORTABLE_VHD && (uint64_t)vdi->virtual_size > VHD_LIMIT)
        return err_VDI_TOO_LARGE(st->vdi, "2190433320960");
    TRY(op_claim(op, CLASS_VDI, st->vdi, VDI_OPERATIONS_COPY));
    if (st->base && !str_eq(st->base, st->vdi))
        TRY(op_claim(op, CLASS_VDI, st->base, VDI_OPERATIONS_COPY));
    op_lend(op, (void *)st);
    return op_run_steps(op, "VDI.export");
}

/* ---- import ---- */

static struct err *name_new(struct op *op)
{
    const struct vdi_stream *st = op_lent(op);
    char uuid[UUID_SIZE];
    scratch_plan(op, op_get(op, "sr"));
    if (st->vdi)
        return NULL;
    str_uuid(uuid);
    op_put(op, "image.uuid", uuid);
    return NULL;
}

static struct err *make_new(struct op *op)
{
    const struct vdi_stream *st = op_lent(op);
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    _cleanup_(val_unrefp) struct val *sm_config = val_map();
    if (st->vdi)
        return NULL;
    if (op_get_bool(op, "iso"))
        val_put_str(sm_config, "path", st->name);
    struct vdi_make m = {.sr = st->sr,
                         .uuid = op_get(op, "image.uuid"),
                         .name = st->name ? st->name : "Imported VDI",
                         .type = VDI_TYPE_USER,
                         .size_bytes = st->size_bytes,
                         .sm_config = sm_config};
    TRY(portable_error(op, vdi_make(op, &m, &ref), st->sr));
    op_put(op, "result", ref);
    return NULL;
}

static struct err *drop_new(struct op *op)
{
    struct err *e = scratch_undo(op);
    return err_first(e, vdi_unmake(op, op_get(op, "image.uuid"), op_get(op, "sr")));
}

/* What such an image does not hold reads as zeroes. */
static struct err *receive_foreign(struct disk_in *in, const struct vdi_stream *st)
{
    bool is_vmdk = st->format == PORTABLE_VMDK;
    struct scratch scratch = {
        .op = in->op, .size = st->size_bytes && !st->open_end ? st->size_bytes : 2 * in->size};
    if (is_vmdk)
        TRY(diskio_zero(in->disk, in->size, 0));
    struct err *e = foreign_receive(is_vmdk ? DISK_VMDK : DISK_QCOW2, in, &scratch);
    e = err_first(e, diskio_flush(in->disk));
    if (e) {
        scratch_drop(&scratch);
        return e;
    }
    diskio_freep(&in->disk);
    source_drain(&in->src);
    return scratch_end(&scratch);
}

static struct err *receive_as(struct disk_in *in, const struct vdi_stream *st)
{
    TRY(st->io->begin(st->io->arg));
    if (st->format == PORTABLE_QCOW2 || st->format == PORTABLE_VMDK)
        return receive_foreign(in, st);
    if (st->format == PORTABLE_VHD)
        TRY(vhd_receive(in));
    else if (st->format == PORTABLE_TAR)
        TRY(tar_receive_disk(in));
    else
        TRY(st->chunked ? chunked_receive(in) : raw_receive(in));
    return diskio_flush(in->disk);
}

static struct err *receive_content(struct op *op)
{
    const struct vdi_stream *st = op_lent(op);
    const char *vdi = op_get(op, "result");
    struct disk_in in = {.op = op, .vdi = vdi, .src = {.io = st->io}};
    TRY(portable_attach(op, vdi, 0, false, &in.disk));
    in.size = diskio_size(in.disk);
    in.expected = st->open_end ? in.size : 0;
    struct err *e = receive_as(&in, st);
    diskio_freep(&in.disk);
    return e;
}

static struct err *receive_and_detach(struct op *op)
{
    struct err *e = portable_error(op, receive_content(op), op_get(op, "sr"));
    return err_first(e, portable_detach(op));
}

static struct err *note_size(struct op *op)
{
    return vdi_note_size(op, op_get(op, "result"));
}

static const struct step import_steps[] = {
    {"name volume", name_new, NULL, .weight = 0},
    {"make volume", make_new, drop_new, .weight = 0},
    {"receive content", receive_and_detach, portable_detach, .weight = 1},
    {"keep", step_keep, NULL, .weight = 0, .commit = true},
    {"note size", note_size, NULL, .weight = 0},
};
const struct op_kind kind_vdi_import = OP_KIND("VDI.import", import_steps);

struct err *vdi_claim_target(struct op *op, const char *ref, const char *use)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, ref, &vdi));
    TRY(claim_check(&(struct claim_view){.snap = s}, &vdi->row, VDI_OPERATIONS_COPY));
    if (vdi->read_only)
        return err_VDI_READONLY(ref);
    TRY(op_claim(op, CLASS_VDI, ref, VDI_OPERATIONS_UPDATE));
    /* The claim may have waited: who has it now counts. */
    _cleanup_(snap_unrefp) struct snap *now = snap_get(op->db);
    TRY(need_VDI(now, ref, &vdi));
    val_each (vbd, vdi->VBDs)
        if (snap_VBD(now, vbd) && snap_VBD(now, vbd)->currently_attached)
            return err_VDI_IN_USE(ref, use);
    op_put(op, "result", ref);
    op_put(op, "sr", vdi->SR);
    return NULL;
}

static struct err *claim_repository(struct op *op, const char *ref, const char *name)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr;
    TRY(need_SR(s, ref, &sr));
    bool iso = str_eq(sr->content_type, "iso");
    if (iso && !name)
        return err_SR_OPERATION_NOT_SUPPORTED(ref);
    op_put_bool(op, "iso", iso);
    op_put(op, "sr", ref);
    return op_claim(op, CLASS_SR, ref, STORAGE_OPERATIONS_VDI_CREATE);
}

struct err *vdi_import(struct op *op, const struct vdi_stream *st, struct val **ret)
{
    TRY(st->vdi ? vdi_claim_target(op, st->vdi, "import") : claim_repository(op, st->sr, st->name));
    op_lend(op, (void *)st);
    TRY(op_run_steps(op, "VDI.import"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}
