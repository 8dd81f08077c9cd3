/*
 * start.c: a call whose parameters and answer are values, begun on a loop that must not wait
 * (src/rest). It goes the way of all calls; only the bytes around it are somebody else's.
 */
#include "api/call.h"
#include "api/implicit.h"
#include "api/limit.h"
#include "api/together.h"
#include "state/db.h"

struct api_started {
    struct call call; /* first: freed as a call */
    api_answer_fn answer;
    void *arg;
    bool answered;
};

static void answer_value(struct call *c, struct err *e, struct val *result)
{
    struct api_started *s = (struct api_started *)c;
    const struct records *rows = !e ? c->records : NULL;
    s->answered = true;
    if (c->together)
        together_miss(steal(&c->together), e);
    if (!c->dropped)
        s->answer(s->arg, &(struct api_answer){
                              .e = e,
                              .value = result,
                              .rows = rows ? rows->v : NULL,
                              .n_rows = rows ? rows->n : 0,
                              .snap = rows ? rows->snap : NULL,
                              .generation = c->generation,
                              .known = call_is_known(c, e),
                          });
    err_free(e);
    val_unref(result);
}

static struct val *with_session(const char *session, const struct val *params)
{
    struct val *all = val_set();
    if (session)
        val_add_str(all, session);
    for (size_t i = 0; params && i < val_count(params); i++)
        val_add(all, val_ref(val_at(params, i)));
    return all;
}

struct api_started *api_start(struct api *api, const struct api_start *rq, api_answer_fn answer,
                              void *arg)
{
    struct api_started *s = mem_new(struct api_started);
    struct call *c = &s->call;
    *s = (struct api_started){.answer = answer, .arg = arg};
    call_init(c, api, answer_value);
    c->loop = rq->loop;
    c->unless_after = rq->unless_after;
    c->together = rq->together;
    c->user_agent = rq->user_agent ? mem_strdup(rq->user_agent) : NULL;
    call_set_peer(c, &rq->peer);
    call_ref(c);
    _cleanup_(val_unrefp) struct val *params = with_session(rq->session, rq->params);
    limits_begin(c, rq->name, params);
    bool answered = s->answered;
    call_unref(c);
    return answered ? NULL : s;
}

void api_started_drop(struct api_started *s)
{
    call_drop(&s->call);
}

const struct row *api_row(struct api *api, const struct snap *s, int cls, const char *ref)
{
    return implicit_row(s, api->rbac, cls, ref);
}

const struct row *api_row_by_uuid(struct api *api, const struct snap *s, int cls, const char *uuid)
{
    return implicit_row_by_uuid(s, api->rbac, cls, uuid);
}
