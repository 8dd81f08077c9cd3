/* vdi_chain.c: see vdi_chain.h; and VDI.snapshot and VDI.clone, which are a set of one disk. */
#include "op/vdi_chain.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "gen/msg.h"
#include "op/read_cache.h"
#include "op/vdi_cbt.h"
#include "op/vm_ops.h"

#define CHAIN_LONG 24u /* levels: six snapshots before the last */

/* ---- the tree, as the records tell it ---- */

const struct rec_VDI *chain_parent(const struct snap *s, const struct rec_VDI *vdi)
{
    const char *uuid = val_map_str(vdi->sm_config, CHAIN_PARENT, "");
    return *uuid ? snap_VDI_by_uuid(s, uuid) : NULL;
}

unsigned chain_children(const struct snap *s, const struct rec_VDI *vdi)
{
    unsigned n = 0;
    snap_each (row, s, CLASS_VDI)
        n += str_eq(val_map_str(rec_VDI(row)->sm_config, CHAIN_PARENT, ""), vdi->uuid);
    return n;
}

void chain_set_parent(struct rec_VDI *vdi, const char *uuid)
{
    val_assign(&vdi->sm_config, *uuid ? val_with(vdi->sm_config, CHAIN_PARENT, uuid)
                                      : val_without(vdi->sm_config, CHAIN_PARENT));
}

static unsigned levels(const struct snap *s, const struct rec_VDI *vdi)
{
    unsigned n = 0;
    for (; vdi && n <= SR_CHAIN_MAX; vdi = chain_parent(s, vdi))
        n++;
    return n;
}

struct err *chain_check(const struct snap *s, const struct rec_VDI *vdi)
{
    const struct rec_SR *sr;
    TRY(need_SR(s, vdi->SR, &sr));
    if (!vdi->managed)
        return err_VDI_NOT_MANAGED(vdi->row.ref);
    if (vdi->missing)
        return err_VDI_MISSING(vdi->SR, vdi->row.ref);
    TRY(cbt_need_data(vdi));
    _cleanup_(freep) char *location = sr_chain_location(sr->type, vdi->uuid, vdi->location);
    if (!location || !str_eq(location, vdi->location))
        return err_SR_OPERATION_NOT_SUPPORTED(vdi->SR);
    unsigned n = levels(s, vdi);
    return n >= SR_CHAIN_MAX ? sr_chain_too_long(vdi->uuid, n) : NULL;
}

/* ---- the set, in the context: split.<i>.vdi, .sr, .at, .base, .uuid, .ref, .how, .below ---- */

void chain_put(struct op *op, size_t i, const char *what, const char *value)
{
    char key[48];
    snprintf(key, sizeof(key), "split.%zu.%s", i, what);
    op_put(op, key, value);
}

const char *chain_get(struct op *op, size_t i, const char *what)
{
    char key[48];
    snprintf(key, sizeof(key), "split.%zu.%s", i, what);
    return op_get(op, key);
}

size_t chain_count(struct op *op)
{
    return (size_t)op_get_int(op, "splits");
}

const char *chain_new_of(struct op *op, const char *vdi)
{
    for (size_t i = 0; i < chain_count(op); i++) {
        if (str_eq(chain_get(op, i, "vdi"), vdi))
            return chain_get(op, i, "ref");
    }
    return NULL;
}

static const char *const uses[] = {"snapshot", "clone", "back", "alone"};

struct err *chain_add(struct op *op, const char *ref, enum chain_use use)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(rstr_unrefp) const char *fresh = ref_new();
    const struct rec_VDI *vdi;
    char uuid[UUID_SIZE];
    size_t i = chain_count(op);
    TRY(need_VDI(s, ref, &vdi));
    TRY(chain_check(s, vdi));
    chain_put(op, i, "vdi", ref);
    chain_put(op, i, "sr", vdi->SR);
    chain_put(op, i, "at", vdi->location);
    chain_put(op, i, "use", uses[use]);
    chain_put(op, i, "ref", fresh);
    str_uuid(uuid);
    chain_put(op, i, "uuid", uuid);
    str_uuid(uuid);
    chain_put(op, i, "base", uuid);
    op_put_int(op, "splits", (int64_t)i + 1);
    return NULL;
}

static bool is_alone(struct op *op, size_t i)
{
    return str_eq(chain_get(op, i, "use"), uses[CHAIN_ALONE]);
}

/* ---- the storage ---- */

struct disk {
    struct snap *s; /* what the rest is borrowed from */
    struct sr_ref sr;
    const char *at;         /* location of the old volume */
    char *base_at, *new_at; /* and of those that are made */
};

static void disk_done(struct disk *d)
{
    free(d->base_at);
    free(d->new_at);
    snap_unref(d->s);
}

static struct err *disk_of(struct op *op, size_t i, struct disk *ret)
{
    const struct rec_SR *sr;
    ret->s = snap_get(op->db);
    TRY(need_SR(ret->s, chain_get(op, i, "sr"), &sr));
    TRY(sr_ref_of(ret->s, sr, true, &ret->sr));
    ret->at = chain_get(op, i, "at");
    ret->base_at = sr_chain_location(sr->type, chain_get(op, i, "base"), ret->at);
    ret->new_at = sr_chain_location(sr->type, chain_get(op, i, "uuid"), ret->at);
    return ret->base_at && ret->new_at ? NULL : err_SR_OPERATION_NOT_SUPPORTED(sr->row.ref);
}

typedef struct err *(*disk_fn)(struct op *op, size_t i, struct disk *d);

static struct err *with(struct op *op, size_t i, disk_fn fn)
{
    _cleanup_(disk_done) struct disk d = {0};
    TRY(disk_of(op, i, &d));
    return fn(op, i, &d);
}

/* All of them, whatever fails. */
static struct err *each(struct op *op, disk_fn fn)
{
    struct err *e = NULL;
    for (size_t i = 0; i < chain_count(op); i++)
        e = err_first(e, with(op, i, fn));
    return e;
}

static struct err *pause_one(struct op *op, size_t i, struct disk *d)
{
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_pause(op->host, &v, &d->sr, d->at);
}

struct err *chain_pause(struct op *op)
{
    return each(op, pause_one);
}

static struct err *resume_one(struct op *op, size_t i, struct disk *d)
{
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_resume(op->host, &v, &d->sr, d->at);
}

struct err *chain_resume(struct op *op)
{
    return each(op, resume_one);
}

/* Its parent would do as well: it has nothing of its own, not even its size. */
static struct err *is_like_parent(struct op *op, const struct disk *d, const struct sr_volume *vol,
                                  bool forgets, bool *ret)
{
    struct sr_volume parent = {0};
    *ret = (!vol->is_written || forgets) && vol->parent && *vol->parent;
    if (!*ret)
        return NULL;
    TRY(sr_vdi_info(op->host, &d->sr, vol->parent, &parent));
    *ret = parent.virtual_bytes == vol->virtual_bytes;
    sr_volume_done(&parent);
    return NULL;
}

/* What has nothing of its own is not worth a level: the new one is built on the same. Nor has what
 * will be forgotten. */
static struct err *decide(struct op *op, size_t i, struct disk *d)
{
    struct sr_volume vol = {0};
    bool beside = false;
    TRY(sr_vdi_info(op->host, &d->sr, d->at, &vol));
    const struct rec_VDI *old = snap_VDI(d->s, chain_get(op, i, "vdi"));
    bool tracked = old && old->cbt_enabled && str_eq(chain_get(op, i, "use"), uses[CHAIN_SNAPSHOT]);
    chain_put(op, i, "tracked", tracked ? old->uuid : "");
    struct err *e = is_like_parent(op, d, &vol, old && old->on_boot == ON_BOOT_RESET, &beside);
    chain_put(op, i, "how", beside ? "beside" : "split");
    chain_put(op, i, "below", beside ? vol.parent : d->base_at);
    sr_volume_done(&vol);
    return e;
}

static struct err *split_one(struct op *op, size_t i, struct disk *d)
{
    if (str_eq(chain_get(op, i, "how"), "split")) {
        struct verb v = op_verb(op, VERB_TIME);
        TRY(sr_vdi_split(op->host, &v, &d->sr, d->at, chain_get(op, i, "base")));
    }
    if (is_alone(op, i))
        return NULL;
    const char *tracked = chain_get(op, i, "tracked"), *uuid = chain_get(op, i, "uuid");
    struct verb v = op_verb(op, VERB_TIME), log = op_verb(op, VERB_TIME);
    TRY(sr_vdi_child(op->host, &v, &d->sr, chain_get(op, i, "below"), uuid));
    return *tracked ? sr_cbt_split(op->host, &log, &d->sr, tracked, uuid) : NULL;
}

struct err *chain_split(struct op *op)
{
    TRY(each(op, decide));
    TRY(op_save(op));
    return each(op, split_one);
}

struct err *chain_split_last(struct op *op)
{
    size_t last = chain_count(op) - 1;
    TRY(with(op, last, decide));
    TRY(op_save(op));
    return with(op, last, split_one);
}

static struct err *unsplit_one(struct op *op, size_t i, struct disk *d)
{
    const char *how = chain_get(op, i, "how");
    if (!*how)
        return NULL;
    const char *tracked = chain_get(op, i, "tracked");
    struct verb log = op_verb(op, VERB_TIME), del = op_verb(op, VERB_TIME),
                join = op_verb(op, VERB_TIME);
    if (*tracked)
        TRY(sr_cbt_unsplit(op->host, &log, &d->sr, tracked, chain_get(op, i, "uuid")));
    struct err *e = is_alone(op, i) ? NULL : sr_vdi_delete(op->host, &del, &d->sr, d->new_at);
    if (!e && str_eq(how, "split"))
        e = sr_vdi_unsplit(op->host, &join, &d->sr, d->at, chain_get(op, i, "base"));
    return e;
}

/* The last first: a disk may have been split several times. */
struct err *chain_unsplit(struct op *op)
{
    struct err *e = NULL;
    for (size_t i = chain_count(op); i > 0; i--)
        e = err_first(e, with(op, i - 1, unsplit_one));
    return e;
}

/* ---- the records ---- */

/* What a record that is made like another one has of its sm_config. */
static struct val *lasting(const struct val *sm_config)
{
    _cleanup_(val_unrefp) struct val *rest = read_cache_strip(sm_config);
    return val_without(rest, CHAIN_SHED);
}

void chain_put_base(struct txn *t, struct rec_VDI *old, const char *uuid, const char *at)
{
    struct rec_VDI *base = (struct rec_VDI *)txn_add(t, CLASS_VDI, NULL, uuid);
    rstr_set(&base->name_label, "base copy");
    rstr_set(&base->SR, old->SR);
    rstr_set(&base->location, at);
    base->type = old->type;
    base->virtual_size = old->virtual_size;
    base->physical_utilisation = old->physical_utilisation;
    base->read_only = true;
    base->managed = false;
    val_assign(&base->sm_config, lasting(old->sm_config));
    chain_set_parent(old, base->uuid);
}

static void put_new(struct txn *t, struct op *op, size_t i, const struct rec_VDI *old,
                    const char *at)
{
    const char *use = chain_get(op, i, "use");
    struct rec_VDI *vdi =
        (struct rec_VDI *)txn_add(t, CLASS_VDI, chain_get(op, i, "ref"), chain_get(op, i, "uuid"));
    rstr_set(&vdi->name_label, old->name_label);
    rstr_set(&vdi->name_description, old->name_description);
    rstr_set(&vdi->SR, old->SR);
    rstr_set(&vdi->location, at);
    vdi->type = old->type;
    vdi->virtual_size = old->virtual_size;
    vdi->sharable = old->sharable;
    vdi->managed = true;
    val_assign(&vdi->other_config, val_ref(old->other_config));
    val_assign(&vdi->xenstore_data, val_ref(old->xenstore_data));
    val_assign(&vdi->tags, val_ref(old->tags));
    val_assign(&vdi->sm_config, lasting(old->sm_config));
    if (!str_eq(use, uses[CHAIN_SNAPSHOT]))
        return;
    vdi->is_a_snapshot = true;
    vdi->cbt_enabled = *chain_get(op, i, "tracked");
    rstr_set(&vdi->snapshot_of, old->row.ref);
    vdi->snapshot_time = now_s();
}

/* The volume that takes the place of the old disk's is built on what this one is built on. */
static void put_back(struct rec_VDI *back, const struct rec_VDI *vdi)
{
    back->virtual_size = vdi->virtual_size;
    chain_set_parent(back, val_map_str(vdi->sm_config, CHAIN_PARENT, ""));
}

static unsigned levels_in(struct txn *t, const struct rec_VDI *vdi)
{
    unsigned n = 0;
    for (; vdi && n <= SR_CHAIN_MAX; n++)
        vdi = txn_VDI_by_uuid(t, val_map_str(vdi->sm_config, CHAIN_PARENT, ""));
    return n;
}

/* Before it hurts, and once: tidying keeps up, or somebody has to look. */
static void warn_of_length(struct txn *t, const struct rec_VDI *vdi)
{
    if (levels_in(t, vdi) != CHAIN_LONG)
        return;
    _cleanup_(freep) char *body = mem_printf(
        "The chain of disk '%s' (%s) has %u of at most %u levels: snapshots are refused "
        "then. Delete old ones. 'cairnctl sr tree' tells what is tidied next, and why it "
        "waits.",
        vdi->name_label, vdi->uuid, CHAIN_LONG, SR_CHAIN_MAX);
    alert_add(t, "VDI_CHAIN_LONG", 3, CLS_VDI, vdi->uuid, body);
}

void chain_put_records(struct txn *t, struct op *op)
{
    for (size_t i = 0; i < chain_count(op); i++) {
        struct rec_VDI *old = txn_edit_VDI(t, chain_get(op, i, "vdi"));
        const struct rec_SR *sr = old ? txn_SR(t, old->SR) : NULL;
        if (!sr)
            continue;
        const char *at = chain_get(op, i, "at");
        _cleanup_(freep) char *base_at = sr_chain_location(sr->type, chain_get(op, i, "base"), at);
        _cleanup_(freep) char *new_at = sr_chain_location(sr->type, chain_get(op, i, "uuid"), at);
        if (str_eq(chain_get(op, i, "how"), "split"))
            chain_put_base(t, old, chain_get(op, i, "base"), base_at);
        warn_of_length(t, old);
        struct rec_VDI *back = txn_edit_VDI(t, chain_get(op, i, "old"));
        if (back)
            put_back(back, old);
        else if (!is_alone(op, i))
            put_new(t, op, i, old, new_at);
        read_cache_note(t, old->row.ref);
    }
}

/* ---- VDI.snapshot, VDI.clone ---- */

static struct err *plan_snapshot(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    if (vdi->on_boot == ON_BOOT_RESET)
        return err_VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION();
    TRY(chain_add(op, op->self, CHAIN_SNAPSHOT));
    op_put(op, "result", chain_get(op, 0, "ref"));
    return NULL;
}

static struct err *plan_clone(struct op *op)
{
    TRY(chain_add(op, op->self, CHAIN_CLONE));
    op_put(op, "result", chain_get(op, 0, "ref"));
    return NULL;
}

static struct err *records_txn(struct txn *t, void *arg)
{
    chain_put_records(t, arg);
    return NULL;
}

static struct err *add_records(struct op *op)
{
    return op_commit(op, "VDI snapshot", records_txn, op);
}

/* Nothing fails because a base copy keeps what it could give. */
static struct err *shrink_one(struct op *op, size_t i, struct disk *d)
{
    struct verb v = op_verb(op, VERB_TIME);
    const struct rec_VDI *base = snap_VDI_by_uuid(d->s, chain_get(op, i, "base"));
    const struct sr_kind *k = sr_kind(d->sr.type);
    if (!str_eq(chain_get(op, i, "how"), "split") || !k || !k->vdi_shrink)
        return NULL;
    struct err *e = sr_vdi_shrink(op->host, &v, &d->sr, d->base_at);
    if (!e && base)
        e = vdi_note_size(op, base->row.ref);
    if (e)
        log_warn("event=not-shrunk vdi=%s error=\"%s\"", chain_get(op, i, "base"), err_param(e, 0));
    err_free(e);
    return NULL;
}

struct err *chain_go_on(struct op *op)
{
    TRY(each(op, shrink_one));
    return chain_resume(op);
}

struct err *chain_shrink_last(struct op *op)
{
    return with(op, chain_count(op) - 1, shrink_one);
}

struct err *chain_finish(struct op *op)
{
    TRY(chain_go_on(op));
    return chain_note_sizes(op);
}

struct err *chain_note_sizes(struct op *op)
{
    for (size_t i = 0; i < chain_count(op); i++) {
        TRY(vdi_note_size(op, chain_get(op, i, "vdi")));
        if (!is_alone(op, i))
            TRY(vdi_note_size(op, chain_get(op, i, "ref")));
    }
    return NULL;
}

static const struct step snapshot_steps[] = {
    {"plan", plan_snapshot, NULL, .weight = 1},
    {"pause disk", chain_pause, chain_resume, .weight = 1},
    {"split volume", chain_split, chain_unsplit, .weight = 4},
    {"add records", add_records, NULL, .weight = 1, .commit = true},
    {"resume disk", chain_finish, NULL, .weight = 1},
};
const struct op_kind kind_vdi_snapshot = OP_KIND("VDI.snapshot", snapshot_steps);

struct err *msg_VDI_snapshot(struct op *op, const struct args_VDI_snapshot *a, struct val **ret)
{
    TRY(op_run_steps(op, "VDI.snapshot"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}

static const struct step clone_steps[] = {
    {"plan", plan_clone, NULL, .weight = 1},
    {"pause disk", chain_pause, chain_resume, .weight = 1},
    {"split volume", chain_split, chain_unsplit, .weight = 4},
    {"add records", add_records, NULL, .weight = 1, .commit = true},
    {"resume disk", chain_finish, NULL, .weight = 1},
};
const struct op_kind kind_vdi_clone = OP_KIND("VDI.clone", clone_steps);

struct err *msg_VDI_clone(struct op *op, const struct args_VDI_clone *a, struct val **ret)
{
    TRY(op_run_steps(op, "VDI.clone"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}
