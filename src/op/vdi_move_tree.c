/*
 * vdi_move_tree.c: the snapshots of a disk that goes to another repository come along.
 *
 * They are made anew there as they were made here: the content of the oldest goes into the new
 * volume, which is split; what the next one has otherwise goes into that, which is split again; and
 * so on, until the disk itself follows. So what they share is there once, whatever the formats and
 * however the chain looked that they came from. Records of theirs are new ones, as the disk's.
 *
 * A disk does not shrink, so they follow each other by size, then by age. One that is larger than
 * the disk is today (it was reverted to what it was before it grew) stays where it is.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/vec.h"
#include "op/vdi_chain.h"
#include "op/vdi_move.h"
#include "op/vm_ops.h"

/* ---- which ones: in the context, move.<i>.vdi, .uuid, .at ---- */

static const char *get(struct op *op, size_t i, const char *what)
{
    char key[48];
    snprintf(key, sizeof(key), "move.%zu.%s", i, what);
    return op_get(op, key);
}

static void put(struct op *op, size_t i, const char *what, const char *value)
{
    char key[48];
    snprintf(key, sizeof(key), "move.%zu.%s", i, what);
    op_put(op, key, value);
}

static size_t count(struct op *op)
{
    return (size_t)op_get_int(op, "move.snapshots");
}

static bool comes_along(const struct rec_VDI *vdi, const struct rec_VDI *snapshot)
{
    return snapshot->is_a_snapshot && str_eq(snapshot->SR, vdi->SR) && snapshot->managed &&
           !snapshot->missing && snapshot->virtual_size <= vdi->virtual_size &&
           (snapshot->type == VDI_TYPE_USER || snapshot->type == VDI_TYPE_SYSTEM);
}

static int by_size_and_age(const void *a, const void *b)
{
    const struct rec_VDI *x = *(const struct rec_VDI *const *)a,
                         *y = *(const struct rec_VDI *const *)b;
    if (x->virtual_size != y->virtual_size)
        return x->virtual_size < y->virtual_size ? -1 : 1;
    if (x->snapshot_time != y->snapshot_time)
        return x->snapshot_time < y->snapshot_time ? -1 : 1;
    return strcmp(x->uuid, y->uuid);
}

struct err *move_plan_snapshots(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    VEC(const struct rec_VDI *) all = {0};
    struct err *e = NULL;
    TRY(need_VDI(s, op->self, &vdi));
    val_each (ref, vdi->snapshots) {
        const struct rec_VDI *one = snap_VDI(s, ref);
        if (one && comes_along(vdi, one))
            vec_push(&all, one);
    }
    if (all.n)
        qsort(all.v, all.n, sizeof(*all.v), by_size_and_age);
    for (size_t i = 0; !e && i < all.n; i++) {
        e = op_claim(op, CLASS_VDI, all.v[i]->row.ref, VDI_OPERATIONS_MIRROR);
        put(op, i, "vdi", all.v[i]->row.ref);
        put(op, i, "uuid", all.v[i]->uuid);
        put(op, i, "at", all.v[i]->location);
    }
    op_put_int(op, "move.snapshots", (int64_t)all.n);
    op_put_int(op, "move.size", all.n ? all.v[0]->virtual_size : vdi->virtual_size);
    vec_done(&all);
    return e;
}

/* ---- the storage ---- */

static struct err *copy_snapshot(struct op *op, size_t i, const char *to)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    double part = 1.0 / (double)count(op);
    struct vdi_copy c = {.from = get(op, i, "vdi"),
                         .base = i ? get(op, i - 1, "vdi") : "",
                         .to = to,
                         .is_fresh = i == 0,
                         .first = (double)i * part,
                         .part = part};
    TRY(need_VDI(s, c.from, &vdi));
    TRY(vdi_grow(op, to, vdi->virtual_size));
    TRY(vdi_copy_as(op, &c));
    TRY(chain_add(op, to, CHAIN_SNAPSHOT));
    TRY(chain_split_last(op));
    return chain_shrink_last(op);
}

/* What cannot have children is told of before anything is copied. */
static struct err *check_target(struct op *op, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, ref, &vdi));
    return chain_check(s, vdi);
}

struct err *move_copy_snapshots(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const char *to = op_get(op, "result");
    const struct rec_VDI *vdi;
    if (!count(op))
        return NULL;
    TRY(need_VDI(s, op->self, &vdi));
    TRY(check_target(op, to));
    for (size_t i = 0; i < count(op); i++)
        TRY(copy_snapshot(op, i, to));
    return vdi_grow(op, to, vdi->virtual_size);
}

struct err *move_drop_snapshots(struct op *op)
{
    struct err *e = vdi_copy_end(op);
    return err_first(e, chain_unsplit(op));
}

struct err *move_copy_disk(struct op *op)
{
    size_t n = count(op);
    return vdi_copy_as(op, &(struct vdi_copy){.from = op->self,
                                              .base = n ? get(op, n - 1, "vdi") : "",
                                              .to = op_get(op, "result"),
                                              .is_fresh = n == 0,
                                              .part = 1});
}

/* ---- the records ---- */

static struct err *put_snapshot(struct txn *t, struct op *op, size_t i)
{
    const char *from = get(op, i, "vdi"), *to = chain_get(op, i, "ref");
    const struct rec_VDI *old = txn_VDI(t, from);
    struct rec_VDI *new = txn_edit_VDI(t, to);
    if (!old || !new)
        return err_HANDLE_INVALID("VDI", old ? to : from);
    rstr_set(&new->name_label, old->name_label);
    rstr_set(&new->name_description, old->name_description);
    new->snapshot_time = old->snapshot_time;
    new->virtual_size = old->virtual_size;
    new->sharable = old->sharable;
    val_assign(&new->other_config, val_ref(old->other_config));
    move_fields(new, old);
    TRY(move_devices(t, old, to, NULL));
    txn_delete(t, CLASS_VDI, from);
    return NULL;
}

struct err *move_put_snapshots(struct txn *t, struct op *op)
{
    chain_put_records(t, op);
    for (size_t i = 0; i < count(op); i++)
        TRY(put_snapshot(t, op, i));
    return NULL;
}

struct err *move_delete_old(struct op *op)
{
    struct err *e = vdi_delete_noted(op);
    for (size_t i = 0; i < count(op); i++)
        e = err_first(
            e, vdi_delete_volume(op, op_get(op, "sr"), get(op, i, "uuid"), get(op, i, "at")));
    return e ? e : chain_note_sizes(op);
}
