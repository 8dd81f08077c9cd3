/* object.c: one object: GET, DELETE, and its making by POST to the collection; patch.c changes it.
 */
#include <string.h>

#include "base/rstr.h"
#include "base/str.h"
#include "codec/json.h"
#include "gen/error.h"
#include "rest/rest_impl.h"

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

void rest_answer_latest(struct rest_call *c, unsigned status)
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
        rest_answer_latest(c, 200);
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
        rest_answer_latest(c, 201);
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
