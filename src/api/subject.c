/*
 * subject.c: the messages of class subject. Users who are no superusers have exactly the roles of
 * their subject; a change reaches their sessions before it is answered.
 */
#include "api/subject.h"

#include "api/rbac.h"
#include "api/session.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "state/txn.h"
#include "task/op.h"

/* ---- making ---- */

struct create {
    const struct val *record;
    const char *ref; /* rstr */
};

static struct err *create_txn(struct txn *t, void *arg)
{
    const struct create *c = arg;
    const char *sid = val_map_str(c->record, "subject_identifier", "");
    const struct val *config = val_map_get(c->record, "other_config");
    txn_each (r, t, CLASS_subject) {
        if (str_eq(rec_subject(r)->subject_identifier, sid))
            return err_SUBJECT_ALREADY_EXISTS();
    }
    struct rec_subject *s = (struct rec_subject *)txn_add(t, CLASS_subject, c->ref, NULL);
    rstr_set(&s->subject_identifier, sid);
    val_assign(&s->other_config, val_ref(config ? config : val_empty_map()));
    return NULL;
}

struct err *msg_subject_create(struct op *op, const struct args_subject_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct create c = {a->args, ref};
    TRY(op_write(op, "subject.create", create_txn, &c));
    *ret = val_rstr(ref);
    return NULL;
}

/* ---- roles ---- */

struct role_change {
    const char *subject, *role;
    bool add;
};

static struct role_change change_of(const struct call *c)
{
    const struct args_subject_add_to_roles *add = c->args;
    const struct args_subject_remove_from_roles *remove = c->args;
    if (str_eq(c->msg->name, "add_to_roles"))
        return (struct role_change){add->self, add->role, true};
    return (struct role_change){remove->self, remove->role, false};
}

static struct err *change_roles(struct txn *t, void *arg)
{
    const struct role_change ch = change_of(arg);
    struct rec_subject *s = txn_edit_subject(t, ch.subject);
    if (!s)
        return err_HANDLE_INVALID("subject", ch.subject);
    bool has = val_set_has(s->roles, ch.role);
    if (ch.add && rbac_role_of(ch.role) == ROLE_N)
        return err_ROLE_NOT_FOUND();
    if (ch.add && has)
        return err_ROLE_ALREADY_EXISTS();
    if (!ch.add && !has)
        return err_ROLE_NOT_FOUND();
    val_assign(&s->roles,
               ch.add ? val_set_with(s->roles, ch.role) : val_without(s->roles, ch.role));
    return NULL;
}

static void roles_changed(struct call *c)
{
    if (!c->e)
        sessions_revise(c->api->sessions);
    call_end(c, steal(&c->e), NULL);
}

static void on_changed(void *arg, struct err *e, uint64_t generation)
{
    struct call *c = arg;
    c->e = e;
    call_post(c, roles_changed);
}

void subject_change_roles(struct call *c)
{
    db_write_async(c->api->db, "subject roles", change_roles, c, on_changed);
}

void subject_get_permissions_name_label(struct call *c)
{
    const struct args_subject_get_permissions_name_label *a = c->args;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    const struct rec_subject *subject = snap_subject(s, a->self);
    if (!subject)
        call_end(c, err_HANDLE_INVALID("subject", a->self), NULL);
    else
        call_end(c, NULL, val_ref(rbac_permissions(c->api->rbac, rbac_roles(subject->roles))));
}
