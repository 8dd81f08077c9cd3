/* transfer.c: requests that stream; see transfer.h. Stream threads. */
#include "handler/transfer.h"

#include <errno.h>
#include <string.h>

#define LOG_MODULE "http"
#include "base/log.h"
#include "base/rstr.h"
#include "base/str.h"
#include "gen/error.h"
#include "gen/http.h"
#include "gen/typed.h"
#include "handler/handler.h"
#include "handler/http.h"
#include "task/task.h"

#define CHUNKED_IN 65536 /* read at once of a body in chunks */
#define REST_MAX   (64u << 20)
#define REST_TIME  (2 * USEC_PER_SEC)  /* without a byte */
#define REST_WHOLE (30 * USEC_PER_SEC) /* however it trickles */

/* ---- session, permission, task ---- */

static char *cookie_or_query(const struct net_request *req, const char *name)
{
    char *cookie = http_cookie_get(req->head, name);
    return cookie ? cookie : http_query_get(req->query, name);
}

static struct err *check_role(const struct transfer *x)
{
    if (x->what->flags & HTTP_OWN_CHECK)
        return NULL;
    _cleanup_(freep) char *permission = mem_printf("http/%s", x->what->name);
    return api_check_role(&x->session, x->what->role, permission);
}

/* The task must be pending and of the session's own user. */
static struct err *check_task(const struct transfer *x, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    const struct rec_task *t = snap_task(s, ref);
    if (!t)
        return err_HANDLE_INVALID("task", ref);
    const struct rec_session *owner = snap_session(s, t->session);
    bool mine =
        x->session.superuser || str_eq(t->session, x->session.ref) ||
        (owner && *x->session.user_sid && str_eq(owner->auth_user_sid, x->session.user_sid));
    if (!mine)
        return err_RBAC_PERMISSION_DENIED("task.destroy/any", "the task is another user's");
    if (t->status != TASK_STATUS_TYPE_PENDING)
        return err_OPERATION_NOT_ALLOWED("the task has ended already");
    return NULL;
}

static bool is_cancelled(void *arg)
{
    return op_is_cancelled(arg);
}

static struct err *run(struct op *op, const void *args, struct val **ret)
{
    struct transfer *x = (struct transfer *)args;
    x->op = op;
    net_stream_watch(x->stream, is_cancelled, op);
    struct err *e = x->fn(x, ret);
    net_stream_watch(x->stream, NULL, NULL);
    x->op = NULL;
    return e;
}

static struct err *run_in_task(struct transfer *x, const char *task)
{
    _cleanup_(freep) char *parent = cookie_or_query(x->req, "subtask_of");
    _cleanup_(freep) char *client = mem_printf("tcp %s", x->req->peer.address);
    if (task)
        TRY(check_task(x, task));
    return tasks_transfer(x->h->tasks,
                          &(struct run_request){
                              .fn = run,
                              .args = x,
                              .label = x->what->task ? x->what->task : x->what->name,
                              .async = x->what->task != NULL,
                              .task = task,
                              .subtask_of = parent,
                              .caller = {.session = x->session.ref,
                                         .superuser = x->session.superuser,
                                         .local = x->session.local,
                                         .pool = x->session.pool,
                                         .roles = x->session.roles,
                                         .user_name = x->session.user_name,
                                         .user_sid = x->session.user_sid,
                                         .originator = x->session.originator,
                                         .client = x->session.local ? "unix" : client},
                          },
                          NULL);
}

/* Clients send an empty PUT to look for a redirection before they send the thing itself. */
static bool is_probe(const struct transfer *x)
{
    return x->what->task && str_eq(x->req->method, "PUT") && transfer_is_empty(x);
}

static struct err *serve(struct transfer *x)
{
    _cleanup_(freep) char *task = cookie_or_query(x->req, "task_id");
    struct err *e = check_role(x);
    if (!e && !task && is_probe(x))
        return NULL;
    if (!e)
        return run_in_task(x, task);
    struct err *other = task ? check_task(x, task) : NULL;
    if (task && !other) /* whoever waits for the task learns why nothing comes */
        other = tasks_finish(x->h->tasks, task, NULL, NULL, e);
    err_free(other);
    return e;
}

/* Into the audit log; downloads that every reader may have are reading like other reading. */
static void audit(const struct transfer *x, const struct err *e)
{
    bool reads = str_eq(x->what->method, "GET") && x->what->role == ROLE_READ_ONLY;
    if (reads && !err_is(e, "RBAC_PERMISSION_DENIED"))
        return;
    static const char *const names[] = {"uuid", "ref", "vdi", "base", "sr_id", "sr_uuid"};
    _cleanup_(freep) char *action = mem_printf("http/%s", x->what->name);
    _cleanup_(val_unrefp) struct val *objects = val_map();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        _cleanup_(freep) char *value = transfer_arg(x, names[i]);
        if (value)
            val_put_str(objects, names[i], value);
    }
    struct api_peer peer = handler_peer(x->h, x->req);
    api_audit(x->h->api, &x->session, &peer, action, objects, e);
}

/* A client that is still sending would take the end of the connection for a broken one, and not
 * look at the task: takes in a rest that is not too long. */
static void take_rest(struct transfer *x)
{
    char room[65536];
    uint64_t most = x->req->head->has_length ? x->left : UINT64_MAX;
    usec_t end = clock_now() + REST_WHOLE;
    net_stream_set_patience(x->stream, REST_TIME);
    for (uint64_t taken = 0; taken < REST_MAX && taken < most && clock_now() < end;) {
        ssize_t n = net_stream_read(x->stream, room, sizeof(room));
        if (n <= 0)
            return;
        taken += (uint64_t)n;
    }
}

static void finish(struct transfer *x, struct err *e)
{
    bool late = e && x->answered;
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        log_info("event=transfer-%s handler=%s error=%s", late ? "failed" : "refused",
                 x->what->name, text);
    }
    if (late)
        err_free(e);
    if (late && str_eq(x->req->method, "GET")) {
        net_stream_abort(x->stream);
        return;
    }
    if (late)
        take_rest(x);
    if (e && !late)
        handler_refuse(x->stream, e);
    else if (!x->answered && net_stream_head(x->stream, 200, NULL, NULL, 0) < 0)
        log_debug("event=client-gone handler=%s", x->what->name);
    net_stream_close(x->stream);
}

void transfer_serve(void *handlers, int num, transfer_fn fn, const struct net_request *req,
                    struct net_stream *s)
{
    struct handler_session session;
    struct transfer x = {
        .h = handlers, .what = &http_descs[num], .req = req, .stream = s, .fn = fn};
    struct err *e = handler_authenticate(x.h, req, &session);
    if (e) {
        finish(&x, e);
        return;
    }
    x.session = session.session;
    net_stream_known(s);
    e = serve(&x);
    audit(&x, e);
    handler_session_done(x.h, &session);
    free(x.chunks);
    buf_done(&x.spare);
    finish(&x, e);
}

/* ---- the request ---- */

char *transfer_arg(const struct transfer *x, const char *name)
{
    return http_query_get(x->req->query, name);
}

bool transfer_flag(const struct transfer *x, const char *name, bool absent)
{
    _cleanup_(freep) char *text = transfer_arg(x, name);
    if (!text)
        return absent;
    return str_eq(text, "") || str_eq(text, "true") || str_eq(text, "1") || str_eq(text, "yes");
}

struct err *transfer_missing(const char *name)
{
    return err_INVALID_VALUE(name, "");
}

struct err *transfer_check_sub(const struct transfer *x, const char *key)
{
    _cleanup_(freep) char *permission = mem_printf("http/%s/%s", x->what->name, key);
    for (const struct key_role *k = x->what->subs; k && k->key; k++)
        if (str_eq(k->key, key))
            return api_check_role(&x->session, k->role, permission);
    return err_internal("handler '%s' has no permission '%s'", x->what->name, key);
}

struct err *transfer_object(const struct transfer *x, int cls, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(x->h->db);
    _cleanup_(freep) char *ref = transfer_arg(x, "ref");
    _cleanup_(freep) char *uuid = transfer_arg(x, "uuid");
    if (!ref && !uuid)
        return transfer_missing("uuid or ref");
    const struct row *row = ref ? snap_row(s, cls, ref) : snap_by_uuid(s, cls, uuid);
    if (!row && ref)
        return err_HANDLE_INVALID(desc_classes[cls]->name, ref);
    if (!row)
        return err_UUID_INVALID(desc_classes[cls]->name, uuid);
    *ret = rstr_new(row->ref);
    return NULL;
}

/* ---- the answer ---- */

static struct err *broken(struct transfer *x, int r)
{
    if (r == -ECANCELED)
        return err_TASK_CANCELLED(x->op->task);
    return err_make("CLIENT_ERROR", __FILE__, __LINE__, 1,
                    r == -ETIMEDOUT ? "the client has stopped moving bytes"
                                    : "the connection to the client broke");
}

struct err *transfer_head(struct transfer *x, const char *content_type,
                          const struct net_header *headers, unsigned n_headers)
{
    struct net_header all[8];
    unsigned n = 0;
    if (*x->op->task)
        all[n++] = (struct net_header){"task-id", x->op->task};
    for (unsigned i = 0; i < n_headers && n < ARRAY_LEN(all); i++)
        all[n++] = headers[i];
    TRY(op_check(x->op));
    x->answered = true;
    int r = net_stream_head(x->stream, 200, content_type, all, n);
    return r < 0 ? broken(x, r) : NULL;
}

struct err *transfer_head_file(struct transfer *x, const char *content_type, const char *filename)
{
    _cleanup_(freep) char *value = mem_printf("attachment; filename=\"%s\"", filename);
    const struct net_header h = {"Content-Disposition", value};
    return transfer_head(x, content_type, &h, 1);
}

struct err *transfer_write(struct transfer *x, const void *p, size_t size)
{
    TRY(op_check(x->op));
    int r = net_stream_write(x->stream, p, size);
    return r < 0 ? broken(x, r) : NULL;
}

struct err *transfer_send(struct transfer *x, const char *content_type, const struct buf *body)
{
    TRY(transfer_head(x, content_type, NULL, 0));
    return transfer_write(x, body->data, body->size);
}

struct err *transfer_redirect(struct transfer *x, const char *location)
{
    const struct net_header h = {"Location", location};
    x->answered = true;
    int r = net_stream_head(x->stream, 302, NULL, &h, 1);
    return r < 0 ? broken(x, r) : NULL;
}

/* ---- the body of an upload ---- */

bool transfer_is_empty(const struct transfer *x)
{
    return x->req->head->has_length && x->req->head->length == 0;
}

bool transfer_length(const struct transfer *x, uint64_t *ret)
{
    if (!x->req->head->has_length || x->open_end)
        return false;
    *ret = x->req->head->length;
    return true;
}

void transfer_allow_short(struct transfer *x)
{
    x->open_end = true;
}

struct err *transfer_accept(struct transfer *x)
{
    const struct http_head *head = x->req->head;
    x->body = head->chunked ? BODY_CHUNKED : head->has_length ? BODY_LENGTH : BODY_UNTIL_END;
    x->left = head->length;
    if (head->chunked) {
        x->chunks = mem_new(struct http_chunks);
        buf_init(&x->spare, CHUNKED_IN);
    }
    return transfer_head(x, NULL, NULL, 0);
}

/* What the connection gives; 0 at its end. */
static struct err *receive(struct transfer *x, void *p, size_t size, size_t *ret)
{
    TRY(op_check(x->op));
    ssize_t n = net_stream_read(x->stream, p, size);
    if (n == -ECONNRESET)
        n = 0;
    if (n < 0)
        return broken(x, (int)n);
    *ret = (size_t)n;
    return NULL;
}

static struct err *read_counted(struct transfer *x, void *p, size_t size, size_t *ret)
{
    *ret = 0;
    if (x->left == 0)
        return NULL;
    TRY(receive(x, p, size < x->left ? size : (size_t)x->left, ret));
    x->left -= *ret;
    if (*ret == 0 && !x->open_end)
        return err_IMPORT_ERROR_PREMATURE_EOF();
    return NULL;
}

static struct err *feed_chunks(struct transfer *x)
{
    char in[CHUNKED_IN];
    size_t n = 0;
    x->spare_at = 0;
    buf_clear(&x->spare);
    TRY(receive(x, in, sizeof(in), &n));
    if (n == 0)
        return err_IMPORT_ERROR_PREMATURE_EOF();
    if (http_chunks_feed(x->chunks, (struct view){in, n}, &x->spare, &x->ended) < 0)
        return err_make("CLIENT_ERROR", __FILE__, __LINE__, 1,
                        "the chunks of the body are garbled");
    return NULL;
}

static struct err *read_chunked(struct transfer *x, void *p, size_t size, size_t *ret)
{
    while (x->spare_at == x->spare.size && !x->ended)
        TRY(feed_chunks(x));
    size_t n = x->spare.size - x->spare_at;
    n = n < size ? n : size;
    if (n)
        memcpy(p, x->spare.data + x->spare_at, n);
    x->spare_at += n;
    *ret = n;
    return NULL;
}

struct err *transfer_read(struct transfer *x, void *p, size_t size, size_t *ret_size)
{
    if (x->body == BODY_LENGTH)
        return read_counted(x, p, size, ret_size);
    if (x->body == BODY_CHUNKED)
        return read_chunked(x, p, size, ret_size);
    return receive(x, p, size, ret_size);
}

/* ---- its task ---- */

void transfer_progress(struct transfer *x, double fraction)
{
    op_progress(x->op, fraction < 1 ? fraction : 1);
}
