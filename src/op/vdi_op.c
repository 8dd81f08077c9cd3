/*
 * vdi_op.c: VDI.create, destroy, introduce, forget and the small setters.
 *
 * A VDI is a volume of the storage and a record. The record is added last and deleted first, so a
 * record always has its volume; a volume without a record is taken away by undo or found by a scan.
 */
#include <stdio.h>

#include "gen/msg.h"
#include "host/disk_format.h"
#include "host/sr_thin.h"
#include "op/vdi_cbt.h"
#include "op/vm_ops.h"
#include "op/world.h"

/* ---- a volume and its record ---- */

struct add_arg {
    const struct vdi_make *m;
    const struct sr_volume *vol;
    const char *ref; /* rstr out */
};

void vdi_note_format(struct rec_VDI *v, const struct rec_SR *sr, const char *format)
{
    const struct sr_kind *k = sr_kind(sr->type);
    if (!k || !k->formats || !disk_suffix_of(format)[0])
        return;
    const char *name = str_starts(format, "vhd") ? "vhd" : format;
    if (str_eq(val_map_str(v->sm_config, "image-format", ""), name))
        return;
    val_assign(&v->sm_config, val_with(v->sm_config, "image-format", name));
}

/* What is in force of a volume that grows, unless it is as its repository says. */
static void note_thin(struct rec_VDI *v, const struct rec_SR *sr)
{
    struct sr_thin thin;
    bool is_own = *val_map_str(v->sm_config, "initial_allocation", "") ||
                  *val_map_str(v->sm_config, "allocation_quantum", "");
    sr_thin_of(sr->sm_config, v->sm_config, (uint64_t)sr->physical_size, &thin);
    if (thin.on && is_own && str_starts(sr->type, "lvm"))
        val_assign(&v->sm_config, sr_thin_note(v->sm_config, &thin));
}

static struct err *add_vdi_txn(struct txn *t, void *arg)
{
    struct add_arg *a = arg;
    const struct vdi_make *m = a->m;
    if (!txn_SR(t, m->sr))
        return err_HANDLE_INVALID("SR", m->sr);
    struct rec_VDI *v = (struct rec_VDI *)txn_add(t, CLASS_VDI, a->ref, m->uuid);
    rstr_set(&v->name_label, m->name ? m->name : "");
    rstr_set(&v->name_description, m->description ? m->description : "");
    rstr_set(&v->SR, m->sr);
    v->type = m->type;
    v->virtual_size = (int64_t)a->vol->virtual_bytes;
    v->physical_utilisation = (int64_t)a->vol->physical_bytes;
    v->sharable = m->sharable;
    v->read_only = m->read_only || a->vol->readonly;
    rstr_set(&v->location, a->vol->location);
    v->managed = true;
    v->cbt_enabled = a->vol->is_tracked;
    if (m->sm_config)
        val_assign(&v->sm_config, val_ref(m->sm_config));
    vdi_note_format(v, txn_SR(t, m->sr), a->vol->format);
    note_thin(v, txn_SR(t, m->sr));
    if (m->other_config)
        val_assign(&v->other_config, val_ref(m->other_config));
    return NULL;
}

static struct err *size_check(uint64_t size_bytes)
{
    if (size_bytes > 0 && size_bytes <= (uint64_t)INT64_MAX)
        return NULL;
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)size_bytes);
    return err_INVALID_VALUE("virtual_size", text);
}

struct err *vdi_make(struct op *op, const struct vdi_make *m, const char **ret_ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr;
    struct sr_ref sref;
    struct sr_volume vol = {0};
    TRY(size_check(m->size_bytes));
    TRY(need_SR(s, m->sr, &sr));
    TRY(sr_ref_of(s, sr, true, &sref));
    struct verb v = op_verb(op, VERB_TIME);
    TRY(sr_vdi_create(op->host, &v, &sref, m->uuid, m->size_bytes,
                      m->sm_config ? m->sm_config : val_empty_map(), &vol));
    struct add_arg a = {m, &vol, ref_new()};
    struct err *e = op_write(op, "add VDI", add_vdi_txn, &a);
    sr_volume_done(&vol);
    if (e)
        rstr_unref(a.ref);
    else
        *ret_ref = a.ref;
    return e;
}

static struct err *delete_vdi_txn(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_VDI, arg);
    return NULL;
}

static struct err *delete_volume(struct op *op, const struct snap *s, const char *sr_name,
                                 const char *uuid, const char *location)
{
    const struct rec_SR *sr = snap_SR(s, sr_name);
    struct sr_ref ref;
    if (!sr)
        return NULL;
    TRY(sr_ref_of(s, sr, true, &ref));
    TRY(cbt_forget(op, s, &ref, uuid));
    struct verb v = op_verb(op, VERB_TIME);
    if (location)
        return sr_vdi_delete(op->host, &v, &ref, location);
    /* The record was never written: the volume bears the uuid. */
    struct sr_volume *vols = NULL;
    size_t n = 0;
    struct err *e = sr_scan(op->host, &v, &ref, &vols, &n);
    for (size_t i = 0; !e && i < n; i++) {
        if (!str_eq(vols[i].uuid, uuid))
            continue;
        struct verb del = op_verb(op, VERB_TIME);
        e = sr_vdi_delete(op->host, &del, &ref, vols[i].location);
    }
    sr_volumes_free(vols, n);
    return e;
}

struct err *vdi_unmake(struct op *op, const char *uuid, const char *sr)
{
    if (!*uuid)
        return NULL;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi = snap_VDI_by_uuid(s, uuid);
    if (vdi)
        TRY(op_write(op, "delete VDI", delete_vdi_txn, (void *)vdi->row.ref));
    return delete_volume(op, s, vdi ? vdi->SR : sr, uuid, vdi ? vdi->location : NULL);
}

/* ---- VDI.create ---- */

static struct err *name_volume(struct op *op)
{
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    op_put(op, "image.uuid", uuid);
    return NULL;
}

static struct err *create_volume(struct op *op)
{
    const struct val *rec = ((const struct args_VDI_create *)op_args(op))->args;
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    struct vdi_make m = {.sr = op_get(op, "sr"),
                         .uuid = op_get(op, "image.uuid"),
                         .name = rec_str(rec, "name_label"),
                         .description = rec_str(rec, "name_description"),
                         .type = (enum vdi_type)rec_enum(rec, "type", &enum_vdi_type),
                         .size_bytes = (uint64_t)rec_int(rec, "virtual_size"),
                         .sm_config = rec_map(rec, "sm_config"),
                         .other_config = rec_map(rec, "other_config"),
                         .sharable = rec_bool(rec, "sharable"),
                         .read_only = rec_bool(rec, "read_only")};
    TRY(vdi_make(op, &m, &ref));
    op_put(op, "result", ref);
    return NULL;
}

static struct err *drop_volume(struct op *op)
{
    return vdi_unmake(op, op_get(op, "image.uuid"), op_get(op, "sr"));
}

static const struct step create_steps[] = {
    {"name volume", name_volume, NULL, .weight = 1},
    {"make volume", create_volume, drop_volume, .weight = 8},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vdi_create = OP_KIND("VDI.create", create_steps);

struct err *msg_VDI_create(struct op *op, const struct args_VDI_create *a, struct val **ret)
{
    const char *sr = rec_str(a->args, "SR");
    TRY(op_claim(op, CLASS_SR, sr, STORAGE_OPERATIONS_VDI_CREATE));
    op_put(op, "sr", sr);
    TRY(op_run_steps(op, "VDI.create"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}

/* ---- VDI.destroy, forget ---- */

struct err *vdi_note_volume(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    TRY(cbt_claim(op, s, vdi));
    op_put(op, "sr", vdi->SR);
    op_put(op, "location", vdi->location);
    op_put(op, "uuid", vdi->uuid);
    return NULL;
}

/* Drives that showed it are empty now; disks without an image go. */
static void leave_drives(struct txn *t, const char *vdi)
{
    const struct rec_VDI *row = txn_VDI(t, vdi);
    _cleanup_(val_unrefp) struct val *refs = row ? val_ref(row->VBDs) : val_set();
    val_each (ref, refs) {
        struct rec_VBD *vbd = txn_edit_VBD(t, ref);
        if (!vbd)
            continue;
        if (vbd->type == VBD_TYPE_CD)
            vbd->empty = true;
        else
            txn_delete(t, CLASS_VBD, ref);
    }
}

static struct err *forget_txn(struct txn *t, void *arg)
{
    const struct op *op = arg;
    leave_drives(t, op->self);
    txn_delete(t, CLASS_VDI, op->self);
    return NULL;
}

static struct err *forget_record(struct op *op)
{
    return op_commit(op, "forget VDI", forget_txn, op);
}

struct err *vdi_delete_noted(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return delete_volume(op, s, op_get(op, "sr"), op_get(op, "uuid"), op_get(op, "location"));
}

struct err *vdi_delete_volume(struct op *op, const char *sr, const char *uuid, const char *location)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return delete_volume(op, s, sr, uuid, location);
}

static const struct step destroy_steps[] = {
    {"note volume", vdi_note_volume, NULL, .weight = 1},
    {"forget record", forget_record, NULL, .weight = 1, .commit = true},
    {"delete volume", vdi_delete_noted, NULL, .weight = 8},
};
const struct op_kind kind_vdi_destroy = OP_KIND("VDI.destroy", destroy_steps);

struct err *msg_VDI_destroy(struct op *op, const struct args_VDI_destroy *a, struct val **ret)
{
    return op_run_steps(op, "VDI.destroy");
}

struct err *msg_VDI_forget(struct op *op, const struct args_VDI_forget *a, struct val **ret)
{
    return op_write(op, "forget VDI", forget_txn, op);
}

static struct err *remove_txn(struct txn *t, void *arg)
{
    leave_drives(t, arg);
    txn_delete(t, CLASS_VDI, arg);
    return NULL;
}

/* A volume that stays behind because we die in between is found by the next scan. */
struct err *vdi_remove(struct op *op, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, ref, &vdi));
    TRY(op_claim(op, CLASS_VDI, ref, VDI_OPERATIONS_DESTROY));
    TRY(cbt_claim(op, s, vdi));
    TRY(op_write(op, "remove VDI", remove_txn, (void *)(uintptr_t)ref));
    return delete_volume(op, s, vdi->SR, vdi->uuid, vdi->location);
}

/* ---- VDI.introduce ---- */

struct introduce_arg {
    const struct args_VDI_introduce *a;
    const struct sr_volume *vol;
    const char *ref;
};

static struct err *introduce_txn(struct txn *t, void *arg)
{
    struct introduce_arg *i = arg;
    const struct args_VDI_introduce *a = i->a;
    const struct rec_SR *sr = txn_SR(t, a->SR);
    if (!sr)
        return err_HANDLE_INVALID("SR", a->SR);
    val_each (other, sr->VDIs) {
        const struct rec_VDI *o = txn_VDI(t, other);
        if (o && str_eq(o->location, a->location))
            return err_LOCATION_NOT_UNIQUE(a->SR, a->location);
    }
    struct vdi_make m = {.sr = a->SR,
                         .uuid = *a->uuid ? a->uuid : NULL,
                         .name = a->name_label,
                         .description = a->name_description,
                         .type = a->type,
                         .sm_config = a->sm_config,
                         .other_config = a->other_config,
                         .sharable = a->sharable,
                         .read_only = a->read_only};
    struct add_arg add = {&m, i->vol, i->ref};
    return add_vdi_txn(t, &add);
}

struct err *msg_VDI_introduce(struct op *op, const struct args_VDI_introduce *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr;
    struct sr_ref ref;
    struct sr_volume vol = {0};
    TRY(op_claim(op, CLASS_SR, a->SR, STORAGE_OPERATIONS_VDI_INTRODUCE));
    TRY(need_SR(s, a->SR, &sr));
    TRY(sr_ref_of(s, sr, true, &ref));
    TRY(sr_vdi_info(op->host, &ref, a->location, &vol));
    _cleanup_(rstr_unrefp) const char *vdi = ref_new();
    struct introduce_arg arg = {a, &vol, vdi};
    struct err *e = op_write(op, "introduce VDI", introduce_txn, &arg);
    sr_volume_done(&vol);
    if (!e)
        *ret = val_rstr(vdi);
    return e;
}

/* ---- small setters ---- */

enum vdi_field { VDI_NAME, VDI_DESCRIPTION, VDI_READ_ONLY, VDI_SHARABLE };

struct set_arg {
    const char *ref, *text;
    enum vdi_field field;
    bool flag;
};

static struct err *set_txn(struct txn *t, void *arg)
{
    struct set_arg *a = arg;
    struct rec_VDI *vdi = txn_edit_VDI(t, a->ref);
    if (!vdi)
        return err_HANDLE_INVALID("VDI", a->ref);
    switch (a->field) {
    case VDI_NAME:
        rstr_set(&vdi->name_label, a->text);
        break;
    case VDI_DESCRIPTION:
        rstr_set(&vdi->name_description, a->text);
        break;
    case VDI_READ_ONLY:
        vdi->read_only = a->flag;
        break;
    case VDI_SHARABLE:
        vdi->sharable = a->flag;
        break;
    }
    return NULL;
}

static struct err *set(struct op *op, struct set_arg a)
{
    return op_write(op, "set VDI field", set_txn, &a);
}

struct err *msg_VDI_set_name_label(struct op *op, const struct args_VDI_set_name_label *a,
                                   struct val **ret)
{
    return set(op, (struct set_arg){a->self, a->value, VDI_NAME, false});
}

struct err *msg_VDI_set_name_description(struct op *op,
                                         const struct args_VDI_set_name_description *a,
                                         struct val **ret)
{
    return set(op, (struct set_arg){a->self, a->value, VDI_DESCRIPTION, false});
}

struct err *msg_VDI_set_read_only(struct op *op, const struct args_VDI_set_read_only *a,
                                  struct val **ret)
{
    return set(op, (struct set_arg){a->self, "", VDI_READ_ONLY, a->value});
}

struct err *msg_VDI_set_sharable(struct op *op, const struct args_VDI_set_sharable *a,
                                 struct val **ret)
{
    return set(op, (struct set_arg){a->self, "", VDI_SHARABLE, a->value});
}
