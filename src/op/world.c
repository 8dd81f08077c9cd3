/* world.c: the small things every operation needs. */
#include "op/world.h"

#include "task/op.h"

struct ops *ops_of(const struct op *op)
{
    return op->world;
}

int64_t now_s(void)
{
    return (int64_t)(clock_wall() / USEC_PER_SEC);
}

static bool verb_cancelled(void *arg)
{
    return op_is_cancelled(arg);
}

static void verb_progressed(void *arg, double done)
{
    op_progress(arg, done);
}

struct verb op_verb(struct op *op, usec_t time)
{
    return (struct verb){.id = {db_epoch(op->db), op_id(op), op_step(op), op_next_verb(op)},
                         .deadline = clock_now() + time,
                         .cancelled = verb_cancelled,
                         .progress = verb_progressed,
                         .arg = op};
}

struct verb ops_verb(usec_t time)
{
    return (struct verb){.id = {.op = ""}, .deadline = clock_now() + time};
}

/* ---- given records ---- */

static const struct val *member(const struct val *rec, const char *key, enum val_kind kind)
{
    const struct val *v = val_map_get(rec, key);
    return v && val_kind(v) == kind ? v : NULL;
}

int64_t rec_int(const struct val *rec, const char *key)
{
    const struct val *v = member(rec, key, VAL_INT);
    return v ? val_get_int(v) : 0;
}

bool rec_bool(const struct val *rec, const char *key)
{
    const struct val *v = member(rec, key, VAL_BOOL);
    return v && val_get_bool(v);
}

double rec_float(const struct val *rec, const char *key)
{
    const struct val *v = member(rec, key, VAL_FLOAT);
    return v ? val_get_float(v) : 0;
}

const char *rec_str(const struct val *rec, const char *key)
{
    const struct val *v = member(rec, key, VAL_STRING);
    return v ? val_get_str(v) : "";
}

const struct val *rec_map(const struct val *rec, const char *key)
{
    const struct val *v = member(rec, key, VAL_MAP);
    return v ? v : val_empty_map();
}

int rec_enum(const struct val *rec, const char *key, const struct enum_desc *e)
{
    int n = desc_enum_value(e, rec_str(rec, key));
    return n < 0 ? 0 : n;
}

struct err *rec_take_given(struct row *row, const struct val *rec)
{
    desc_each_field (f, row->cls) {
        const struct val *v = f->flags & FIELD_GIVEN ? val_map_get(rec, f->name) : NULL;
        if (v && row_set(row, f, v) < 0)
            return err_FIELD_TYPE_ERROR(f->name);
    }
    return NULL;
}

/* ---- the commit of what needs none ---- */

static struct err *nothing(struct txn *t, void *arg)
{
    return NULL;
}

struct err *step_keep(struct op *op)
{
    return op_commit(op, "keep", nothing, NULL);
}

struct err *need_idle(const char *cls, const char *ref, const struct val *operations)
{
    return val_count(operations)
               ? err_OTHER_OPERATION_IN_PROGRESS(cls, ref, val_str_at(operations, 0),
                                                 val_key_at(operations, 0))
               : NULL;
}

void delete_refs(struct txn *t, int cls, const struct val *refs)
{
    _cleanup_(val_unrefp) struct val *held = val_ref(refs); /* the set loses them one by one */
    val_each (ref, held)
        txn_delete(t, cls, ref);
}

#define NEED(cls)                                                                                  \
    struct err *need_##cls(const struct snap *s, const char *ref, const struct rec_##cls **ret)    \
    {                                                                                              \
        *ret = snap_##cls(s, ref);                                                                 \
        return *ret ? NULL : err_HANDLE_INVALID(#cls, ref);                                        \
    }

NEED(VM)
NEED(VBD)
NEED(VIF)
NEED(VDI)
NEED(SR)
