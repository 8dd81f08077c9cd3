/*
 * vdi_copy.c: VDI.copy, and what VM.copy and VM.clone need of it.
 *
 * Contents travel through the data path, a cairn-diskd of its own under the operation's id. It has
 * the source read-only as disk 0, and copies that into a new disk by itself. Where something is
 * compared (a base, a disk that had content), where sizes differ, and into volumes that grow as
 * they are written, it serves the target as disk 1 and the base as disk 2, all over NBD, and the
 * bytes pass through here. Runs of zeroes stay holes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen/msg.h"
#include "op/portable/portable_impl.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define COPY_INTO "VDI.copy into"
#define UNIT      ((size_t)64 << 10) /* is compared with the base, and copied if it differs */
#define COPY_TIME (24 * 3600 * USEC_PER_SEC)

/* ---- the transfer ---- */

struct copying {
    struct diskio *from, *base, *to; /* base: or NULL */
    bool is_fresh;                   /* the target reads as zeroes everywhere */
    char *room, *old;                /* a piece of the source, and of the base */
    struct walk source, before;
    const struct vdi_copy *plan;
};

static struct err *put(const struct copying *c, const char *p, size_t size, uint64_t at)
{
    if (!is_all_zero(p, size))
        return diskio_write(c->to, p, size, at);
    return c->is_fresh ? NULL : diskio_zero(c->to, size, at);
}

static struct err *put_differences(const struct copying *c, const struct piece *p)
{
    for (size_t done = 0; done < p->size; done += UNIT) {
        size_t n = p->size - done < UNIT ? p->size - done : UNIT;
        if (memcmp(c->room + done, c->old + done, n) != 0)
            TRY(put(c, c->room + done, n, p->at + done));
    }
    return NULL;
}

/* The same piece of the base: zeroes behind its end. */
static struct err *read_base(struct copying *c, const struct piece *p, bool *ret_zero)
{
    struct piece old;
    bool more;
    TRY(walk_next(&c->before, c->old, &old, &more));
    *ret_zero = !more || old.zero;
    size_t size = *ret_zero ? 0 : old.size < p->size ? old.size : p->size;
    memset(c->old + size, 0, p->size - size);
    return NULL;
}

static struct err *copy_piece(struct copying *c, const struct piece *p)
{
    bool was_zero = c->is_fresh;
    if (c->base)
        TRY(read_base(c, p, &was_zero));
    if (p->zero && was_zero)
        return NULL;
    if (p->zero)
        memset(c->room, 0, p->size);
    return c->base ? put_differences(c, p) : put(c, c->room, p->size, p->at);
}

static struct err *copy_pieces(struct op *op, struct copying *c)
{
    struct piece p;
    bool more;
    walk_init(&c->source, c->from, diskio_size(c->from), DISKIO_PIECE);
    if (c->base)
        walk_init(&c->before, c->base, diskio_size(c->base), DISKIO_PIECE);
    for (;;) {
        TRY(op_check(op));
        TRY(walk_next(&c->source, c->room, &p, &more));
        if (!more)
            return diskio_flush(c->to);
        TRY(copy_piece(c, &p));
        op_progress(op, c->plan->first +
                            c->plan->part * (double)(p.at + p.size) / (double)c->source.size);
    }
}

struct err *vdi_copy_end(struct op *op)
{
    return portable_detach(op);
}

static struct err *attach_and_copy(struct op *op, const struct vdi_copy *plan)
{
    _cleanup_(diskio_freep) struct diskio *in = NULL, *base = NULL, *out = NULL;
    _cleanup_(freep) char *room = mem_zalloc(DISKIO_PIECE, 1), *old = NULL;
    /* All before the first is opened: one that needs more of cairn-diskd gets another process. */
    TRY(portable_serve(op, plan->from, 0, true));
    TRY(portable_serve(op, plan->to, 1, false));
    if (*plan->base)
        TRY(portable_serve(op, plan->base, 2, true));
    TRY(portable_open(op, 0, &in));
    TRY(portable_open(op, 1, &out));
    if (*plan->base) {
        TRY(portable_open(op, 2, &base));
        old = mem_zalloc(DISKIO_PIECE, 1);
    }
    struct copying c = {.from = in,
                        .base = base,
                        .to = out,
                        .is_fresh = plan->is_fresh,
                        .room = room,
                        .old = old,
                        .plan = plan};
    return copy_pieces(op, &c);
}

/* ---- by cairn-diskd alone ---- */

static struct err *can_be_told(struct op *op, const struct snap *s, const struct vdi_copy *plan,
                               struct image *ret, bool *ret_can)
{
    const struct rec_VDI *from, *to;
    TRY(need_VDI(s, plan->from, &from));
    TRY(need_VDI(s, plan->to, &to));
    *ret_can = host_can_copy(op->host) && plan->is_fresh && !*plan->base &&
               from->virtual_size == to->virtual_size;
    if (!*ret_can)
        return NULL;
    TRY(boot_build_image(op, s, to, false, ret));
    *ret_can = !ret->quantum;
    return NULL;
}

static struct err *attach_and_tell(struct op *op, const struct vdi_copy *plan,
                                   const struct image *to)
{
    TRY(portable_serve(op, plan->from, 0, true));
    struct verb v = op_verb(op, COPY_TIME);
    return host_disk_copy(op->host, &v, op_id(op), 0, to);
}

static struct err *copy_somehow(struct op *op, const struct snap *s, const struct vdi_copy *plan)
{
    struct image to = {0};
    bool can = false;
    struct err *e = can_be_told(op, s, plan, &to, &can);
    if (!e)
        e = can ? attach_and_tell(op, plan, &to) : attach_and_copy(op, plan);
    image_done(&to);
    return e;
}

struct err *vdi_copy_as(struct op *op, const struct vdi_copy *plan)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *to = snap_VDI(s, plan->to);
    struct err *e = portable_error(op, copy_somehow(op, s, plan), to ? to->SR : REF_NULL);
    return err_first(e, vdi_copy_end(op));
}

struct err *vdi_copy_content(struct op *op, const char *from, const char *to)
{
    return vdi_copy_as(op, &(struct vdi_copy){from, "", to, .is_fresh = true, .part = 1});
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
    return vdi_copy_as(op, &(struct vdi_copy){op->self, op_get(op, "base"), op_get(op, "result"),
                                              .is_fresh = true, .part = 1});
}

static const struct step copy_steps[] = {
    {"name copy", name_copy, NULL, .weight = 1},
    {"make volume", make_copy, drop_copy, .weight = 1},
    {"copy content", fill_copy, vdi_copy_end, .weight = 20},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vdi_copy = OP_KIND("VDI.copy", copy_steps);

/* ---- the same into a disk that there is: one that is given up has parts of both contents ---- */

static struct err *fill_into(struct op *op)
{
    return vdi_copy_as(
        op, &(struct vdi_copy){op->self, op_get(op, "base"), op_get(op, "result"), .part = 1});
}

static struct err *note_size(struct op *op)
{
    return vdi_note_size(op, op_get(op, "result"));
}

static const struct step into_steps[] = {
    {"copy content", fill_into, vdi_copy_end, .weight = 20},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
    {"note size", note_size, NULL, .weight = 1},
};
const struct op_kind kind_vdi_copy_into = OP_KIND(COPY_INTO, into_steps);

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

/* Three different disks. */
static struct err *check_disks(const struct op *op, const struct args_VDI_copy *a)
{
    const char *used = NULL;
    if (str_eq(a->base_vdi, op->self) || str_eq(a->into_vdi, op->self))
        used = op->self;
    else if (!ref_is_null(a->base_vdi) && str_eq(a->base_vdi, a->into_vdi))
        used = a->into_vdi;
    return used ? err_VDI_IN_USE(used, "copy") : NULL;
}

static struct err *claim_base(struct op *op, const struct snap *s, const char *ref)
{
    const struct rec_VDI *base;
    op_put(op, "base", "");
    if (ref_is_null(ref))
        return NULL;
    TRY(need_VDI(s, ref, &base));
    op_put(op, "base", ref);
    return op_claim(op, CLASS_VDI, ref, VDI_OPERATIONS_COPY);
}

static struct err *copy_into(struct op *op, const struct snap *s, const struct rec_VDI *vdi,
                             const char *ref)
{
    const struct rec_VDI *into;
    TRY(need_VDI(s, ref, &into));
    if (into->virtual_size < vdi->virtual_size) {
        char text[24];
        snprintf(text, sizeof(text), "%" PRId64, vdi->virtual_size);
        return err_VDI_TOO_SMALL(ref, text);
    }
    TRY(vdi_claim_target(op, ref, "copy"));
    return op_run_steps(op, COPY_INTO);
}

static struct err *copy_to(struct op *op, const struct snap *s, const char *sr)
{
    if (!snap_SR(s, sr))
        return err_HANDLE_INVALID("SR", sr);
    TRY(op_claim(op, CLASS_SR, sr, STORAGE_OPERATIONS_VDI_CREATE));
    op_put(op, "sr", sr);
    return op_run_steps(op, "VDI.copy");
}

struct err *msg_VDI_copy(struct op *op, const struct args_VDI_copy *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    TRY(check_disks(op, a));
    TRY(claim_base(op, s, a->base_vdi));
    TRY(ref_is_null(a->into_vdi) ? copy_to(op, s, a->sr) : copy_into(op, s, vdi, a->into_vdi));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}
