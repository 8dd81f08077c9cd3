/* reply.c: a request as its handler sees it, and the answer that is owed for it. */
#include <stdio.h>
#include <string.h>

#include "net/net_impl.h"

#define HEAD_MAX 65536

struct net_reply *reply_new(struct net_thread *t, const struct net_peer *peer, struct view head,
                            unsigned *ret_status)
{
    struct net_reply *r = mem_new(struct net_reply);
    atomic_init(&r->refs, 1);
    t->refs++;
    r->thread = t;
    r->text = view_dup(head);
    buf_init(&r->answer_head, HEAD_MAX);
    *ret_status = http_parse_request((struct view){r->text, head.size}, &r->head);
    r->req = (struct net_request){
        .loop = t->loop, .peer = *peer, .head = &r->head, .query = r->head.query};
    if (*ret_status)
        return r;
    r->method = view_dup(r->head.method);
    r->path = http_decode(r->head.path, false);
    r->req.method = r->method;
    r->req.path = r->path;
    r->req.rest = r->path;
    if (!r->path)
        *ret_status = 400;
    return r;
}

void reply_unref(struct net_reply *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    net_thread_unref(r->thread);
    buf_done(&r->body);
    buf_done(&r->answer_head);
    buf_done(&r->answer_body);
    free(r->text);
    free(r->method);
    free(r->path);
    free(r);
}

void reply_gone(struct net_reply *r)
{
    r->conn = NULL;
    if (r->gone && !r->given_back) {
        loop_fn fn = r->gone;
        r->gone = NULL;
        fn(r->gone_arg);
    }
    reply_unref(r);
}

void put_answer_head(struct buf *b, unsigned status, int64_t length, bool keep_alive,
                     const char *content_type, bool cors, const struct net_header *headers,
                     unsigned n_headers)
{
    buf_puts(b, "HTTP/1.1 ");
    buf_put_int(b, status);
    buf_putc(b, ' ');
    buf_puts(b, http_reason(status));
    if (length >= 0) {
        buf_puts(b, "\r\ncontent-length: ");
        buf_put_int(b, length);
    }
    buf_puts(b, keep_alive ? "\r\nconnection: keep-alive" : "\r\nconnection: close");
    buf_puts(b, "\r\ncache-control: no-cache, no-store\r\n");
    if (content_type) {
        buf_puts(b, "content-type: ");
        buf_puts(b, content_type);
        buf_puts(b, "\r\n");
    }
    if (cors)
        buf_puts(b, "Access-Control-Allow-Origin: *\r\n"
                    "Access-Control-Allow-Headers: X-Requested-With\r\n");
    for (unsigned i = 0; i < n_headers; i++)
        buf_printf(b, "%s: %s\r\n", headers[i].name, headers[i].value);
    buf_puts(b, "\r\n");
}

static void put_html(struct buf *b, const char *text)
{
    for (; *text; text++) {
        const char *safe = *text == '<' ? "&lt;" : *text == '&' ? "&amp;" : NULL;
        if (safe)
            buf_puts(b, safe);
        else
            buf_putc(b, *text);
    }
}

void put_error_page(struct buf *b, unsigned status, const char *why)
{
    buf_printf(b, "<html><head><title>%u %s</title></head><body><h1>%u %s</h1><p>", status,
               http_reason(status), status, http_reason(status));
    put_html(b, why ? why : "");
    buf_puts(b, "</p></body></html>\n");
}

static bool is_cors(const struct net_reply *r)
{
    return r->route && (r->route->cors || r->route->kind == NET_RPC);
}

static void set_answer(struct net_reply *r, unsigned status, const char *content_type,
                       const struct net_header *headers, unsigned n_headers, struct buf *body)
{
    r->status = status;
    if (body) {
        r->answer_body = *body;
        *body = (struct buf){.max = body->max};
    }
    put_answer_head(&r->answer_head, status, (int64_t)r->answer_body.size, r->head.keep_alive,
                    content_type, is_cors(r), headers, n_headers);
    if (r->method && str_eq(r->method, "HEAD"))
        buf_done(&r->answer_body);
}

void reply_set_error(struct net_reply *r, unsigned status, const char *why)
{
    char realm[128];
    snprintf(realm, sizeof(realm), "Basic realm=\"%s\"", r->route ? r->route->name : "cairn");
    struct net_header ask = {"WWW-Authenticate", realm};
    _cleanup_(buf_done) struct buf page;
    buf_init(&page, HEAD_MAX);
    put_error_page(&page, status, why);
    set_answer(r, status, "text/html", &ask, status == 401, &page);
}

void reply_set_options(struct net_reply *r)
{
    struct view wanted = http_find(&r->head, "access-control-request-headers");
    char allowed[512];
    snprintf(allowed, sizeof(allowed), "%.*s%sX-Requested-With",
             (int)(wanted.size < 400 ? wanted.size : 400), wanted.p ? wanted.p : "",
             wanted.size ? ", " : "");
    const struct net_header headers[] = {{"Access-Control-Allow-Origin", "*"},
                                         {"Access-Control-Allow-Headers", allowed},
                                         {"Access-Control-Allow-Methods", "PUT"}};
    r->route = NULL; /* these stand for its own */
    set_answer(r, 200, NULL, headers, ARRAY_LEN(headers), NULL);
}

/* On the net thread, with both references. */
static void deliver(void *arg)
{
    struct net_reply *r = arg;
    r->thread->net->n_owed--;
    if (r->conn)
        conn_answer(r->conn, r);
    reply_unref(r);
}

static void hand_back(struct net_reply *r)
{
    struct net_thread *t = r->thread;
    r->given_back = true;
    if (net_thread_is_mine(t))
        deliver(r);
    else if (!net_thread_post(t, "deliver", deliver, r))
        reply_unref(r);
}

void net_reply_send(struct net_reply *r, unsigned status, const char *content_type,
                    const struct net_header *headers, unsigned n_headers, struct buf *body)
{
    set_answer(r, status, content_type, headers, n_headers, body);
    hand_back(r);
}

void net_reply_error(struct net_reply *r, unsigned status, const char *why)
{
    reply_set_error(r, status, why);
    hand_back(r);
}

void net_reply_known(struct net_reply *r)
{
    if (r->conn)
        conn_known(r->conn);
}

void net_reply_drop(struct net_reply *r)
{
    r->status = 0;
    hand_back(r);
}

void net_reply_begin(struct net_reply *r, unsigned status, const char *content_type,
                     const struct net_header *headers, unsigned n_headers)
{
    _cleanup_(buf_done) struct buf head;
    buf_init(&head, HEAD_MAX);
    put_answer_head(&head, status, -1, false, content_type, is_cors(r), headers, n_headers);
    r->begun = true;
    net_reply_more(r, head.data, head.size);
}

void net_reply_more(struct net_reply *r, const void *p, size_t size)
{
    if (r->conn)
        conn_feed(r->conn, p, size);
}

bool net_reply_is_drained(const struct net_reply *r)
{
    return !r->conn || conn_is_drained(r->conn);
}

void net_reply_on_drained(struct net_reply *r, loop_fn fn, void *arg)
{
    r->drained = fn;
    r->drained_arg = arg;
}

void net_reply_on_gone(struct net_reply *r, loop_fn fn, void *arg)
{
    r->gone = fn;
    r->gone_arg = arg;
}
