/*
 * object.c: one object: GET, PATCH, DELETE, and its making by POST to the collection.
 *
 * PATCH is a merge patch (RFC 7396): each member is sent as set_FIELD, in the order of the body; of
 * a map only the named keys change. Between two of them nobody else's write is passed over: each is
 * refused (STALE_RECORD) if the object has changed since it was looked at, and without If-Match the
 * patch then begins anew from where it is.
 */
#include <string.h>

#include "base/rstr.h"
#include "base/str.h"
#include "codec/json.h"
#include "gen/error.h"
#include "rest/rest_impl.h"

#define RETRIES 8

static char *message_name(const struct rest_call *c, const char *name)
{
    return mem_printf("%s.%s", desc_classes[c->t.cls->cls]->name, name);
}

static struct val *self_param(const struct rest_call *c)
{
    struct val *params = val_set();
    val_add(params, val_rstr(c->ref));
    return params;
}

/* ---- GET ---- */

static void answer_row(struct rest_call *c, unsigned status, const struct snap *snap,
                       const struct row *r)
{
    _cleanup_(buf_done) struct buf b, path;
    char etag[REST_ETAG_SIZE];
    buf_init(&b, REST_BODY_MAX);
    buf_init(&path, 512);
    rest_etag(r, etag);
    rest_put_path(&path, c->t.cls, r, r->ref);
    const struct rest_header headers[] = {{"ETag", etag}, {"Location", buf_str(&path)}};
    struct rest_show s = {.b = &b, .api = c->rest->api, .snap = snap};
    rest_show_row(&s, r, NULL);
    rest_answer(c, status, headers, status == 201 ? 2 : 1, &b);
}

static bool is_known(const struct rest_call *c, const struct row *r)
{
    char etag[REST_ETAG_SIZE];
    rest_etag(r, etag);
    return c->if_none_match && (str_eq(c->if_none_match, "*") || strstr(c->if_none_match, etag));
}

/* Answers with the object as it is in `snap`. */
static void answer_object(struct rest_call *c, unsigned status, const struct snap *snap)
{
    const struct row *r = api_row(c->rest->api, snap, c->t.cls->cls, c->ref);
    if (!r) {
        rest_fail(c, 0, err_HANDLE_INVALID(desc_classes[c->t.cls->cls]->name, c->ref));
    } else if (status == 200 && str_eq(c->method, "GET") && is_known(c, r)) {
        char etag[REST_ETAG_SIZE];
        rest_etag(r, etag);
        struct rest_header header = {"ETag", etag};
        rest_answer(c, 304, &header, 1, NULL);
    } else {
        answer_row(c, status, snap, r);
    }
}

static void answer_latest(struct rest_call *c, unsigned status)
{
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    answer_object(c, status, snap);
}

static void got_record(struct rest_call *c, const struct api_answer *a)
{
    if (a->e)
        rest_answer_error(c, 0, a->e);
    else if (a->snap)
        answer_object(c, 200, a->snap);
    else
        answer_latest(c, 200);
}

void rest_get_object(struct rest_call *c)
{
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    _cleanup_(freep) char *name = message_name(c, "get_record");
    if (rest_find_object(c, snap))
        rest_ask(c, name, self_param(c), got_record);
}

/* ---- DELETE ---- */

static void got_deleted(struct rest_call *c, const struct api_answer *a)
{
    if (a->e)
        rest_answer_error(c, 0, a->e);
    else if (rest_waits(c, true))
        rest_answer(c, 204, NULL, 0, NULL);
    else
        rest_answer_task(c, a->value);
}

void rest_delete(struct rest_call *c)
{
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    if (!rest_find_object(c, snap) ||
        !rest_check_match(c, api_row(c->rest->api, snap, c->t.cls->cls, c->ref)))
        return;
    _cleanup_(freep) char *name = message_name(c, "destroy");
    _cleanup_(freep) char *async = mem_printf("Async.%s", name);
    rest_ask(c, rest_waits(c, true) ? name : async, self_param(c), got_deleted);
}

/* ---- POST ---- */

static void got_made(struct rest_call *c, const struct api_answer *a)
{
    if (a->e) {
        rest_answer_error(c, 0, a->e);
    } else if (!rest_waits(c, true)) {
        rest_answer_task(c, a->value);
    } else if (!a->value || val_kind(a->value) != VAL_STRING) {
        rest_answer(c, 204, NULL, 0, NULL); /* made, and nobody says what */
    } else {
        c->ref = rstr_ref(val_get_str(a->value));
        answer_latest(c, 201);
    }
}

/* A constructor takes one record, whose members then are the body's; others have parameters. */
static struct err *take_creation(struct rest_call *c, const struct rest_take *t,
                                 const struct msg_desc *m, struct val *params)
{
    bool record = m->n_params == 1 && m->params[0].type->kind == TYPE_RECORD;
    if (!record)
        return rest_take_params(t, m, 0, c->body, params);
    struct val *v;
    TRY(rest_take_val(t, m->params[0].type, "", c->body ? c->body : val_empty_map(), &v));
    val_add(params, v);
    return NULL;
}

void rest_create(struct rest_call *c)
{
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    _cleanup_(freep) char *name = message_name(c, "create");
    _cleanup_(freep) char *async = mem_printf("Async.%s", name);
    _cleanup_(val_unrefp) struct val *params = val_set();
    struct rest_take t = {.api = c->rest->api, .snap = snap};
    struct err *e = take_creation(c, &t, desc_msg(name), params);
    if (e)
        rest_fail(c, 400, e);
    else
        rest_ask(c, rest_waits(c, true) ? name : async, steal(&params), got_made);
}

/* ---- PATCH ---- */

static void patch_on(struct rest_call *c);

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

static struct err *check_members(const struct rest_call *c, const struct rest_take *t,
                                 const struct row *r)
{
    for (size_t i = 0; i < val_count(c->body); i++) {
        const struct msg_desc *m;
        _cleanup_(val_unrefp) struct val *v = NULL;
        TRY(take_member(c, t, r, i, &m, &v));
    }
    return NULL;
}

static uint64_t now(const struct rest_call *c)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->rest->db);
    return snap_generation(s);
}

static void member_set(struct rest_call *c, const struct api_answer *a)
{
    bool again = a->e && err_is(a->e, "STALE_RECORD") && !c->if_match && c->retries < RETRIES;
    if (a->e && !again) {
        rest_answer_error(c, 0, a->e);
        return;
    }
    if (again) {
        c->retries++;
    } else {
        c->next_field++;
        c->written = a->generation ? a->generation : now(c);
    }
    patch_on(c);
}

/* Sets the next member, or answers with what has become of the object. */
static void patch_on(struct rest_call *c)
{
    if (c->next_field == val_count(c->body)) {
        answer_latest(c, 200);
        return;
    }
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    const struct row *r = api_row(c->rest->api, snap, c->t.cls->cls, c->ref);
    struct rest_take t = {.api = c->rest->api, .snap = snap};
    const struct msg_desc *m = NULL;
    _cleanup_(val_unrefp) struct val *v = NULL;
    struct err *e = r ? take_member(c, &t, r, c->next_field, &m, &v)
                      : err_HANDLE_INVALID(desc_classes[c->t.cls->cls]->name, c->ref);
    if (e) {
        rest_fail(c, 0, e);
        return;
    }
    if (!c->if_match)
        c->unless_after = r->modified ? r->modified : 1;
    else if (c->written)
        c->unless_after = c->written;
    struct val *params = self_param(c);
    val_add(params, steal(&v));
    _cleanup_(freep) char *name = message_name(c, m->name);
    rest_ask(c, name, params, member_set);
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
    struct err *e = check_members(c, &t, r);
    if (e)
        rest_fail(c, 400, e);
    else
        patch_on(c);
}
