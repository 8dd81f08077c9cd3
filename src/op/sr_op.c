/*
 * sr_op.c: SR.create, introduce, destroy, forget, scan, update; PBD.create, plug, unplug.
 *
 * A repository is its storage (made by create, taken away by destroy) and its records: the SR, one
 * PBD per host that can reach it, its VDIs. A scan brings the VDI records in line with what the
 * storage says is there.
 */
#include <stdio.h>

#include "base/log.h"
#include "gen/msg.h"
#include "host/sr_thin.h"
#include "op/local_cache.h"
#include "op/sr_ops.h"
#include "op/tidy.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/world.h"
#include "state/row.h"

/* ---- what an operation remembers of a repository that has no records (yet, any more) ---- */

static const struct type *map_type(void)
{
    return desc_field(desc_classes[CLASS_PBD], "device_config")->type;
}

static void put_map(struct op *op, const char *key, const struct val *map)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 64 * KIB);
    val_text(map, map_type(), &b);
    op_put(op, key, buf_str(&b));
}

static struct val *get_map(struct op *op, const char *key)
{
    struct val *map = NULL;
    const char *text = op_get(op, key);
    return *text && val_parse(view_of(text), map_type(), &map) == 0 ? map : val_map();
}

struct remembered {
    struct sr_ref ref;
    struct val *device_config, *sm_config;
};

static void remembered_done(struct remembered *r)
{
    val_unref(r->device_config);
    val_unref(r->sm_config);
}

static void remember(struct op *op, const struct sr_ref *ref)
{
    op_put(op, "uuid", ref->uuid);
    op_put(op, "type", ref->type);
    put_map(op, "device_config", ref->device_config);
    put_map(op, "sm_config", ref->sm_config);
}

static void recall(struct op *op, struct remembered *ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(val_unrefp) struct val *config = get_map(op, "device_config");
    ret->device_config = sr_secrets_show(s, config);
    ret->sm_config = get_map(op, "sm_config");
    ret->ref =
        (struct sr_ref){op_get(op, "uuid"), op_get(op, "type"), ret->device_config, ret->sm_config};
}

/* ---- scan: records follow the storage ---- */

struct scan_arg {
    const char *sr;
    const struct sr_volume *vols;
    size_t n;
    const struct sr_stat *stat; /* NULL: unknown */
    uint64_t since;             /* generation before the storage was asked */
};

static const struct sr_volume *find_volume(const struct scan_arg *a, const char *location)
{
    for (size_t i = 0; i < a->n; i++) {
        if (str_eq(a->vols[i].location, location))
            return &a->vols[i];
    }
    return NULL;
}

/* A volume that some operation is making or taking away is that operation's affair. */
static bool is_in_transit(struct txn *t, const struct sr_volume *vol)
{
    if (!vol->uuid || !*vol->uuid)
        return false;
    txn_each (row, t, CLASS_op) {
        const struct val *context = rec_op(row)->context;
        for (size_t i = 0; i < val_count(context); i++) {
            if (str_eq(val_str_at(context, i), vol->uuid))
                return true;
        }
    }
    return false;
}

/* What an operation is about to build, or to tear down again, is no part of the tree yet. */
static void follow_parent(struct txn *t, struct rec_VDI *vdi, const struct scan_arg *a,
                          const struct sr_volume *vol)
{
    const struct sr_volume *below =
        vol->parent && *vol->parent ? find_volume(a, vol->parent) : NULL;
    const char *parent = below ? below->uuid : "";
    if (str_eq(val_map_str(vdi->sm_config, CHAIN_PARENT, ""), parent))
        return;
    if (!below || !is_in_transit(t, below))
        chain_set_parent(vdi, parent);
}

static void follow_volume(struct txn *t, struct rec_VDI *vdi, const struct scan_arg *a,
                          const struct sr_volume *vol)
{
    vdi->virtual_size = (int64_t)vol->virtual_bytes;
    vdi->physical_utilisation = (int64_t)vol->physical_bytes;
    if (txn_SR(t, vdi->SR))
        vdi_note_format(vdi, txn_SR(t, vdi->SR), vol->format);
    follow_parent(t, vdi, a, vol);
    if (!vol->hidden || !vdi->managed || val_count(vdi->current_operations) > 0)
        return;
    vdi->managed = false;
    rstr_set(&vdi->name_label, "base copy");
}

/* What has changed since the storage was asked is not what it was asked about. */
static void follow_known(struct txn *t, const struct rec_SR *sr, const struct scan_arg *a)
{
    _cleanup_(val_unrefp) struct val *refs = val_ref(sr->VDIs);
    val_each (ref, refs) {
        const struct rec_VDI *now = txn_VDI(t, ref);
        if (!now || now->row.modified > a->since)
            continue;
        struct rec_VDI *vdi = txn_edit_VDI(t, ref);
        const struct sr_volume *vol = find_volume(a, vdi->location);
        vdi->missing = !vol && vdi->type != VDI_TYPE_CBT_METADATA;
        if (vol) {
            follow_volume(t, vdi, a, vol);
        } else if (str_eq(sr->content_type, "iso") && val_count(vdi->VBDs) == 0) {
            txn_delete(t, CLASS_VDI, ref);
        }
    }
}

static bool is_known(struct txn *t, const struct rec_SR *sr, const char *location)
{
    bool known = false;
    val_each (ref, sr->VDIs) {
        const struct rec_VDI *vdi = txn_VDI(t, ref);
        known = known || (vdi && str_eq(vdi->location, location));
    }
    return known;
}

static void add_found(struct txn *t, const struct rec_SR *sr, const struct scan_arg *a,
                      const struct sr_volume *vol)
{
    bool has_uuid = vol->uuid && *vol->uuid && !txn_VDI_by_uuid(t, vol->uuid);
    struct rec_VDI *vdi =
        (struct rec_VDI *)txn_add(t, CLASS_VDI, NULL, has_uuid ? vol->uuid : NULL);
    rstr_set(&vdi->SR, sr->row.ref);
    rstr_set(&vdi->location, vol->location);
    rstr_set(&vdi->name_label, vol->name && *vol->name ? vol->name : vol->location);
    rstr_set(&vdi->name_description, vol->description ? vol->description : "");
    vdi->is_a_snapshot = vol->is_snapshot;
    vdi->snapshot_time = vol->snapshot_time;
    vdi->virtual_size = (int64_t)vol->virtual_bytes;
    vdi->physical_utilisation = (int64_t)vol->physical_bytes;
    vdi->read_only = vol->readonly;
    vdi->sharable = vol->readonly;
    vdi->type = VDI_TYPE_USER;
    vdi->managed = true;
    vdi->cbt_enabled = vol->is_tracked;
    follow_volume(t, vdi, a, vol);
}

/* Of what is there: the disk may have been deleted since, or come with this scan, too. */
static void link_snapshot(struct txn *t, const struct rec_SR *sr, const struct sr_volume *vol)
{
    const struct rec_VDI *snapshot = txn_VDI_by_uuid(t, vol->uuid);
    const struct rec_VDI *of = txn_VDI_by_uuid(t, vol->snapshot_of);
    if (!snapshot || !of || !str_eq(of->SR, sr->row.ref) || !str_eq(snapshot->SR, sr->row.ref))
        return;
    rstr_set(&txn_edit_VDI(t, snapshot->row.ref)->snapshot_of, of->row.ref);
}

static void add_all_found(struct txn *t, const struct rec_SR *sr, const struct scan_arg *a)
{
    _cleanup_(freep) bool *is_new = mem_new_n(bool, a->n + 1);
    for (size_t i = 0; i < a->n; i++) {
        is_new[i] = !is_known(t, sr, a->vols[i].location) && !is_in_transit(t, &a->vols[i]);
        if (is_new[i])
            add_found(t, sr, a, &a->vols[i]);
    }
    for (size_t i = 0; i < a->n; i++) {
        if (is_new[i] && a->vols[i].snapshot_of && *a->vols[i].snapshot_of)
            link_snapshot(t, sr, &a->vols[i]);
    }
}

static void add_up(struct txn *t, struct rec_SR *sr, const struct sr_stat *stat)
{
    int64_t sum = 0;
    txn_each (row, t, CLASS_VDI) {
        if (str_eq(rec_VDI(row)->SR, sr->row.ref) && rec_VDI(row)->managed)
            sum += rec_VDI(row)->virtual_size;
    }
    sr->virtual_allocation = sum;
    if (!stat)
        return;
    sr->physical_size = (int64_t)stat->size_bytes;
    sr->physical_utilisation = (int64_t)stat->used_bytes;
}

static struct err *scan_txn(struct txn *t, void *arg)
{
    struct scan_arg *a = arg;
    const struct rec_SR *sr = txn_SR(t, a->sr);
    if (!sr)
        return err_HANDLE_INVALID("SR", a->sr);
    follow_known(t, sr, a);
    add_all_found(t, sr, a);
    add_up(t, txn_edit_SR(t, a->sr), a->stat);
    return NULL;
}

struct err *sr_follow(struct ops *ops, const struct verb *v, const char *sr_name)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_SR *sr;
    struct sr_ref ref;
    struct sr_volume *vols = NULL;
    struct sr_stat stat = {0};
    size_t n = 0;
    TRY(need_SR(s, sr_name, &sr));
    TRY(sr_ref_of(s, sr, true, &ref));
    TRY(sr_scan(ops->cfg.host, v, &ref, &vols, &n));
    struct err *no_stat = sr_stat(ops->cfg.host, &ref, &stat);
    struct scan_arg a = {sr_name, vols, n, no_stat ? NULL : &stat, snap_generation(s)};
    err_free(no_stat);
    struct err *e = db_write(ops->cfg.db, "SR scan", scan_txn, &a);
    sr_volumes_free(vols, n);
    return e;
}

struct err *msg_SR_scan(struct op *op, const struct args_SR_scan *a, struct val **ret)
{
    struct verb v = op_verb(op, 5 * VERB_TIME);
    return sr_follow(ops_of(op), &v, a->sr);
}

static struct err *stat_txn(struct txn *t, void *arg)
{
    struct scan_arg *a = arg;
    struct rec_SR *sr = txn_edit_SR(t, a->sr);
    if (!sr)
        return err_HANDLE_INVALID("SR", a->sr);
    add_up(t, sr, a->stat);
    return NULL;
}

struct err *msg_SR_update(struct op *op, const struct args_SR_update *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr;
    struct sr_ref ref;
    struct sr_stat stat = {0};
    TRY(need_SR(s, a->sr, &sr));
    TRY(sr_ref_of(s, sr, true, &ref));
    TRY(sr_stat(op->host, &ref, &stat));
    struct scan_arg arg = {.sr = a->sr, .stat = &stat};
    return op_write(op, "SR update", stat_txn, &arg);
}

/* ---- create ---- */

static struct err *create_storage(struct op *op)
{
    _cleanup_(remembered_done) struct remembered r = {0};
    recall(op, &r);
    struct verb v = op_verb(op, 5 * VERB_TIME);
    return sr_create(op->host, &v, &r.ref);
}

static struct err *destroy_storage(struct op *op)
{
    _cleanup_(remembered_done) struct remembered r = {0};
    recall(op, &r);
    struct verb v = op_verb(op, 5 * VERB_TIME);
    return sr_destroy(op->host, &v, &r.ref);
}

static struct err *attach_storage(struct op *op)
{
    _cleanup_(remembered_done) struct remembered r = {0};
    recall(op, &r);
    struct verb v = op_verb(op, VERB_TIME);
    return sr_attach(op->host, &v, &r.ref);
}

static struct err *detach_storage(struct op *op)
{
    _cleanup_(remembered_done) struct remembered r = {0};
    recall(op, &r);
    struct verb v = op_verb(op, VERB_TIME);
    return sr_detach(op->host, &v, &r.ref);
}

void sr_add_records(struct txn *t, const struct sr_new *n)
{
    struct rec_SR *sr = (struct rec_SR *)txn_add(t, CLASS_SR, n->ref, n->sr.uuid);
    rstr_set(&sr->name_label, n->name);
    rstr_set(&sr->name_description, n->description);
    rstr_set(&sr->type, n->sr.type);
    rstr_set(&sr->content_type, n->content_type);
    sr->shared = n->shared;
    sr->default_vdi_visibility = true;
    val_assign(&sr->sm_config, val_ref(n->sr.sm_config));
    if (n->other_config)
        val_assign(&sr->other_config, val_ref(n->other_config));
    if (!n->host)
        return;
    struct rec_PBD *pbd = txn_add_PBD(t);
    rstr_set(&pbd->host, n->host);
    rstr_set(&pbd->SR, n->ref);
    val_assign(&pbd->device_config, sr_secrets_hide(t, n->sr.device_config));
    pbd->currently_attached = true;
}

static struct err *created_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct args_SR_create *a = op_args(op);
    _cleanup_(remembered_done) struct remembered r = {0};
    recall(op, &r);
    struct sr_new n = {.ref = op_get(op, "result"),
                       .sr = r.ref,
                       .name = a->name_label,
                       .description = a->name_description,
                       .content_type = a->content_type,
                       .shared = a->shared,
                       .host = ops_of(op)->host_ref};
    sr_add_records(t, &n);
    return NULL;
}

/* Of what grows, the values that are in force. */
static struct err *note_thin(struct op *op)
{
    _cleanup_(remembered_done) struct remembered r = {0};
    struct sr_thin thin;
    struct sr_stat stat;
    recall(op, &r);
    sr_thin_of(r.sm_config, NULL, 0, &thin);
    if (!thin.on || !str_starts(r.ref.type, "lvm"))
        return NULL;
    TRY(sr_stat(op->host, &r.ref, &stat));
    sr_thin_of(r.sm_config, NULL, stat.size_bytes, &thin);
    _cleanup_(val_unrefp) struct val *config = sr_thin_note(r.sm_config, &thin);
    put_map(op, "sm_config", config);
    log_info("event=thin sr=%s initial_allocation=%llu allocation_quantum=%llu", r.ref.uuid,
             (unsigned long long)thin.initial, (unsigned long long)thin.quantum);
    return NULL;
}

static struct err *mark_created(struct op *op)
{
    TRY(note_thin(op));
    return op_commit(op, "SR created", created_txn, op);
}

static struct err *first_scan(struct op *op)
{
    struct verb v = op_verb(op, 5 * VERB_TIME);
    return sr_follow(ops_of(op), &v, op_get(op, "result"));
}

static const struct step create_steps[] = {
    {"create storage", create_storage, destroy_storage, .weight = 5},
    {"attach storage", attach_storage, detach_storage, .weight = 1},
    {"add records", mark_created, NULL, .weight = 1, .commit = true},
    {"scan", first_scan, NULL, .weight = 1},
};
const struct op_kind kind_sr_create = OP_KIND("SR.create", create_steps);

static struct err *check_host(struct op *op, const char *host)
{
    return str_eq(host, ops_of(op)->host_ref) ? NULL : err_HANDLE_INVALID("host", host);
}

struct err *msg_SR_create(struct op *op, const struct args_SR_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    char uuid[UUID_SIZE];
    TRY(check_host(op, a->host));
    if (!sr_kind(a->type))
        return err_SR_UNKNOWN_DRIVER(a->type);
    TRY(sr_thin_check(a->type, a->sm_config));
    str_uuid(uuid);
    remember(op, &(struct sr_ref){uuid, a->type, a->device_config, a->sm_config});
    op_put(op, "result", ref);
    TRY(op_run_steps(op, "SR.create"));
    *ret = val_rstr(ref);
    return NULL;
}

/* ---- introduce ---- */

static struct err *introduce_txn(struct txn *t, void *arg)
{
    sr_add_records(t, arg);
    return NULL;
}

struct err *msg_SR_introduce(struct op *op, const struct args_SR_introduce *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    if (!sr_kind(a->type))
        return err_SR_UNKNOWN_DRIVER(a->type);
    if (*a->uuid && !str_is_uuid(a->uuid))
        return err_UUID_INVALID("SR", a->uuid);
    struct sr_new n = {.ref = ref,
                       .sr = {*a->uuid ? a->uuid : NULL, a->type, val_empty_map(), a->sm_config},
                       .name = a->name_label,
                       .description = a->name_description,
                       .content_type = a->content_type,
                       .shared = a->shared};
    TRY(op_write(op, "introduce SR", introduce_txn, &n));
    *ret = val_rstr(ref);
    return NULL;
}

struct err *msg_SR_get_supported_types(struct op *op, const struct args_SR_get_supported_types *a,
                                       struct val **ret)
{
    *ret = val_set();
    for (const struct sr_kind *const *k = sr_kinds(); *k; k++)
        val_add_str(*ret, (*k)->type);
    return NULL;
}

/* ---- forget, destroy ---- */

static struct err *forget_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_SR *sr = txn_SR(t, op->self);
    if (!sr)
        return NULL;
    _cleanup_(val_unrefp) struct val *vdis = val_ref(sr->VDIs);
    _cleanup_(val_unrefp) struct val *pbds = val_ref(sr->PBDs);
    val_each (vdi, vdis)
        txn_delete(t, CLASS_VDI, vdi);
    val_each (pbd, pbds)
        txn_delete(t, CLASS_PBD, pbd);
    txn_delete(t, CLASS_SR, op->self);
    return NULL;
}

struct err *msg_SR_forget(struct op *op, const struct args_SR_forget *a, struct val **ret)
{
    return op_write(op, "forget SR", forget_txn, op);
}

/* Asked while there still are records to go back to. */
static struct err *check_destroy(struct op *op)
{
    _cleanup_(remembered_done) struct remembered r = {0};
    recall(op, &r);
    struct verb v = op_verb(op, VERB_TIME);
    return sr_check_destroy(op->host, &v, &r.ref);
}

static struct err *note_storage(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_SR *sr;
    struct sr_ref ref;
    TRY(need_SR(s, op->self, &sr));
    if (val_count(sr->PBDs) == 0)
        return err_SR_HAS_NO_PBDS(op->self);
    val_each (vdi, sr->VDIs) {
        const struct rec_VDI *v = snap_VDI(s, vdi);
        if (v && v->managed && !v->missing)
            return err_SR_NOT_EMPTY();
    }
    TRY(sr_ref_of(s, sr, false, &ref));
    remember(op, &ref);
    return check_destroy(op);
}

static struct err *forget_records(struct op *op)
{
    return op_commit(op, "forget SR", forget_txn, op);
}

/* Destroying needs the storage at hand; it was detached, as the rules ask. */
static struct err *take_storage_away(struct op *op)
{
    TRY(attach_storage(op));
    return destroy_storage(op);
}

static const struct step destroy_steps[] = {
    {"note storage", note_storage, NULL, .weight = 1},
    {"forget records", forget_records, NULL, .weight = 1, .commit = true},
    {"destroy storage", take_storage_away, NULL, .weight = 5},
};
const struct op_kind kind_sr_destroy = OP_KIND("SR.destroy", destroy_steps);

struct err *msg_SR_destroy(struct op *op, const struct args_SR_destroy *a, struct val **ret)
{
    return op_run_steps(op, "SR.destroy");
}

/* ---- PBD ---- */

static struct err *pbd_create_txn(struct txn *t, void *arg)
{
    const struct create_arg {
        const struct val *rec;
        const char *ref;
    } *a = arg;
    const char *host = rec_str(a->rec, "host"), *sr = rec_str(a->rec, "SR");
    if (!txn_host(t, host))
        return err_HANDLE_INVALID("host", host);
    if (!txn_SR(t, sr))
        return err_HANDLE_INVALID("SR", sr);
    val_each (other, txn_SR(t, sr)->PBDs) {
        const struct rec_PBD *pbd = txn_PBD(t, other);
        if (pbd && str_eq(pbd->host, host))
            return err_PBD_EXISTS(sr, host, other);
    }
    struct rec_PBD *pbd = (struct rec_PBD *)txn_add(t, CLASS_PBD, a->ref, NULL);
    TRY(rec_take_given(&pbd->row, a->rec));
    val_assign(&pbd->device_config, sr_secrets_hide(t, pbd->device_config));
    return NULL;
}

struct err *msg_PBD_create(struct op *op, const struct args_PBD_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct {
        const struct val *rec;
        const char *ref;
    } arg = {a->args, ref};
    TRY(op_write(op, "create PBD", pbd_create_txn, &arg));
    *ret = val_rstr(ref);
    return NULL;
}

static struct err *note_pbd(struct op *op, const char **ret_sr)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_PBD *pbd = snap_PBD(s, op->self);
    const struct rec_SR *sr;
    if (!pbd)
        return err_HANDLE_INVALID("PBD", op->self);
    TRY(need_SR(s, pbd->SR, &sr));
    remember(op, &(struct sr_ref){sr->uuid, sr->type, pbd->device_config, sr->sm_config});
    op_put(op, "sr", pbd->SR);
    op_put_bool(op, "attached", pbd->currently_attached);
    if (ret_sr)
        *ret_sr = rstr_ref(pbd->SR);
    return NULL;
}

struct pbd_arg {
    const char *pbd;
    bool attached;
};

static struct err *pbd_mark_txn(struct txn *t, void *arg)
{
    struct pbd_arg *a = arg;
    struct rec_PBD *pbd = txn_edit_PBD(t, a->pbd);
    if (pbd)
        pbd->currently_attached = a->attached;
    return NULL;
}

static struct err *mark_pbd_plugged(struct op *op)
{
    struct pbd_arg a = {op->self, true};
    return op_commit(op, "PBD plugged", pbd_mark_txn, &a);
}

static struct err *mark_pbd_unplugged(struct op *op)
{
    struct pbd_arg a = {op->self, false};
    return op_commit(op, "PBD unplugged", pbd_mark_txn, &a);
}

static struct err *scan_noted(struct op *op)
{
    struct verb v = op_verb(op, 5 * VERB_TIME);
    return sr_follow(ops_of(op), &v, op_get(op, "sr"));
}

static const struct step pbd_plug_steps[] = {
    {"attach storage", attach_storage, detach_storage, .weight = 3},
    {"mark attached", mark_pbd_plugged, NULL, .weight = 1, .commit = true},
    {"scan", scan_noted, NULL, .weight = 1},
};
const struct op_kind kind_pbd_plug = OP_KIND("PBD.plug", pbd_plug_steps);

static const struct step pbd_unplug_steps[] = {
    {"detach storage", detach_storage, attach_storage, .weight = 3},
    {"mark detached", mark_pbd_unplugged, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_pbd_unplug = OP_KIND("PBD.unplug", pbd_unplug_steps);

struct err *msg_PBD_plug(struct op *op, const struct args_PBD_plug *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *sr = NULL;
    TRY(note_pbd(op, &sr));
    if (op_get_bool(op, "attached"))
        return NULL;
    TRY(op_claim(op, CLASS_SR, sr, STORAGE_OPERATIONS_PLUG));
    return op_run_steps(op, "PBD.plug");
}

/* Guests that use a disk of it keep it attached. */
static struct err *check_unused(struct op *op, const char *sr_name)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    snap_each (row, s, CLASS_VBD) {
        const struct rec_VBD *vbd = rec_VBD(row);
        const struct rec_VDI *vdi = vbd->currently_attached ? snap_VDI(s, vbd->VDI) : NULL;
        if (vdi && str_eq(vdi->SR, sr_name))
            return err_VDI_IN_USE(vdi->row.ref, "unplug");
    }
    return local_cache_check_unused(s, sr_name);
}

struct err *msg_PBD_unplug(struct op *op, const struct args_PBD_unplug *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *sr = NULL;
    TRY(note_pbd(op, &sr));
    if (!op_get_bool(op, "attached"))
        return NULL;
    TRY(tidy_stop(op, sr));
    struct err *e = op_claim(op, CLASS_SR, sr, STORAGE_OPERATIONS_UNPLUG);
    if (!e)
        e = check_unused(op, sr);
    if (!e)
        e = op_run_steps(op, "PBD.unplug");
    tidy_allow(op, sr);
    return e;
}

static struct err *pbd_destroy_txn(struct txn *t, void *arg)
{
    const struct rec_PBD *pbd = txn_PBD(t, arg);
    if (!pbd)
        return err_HANDLE_INVALID("PBD", arg);
    if (pbd->currently_attached)
        return err_OPERATION_NOT_ALLOWED("the PBD is attached");
    txn_delete(t, CLASS_PBD, arg);
    return NULL;
}

struct err *msg_PBD_destroy(struct op *op, const struct args_PBD_destroy *a, struct val **ret)
{
    return op_write(op, "destroy PBD", pbd_destroy_txn, (void *)a->self);
}

static struct err *pbd_config_txn(struct txn *t, void *arg)
{
    const struct args_PBD_set_device_config *a = arg;
    struct rec_PBD *pbd = txn_edit_PBD(t, a->self);
    if (!pbd)
        return err_HANDLE_INVALID("PBD", a->self);
    if (pbd->currently_attached)
        return err_OPERATION_NOT_ALLOWED("the PBD is attached");
    val_assign(&pbd->device_config, sr_secrets_hide(t, a->value));
    return NULL;
}

struct err *msg_PBD_set_device_config(struct op *op, const struct args_PBD_set_device_config *a,
                                      struct val **ret)
{
    return op_write(op, "set device config", pbd_config_txn, (void *)a);
}
