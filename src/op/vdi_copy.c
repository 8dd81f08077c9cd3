/*
 * vdi_copy.c: VDI.copy, and what VM.copy and VM.clone need of it.
 *
 * Contents travel through the data path: a transfer of its own (a cairn-diskd under the operation's
 * id) serves the source read-only as disk 0 and the target as disk 1, both over NBD; runs of zeroes
 * stay holes. A simulated disk has no contents, then there is nothing to move.
 */
#include <stdlib.h>

#include "gen/msg.h"
#include "host/nbdio.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define CHUNK_BYTES (1u << 20)

/* ---- the transfer ---- */

static bool is_zero(const char *p, size_t size)
{
    return size == 0 || (p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
}

static struct err *move(struct op *op, struct nbdio *from, struct nbdio *to, char *chunk)
{
    uint64_t size = nbdio_size(from);
    for (uint64_t at = 0; at < size; at += CHUNK_BYTES) {
        size_t n = size - at < CHUNK_BYTES ? (size_t)(size - at) : CHUNK_BYTES;
        TRY(op_check(op));
        TRY(nbdio_read(from, chunk, n, at));
        if (!is_zero(chunk, n))
            TRY(nbdio_write(to, chunk, n, at));
        op_progress(op, (double)(at + n) / (double)size);
    }
    return nbdio_flush(to);
}

static struct err *move_over_nbd(struct op *op, const char *owner)
{
    _cleanup_(freep) char *from_path = host_disk_nbd_path(op->host, owner, 0);
    _cleanup_(freep) char *to_path = host_disk_nbd_path(op->host, owner, 1);
    _cleanup_(nbdio_freep) struct nbdio *from = NULL;
    _cleanup_(nbdio_freep) struct nbdio *to = NULL;
    _cleanup_(freep) char *chunk = mem_try_alloc(1, CHUNK_BYTES);
    if (!from_path || !to_path)
        return NULL;
    if (!chunk)
        return err_internal("no memory for a copy");
    TRY(nbdio_open(from_path, &from));
    TRY(nbdio_open(to_path, &to));
    return move(op, from, to, chunk);
}

static struct err *serve(struct op *op, const struct snap *s, const char *vdi_ref, unsigned device,
                         bool readonly)
{
    const struct rec_VDI *vdi;
    struct image image = {0};
    TRY(need_VDI(s, vdi_ref, &vdi));
    TRY(boot_build_image(op, s, vdi, readonly, &image));
    struct boot_disk d = {.id = (char *)vdi->uuid, .device = device, .image = image};
    struct verb v = op_verb(op, VERB_TIME);
    struct err *e = host_disk_attach(op->host, &v, op_id(op), &d);
    image_done(&image);
    return e;
}

struct err *vdi_copy_end(struct op *op)
{
    struct verb v = op_verb(op, VERB_TIME);
    return host_disks_detach(op->host, &v, op_id(op));
}

struct err *vdi_copy_content(struct op *op, const char *from, const char *to)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    struct err *e = serve(op, s, from, 0, true);
    if (!e)
        e = serve(op, s, to, 1, false);
    if (!e)
        e = move_over_nbd(op, op_id(op));
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
