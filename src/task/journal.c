/*
 * journal.c: the internal row `op`, which outlives the process.
 *
 * The row is added in the transaction that takes the claims, moved on before each step, and deleted
 * in the transaction that drops them. What it says is enough to undo the operation or to finish it
 * without the process that began it.
 */
#include <stdio.h>
#include <string.h>

#include "gen/rec.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "state/db.h"
#include "state/txn.h"
#include "task/op_run.h"

static struct val *claims_to_val(const struct op_run *r)
{
    struct val *map = val_map();
    for (unsigned i = 0; i < r->n_claims; i++) {
        const struct claim *c = &r->claims[i];
        const struct class_desc *cls = desc_classes[c->cls];
        _cleanup_(freep) char *key = mem_printf("%s %s", cls->name, c->ref);
        val_put_str(map, key,
                    cls->fields[cls->field_allowed].type->elem->enm->values[c->operation]);
    }
    return map;
}

static struct val *error_to_val(const struct err *e)
{
    struct val *set = val_set();
    if (!e)
        return set;
    val_add_str(set, err_code(e));
    for (unsigned i = 0; i < err_n_params(e); i++)
        val_add_str(set, err_param(e, i));
    return set;
}

static void fill_caller(struct rec_op *row, const struct caller *c)
{
    rstr_set(&row->session, c->session);
    rstr_set(&row->user, c->user_name);
    rstr_set(&row->user_sid, c->user_sid);
    row->superuser = c->superuser;
    row->role = c->roles;
    rstr_set(&row->originator, c->originator);
}

static void fill_progress(struct rec_op *row, struct op_run *r)
{
    if (r->kind)
        rstr_set(&row->kind, r->kind->name);
    row->step = r->step;
    rstr_set(&row->phase, r->undoing ? "undo" : "run");
    row->committed = r->committed;
    val_assign(&row->context, val_copy(r->ctx));
    val_assign(&row->claims, claims_to_val(r));
    val_assign(&row->error, error_to_val(r->failed));
}

struct err *journal_add(struct txn *t, struct op_run *r)
{
    struct rec_op *row = (struct rec_op *)txn_add(t, CLASS_op, r->op_ref, r->op_uuid);
    if (r->op.msg) {
        _cleanup_(freep) char *name =
            mem_printf("%s.%s", desc_classes[r->op.msg->cls]->name, r->op.msg->name);
        rstr_set(&row->message, name);
    }
    rstr_set(&row->object, r->op.self);
    rstr_set(&row->task, r->op.task);
    rstr_set(&row->label, r->label);
    row->keep_task = r->keep_task;
    const struct rec_task *task = *r->op.task ? txn_task(t, r->op.task) : NULL;
    if (task)
        rstr_set(&row->task_uuid, task->uuid);
    fill_caller(row, &r->op.caller);
    row->created = (int64_t)(clock_wall() / USEC_PER_SEC);
    row->epoch = (int64_t)db_epoch(txn_db(t));
    fill_progress(row, r);
    return NULL;
}

struct err *journal_update(struct txn *t, struct op_run *r)
{
    struct rec_op *row = txn_edit_op(t, r->op_ref);
    if (!row)
        TRY(journal_add(t, r));
    else
        fill_progress(row, r);
    if (*r->op.task && r->kind)
        task_row_cancellable(t, r->op.task, !r->undoing && !r->committed);
    return NULL;
}

void journal_del(struct txn *t, struct op_run *r)
{
    txn_delete(t, CLASS_op, r->op_ref);
}

static struct err *write_row(struct txn *t, void *arg)
{
    return journal_update(t, arg);
}

struct err *journal_write(struct op_run *r, const char *why)
{
    TRY(db_write(r->op.db, why, write_row, r));
    r->journaled = true;
    r->ctx_dirty = false;
    return NULL;
}

/* ---- reading ---- */

/* "VM OpaqueRef:…" and an operation's name into a claim; false if the model knows neither. */
static bool parse_claim(const char *key, const char *op_name, struct claim *ret)
{
    const char *blank = strchr(key, ' ');
    char name[64];
    if (!blank || (size_t)(blank - key) >= sizeof(name))
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)(blank - key), key);
    const struct class_desc *cls = desc_class_by_name(name);
    if (!cls || cls->field_allowed < 0)
        return false;
    int op = desc_enum_value(cls->fields[cls->field_allowed].type->elem->enm, op_name);
    *ret = (struct claim){cls->num, NULL, op};
    if (op >= 0)
        ret->ref = rstr_new(blank + 1);
    return op >= 0;
}

static void read_claims(struct op_run *r, const struct val *map)
{
    r->claims = mem_new_n(struct claim, val_count(map) + 1);
    for (size_t i = 0; i < val_count(map); i++) {
        if (parse_claim(val_key_at(map, i), val_str_at(map, i), &r->claims[r->n_claims]))
            r->n_claims++;
    }
}

static struct err *read_error(const struct val *set)
{
    if (val_count(set) == 0)
        return NULL;
    const char *params[16];
    unsigned n = 0;
    for (size_t i = 1; i < val_count(set) && n < ARRAY_LEN(params); i++)
        params[n++] = val_str_at(set, i);
    return err_make_v(val_str_at(set, 0), __FILE__, __LINE__, n, params);
}

struct op_run *journal_read(struct tasks *ts, const struct rec_op *row)
{
    struct op_run *r = op_run_new(ts);
    rstr_assign(&r->op_ref, row->row.ref);
    rstr_assign(&r->op_uuid, row->uuid);
    rstr_assign(&r->op.self, row->object);
    rstr_assign(&r->op.task, row->task);
    rstr_assign(&r->label, row->label);
    r->op.msg = desc_msg(row->message);
    r->holder = *r->op.task ? r->op.task : r->op_ref;
    r->keep_task = row->keep_task;
    r->journaled = true;
    r->kind = op_kind_find(row->kind);
    r->step = (unsigned)row->step;
    r->undoing = strcmp(row->phase, "undo") == 0;
    r->committed = row->committed;
    val_unref(r->ctx);
    r->ctx = val_copy(row->context);
    r->failed = read_error(row->error);
    caller_done(&r->op.caller);
    r->op.caller = caller_copy(&(struct caller){.session = row->session,
                                                .superuser = row->superuser,
                                                .roles = (uint32_t)row->role,
                                                .user_name = row->user,
                                                .user_sid = row->user_sid,
                                                .originator = row->originator,
                                                .client = "internal"});
    read_claims(r, row->claims);
    return r;
}
