/*
 * action.c: every message that is none of the methods of object.c and list.c.
 *
 * A POST has its parameters in the body, a GET in the query. What runs as an operation is answered
 * by 202 and its task, at once; ?wait keeps the answer until the end, and gives the result.
 */
#include "base/str.h"
#include "codec/json.h"
#include "rest/rest_impl.h"

static bool waits(const struct rest_call *c)
{
    const struct msg_desc *m = desc_msg(c->t.action->message);
    return !(m->flags & MSG_ASYNC) || rest_waits(c, !(c->t.action->flags & REST_TASK));
}

static void answer_result(struct rest_call *c, const struct type *t, const struct val *v)
{
    if (!v || val_kind(v) == VAL_VOID) {
        rest_answer(c, 204, NULL, 0, NULL);
        return;
    }
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, REST_BODY_MAX);
    struct rest_show s = {.b = &b, .api = c->rest->api, .snap = snap};
    rest_show_val(&s, t, v);
    rest_answer(c, 200, NULL, 0, &b);
}

static void got_result(struct rest_call *c, const struct api_answer *a)
{
    if (a->e)
        rest_answer_error(c, 0, a->e);
    else if (waits(c))
        answer_result(c, desc_msg(c->t.action->message)->result, a->value);
    else
        rest_answer_task(c, a->value);
}

/* The parameters of a GET; what is meant for this layer is left out. */
static struct err *take_query(const struct rest_call *c, const struct rest_take *t,
                              const struct msg_desc *m, unsigned first, struct val *params)
{
    for (unsigned i = first; i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];
        _cleanup_(freep) char *text = rest_query(c, p->name);
        struct val *v = NULL;
        if (text)
            TRY(rest_take_text(t, p->type, p->name, text, &v));
        else
            TRY(rest_take_nothing(p, &v));
        val_add(params, v);
    }
    return NULL;
}

void rest_do_action(struct rest_call *c)
{
    const struct rest_action *a = c->t.action;
    const struct msg_desc *m = desc_msg(a->message);
    unsigned first = a->flags & REST_ON_OBJECT ? 1 : 0;
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    _cleanup_(val_unrefp) struct val *params = val_set();
    struct rest_take t = {.api = c->rest->api, .snap = snap};
    if (first && !rest_find_object(c, snap))
        return;
    if (first)
        val_add(params, val_rstr(c->ref));
    struct err *e = a->flags & REST_GET ? take_query(c, &t, m, first, params)
                                        : rest_take_params(&t, m, first, c->body, params);
    if (e) {
        rest_fail(c, 400, e);
        return;
    }
    _cleanup_(freep) char *async = mem_printf("Async.%s", a->message);
    rest_ask(c, waits(c) ? a->message : async, steal(&params), got_result);
}
