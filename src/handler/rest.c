/*
 * rest.c: /rest/v1: requests and answers of src/rest on connections of net/. A call belongs to the
 * net thread of its connection, so nothing is locked.
 */
#include "rest/rest.h"

#include "gen/http.h"
#include "handler/handler.h"

struct conversation {
    struct net_reply *reply;
    struct rest_call *call; /* NULL until rest_serve has returned without an answer */
    bool answered;
    bool known; /* the caller has a session */
};

static void over(struct conversation *v)
{
    v->answered = true;
    if (v->call)
        free(v);
}

static void on_send(void *arg, unsigned status, const char *content_type,
                    const struct rest_header *headers, unsigned n_headers, struct buf *body)
{
    struct conversation *v = arg;
    struct net_header all[16];
    unsigned n = 0;
    for (; n < n_headers && n < ARRAY_LEN(all); n++)
        all[n] = (struct net_header){headers[n].name, headers[n].value};
    if (v->known)
        net_reply_known(v->reply);
    net_reply_send(v->reply, status, content_type, all, n, body);
    over(v);
}

static void on_begin(void *arg, const char *content_type)
{
    struct conversation *v = arg;
    if (v->known)
        net_reply_known(v->reply);
    net_reply_begin(v->reply, 200, content_type, NULL, 0);
}

static void on_more(void *arg, const void *p, size_t size)
{
    struct conversation *v = arg;
    net_reply_more(v->reply, p, size);
}

static bool is_drained(void *arg)
{
    struct conversation *v = arg;
    return net_reply_is_drained(v->reply);
}

static void on_end(void *arg)
{
    struct conversation *v = arg;
    net_reply_drop(v->reply);
    over(v);
}

static const struct rest_sink sink = {on_send, on_begin, on_more, is_drained, on_end};

static void on_gone(void *arg)
{
    struct conversation *v = arg;
    rest_drop(v->call);
    net_reply_drop(v->reply);
    free(v);
}

static void on_drained(void *arg)
{
    struct conversation *v = arg;
    rest_drained(v->call);
}

void http_rest(void *arg, const struct net_request *req, struct net_reply *reply)
{
    struct handlers *h = arg;
    struct conversation *v = mem_new(struct conversation);
    struct rest_request rq = {
        .loop = req->loop,
        .peer = handler_peer(h, req),
        .tls = req->peer.kind == NET_TLS,
        .method = req->method,
        .path = req->rest,
        .query = req->query,
        .body = req->body,
        .head = req->head,
        .ret_known = &v->known,
    };
    v->reply = reply;
    struct rest_call *call = rest_serve(&h->rest, &rq, &sink, v);
    if (v->answered) {
        free(v);
        return;
    }
    v->call = call;
    net_reply_on_gone(reply, on_gone, v);
    net_reply_on_drained(reply, on_drained, v);
}
