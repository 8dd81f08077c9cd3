/*
 * rpc.c: POST of XML-RPC and JSON-RPC bodies.
 *
 * A call belongs to the net thread of its connection: the request is handed to api/ there, the
 * answer comes back there, and so does the news that the client has left. So nothing is locked.
 */
#include "base/str.h"
#include "gen/http.h"
#include "handler/handler.h"
#include "task/trace.h"

struct rpc {
    struct net_reply *reply;
    struct api_rpc *call; /* NULL until api_rpc has returned without an answer */
    bool answered;
    bool known;
};

static void on_answer(void *arg, unsigned status, const char *content_type, struct buf *body)
{
    struct rpc *r = arg;
    if (r->known)
        net_reply_known(r->reply);
    if (status == 200)
        net_reply_send(r->reply, status, content_type, NULL, 0, body);
    else
        net_reply_error(r->reply, status, "the body is no call");
    r->answered = true;
    if (r->call)
        free(r);
}

static void on_gone(void *arg)
{
    struct rpc *r = arg;
    api_rpc_drop(r->call);
    net_reply_drop(r->reply);
    free(r);
}

/* x-http-other-config-K: V of the request, kept in the call's task under "http:K". */
static struct val *other_config(const struct http_head *head)
{
    static const char prefix[] = "x-http-other-config-";
    struct val *map = NULL;
    for (unsigned i = 0; i < head->n_headers; i++) {
        struct view name = head->headers[i].name;
        struct view first = {name.p, sizeof(prefix) - 1};
        if (name.size < sizeof(prefix) || !view_ieq(first, prefix))
            continue;
        _cleanup_(freep) char *rest = view_dup(view_cut(name, sizeof(prefix) - 1));
        _cleanup_(freep) char *key = mem_printf("http:%s", rest);
        map = map ? map : val_map();
        val_put(map, key, val_str_n(head->headers[i].value.p, head->headers[i].value.size));
    }
    return map;
}

static void serve(struct handlers *h, enum rpc_format format, const struct net_request *req,
                  struct net_reply *reply)
{
    _cleanup_(freep) char *task = view_dup(http_find(req->head, "task-id"));
    _cleanup_(freep) char *parent = view_dup(http_find(req->head, "subtask-of"));
    _cleanup_(freep) char *originator = view_dup(http_find(req->head, "originator"));
    _cleanup_(freep) char *agent = view_dup(http_find(req->head, "user-agent"));
    _cleanup_(freep) char *trace =
        trace_is_wanted() ? view_dup(http_find(req->head, "traceparent")) : NULL;
    _cleanup_(val_unrefp) struct val *config = other_config(req->head);
    struct rpc *r = mem_new(struct rpc);
    r->reply = reply;
    struct api_request rq = {
        .loop = req->loop,
        .format = format,
        .peer = handler_peer(h, req),
        .body = req->body,
        .task_id = *task ? task : NULL,
        .subtask_of = *parent ? parent : NULL,
        .originator = *originator ? originator : NULL,
        .user_agent = *agent ? agent : NULL,
        .traceparent = trace,
        .other_config = config,
        .ret_known = &r->known,
    };
    struct api_rpc *call = api_rpc(h->api, &rq, on_answer, r);
    if (r->answered) {
        free(r);
        return;
    }
    r->call = call;
    net_reply_on_gone(reply, on_gone, r);
}

void http_post_root(void *arg, const struct net_request *req, struct net_reply *reply)
{
    serve(arg, RPC_XML, req, reply);
}

void http_post_RPC2(void *arg, const struct net_request *req, struct net_reply *reply)
{
    serve(arg, RPC_XML, req, reply);
}

void http_post_json(void *arg, const struct net_request *req, struct net_reply *reply)
{
    serve(arg, RPC_XML, req, reply);
}

void http_post_jsonrpc(void *arg, const struct net_request *req, struct net_reply *reply)
{
    serve(arg, RPC_JSON, req, reply);
}

void http_post_root_options(void *arg, const struct net_request *req, struct net_reply *reply)
{
    (void)arg;
    _cleanup_(freep) char *asked = view_dup(http_find(req->head, "access-control-request-headers"));
    _cleanup_(freep) char *allowed =
        *asked ? mem_printf("%s, X-Requested-With", asked) : mem_strdup("X-Requested-With");
    const struct net_header headers[] = {
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Allow-Headers", allowed},
        {"Access-Control-Allow-Methods", "PUT"},
    };
    net_reply_send(reply, 200, "text/plain", headers, ARRAY_LEN(headers), NULL);
}

void http_post_json_options(void *arg, const struct net_request *req, struct net_reply *reply)
{
    http_post_root_options(arg, req, reply);
}

void http_post_jsonrpc_options(void *arg, const struct net_request *req, struct net_reply *reply)
{
    http_post_root_options(arg, req, reply);
}
