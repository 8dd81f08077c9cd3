/* attach.c: the data path of a transfer, and what its errors mean; see portable_impl.h. */
#include <errno.h>

#include "op/portable/portable_impl.h"

static bool is_cancelled(void *arg)
{
    return op_is_cancelled(arg);
}

struct err *portable_serve(struct op *op, const char *vdi_ref, unsigned device, bool readonly)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    struct image image = {0};
    TRY(need_VDI(s, vdi_ref, &vdi));
    TRY(boot_build_image(op, s, vdi, readonly, &image));
    /* A CD image that is being made is written once. */
    if (!readonly)
        image.readonly = false;
    struct boot_disk d = {
        .id = (char *)vdi->uuid, .device = device, .bus = BOOT_TRANSFER, .image = image};
    struct verb v = op_verb(op, VERB_TIME);
    struct err *e = host_disk_attach(op->host, &v, op_id(op), &d);
    image_done(&image);
    return e;
}

struct err *portable_attach(struct op *op, const char *vdi_ref, unsigned device, bool readonly,
                            struct diskio **ret)
{
    TRY(portable_serve(op, vdi_ref, device, readonly));
    return portable_open(op, device, ret);
}

struct err *portable_open(struct op *op, unsigned device, struct diskio **ret)
{
    TRY(diskio_open(op->host, op_id(op), device, ret));
    diskio_watch(*ret, is_cancelled, op);
    return NULL;
}

struct err *portable_detach(struct op *op)
{
    struct verb v = op_verb(op, VERB_TIME);
    return host_disks_detach(op->host, &v, op_id(op));
}

struct err *portable_error(struct op *op, struct err *e, const char *sr)
{
    int en = e ? err_get_errno(e) : 0;
    if (en == ECANCELED && op_is_cancelled(op)) {
        err_free(e);
        return err_TASK_CANCELLED(op->task);
    }
    if (en == ENOSPC) {
        err_free(e);
        return err_OUT_OF_SPACE(sr);
    }
    return e;
}
