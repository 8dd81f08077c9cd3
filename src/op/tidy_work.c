/*
 * tidy_work.c: deleting, coalescing and joining, as operations of the house; see tidy.h.
 *
 *     delete:    note - forget record - delete volume
 *     coalesce:  note - merge - claim children - (commit) - relink children - reopen readers -
 *                forget record - delete volume
 *     join:      note - pause disk - merge or shed - change records - put in place - resume disk
 *
 * Merging changes nothing that anybody reads and can be done again, so it needs no undo; the rest
 * is short. What is built on a base copy is claimed while it is relinked: nobody else builds
 * something on it meanwhile.
 */
#include "op/tidy_work.h"

#include <stdlib.h>

#include "base/log.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"

#define MERGE_TIME   (24 * 3600 * USEC_PER_SEC)
#define RATE_DEFAULT (UINT64_C(100) * MIB) /* bytes a second; other-config:coalesce-rate */
#define JOIN_MAX     (20 * MIB)            /* more own data than this is shed first */
#define SHED_MAX     4                     /* times; a disk that is written ever faster waits */
#define CHILDREN_MAX 1000

/* ---- who is at it ---- */

static bool is_tidy_kind(const char *kind)
{
    return str_eq(kind, kind_tidy_delete.name) || str_eq(kind, kind_tidy_coalesce.name) ||
           str_eq(kind, kind_tidy_join.name);
}

bool tidy_is_busy(const struct snap *s, const char *sr, const char *but)
{
    snap_each (row, s, CLASS_op) {
        const struct rec_op *o = rec_op(row);
        if (!is_tidy_kind(o->kind) || (but && str_eq(row->ref, but)))
            continue;
        const struct rec_VDI *vdi = snap_VDI(s, o->object);
        if (str_eq(vdi ? vdi->SR : val_map_str(o->context, "sr", ""), sr))
            return true;
    }
    return false;
}

/* Asked in the transaction that would begin it: has the tree changed, or is another at work? */
static bool is_moot(struct txn *t, struct op *op, enum tidy_action action)
{
    const struct snap *s = txn_snap(t);
    const struct rec_VDI *vdi = snap_VDI(s, op->self);
    const struct rec_SR *sr = vdi ? snap_SR(s, vdi->SR) : NULL;
    struct tidy_step step;
    if (!sr || tidy_is_busy(s, vdi->SR, NULL) || tidy_is_stopped(ops_of(op), vdi->SR))
        return true;
    tidy_next(s, sr, &step);
    return step.action != action || step.why || !str_eq(step.vdi->row.ref, op->self);
}

static bool delete_is_moot(struct txn *t, struct op *op)
{
    return is_moot(t, op, TIDY_DELETE);
}

static bool coalesce_is_moot(struct txn *t, struct op *op)
{
    return is_moot(t, op, TIDY_COALESCE);
}

static bool join_is_moot(struct txn *t, struct op *op)
{
    return is_moot(t, op, TIDY_JOIN);
}

/* ---- what all do ---- */

static struct err *note(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, op->self, &vdi));
    op_put(op, "sr", vdi->SR);
    op_put(op, "at", vdi->location);
    op_put(op, "uuid", vdi->uuid);
    const struct rec_VDI *below = chain_parent(s, vdi);
    if (!below)
        return NULL;
    op_put(op, "below", below->row.ref);
    op_put(op, "below.at", below->location);
    op_put(op, "below.uuid", below->uuid);
    op_put(op, "below.parent", val_map_str(below->sm_config, CHAIN_PARENT, ""));
    return NULL;
}

struct place {
    struct snap *s; /* what the rest is borrowed from */
    const struct rec_SR *sr;
    struct sr_ref ref;
};

static void place_done(struct place *p)
{
    snap_unref(p->s);
}

static struct err *place_of(struct op *op, struct place *ret)
{
    ret->s = snap_get(op->db);
    TRY(need_SR(ret->s, op_get(op, "sr"), &ret->sr));
    return sr_ref_of(ret->s, ret->sr, true, &ret->ref);
}

static struct err *delete_volume(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_delete(op->host, &v, &p.ref, op_get(op, "at"));
}

static bool is_given_up(void *arg)
{
    struct op *op = arg;
    return op_is_cancelled(op) || tidy_is_stopped(ops_of(op), op_get(op, "sr"));
}

static uint64_t rate_of(const struct rec_SR *sr)
{
    uint64_t rate;
    const char *text = val_map_str(sr->other_config, "coalesce-rate", "");
    return str_u64(view_of(text), 0, INT64_MAX, &rate) == 0 ? rate : RATE_DEFAULT;
}

static struct err *merge_at(struct op *op, uint64_t (*rate)(const struct rec_SR *sr))
{
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, MERGE_TIME);
    v.cancelled = is_given_up;
    v.arg = op;
    v.progress = NULL;
    return sr_vdi_coalesce(op->host, &v, &p.ref, op_get(op, "at"), rate ? rate(p.sr) : 0);
}

/* For who looks at the tree. What was given up has not failed. */
static struct err *noted(struct op *op, struct err *e)
{
    if (!e || !is_given_up(op))
        tidy_note_failure(ops_of(op), op_get(op, "sr"), op->self, e);
    return e;
}

/* ---- delete ---- */

static struct err *forget_txn(struct txn *t, void *arg)
{
    txn_delete(t, CLASS_VDI, ((const struct op *)arg)->self);
    return NULL;
}

static struct err *forget_record(struct op *op)
{
    return op_commit(op, "forget base copy", forget_txn, op);
}

static const struct step delete_steps[] = {
    {"note", note, NULL, .weight = 1},
    {"forget record", forget_record, NULL, .weight = 1, .commit = true},
    {"delete volume", delete_volume, NULL, .weight = 2},
};
const struct op_kind kind_tidy_delete = {"tidy delete", delete_steps, ARRAY_LEN(delete_steps),
                                         delete_is_moot};

/* ---- coalesce ---- */

static struct err *merge(struct op *op)
{
    return noted(op, merge_at(op, rate_of));
}

static struct val *children_of(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    struct val *list = val_set();
    snap_each (row, s, CLASS_VDI) {
        const char *below = val_map_str(rec_VDI(row)->sm_config, CHAIN_PARENT, "");
        if (str_eq(below, op_get(op, "uuid")))
            val_add_str(list, row->ref);
    }
    return list;
}

/* Only what is built on it can lead to more being built on it: when all are claimed, that is all.
 */
static struct err *claim_children(struct op *op)
{
    _cleanup_(val_unrefp) struct val *claimed = val_set();
    for (bool more = true; more && val_count(claimed) <= CHILDREN_MAX;) {
        _cleanup_(val_unrefp) struct val *list = children_of(op);
        more = false;
        val_each (ref, list) {
            if (val_set_has(claimed, ref))
                continue;
            TRY(chain_claim(op, ref, VDI_OPERATIONS_BLOCKED));
            val_add_str(claimed, ref);
            more = true;
        }
    }
    return NULL;
}

static struct err *relink_one(struct op *op, const struct place *p, const struct rec_VDI *child)
{
    struct verb pause = op_verb(op, VERB_TIME), relink = op_verb(op, VERB_TIME),
                resume = op_verb(op, VERB_TIME);
    struct err *e = sr_vdi_pause(op->host, &pause, &p->ref, child->location);
    if (!e)
        e = sr_vdi_relink(op->host, &relink, &p->ref, child->location, op_get(op, "below.at"));
    return err_first(e, sr_vdi_resume(op->host, &resume, &p->ref, child->location));
}

struct relink_arg {
    struct op *op;
    const char *child;
};

static struct err *relink_txn(struct txn *t, void *arg)
{
    struct relink_arg *a = arg;
    struct rec_VDI *child = txn_edit_VDI(t, a->child);
    if (child)
        chain_set_parent(child, op_get(a->op, "below.uuid"));
    return NULL;
}

static struct err *relink_children(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    _cleanup_(val_unrefp) struct val *list = children_of(op);
    TRY(place_of(op, &p));
    val_each (ref, list) {
        const struct rec_VDI *child = snap_VDI(p.s, ref);
        struct relink_arg a = {op, ref};
        if (!child)
            continue;
        TRY(relink_one(op, &p, child));
        TRY(op_write(op, "relink VDI", relink_txn, &a));
    }
    return NULL;
}

static struct err *reopen_readers(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_reopen(op->host, &v, &p.ref, op_get(op, "at"));
}

static struct err *drop_record(struct op *op)
{
    return op_write(op, "forget base copy", forget_txn, op);
}

static const struct step coalesce_steps[] = {
    {"note", note, NULL, .weight = 1},
    {"merge", merge, NULL, .weight = 20},
    {"claim children", claim_children, NULL, .weight = 1},
    {"decide", step_keep, NULL, .weight = 1, .commit = true},
    {"relink children", relink_children, NULL, .weight = 1},
    {"reopen readers", reopen_readers, NULL, .weight = 1},
    {"forget record", drop_record, NULL, .weight = 1},
    {"delete volume", delete_volume, NULL, .weight = 1},
};
const struct op_kind kind_tidy_coalesce = {"tidy coalesce", coalesce_steps,
                                           ARRAY_LEN(coalesce_steps), coalesce_is_moot};

/* ---- join ---- */

/* How often this disk has shed in a row is told by base copies that it left: their names. */
static bool sheds(struct op *op, const struct sr_volume *vol)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi = snap_VDI(s, op->self);
    int64_t n = 0;
    const char *text = vdi ? val_map_str(vdi->sm_config, CHAIN_SHED, "0") : "0";
    if (str_i64(view_of(text), 0, INT32_MAX, &n) < 0)
        n = 0;
    op_put_int(op, "shed", n + 1);
    return vol->own_bytes > JOIN_MAX && n < SHED_MAX;
}

static struct err *note_disk(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    struct sr_volume vol = {0};
    char base[UUID_SIZE];
    TRY(note(op));
    TRY(place_of(op, &p));
    TRY(sr_vdi_info(op->host, &p.ref, op_get(op, "at"), &vol));
    str_uuid(base);
    op_put(op, "base", base);
    op_put(op, "how", sheds(op, &vol) ? "shed" : "join");
    sr_volume_done(&vol);
    return NULL;
}

static struct err *pause_disk(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_pause(op->host, &v, &p.ref, op_get(op, "at"));
}

static struct err *resume_disk(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_resume(op->host, &v, &p.ref, op_get(op, "at"));
}

static bool is_shed(struct op *op)
{
    return str_eq(op_get(op, "how"), "shed");
}

static struct err *merge_or_shed(struct op *op)
{
    if (!is_shed(op))
        return noted(op, merge_at(op, NULL));
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return noted(op, sr_vdi_split(op->host, &v, &p.ref, op_get(op, "at"), op_get(op, "base")));
}

static struct err *unshed(struct op *op)
{
    if (!is_shed(op))
        return NULL;
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return sr_vdi_unsplit(op->host, &v, &p.ref, op_get(op, "at"), op_get(op, "base"));
}

static void set_shed(struct rec_VDI *vdi, const char *count)
{
    val_assign(&vdi->sm_config, *count ? val_with(vdi->sm_config, CHAIN_SHED, count)
                                       : val_without(vdi->sm_config, CHAIN_SHED));
}

static struct err *joined_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    struct rec_VDI *vdi = txn_edit_VDI(t, op->self);
    const struct rec_SR *sr = vdi ? txn_SR(t, vdi->SR) : NULL;
    if (!sr)
        return err_HANDLE_INVALID("VDI", op->self);
    if (is_shed(op)) {
        _cleanup_(freep) char *at = sr_chain_location(sr->type, op_get(op, "base"), vdi->location);
        chain_put_base(t, vdi, op_get(op, "base"), at);
        set_shed(vdi, op_get(op, "shed"));
        return NULL;
    }
    chain_set_parent(vdi, op_get(op, "below.parent"));
    set_shed(vdi, "");
    txn_delete(t, CLASS_VDI, op_get(op, "below"));
    return NULL;
}

static struct err *change_records(struct op *op)
{
    return op_commit(op, "join VDI", joined_txn, op);
}

static struct err *put_in_place(struct op *op)
{
    _cleanup_(place_done) struct place p = {0};
    TRY(place_of(op, &p));
    struct verb v = op_verb(op, VERB_TIME);
    return is_shed(op)
               ? NULL
               : sr_vdi_replace(op->host, &v, &p.ref, op_get(op, "at"), op_get(op, "below.at"));
}

static struct err *end_join(struct op *op)
{
    TRY(resume_disk(op));
    return vdi_note_size(op, op->self);
}

static const struct step join_steps[] = {
    {"note", note_disk, NULL, .weight = 1},
    {"pause disk", pause_disk, resume_disk, .weight = 1},
    {"merge or shed", merge_or_shed, unshed, .weight = 10},
    {"change records", change_records, NULL, .weight = 1, .commit = true},
    {"put in place", put_in_place, NULL, .weight = 1},
    {"resume disk", end_join, NULL, .weight = 1},
};
const struct op_kind kind_tidy_join = {"tidy join", join_steps, ARRAY_LEN(join_steps),
                                       join_is_moot};
