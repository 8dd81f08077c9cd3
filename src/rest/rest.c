/*
 * rest.c: a call from its request to its answer. See rest.h.
 *
 *   request ─► target, method, types ─► credentials ─► the method's function ─► answer
 *              404 405 406 415 400      401            (rest_ask …)
 *
 * Who comes with a name and a password gets a session for this one request. On the loop that the
 * request names.
 */
#include <stdarg.h>
#include <string.h>

#include "base/rstr.h"
#include "codec/json.h"
#include "rest/rest_impl.h"

/* ---- a call's life ---- */

struct rest_call *rest_ref(struct rest_call *c)
{
    c->refs++;
    return c;
}

void rest_unref(struct rest_call *c)
{
    if (--c->refs)
        return;
    rest_stream_free(c->stream);
    rest_patch_free(c->patch);
    val_unref(c->body);
    rstr_unref(c->session);
    rstr_unref(c->ref);
    free(c->address);
    free(c->method);
    free(c->path);
    free(c->query);
    free(c->user);
    free(c->password);
    free(c->user_agent);
    free(c->if_match);
    free(c->if_none_match);
    free(c->last_event_id);
    free(c);
}

static void ignore(void *arg, const struct api_answer *a)
{
    (void)arg;
    (void)a;
}

/* A logout never waits, so its answer has come when api_start returns. */
static void log_out(struct rest_call *c)
{
    if (!c->owned)
        return;
    c->owned = false;
    (void)api_start(
        c->rest->api,
        &(struct api_start){
            .loop = c->loop, .peer = c->peer, .session = c->session, .name = "session.logout"},
        ignore, NULL);
}

static void finish(struct rest_call *c)
{
    log_out(c);
    c->done = true;
    rest_unref(c);
}

void rest_drop(struct rest_call *c)
{
    if (c->asked)
        api_started_drop(c->asked);
    rest_patch_drop(c->patch);
    finish(c);
}

void rest_drained(struct rest_call *c)
{
    if (c->stream)
        rest_events_drained(c);
}

void rest_is_known(struct rest_call *c)
{
    if (c->ret_known)
        *c->ret_known = true;
}

static void on_asked(void *arg, const struct api_answer *a)
{
    struct rest_call *c = arg;
    c->asked = NULL;
    if (a->known)
        rest_is_known(c);
    c->then(c, a);
}

struct api_started *rest_start(const struct rest_call *c, const char *name,
                               const struct val *params, struct api_together *together,
                               api_answer_fn answer, void *arg)
{
    return api_start(c->rest->api,
                     &(struct api_start){.loop = c->loop,
                                         .peer = c->peer,
                                         .session = c->session,
                                         .name = name,
                                         .params = params,
                                         .user_agent = c->user_agent,
                                         .unless_after = c->unless_after,
                                         .together = together},
                     answer, arg);
}

void rest_ask(struct rest_call *c, const char *name, struct val *params,
              void (*then)(struct rest_call *c, const struct api_answer *a))
{
    c->then = then;
    struct api_started *s = rest_start(c, name, params, NULL, on_asked, c);
    if (s)
        c->asked = s;
    val_unref(params);
}

/* ---- answers ---- */

static void send(struct rest_call *c, unsigned status, const char *type,
                 const struct rest_header *headers, unsigned n_headers, struct buf *body)
{
    struct rest_header all[10] = {
        {"Access-Control-Expose-Headers", "ETag, Location, Link, Allow, WWW-Authenticate"}};
    unsigned n = 1;
    for (unsigned i = 0; i < n_headers && n < ARRAY_LEN(all); i++)
        all[n++] = headers[i];
    c->sink->send(c->sink_arg, status, type, all, n, body);
    finish(c);
}

void rest_answer(struct rest_call *c, unsigned status, const struct rest_header *headers,
                 unsigned n_headers, struct buf *body)
{
    if (body && !buf_ok(body)) {
        rest_refuse(c, 500, "the answer is too large");
        return;
    }
    if (body && body->size)
        buf_putc(body, '\n');
    send(c, status, body && body->size ? "application/json" : NULL, headers, n_headers, body);
}

static void send_problem(struct rest_call *c, unsigned status, const struct rest_header *extra,
                         struct buf *b)
{
    struct rest_header headers[2] = {{"WWW-Authenticate", "Basic realm=\"rest\""}};
    unsigned n = status == 401 && !c->quiet ? 1 : 0;
    if (extra)
        headers[n++] = *extra;
    send(c, status, "application/problem+json", headers, n, b);
}

void rest_answer_error(struct rest_call *c, unsigned status, const struct err *e)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    status = status ? status : rest_status(e);
    rest_put_problem(&b, status, e);
    send_problem(c, status, NULL, &b);
}

void rest_fail(struct rest_call *c, unsigned status, struct err *e)
{
    rest_answer_error(c, status, e);
    err_free(e);
}

/* A refusal of HTTP's own, which has no code in XenAPI. */
static void put_plain_problem(struct buf *b, unsigned status, const char *detail)
{
    json_begin_map(b);
    json_put_key(b, view_of("type"));
    json_put_str(b, view_of("about:blank"));
    json_put_key(b, view_of("title"));
    json_put_str(b, view_of(http_reason(status)));
    json_put_key(b, view_of("status"));
    json_put_int(b, status);
    json_put_key(b, view_of("detail"));
    json_put_str(b, view_of(detail));
    json_end_map(b);
    buf_putc(b, '\n');
}

static void refuse_with(struct rest_call *c, unsigned status, const struct rest_header *extra,
                        const char *detail)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 16);
    put_plain_problem(&b, status, detail);
    send_problem(c, status, extra, &b);
}

void rest_refuse(struct rest_call *c, unsigned status, const char *fmt, ...)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 4096);
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    refuse_with(c, status, NULL, buf_str(&text));
}

void rest_end(struct rest_call *c)
{
    c->sink->end(c->sink_arg);
    finish(c);
}

/* ---- what the methods ask of a call ---- */

char *rest_query(const struct rest_call *c, const char *name)
{
    return http_query_get(view_of(c->query), name);
}

bool rest_waits(const struct rest_call *c, bool otherwise)
{
    _cleanup_(freep) char *wait = rest_query(c, "wait");
    if (wait)
        return !str_eq(wait, "false") && !str_eq(wait, "0") && !str_eq(wait, "no");
    return c->respond_async ? false : otherwise;
}

bool rest_find_object(struct rest_call *c, const struct snap *s)
{
    _cleanup_(freep) char *id = view_dup(c->t.id);
    int cls = c->t.cls->cls;
    bool by_ref = str_starts(id, "OpaqueRef:");
    const struct row *r =
        by_ref ? api_row(c->rest->api, s, cls, id) : api_row_by_uuid(c->rest->api, s, cls, id);
    if (!r) {
        rest_refuse(c, 404, "there is no %s '%s'", desc_classes[cls]->name, id);
        return false;
    }
    c->ref = rstr_ref(r->ref);
    return true;
}

/* If-Match names the version that the client knows; what counts is the record's generation, for
 * that alone is what writes of others move. */
bool rest_check_match(struct rest_call *c, const struct row *r)
{
    char etag[REST_ETAG_SIZE];
    rest_etag(r, etag);
    if (!c->if_match || str_eq(c->if_match, "*"))
        return true;
    c->unless_after = r->modified ? r->modified : 1;
    size_t generation = strcspn(etag, "-") + 1;
    for (const char *at = c->if_match; (at = strchr(at, '"')); at = strchr(at, '"') + 1) {
        if (strncmp(at, etag, generation) == 0)
            return true;
        if (!strchr(++at, '"'))
            break;
    }
    rest_refuse(c, 412, "the object has changed: it is %s now", etag);
    return false;
}

void rest_answer_task(struct rest_call *c, const struct val *task)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->rest->db);
    const char *ref = val_get_str(task);
    const struct rest_class *tasks = rest_class_by_path(view_of("tasks"));
    _cleanup_(buf_done) struct buf path, b;
    buf_init(&path, 512);
    buf_init(&b, 4096);
    rest_put_path(&path, tasks, api_row(c->rest->api, s, tasks->cls, ref), ref);
    json_begin_map(&b);
    json_put_key(&b, view_of("task"));
    json_put_str(&b, (struct view){path.data, path.size});
    json_end_map(&b);
    struct rest_header where = {"Location", buf_str(&path)};
    rest_answer(c, 202, &where, 1, &b);
}

/* ---- methods ---- */

enum { TAKES_BODY = 1, NEEDS_NO_SESSION = 2 };

static const struct method {
    enum rest_kind kind;
    const char *name;
    unsigned needs; /* REST_* of the class or action */
    unsigned how;
    void (*fn)(struct rest_call *c);
} methods[] = {
    {REST_INDEX, "GET", 0, NEEDS_NO_SESSION, rest_get_index},
    {REST_SESSION, "GET", 0, 0, rest_get_session},
    {REST_SESSION, "POST", 0, TAKES_BODY | NEEDS_NO_SESSION, rest_login},
    {REST_SESSION, "DELETE", 0, 0, rest_logout},
    {REST_EVENTS, "GET", 0, 0, rest_get_events},
    {REST_COLLECTION, "GET", REST_LIST, 0, rest_get_list},
    {REST_COLLECTION, "POST", REST_CREATE, TAKES_BODY, rest_create},
    {REST_OBJECT, "GET", REST_READ, 0, rest_get_object},
    {REST_OBJECT, "PATCH", REST_PATCH, TAKES_BODY, rest_patch},
    {REST_OBJECT, "DELETE", REST_DESTROY, 0, rest_delete},
    {REST_ACTION, "GET", REST_GET, 0, rest_do_action},
    {REST_ACTION, "POST", 0, TAKES_BODY, rest_do_action},
};

static bool serves(const struct rest_target *t, const struct method *m)
{
    if (t->kind != m->kind)
        return false;
    if (t->kind == REST_ACTION)
        return (t->action->flags & REST_GET) == m->needs;
    return !m->needs || t->cls->flags & m->needs;
}

static const struct method *find_method(const struct rest_call *c)
{
    const char *name = str_eq(c->method, "HEAD") ? "GET" : c->method;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (serves(&c->t, &methods[i]) && str_eq(methods[i].name, name))
            return &methods[i];
    return NULL;
}

/* "GET, HEAD, PATCH, OPTIONS" */
static char *allowed(const struct rest_target *t)
{
    struct buf b; /* its memory goes to the caller */
    buf_init(&b, 256);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (serves(t, &methods[i]))
            buf_printf(&b, "%s%s, ", methods[i].name,
                       str_eq(methods[i].name, "GET") ? ", HEAD" : "");
    buf_puts(&b, "OPTIONS");
    return buf_take(&b);
}

static void answer_options(struct rest_call *c, const struct rest_request *rq)
{
    _cleanup_(freep) char *allow = allowed(&c->t);
    _cleanup_(freep) char *asked = view_dup(http_find(rq->head, "access-control-request-headers"));
    const struct rest_header headers[] = {{"Allow", allow},
                                          {"Access-Control-Allow-Methods", allow},
                                          {"Access-Control-Max-Age", "3600"},
                                          {"Access-Control-Allow-Headers", asked}};
    rest_answer(c, 204, headers, *asked ? 4 : 3, NULL);
}

/* ---- what the client sends and takes ---- */

/* Does a list of media ranges take the type? "application/json", "application/", … */
static bool takes(const char *accept, const char *type)
{
    const char *slash = strchr(type, '/');
    struct view list = view_of(accept), item;
    for (bool more = true; more;) {
        more = view_split(&list, ',', &item);
        struct view params = item, range;
        view_split(&params, ';', &range);
        range = view_trim(range);
        _cleanup_(freep) char *family = mem_printf("%.*s/*", (int)(slash - type), type);
        if (view_ieq(range, type) || view_eq(range, "*/*") || view_ieq(range, family))
            return true;
    }
    return false;
}

static bool check_accept(struct rest_call *c, const struct rest_request *rq)
{
    const char *type = c->t.kind == REST_EVENTS ? "text/event-stream" : "application/json";
    _cleanup_(freep) char *accept = view_dup(http_find(rq->head, "accept"));
    if (!*accept || takes(accept, type))
        return true;
    rest_refuse(c, 406, "what is to be had here is %s", type);
    return false;
}

static bool check_content_type(struct rest_call *c, const struct rest_request *rq)
{
    bool patch = str_eq(c->method, "PATCH");
    struct view type = http_find(rq->head, "content-type"), bare;
    view_split(&type, ';', &bare);
    bare = view_trim(bare);
    if (view_ieq(bare, "application/json") ||
        (patch && view_ieq(bare, "application/merge-patch+json")))
        return true;
    struct rest_header wanted = {patch ? "Accept-Patch" : "Accept-Post",
                                 patch ? "application/merge-patch+json, application/json"
                                       : "application/json"};
    refuse_with(c, 415, &wanted, "a body has to be application/json");
    return false;
}

static bool take_body(struct rest_call *c, const struct rest_request *rq)
{
    if (!rq->body.size)
        return true;
    if (!check_content_type(c, rq))
        return false;
    int r = json_parse(rq->body, &c->body);
    if (r == 0 && val_kind(c->body) == VAL_MAP)
        return true;
    rest_refuse(c, 400, "the body has to be a JSON object%s", r < 0 ? ", and is no JSON" : "");
    return false;
}

/* ---- credentials ---- */

/* A cookie goes with whatever a browser sends, also for pages of strangers; those say who they
 * are. */
static bool is_own_page(const struct http_head *h)
{
    struct view origin = http_find(h, "origin"), host = http_find(h, "host");
    if (!origin.p)
        return true;
    const char *at = memmem(origin.p, origin.size, "://", 3);
    if (!at)
        return false;
    struct view there = view_cut(origin, (size_t)(at - origin.p) + 3);
    return host.p && there.size == host.size && memcmp(there.p, host.p, host.size) == 0;
}

static char *named_session(const struct rest_call *c, const struct http_head *h)
{
    struct view auth = http_find(h, "authorization");
    if (auth.size > 7 && view_ieq((struct view){auth.p, 7}, "bearer "))
        return view_dup(view_trim(view_cut(auth, 7)));
    char *cookie = is_own_page(h) ? http_cookie_get(h, "session_id") : NULL;
    return cookie ? cookie : rest_query(c, "session_id");
}

static void logged_in(struct rest_call *c, const struct api_answer *a)
{
    if (a->e) {
        rest_answer_error(c, 0, a->e);
        return;
    }
    c->session = rstr_ref(val_get_str(a->value));
    c->owned = true;
    find_method(c)->fn(c);
}

static void log_in_and_run(struct rest_call *c)
{
    struct val *params = val_set();
    val_add_str(params, c->user ? c->user : "");
    val_add_str(params, c->password ? c->password : "");
    val_add_str(params, "1.0");
    val_add_str(params, "REST");
    rest_ask(c, "session.login_with_password", params, logged_in);
}

static void run(struct rest_call *c, const struct rest_request *rq, const struct method *m)
{
    bool basic = http_basic_auth(rq->head, &c->user, &c->password);
    _cleanup_(freep) char *named = basic ? NULL : named_session(c, rq->head);
    if (named)
        c->session = rstr_new(named);
    if (m->how & NEEDS_NO_SESSION || named)
        m->fn(c);
    else if (basic || c->peer.trusted)
        log_in_and_run(c);
    else
        rest_refuse(c, 401, "a session or a name with a password is needed");
}

/* ---- all together ---- */

static char *header_of(const struct http_head *h, const char *name)
{
    struct view v = http_find(h, name);
    return v.p ? view_dup(v) : NULL;
}

static struct rest_call *call_new(const struct rest *rest, const struct rest_request *rq,
                                  const struct rest_sink *sink, void *sink_arg)
{
    struct rest_call *c = mem_new(struct rest_call);
    *c = (struct rest_call){.refs = 2,
                            .rest = rest,
                            .loop = rq->loop,
                            .peer = rq->peer,
                            .tls = rq->tls,
                            .sink = sink,
                            .sink_arg = sink_arg,
                            .ret_known = rq->ret_known};
    c->address = mem_strdup(rq->peer.address);
    c->peer.address = c->address;
    c->method = mem_strdup(rq->method);
    c->path = mem_strdup(rq->path);
    c->query = view_dup(rq->query);
    c->user_agent = header_of(rq->head, "user-agent");
    c->if_match = header_of(rq->head, "if-match");
    c->if_none_match = header_of(rq->head, "if-none-match");
    c->last_event_id = header_of(rq->head, "last-event-id");
    c->quiet = http_find(rq->head, "x-requested-with").p != NULL;
    c->respond_async = http_has_token(rq->head, "prefer", "respond-async");
    c->t = rest_parse_path(c->path);
    return c;
}

static void serve(struct rest_call *c, const struct rest_request *rq)
{
    const struct method *m = c->t.kind == REST_NOTHING ? NULL : find_method(c);
    if (c->t.kind == REST_NOTHING) {
        rest_refuse(c, 404, "there is nothing at this path");
    } else if (str_eq(c->method, "OPTIONS")) {
        answer_options(c, rq);
    } else if (!m) {
        _cleanup_(freep) char *allow = allowed(&c->t);
        struct rest_header header = {"Allow", allow};
        refuse_with(c, 405, &header, "this path does not take that method");
    } else if (check_accept(c, rq) && (!(m->how & TAKES_BODY) || take_body(c, rq))) {
        run(c, rq, m);
    }
}

struct rest_call *rest_serve(const struct rest *rest, const struct rest_request *rq,
                             const struct rest_sink *sink, void *sink_arg)
{
    struct rest_call *c = call_new(rest, rq, sink, sink_arg);
    serve(c, rq);
    bool done = c->done;
    rest_unref(c);
    return done ? NULL : c;
}

/* The paths there are, for who looks around. */
void rest_get_index(struct rest_call *c)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 65536);
    json_begin_map(&b);
    json_put_key(&b, view_of("description"));
    json_put_str(&b, view_of("/openapi.json"));
    json_put_key(&b, view_of("session"));
    json_put_str(&b, view_of(REST_ROOT "/session"));
    json_put_key(&b, view_of("events"));
    json_put_str(&b, view_of(REST_ROOT "/events"));
    json_put_key(&b, view_of("collections"));
    json_begin_map(&b);
    for (unsigned i = 0; i < rest_n_classes; i++) {
        _cleanup_(freep) char *path = mem_printf(REST_ROOT "/%s", rest_classes[i].path);
        json_put_key(&b, view_of(rest_classes[i].path));
        json_put_str(&b, view_of(path));
    }
    json_end_map(&b);
    json_end_map(&b);
    rest_answer(c, 200, NULL, 0, &b);
}
