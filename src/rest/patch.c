/*
 * patch.c: PATCH, a merge patch (RFC 7396): of a map only the named keys change. All members are
 * set or none.
 *
 *     members with a message of their own ──each──> plain fields ──one transaction──> answer
 *                      └─────────────── refused: what was set is put back ─────────────┘
 *
 * Each member is sent as set_FIELD, so that it is permitted and told in the audit log as that. No
 * write of others is passed over: plain fields are refused (STALE_RECORD) if the object has changed
 * since it was looked at, and without If-Match they are then tried anew.
 */
#include "base/str.h"
#include "base/vec.h"
#include "gen/error.h"
#include "rest/rest_impl.h"

#define RETRIES 8

/* One call of those that go together. */
struct plain {
    struct rest_call *c;
    struct api_started *asked;
};

struct undo {
    const struct msg_desc *msg;
    struct val *old;
};

struct rest_patch {
    VEC(size_t) own; /* numbers of the members of the body, by kind */
    VEC(struct plain) plain;
    VEC(size_t) plain_members;
    size_t next_own, n_answers;
    VEC(struct undo) undo; /* of what has been set */
    unsigned retries;
    struct err *e; /* the first */
};

void rest_patch_free(struct rest_patch *p)
{
    if (!p)
        return;
    vec_each (u, &p->undo)
        val_unref(u->old);
    vec_done(&p->undo);
    vec_done(&p->own);
    vec_done(&p->plain);
    vec_done(&p->plain_members);
    err_free(p->e);
    free(p);
}

void rest_patch_drop(struct rest_patch *p)
{
    if (p)
        vec_each (m, &p->plain)
            if (m->asked)
                api_started_drop(m->asked);
}

/* ---- members ---- */

static struct err *merge(const struct rest_take *t, const struct row *r, const struct field_desc *f,
                         const struct val *change, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *old = row_get(r, f), *kept = val_map(), *fresh = NULL;
    if (val_kind(change) != VAL_MAP)
        return err_INVALID_VALUE(f->name, "an object expected");
    for (size_t i = 0; i < val_count(change); i++)
        if (val_kind(val_at(change, i)) != VAL_VOID)
            val_put(kept, val_key_at(change, i), val_ref(val_at(change, i)));
    TRY(rest_take_val(t, f->type, f->name, kept, &fresh));
    struct val *all = val_copy(old);
    for (size_t i = 0; i < val_count(change); i++)
        val_del(all, val_key_at(change, i));
    for (size_t i = 0; i < val_count(fresh); i++)
        val_put(all, val_key_at(fresh, i), val_ref(val_at(fresh, i)));
    *ret = all;
    return NULL;
}

/* The field and message of a member of the body; everything is checked before anything is set. */
static struct err *find_setter(const struct rest_call *c, const char *field,
                               const struct field_desc **ret_field, const struct msg_desc **ret)
{
    const struct class_desc *cls = desc_classes[c->t.cls->cls];
    const struct field_desc *f = desc_field(cls, field);
    if (!f || f->flags & FIELD_INTERNAL)
        return err_INVALID_VALUE(field, "there is no such field");
    _cleanup_(freep) char *name = mem_printf("%s.set_%s", cls->name, field);
    const struct msg_desc *m = desc_msg(name);
    if (!m || m->n_params != 2 || m->flags & (MSG_REMOVED | MSG_POOL_INTERNAL))
        return err_INVALID_VALUE(field, "this field cannot be set");
    *ret_field = f;
    *ret = m;
    return NULL;
}

/* What set_FIELD is to be given for member `i` of the body. */
static struct err *take_member(const struct rest_call *c, const struct rest_take *t,
                               const struct row *r, size_t i, const struct msg_desc **ret_msg,
                               struct val **ret)
{
    const struct field_desc *f = NULL;
    TRY(find_setter(c, val_key_at(c->body, i), &f, ret_msg));
    const struct type *type = (*ret_msg)->params[1].type;
    if (f->type->kind == TYPE_MAP && type->kind == TYPE_MAP)
        return merge(t, r, f, val_at(c->body, i), ret);
    return rest_take_val(t, type, f->name, val_at(c->body, i), ret);
}

static char *name_of(const struct rest_call *c, const struct msg_desc *m)
{
    return mem_printf("%s.%s", desc_classes[c->t.cls->cls]->name, m->name);
}

/* The parameters of a setter; the value is taken over. */
static struct val *self_and(const struct rest_call *c, struct val *value)
{
    struct val *params = val_set();
    val_add(params, val_rstr(c->ref));
    val_add(params, value);
    return params;
}

/* ---- the end ---- */

static void undone(struct rest_call *c, const struct api_answer *a);

/* Puts back what was set last, and so on; then the error is the answer. */
static void put_back(struct rest_call *c)
{
    struct rest_patch *p = c->patch;
    if (!p->undo.n) {
        rest_answer_error(c, 0, p->e);
        return;
    }
    struct undo u = p->undo.v[--p->undo.n];
    _cleanup_(freep) char *name = name_of(c, u.msg);
    c->unless_after = 0;
    rest_ask(c, name, self_and(c, u.old), undone);
}

static void undone(struct rest_call *c, const struct api_answer *a)
{
    put_back(c); /* whatever it said */
}

static void give_up(struct rest_call *c, struct err *e)
{
    err_free(c->patch->e);
    c->patch->e = e;
    put_back(c);
}

/* ---- plain fields, together ---- */

static void ask_plain(struct rest_call *c);

static void all_answered(struct rest_call *c)
{
    struct rest_patch *p = c->patch;
    if (!p->e) {
        rest_answer_latest(c, 200);
    } else if (err_is(p->e, "STALE_RECORD") && !c->if_match && p->retries++ < RETRIES) {
        err_free(steal(&p->e));
        ask_plain(c);
    } else {
        put_back(c);
    }
}

static void plain_answered(void *arg, const struct api_answer *a)
{
    struct plain *m = arg;
    struct rest_call *c = m->c;
    m->asked = NULL;
    if (a->known)
        rest_is_known(c);
    if (a->e && !c->patch->e)
        c->patch->e = err_copy(a->e);
    if (++c->patch->n_answers == c->patch->plain.n)
        all_answered(c);
}

static void start_plain(struct plain *m, const struct msg_desc *msg, struct val *value,
                        struct api_together *together)
{
    struct rest_call *c = m->c;
    _cleanup_(freep) char *name = name_of(c, msg);
    _cleanup_(val_unrefp) struct val *params = self_and(c, value);
    struct api_started *s = rest_start(c, name, params, together, plain_answered, m);
    if (s)
        m->asked = s;
}

struct setting {
    const struct msg_desc *msg;
    struct val *value;
};

/* The values that the members come to, merged into what the object has now. */
static struct err *take_all(struct rest_call *c, const struct rest_take *t, const struct row *r,
                            struct setting *ret)
{
    size_t n = 0;
    vec_each (i, &c->patch->plain_members) {
        TRY(take_member(c, t, r, *i, &ret[n].msg, &ret[n].value));
        n++;
    }
    return NULL;
}

/* An answer may come at once, and the last one ends the call. */
static void start_all(struct rest_call *c, struct setting *s)
{
    struct rest_patch *p = c->patch;
    size_t n = p->plain.n;
    struct api_together *together = api_together((unsigned)n);
    rest_ref(c);
    for (size_t i = 0; i < n; i++)
        start_plain(&p->plain.v[i], s[i].msg, steal(&s[i].value), together);
    rest_unref(c);
}

static void ask_plain(struct rest_call *c)
{
    struct rest_patch *p = c->patch;
    size_t n = p->plain.n = p->plain_members.n;
    p->n_answers = 0;
    if (!n) {
        rest_answer_latest(c, 200);
        return;
    }
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    const struct row *r = api_row(c->rest->api, snap, c->t.cls->cls, c->ref);
    struct rest_take t = {.api = c->rest->api, .snap = snap};
    struct setting *s = mem_new_n(struct setting, n);
    struct err *e =
        r ? take_all(c, &t, r, s) : err_HANDLE_INVALID(desc_classes[c->t.cls->cls]->name, c->ref);
    if (r && (!c->if_match || p->next_own)) /* what this call itself has set is no other's write */
        c->unless_after = r->modified ? r->modified : 1;
    if (!e)
        start_all(c, s);
    for (size_t i = 0; i < n; i++)
        val_unref(s[i].value);
    free(s);
    if (e)
        give_up(c, e);
}

/* ---- members with a message of their own ---- */

static void ask_own(struct rest_call *c);

static void own_set(struct rest_call *c, const struct api_answer *a)
{
    struct rest_patch *p = c->patch;
    if (a->e) {
        val_unref(p->undo.v[--p->undo.n].old); /* it has not come to that */
        give_up(c, err_copy(a->e));
        return;
    }
    p->next_own++;
    ask_own(c);
}

static void ask_own(struct rest_call *c)
{
    struct rest_patch *p = c->patch;
    if (p->next_own == p->own.n) {
        ask_plain(c);
        return;
    }
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    const struct row *r = api_row(c->rest->api, snap, c->t.cls->cls, c->ref);
    struct rest_take t = {.api = c->rest->api, .snap = snap};
    size_t i = p->own.v[p->next_own];
    const struct msg_desc *m = NULL;
    struct val *v = NULL;
    struct err *e = r ? take_member(c, &t, r, i, &m, &v)
                      : err_HANDLE_INVALID(desc_classes[c->t.cls->cls]->name, c->ref);
    if (e) {
        give_up(c, e);
        return;
    }
    const struct field_desc *f = desc_field(desc_classes[c->t.cls->cls], val_key_at(c->body, i));
    vec_push(&p->undo, ((struct undo){m, row_get(r, f)}));
    _cleanup_(freep) char *name = name_of(c, m);
    rest_ask(c, name, self_and(c, v), own_set);
}

/* ---- the request ---- */

/* Everything is checked before anything is set. */
static struct err *plan(const struct rest_call *c, const struct rest_take *t, const struct row *r,
                        struct rest_patch *p)
{
    for (size_t i = 0; i < val_count(c->body); i++) {
        const struct msg_desc *m;
        _cleanup_(val_unrefp) struct val *v = NULL;
        TRY(take_member(c, t, r, i, &m, &v));
        if (m->kind == MSG_SETTER) {
            vec_push(&p->plain_members, i);
            vec_push(&p->plain, ((struct plain){.c = (struct rest_call *)c}));
        } else {
            vec_push(&p->own, i);
        }
    }
    return NULL;
}

void rest_patch(struct rest_call *c)
{
    if (!c->body) {
        rest_refuse(c, 400, "a patch needs a body");
        return;
    }
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    if (!rest_find_object(c, snap))
        return;
    const struct row *r = api_row(c->rest->api, snap, c->t.cls->cls, c->ref);
    struct rest_take t = {.api = c->rest->api, .snap = snap};
    if (!rest_check_match(c, r))
        return;
    c->patch = mem_new(struct rest_patch);
    struct err *e = plan(c, &t, r, c->patch);
    if (e)
        rest_fail(c, 400, e);
    else
        ask_own(c);
}
