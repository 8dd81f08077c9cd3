/*
 * call.c: a call's life around its work: from a body to a call, from its end to an answer.
 *
 * See call.h for where a call lives. Over HTTP its home is the connection's loop; in process the
 * thread that waits on an inbox.
 */
#define LOG_MODULE "api"
#include "api/call.h"

#include <pthread.h>
#include <string.h>

#include "api/audit.h"
#include "api/batch.h"
#include "api/encode.h"
#include "api/implicit.h"
#include "api/decode.h"
#include "api/session.h"
#include "api/limit.h"
#include "api/timing.h"
#include "api/together.h"
#include "base/lock.h"
#include "base/log.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "loop/loop.h"

#define ANSWER_MAX (256u << 20)

/* ---- all calls ---- */

void call_init(struct call *c, struct api *api,
               void (*answer)(struct call *, struct err *, struct val *))
{
    atomic_init(&c->refs, 1);
    c->api = api;
    c->began = clock_now();
    c->answer = answer;
    mutex_init(&c->lock, LOCK_LEAF);
    atomic_fetch_add(&api->n_calls, 1);
}

struct call *call_ref(struct call *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

static void records_free(struct records *r)
{
    if (r)
        records_done(r);
    free(r);
}

void call_unref(struct call *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    atomic_fetch_sub(&c->api->n_calls, 1);
    if (c->together)
        together_miss(c->together, NULL);
    decode_free(c->args);
    session_unref(c->session);
    err_free(c->e);
    val_unref(c->result);
    records_free(c->records);
    batch_unref(c->batch);
    free(c->client);
    free(c->task_id);
    free(c->subtask_of);
    free(c->originator);
    free(c->user_agent);
    val_unref(c->other_config);
    free(c->name);
    free(c->audit);
    rstr_unref(c->task);
    rstr_unref(c->address);
    mutex_done(&c->lock);
    val_unref(c->params);
    free(c);
}

/* An error that the model does not know of the message is a defect; the tests look for this. */
static void check_error(const struct call *c, const struct err *e)
{
    if (c->msg && !desc_msg_raises(c->msg, err_code(e)))
        log_warn("event=undeclared-error method=%s code=%s", c->name, err_code(e));
}

void call_note_end(const struct call *c, const struct err *e)
{
    if (e)
        check_error(c, e);
    if (c->audit)
        call_audit(c, e);
}

void call_audit(const struct call *c, const struct err *e)
{
    _cleanup_(freep) char *action =
        mem_printf("%s.%s", desc_classes[c->msg->cls]->name, c->msg->name);
    audit_put(c->api->audit, &(struct audit_entry){.caller = &c->caller,
                                                   .action = action,
                                                   .call = c->name,
                                                   .task = c->task ? c->task : c->task_id,
                                                   .args = c->audit,
                                                   .e = e});
}

void call_trace_end(struct call *c, const struct err *e)
{
    if (c->span.on)
        trace_end(&c->span, c->name, c->task ? c->task : c->task_id ? c->task_id : "", e);
}

void call_end(struct call *c, struct err *e, struct val *result)
{
    atomic_fetch_add_explicit(&c->api->n_answered, 1, memory_order_relaxed);
    if (c->msg)
        timing_add(c->api->timing, c->msg, clock_now() - c->began);
    if (!c->async)
        call_note_end(c, e);
    if (!c->async || e)
        call_trace_end(c, e);
    c->answer(c, e, result);
    call_unref(c);
}

/* ---- in process ---- */

struct inbox {
    struct mutex mutex;
    pthread_cond_t cond;
    struct call *posted; /* what waits to be run; a call posts once at a time */
    bool ended;
    struct err *e;
    struct val *result;
    struct records *records;
};

static void run_posted(void *arg)
{
    struct call *c = arg;
    c->posted(c);
}

static bool post_home(struct call *c)
{
    call_ref(c); /* home may end it at once */
    mutex_lock(&c->lock);
    bool home = !c->homeless;
    if (home)
        loop_post(c->loop, run_posted, c);
    mutex_unlock(&c->lock);
    call_unref(c);
    return home;
}

void call_post(struct call *c, call_fn fn)
{
    c->posted = fn;
    if (c->loop) {
        if (!post_home(c))
            fn(c);
        return;
    }
    mutex_lock(&c->inbox->mutex);
    c->inbox->posted = c;
    pthread_cond_signal(&c->inbox->cond);
    mutex_unlock(&c->inbox->mutex);
}

static void answer_inbox(struct call *c, struct err *e, struct val *result)
{
    c->inbox->ended = true;
    c->inbox->e = e;
    c->inbox->result = result;
    c->inbox->records = steal(&c->records);
}

static struct call *inbox_wait(struct inbox *in)
{
    mutex_lock(&in->mutex);
    while (!in->posted)
        cond_wait(&in->cond, &in->mutex);
    struct call *c = steal(&in->posted);
    mutex_unlock(&in->mutex);
    return c;
}

/* `ret` and `ret_rows` may be NULL. */
static struct err *call_and_wait(struct call *c, const char *name, const struct val *params,
                                 struct val **ret, struct records **ret_rows)
{
    struct inbox in = {.mutex = MUTEX_INIT(LOCK_LEAF), .cond = PTHREAD_COND_INITIALIZER};
    c->inbox = &in;
    dispatch(c, name, params);
    while (!in.ended)
        run_posted(inbox_wait(&in));
    if (!in.e && ret)
        *ret = steal(&in.result);
    if (!in.e && ret_rows)
        *ret_rows = steal(&in.records);
    val_unref(in.result);
    records_free(in.records);
    return in.e;
}

char *api_client_name(const struct api_peer *peer)
{
    bool local = !peer->address || !*peer->address;
    return local ? mem_strdup("unix") : mem_printf("tcp %s", peer->address);
}

void call_set_peer(struct call *c, const struct api_peer *peer)
{
    c->trusted = peer->trusted;
    c->client = api_client_name(peer);
    c->address = rstr_new(peer->address ? peer->address : "");
}

void call_drop(struct call *c)
{
    call_ref(c);
    c->dropped = true;
    if (c->native_drop)
        c->native_drop(c);
    mutex_lock(&c->lock);
    c->homeless = true;
    mutex_unlock(&c->lock);
    call_unref(c);
}

static char *copy_or_null(const char *s)
{
    return s ? mem_strdup(s) : NULL;
}

static struct call *internal_call(struct api *api)
{
    struct call *c = mem_new(struct call);
    call_init(c, api, answer_inbox);
    c->client = mem_strdup("internal");
    c->address = rstr_new("");
    return c;
}

static struct val *with_session(const char *session, const struct val *params)
{
    struct val *all = val_set();
    val_add_str(all, session);
    for (size_t i = 0; params && i < val_count(params); i++)
        val_add(all, val_ref(val_at(params, i)));
    return all;
}

struct err *api_call(struct api *api, const char *session, const char *name,
                     const struct val *params, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *all = with_session(session, params);
    return call_and_wait(internal_call(api), name, all, ret, NULL);
}

struct err *api_call_rows(struct api *api, const char *session, const char *name,
                          const struct val *params, struct api_rows *ret)
{
    _cleanup_(val_unrefp) struct val *all = with_session(session, params);
    struct call *c = internal_call(api);
    struct records *got = NULL;
    c->wants_rows = true;
    TRY(call_and_wait(c, name, all, NULL, &got));
    if (!got)
        return err_internal("'%s' answers no records", name);
    *ret = (struct api_rows){got->snap, got->v, got->n};
    free(got); /* what it held is *ret's now */
    return NULL;
}

struct err *api_login(struct api *api, const struct api_peer *peer, const char *user,
                      const char *password, const char *originator, const char **ret_session)
{
    _cleanup_(val_unrefp) struct val *params = val_set(), *got = NULL;
    val_add_str(params, user ? user : "");
    val_add_str(params, password ? password : "");
    val_add_str(params, "1.0");
    val_add_str(params, originator ? originator : "");
    struct call *c = mem_new(struct call);
    call_init(c, api, answer_inbox);
    call_set_peer(c, peer);
    TRY(call_and_wait(c, "session.login_with_password", params, &got, NULL));
    *ret_session = rstr_ref(val_get_str(got));
    return NULL;
}

/* ---- from the wire ---- */

struct api_rpc {
    struct call call; /* first: freed as a call */
    struct rpc_request req;
    api_reply_fn reply;
    void *arg;
    bool *known; /* the request's, or NULL */
};

static void put_error(const struct rpc_request *req, struct buf *b, const struct err *e)
{
    const char *params[16];
    unsigned n = err_n_params(e);
    if (n > ARRAY_LEN(params))
        n = ARRAY_LEN(params);
    for (unsigned i = 0; i < n; i++)
        params[i] = err_param(e, i);
    rpc_put_failure(req, b, err_code(e), n, params);
}

static void put_records(struct api *api, struct rpc_out *o, const struct records *list)
{
    if (list->single) {
        encodings_put(api->encodings, o, list->v[0]);
        return;
    }
    rpc_begin_map(o);
    for (size_t i = 0; i < list->n; i++) {
        rpc_put_key(o, list->v[i]->ref);
        encodings_put(api->encodings, o, list->v[i]);
    }
    rpc_end_map(o);
}

static void put_result(const struct api_rpc *r, struct buf *b, const struct val *result)
{
    bool bare = str_eq(r->req.method, "system.listMethods");
    struct rpc_out o = bare ? rpc_begin_bare(&r->req, b) : rpc_begin_success(&r->req, b);
    if (r->call.records)
        put_records(r->call.api, &o, r->call.records);
    else if (r->call.batch)
        buf_put(b, r->call.batch->bytes, r->call.batch->size);
    else
        rpc_put_val(&o, result);
    if (bare)
        rpc_end_bare(&r->req, &o);
    else
        rpc_end_success(&r->req, &o);
}

static void log_error(const struct api_rpc *r, const struct err *e)
{
    _cleanup_(freep) char *text = err_text(e);
    bool ours = r->call.session && err_is(e, "INTERNAL_ERROR"); /* else: bad arguments */
    if (ours)
        log_warn("event=call-failed method=%s error=\"%s\"", r->req.method, text);
    else
        log_debug("event=call-refused method=%s error=\"%s\"", r->req.method, text);
}

bool call_is_known(const struct call *c, const struct err *e)
{
    bool login = !e && c->msg && c->msg->flags & MSG_NO_SESSION && c->msg->cls == CLASS_session;
    return c->session || login;
}

static void answer_rpc(struct call *c, struct err *e, struct val *result)
{
    struct api_rpc *r = (struct api_rpc *)c;
    if (!c->dropped) {
        if (r->known && call_is_known(c, e))
            *r->known = true;
        _cleanup_(buf_done) struct buf b;
        buf_init(&b, ANSWER_MAX);
        if (e) {
            log_error(r, e);
            put_error(&r->req, &b, e);
        } else {
            put_result(r, &b, result ? result : val_void());
        }
        if (!buf_ok(&b)) {
            _cleanup_(err_freep) struct err *big = err_internal("the answer is too large");
            buf_clear(&b);
            b.full = false;
            put_error(&r->req, &b, big);
        }
        r->reply(r->arg, 200, rpc_content_type(r->req.format), &b);
    }
    err_free(e);
    val_unref(result);
    rpc_request_done(&r->req);
}

/* A body that is no call. */
static void reply_unreadable(api_reply_fn reply, void *arg)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 10);
    buf_puts(&b, "<html><body><h1>HTTP 500 internal server error</h1>"
                 "The request could not be read.</body></html>\n");
    reply(arg, 500, "text/html", &b);
}

struct api_rpc *api_rpc(struct api *api, const struct api_request *rq, api_reply_fn reply,
                        void *arg)
{
    struct rpc_request parsed = {0};
    if (rpc_parse(rq->format, rq->body, &parsed) < 0) {
        reply_unreadable(reply, arg);
        return NULL;
    }
    struct api_rpc *r = mem_new(struct api_rpc);
    struct call *c = &r->call;
    *r = (struct api_rpc){.req = parsed, .reply = reply, .arg = arg, .known = rq->ret_known};
    call_init(c, api, answer_rpc);
    c->loop = rq->loop;
    c->format = &r->req.format;
    call_set_peer(c, &rq->peer);
    c->task_id = copy_or_null(rq->task_id);
    c->subtask_of = copy_or_null(rq->subtask_of);
    c->originator = copy_or_null(rq->originator);
    c->user_agent = copy_or_null(rq->user_agent);
    if (rq->traceparent)
        (void)trace_id_parse(rq->traceparent, &c->parent);
    c->other_config = rq->other_config ? val_ref(rq->other_config) : NULL;
    call_ref(c);
    if (parsed.invalid_utf8)
        call_end(c, err_INVALID_VALUE("params", "the request is not valid UTF-8"), NULL);
    else
        limits_begin(c, parsed.method, parsed.params);
    bool answered = !r->req.method;
    call_unref(c);
    return answered ? NULL : r;
}

void api_rpc_drop(struct api_rpc *r)
{
    call_drop(&r->call);
}
