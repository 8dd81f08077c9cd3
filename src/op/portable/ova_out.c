/* ova_out.c: collecting and writing a description; see ova.h. Any thread; works on a snapshot. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "codec/rpc.h"
#include "op/portable/ova.h"

#define EXPORT_VSN 2

struct object {
    const struct row *row; /* of the snapshot */
    char id[24];
    bool keep_state, keep_tree;
};

struct ova_out {
    const struct snap *s; /* borrowed */
    VEC(struct object) objects;
    struct val *ids; /* ref -> id */
    struct val *disks;
};

struct ova_out *ova_out_new(const struct snap *s)
{
    struct ova_out *o = mem_new(struct ova_out);
    o->s = s;
    o->ids = val_map();
    o->disks = val_set();
    return o;
}

void ova_out_free(struct ova_out *o)
{
    if (!o)
        return;
    vec_done(&o->objects);
    val_unref(o->ids);
    val_unref(o->disks);
    free(o);
}

/* ---- collecting ---- */

static void add_as(struct ova_out *o, const struct row *row, bool keep_state, bool keep_tree)
{
    if (!row || val_map_get(o->ids, row->ref))
        return;
    struct object obj = {.row = row, .keep_state = keep_state, .keep_tree = keep_tree};
    snprintf(obj.id, sizeof(obj.id), "Ref:%zu", o->objects.n);
    val_put_str(o->ids, row->ref, obj.id);
    vec_push(&o->objects, obj);
}

static void add(struct ova_out *o, const struct row *row, bool keep_state)
{
    add_as(o, row, keep_state, true);
}

static void add_vdi(struct ova_out *o, const char *ref, bool with_content)
{
    const struct rec_VDI *vdi = snap_VDI(o->s, ref);
    if (!vdi)
        return;
    const struct rec_SR *sr = snap_SR(o->s, vdi->SR);
    add(o, &vdi->row, true);
    add(o, sr ? &sr->row : NULL, true);
    if (with_content && sr && !str_eq(sr->content_type, "iso") && !val_set_has(o->disks, ref))
        val_add_str(o->disks, ref);
}

static void add_vbds(struct ova_out *o, const struct rec_VM *vm)
{
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(o->s, ref);
        if (!vbd)
            continue;
        add(o, &vbd->row, false);
        add_vdi(o, vbd->VDI, vbd->type == VBD_TYPE_DISK);
    }
}

static void add_vifs(struct ova_out *o, const struct rec_VM *vm)
{
    val_each (ref, vm->VIFs) {
        const struct rec_VIF *vif = snap_VIF(o->s, ref);
        if (!vif)
            continue;
        add(o, &vif->row, false);
        add(o, snap_row(o->s, CLASS_network, vif->network), true);
    }
}

static void add_vm(struct ova_out *o, const struct rec_VM *vm, const struct ova_options *opt)
{
    add_as(o, &vm->row, opt->keep_state, opt->keep_state || opt->with_snapshots);
    add(o, snap_row(o->s, CLASS_VM_metrics, vm->metrics), true);
    add(o, snap_row(o->s, CLASS_VM_guest_metrics, vm->guest_metrics), true);
    if (!opt->no_disks)
        add_vbds(o, vm);
    if (!opt->no_nics)
        add_vifs(o, vm);
    if (opt->keep_state)
        add_vdi(o, vm->suspend_VDI, true);
}

void ova_out_add_vm(struct ova_out *o, const struct rec_VM *vm, const struct ova_options *opt)
{
    add_vm(o, vm, opt);
    for (size_t i = 0; opt->with_snapshots && i < val_count(vm->snapshots); i++) {
        const struct rec_VM *snapshot = snap_VM(o->s, val_str_at(vm->snapshots, i));
        if (snapshot)
            add_vm(o, snapshot, opt);
    }
}

const char *ova_out_id(const struct ova_out *o, const char *ref)
{
    return val_map_str(o->ids, ref, NULL);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const struct val *ova_out_disks(struct ova_out *o)
{
    VEC(const char *) ids = {0};
    struct val *sorted = val_set();
    val_each (ref, o->disks)
        vec_push(&ids, ova_out_id(o, ref));
    if (ids.n)
        qsort(ids.v, ids.n, sizeof(*ids.v), by_text);
    vec_each (id, &ids)
        val_each (ref, o->disks)
            if (str_eq(ova_out_id(o, ref), *id))
                val_add_str(sorted, ref);
    vec_done(&ids);
    val_unref(o->disks);
    o->disks = sorted;
    return o->disks;
}

/* ---- references ---- */

/* The value with its references rewritten; those that lead out are null, in sets and maps they are
 * left out. */
static struct val *rewrite(const struct ova_out *o, const struct val *v, const struct type *t);

static bool leads_out(const struct ova_out *o, const struct val *v, const struct type *t)
{
    return t->kind == TYPE_REF && !ova_out_id(o, val_get_str(v));
}

static struct val *rewrite_map(const struct ova_out *o, const struct val *v, const struct type *t)
{
    struct val *out = val_map();
    for (size_t i = 0; i < val_count(v); i++) {
        const char *key = val_key_at(v, i);
        const char *id = t->key->kind == TYPE_REF ? ova_out_id(o, key) : key;
        if (id && !leads_out(o, val_at(v, i), t->elem))
            val_put(out, id, rewrite(o, val_at(v, i), t->elem));
    }
    return out;
}

static struct val *rewrite_set(const struct ova_out *o, const struct val *v, const struct type *t)
{
    struct val *out = val_set();
    for (size_t i = 0; i < val_count(v); i++)
        if (!leads_out(o, val_at(v, i), t->elem))
            val_add(out, rewrite(o, val_at(v, i), t->elem));
    return out;
}

static struct val *rewrite(const struct ova_out *o, const struct val *v, const struct type *t)
{
    if (t->kind == TYPE_REF) {
        const char *id = ova_out_id(o, val_get_str(v));
        return val_str(id ? id : REF_NULL);
    }
    if (t->kind == TYPE_SET && val_kind(v) == VAL_SET)
        return rewrite_set(o, v, t);
    if (t->kind == TYPE_MAP && val_kind(v) == VAL_MAP)
        return rewrite_map(o, v, t);
    return val_ref(v);
}

/* ---- what does not travel ---- */

static void put_if_there(struct val *rec, const char *name, struct val *v)
{
    if (val_map_get(rec, name))
        val_put(rec, name, v);
    else
        val_unref(v);
}

static void forget_activity(struct val *rec)
{
    put_if_there(rec, "allowed_operations", val_set());
    put_if_there(rec, "current_operations", val_map());
}

static void forget_attachment(struct val *rec)
{
    put_if_there(rec, "currently_attached", val_bool(false));
    put_if_there(rec, "status_code", val_int(0));
    put_if_there(rec, "status_detail", val_str(""));
}

static void forget_state(struct val *rec)
{
    static const char *const links[] = {"suspend_VDI", "metrics", "guest_metrics", "resident_on"};
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        val_put_str(rec, links[i], REF_NULL);
    val_put_str(rec, "power_state", "Halted");
    val_put_int(rec, "domid", -1);
}

static void forget_tree(struct val *rec)
{
    val_put_str(rec, "snapshot_of", REF_NULL);
    val_put_str(rec, "parent", REF_NULL);
    val_put_bool(rec, "is_a_snapshot", false);
    val_put(rec, "snapshot_time", val_datetime(0));
    val_put(rec, "snapshot_info", val_map());
    val_put(rec, "snapshots", val_set());
    val_put(rec, "children", val_set());
    val_put_str(rec, "transportable_snapshot_id", "");
    val_put_str(rec, "snapshot_metadata", "");
}

/* What its memory belongs to; a checkpoint has it in a row of its own only. */
static void put_boot(const struct ova_out *o, const struct rec_VM *vm, struct val *rec)
{
    const struct rec_boot *boot = snap_boot_by_uuid(o->s, vm->uuid);
    if (boot && vm->power_state == VM_POWER_STATE_SUSPENDED)
        val_put_str(rec, "last_booted_record", boot->record);
}

static struct val *record(const struct ova_out *o, const struct object *obj)
{
    struct val *rec = val_map();
    desc_each_field (f, obj->row->cls) {
        if (f->flags & FIELD_INTERNAL)
            continue;
        _cleanup_(val_unrefp) struct val *v = row_get(obj->row, f);
        val_put(rec, f->name, rewrite(o, v, f->type));
    }
    forget_activity(rec);
    if (obj->row->cls->num == CLASS_VBD || obj->row->cls->num == CLASS_VIF)
        forget_attachment(rec);
    if (obj->row->cls->num == CLASS_VM && !obj->keep_state)
        forget_state(rec);
    else if (obj->row->cls->num == CLASS_VM)
        put_boot(o, rec_VM(obj->row), rec);
    if (obj->row->cls->num == CLASS_VM && !obj->keep_tree)
        forget_tree(rec);
    return rec;
}

/* ---- writing ---- */

static struct val *version(const struct ova_out *o)
{
    struct val *v = val_map();
    char date[DATETIME_SIZE];
    str_datetime(now_s(), date);
    const struct row *first = snap_first(o->s, CLASS_host);
    const struct rec_host *h = first ? rec_host(first) : NULL;
    const struct val *soft = h ? h->software_version : val_empty_map();
    val_put_str(v, "hostname", h ? h->hostname : "");
    val_put_str(v, "date", date);
    val_put_str(v, "product_version", val_map_str(soft, "product_version", ""));
    val_put_str(v, "product_brand", val_map_str(soft, "product_brand", ""));
    val_put_str(v, "build_number", val_map_str(soft, "build_number", ""));
    val_put_int(v, "xapi_major", h ? h->API_version_major : 0);
    val_put_int(v, "xapi_minor", h ? h->API_version_minor : 0);
    val_put_int(v, "export_vsn", EXPORT_VSN);
    return v;
}

static const enum class_num order[] = {CLASS_VM,  CLASS_VM_metrics, CLASS_VM_guest_metrics,
                                       CLASS_VBD, CLASS_VIF,        CLASS_network,
                                       CLASS_VDI, CLASS_SR};

static struct val *objects(const struct ova_out *o)
{
    struct val *set = val_set();
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        for (size_t n = 0; n < o->objects.n; n++) {
            const struct object *obj = &o->objects.v[n];
            if (obj->row->cls->num != (int)order[i])
                continue;
            struct val *one = val_map();
            val_put_str(one, "class", obj->row->cls->name);
            val_put_str(one, "id", obj->id);
            val_put(one, "snapshot", record(o, obj));
            val_add(set, one);
        }
    }
    return set;
}

struct err *ova_out_write(struct ova_out *o, struct buf *ret)
{
    _cleanup_(val_unrefp) struct val *doc = val_map();
    val_put(doc, "version", version(o));
    val_put(doc, "objects", objects(o));
    struct rpc_out out = {.b = ret, .format = RPC_XML};
    rpc_put_val(&out, doc);
    return buf_ok(ret) ? NULL : err_internal("the description of the VMs is too long");
}
