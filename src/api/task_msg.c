/*
 * task_msg.c: the messages of class task.
 *
 * A task may be changed by who started it (the same user) or by holders of "task.destroy/any". What
 * runs behind a task belongs to the task layer; these messages change the row, or ask that layer to
 * cancel.
 */
#include "api/rbac.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "task/task.h"

static bool is_over(const struct rec_task *t)
{
    return t->status != TASK_STATUS_TYPE_PENDING && t->status != TASK_STATUS_TYPE_CANCELLING;
}

/* The user who started the task, "" if that session is gone or a superuser's. */
static const char *owner_sid(const struct snap *s, const struct rec_task *t)
{
    const struct rec_session *session = rec_session(snap_row(s, CLASS_session, t->session));
    return session ? session->auth_user_sid : "";
}

static struct err *check_owner(const struct snap *s, const struct caller *c,
                               const struct rec_task *t)
{
    bool mine =
        str_eq(t->session, c->session) || (*c->user_sid && str_eq(owner_sid(s, t), c->user_sid));
    if (mine)
        return NULL;
    return rbac_check_role(c->superuser, c->roles, ROLE_POOL_OPERATOR, "task.destroy/any");
}

/* A change of a row by its owner. */
struct change {
    const struct op *op;
    const char *self;
    const void *args;
    struct err *(*fn)(struct rec_task *t, const struct change *ch);
};

static struct err *change_txn(struct txn *t, void *arg)
{
    const struct change *ch = arg;
    struct rec_task *task = txn_edit_task(t, ch->self);
    if (!task)
        return err_HANDLE_INVALID("task", ch->self);
    TRY(check_owner(txn_snap(t), &ch->op->caller, task));
    return ch->fn(task, ch);
}

static struct err *change(struct op *op, const char *self, const void *args,
                          struct err *(*fn)(struct rec_task *, const struct change *))
{
    struct change ch = {op, self, args, fn};
    return op_write(op, "task", change_txn, &ch);
}

/* ---- life and death ---- */

struct err *msg_task_create(struct op *op, const struct args_task_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    TRY(tasks_create(op->tasks, &op->caller, a->label, a->description, &ref));
    *ret = val_rstr(ref);
    return NULL;
}

/* What still runs cannot lose its task; it takes it along when it ends. */
static struct err *destroy_txn(struct txn *t, void *arg)
{
    const struct change *ch = arg;
    const struct rec_task *task = txn_task(t, ch->self);
    if (!task)
        return err_HANDLE_INVALID("task", ch->self);
    TRY(check_owner(txn_snap(t), &ch->op->caller, task));
    if (is_over(task)) {
        txn_delete(t, CLASS_task, ch->self);
        return NULL;
    }
    struct rec_task *row = txn_edit_task(t, ch->self);
    struct val *ops = val_with(row->current_operations, row->row.ref, "destroy");
    val_assign(&row->current_operations, ops);
    return NULL;
}

struct err *msg_task_destroy(struct op *op, const struct args_task_destroy *a, struct val **ret)
{
    struct change ch = {.op = op, .self = a->self};
    return op_write(op, "task.destroy", destroy_txn, &ch);
}

struct err *msg_task_cancel(struct op *op, const struct args_task_cancel *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_task *task = snap_task(s, a->task);
    if (!task)
        return err_HANDLE_INVALID("task", a->task);
    TRY(check_owner(s, &op->caller, task));
    return tasks_cancel(op->tasks, a->task, op->task);
}

/* ---- tasks that a client runs by itself ---- */

static struct err *set_status(struct rec_task *t, const struct change *ch)
{
    const struct args_task_set_status *a = ch->args;
    if (is_over(t))
        return err_OPERATION_NOT_ALLOWED("the task has ended");
    t->status = a->value;
    if (!is_over(t))
        return NULL;
    t->finished = (int64_t)(clock_wall() / USEC_PER_SEC);
    t->progress = 1.0;
    val_assign(&t->allowed_operations, val_set());
    val_assign(&t->current_operations, val_map());
    return NULL;
}

struct err *msg_task_set_status(struct op *op, const struct args_task_set_status *a,
                                struct val **ret)
{
    return change(op, a->self, a, set_status);
}

static struct err *set_progress(struct rec_task *t, const struct change *ch)
{
    const struct args_task_set_progress *a = ch->args;
    t->progress = a->value;
    return NULL;
}

struct err *msg_task_set_progress(struct op *op, const struct args_task_set_progress *a,
                                  struct val **ret)
{
    return change(op, a->self, a, set_progress);
}

static struct err *set_result(struct rec_task *t, const struct change *ch)
{
    const struct args_task_set_result *a = ch->args;
    rstr_assign(&t->result, a->value);
    return NULL;
}

struct err *msg_task_set_result(struct op *op, const struct args_task_set_result *a,
                                struct val **ret)
{
    return change(op, a->self, a, set_result);
}

static struct err *set_error_info(struct rec_task *t, const struct change *ch)
{
    const struct args_task_set_error_info *a = ch->args;
    val_assign(&t->error_info, val_ref(a->value));
    return NULL;
}

struct err *msg_task_set_error_info(struct op *op, const struct args_task_set_error_info *a,
                                    struct val **ret)
{
    return change(op, a->self, a, set_error_info);
}

/* ---- other_config ---- */

static struct err *add_to_other_config(struct rec_task *t, const struct change *ch)
{
    const struct args_task_add_to_other_config *a = ch->args;
    if (!*a->key)
        return err_internal("the key of an entry may not be empty");
    if (val_map_get(t->other_config, a->key))
        return err_MAP_DUPLICATE_KEY("task", "other_config", t->row.ref, a->key);
    val_assign(&t->other_config, val_with(t->other_config, a->key, a->value));
    return NULL;
}

struct err *msg_task_add_to_other_config(struct op *op,
                                         const struct args_task_add_to_other_config *a,
                                         struct val **ret)
{
    return change(op, a->self, a, add_to_other_config);
}

static struct err *remove_from_other_config(struct rec_task *t, const struct change *ch)
{
    const struct args_task_remove_from_other_config *a = ch->args;
    val_assign(&t->other_config, val_without(t->other_config, a->key));
    return NULL;
}

struct err *msg_task_remove_from_other_config(struct op *op,
                                              const struct args_task_remove_from_other_config *a,
                                              struct val **ret)
{
    return change(op, a->self, a, remove_from_other_config);
}

static struct err *set_other_config(struct rec_task *t, const struct change *ch)
{
    const struct args_task_set_other_config *a = ch->args;
    val_assign(&t->other_config, val_ref(a->value));
    return NULL;
}

struct err *msg_task_set_other_config(struct op *op, const struct args_task_set_other_config *a,
                                      struct val **ret)
{
    return change(op, a->self, a, set_other_config);
}
