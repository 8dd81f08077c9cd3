/*
 * conn.c: the machine of one connection, on its net thread.
 *
 *            head complete          body complete           answer given
 *   HEAD ─────────────────► BODY ─────────────────► OWED ─────────────────► SEND
 *    ▲ │                     │                       │ client leaves          │ all sent
 *    │ │ refused             │ refused               ▼                        │
 *    │ └──────────► SEND ◄───┘                      END                       │
 *    └───────────────────────── keep-alive ◄──────────────────────────────────┤
 *                                                   LINGER ◄── refused early ─┤
 *                                                   END    ◄── close ─────────┘
 *
 * conn_run() goes through the states until nothing more can be done, so pipelined requests are
 * served one after the other without recursion. LINGER reads and drops what a refused client is
 * still sending, because closing at once would destroy the answer on its way.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define LOG_MODULE "net"
#include "base/fd.h"
#include "base/log.h"
#include "net/conn_impl.h"

static void on_timer(void *arg);
static void on_socket(void *arg, int fd, unsigned events);
static void conn_run(struct conn *c);

struct conn *conn_new(struct net *n, struct net_thread *t, int fd, const struct net_peer *peer,
                      struct tls_context *tls)
{
    struct conn *c = mem_new(struct conn);
    c->net = n;
    c->thread = t;
    c->peer = *peer;
    c->fd = fd;
    c->tls_context = tls;
    c->serial = n->next_serial++;
    c->milestone = clock_now();
    buf_init(&c->in, n->config.rpc_body_max + HTTP_HEAD_MAX + PIPELINE_MAX);
    buf_init(&c->out, HTTP_HEAD_MAX + PIPELINE_MAX);
    return c;
}

uint64_t conn_serial(const struct conn *c)
{
    return c->serial;
}

static void watch(struct conn *c, unsigned events)
{
    if (events != c->watching)
        loop_fd_set(c->watch, events);
    c->watching = events;
}

static void conn_start(void *arg)
{
    struct conn *c = arg;
    struct net_thread *t = c->thread;
    conn_enlist(c);
    c->watching = LOOP_READ;
    c->watch = loop_fd_add(t->loop, c->fd, LOOP_READ, on_socket, c);
    c->timer = loop_timer_new(t->loop, on_timer, c);
    if (c->state == HEAD) {
        conn_set_timer(c, c->net->config.head_time);
        return;
    }
    conn_begin_transfer(c, c->body.size + (uint64_t)c->file.size);
    c->state = conn_account(c) ? SEND : END;
    conn_run(c);
}

/* Takes the connection off its thread; what it holds stays. */
static void unhook(struct conn *c)
{
    conn_delist(c);
    loop_fd_del(c->watch);
    loop_timer_free(c->timer);
}

static void conn_free(struct conn *c)
{
    conn_unaccount(c);
    tls_free(c->tls);
    buf_done(&c->in);
    buf_done(&c->out);
    buf_done(&c->body);
    conn_drop_file(c);
    free(c);
}

void conn_close(struct conn *c)
{
    unhook(c);
    if (c->r)
        reply_gone(c->r);
    net_peer_leave(c->net, &c->peer);
    fd_close(c->fd);
    conn_free(c);
}

/* A connection whose thread has ended. */
static void discard(struct conn *c)
{
    net_peer_leave(c->net, &c->peer);
    fd_close(c->fd);
    conn_free(c);
}

void conn_send_off(struct conn *c)
{
    if (net_thread_is_mine(c->thread))
        conn_start(c);
    else if (!net_thread_post(c->thread, "conn_start", conn_start, c))
        discard(c);
}

void conn_finish(struct net_thread *t, int fd, struct tls *tls, const struct net_peer *peer,
                 struct buf *rest, const struct net_file *file)
{
    struct conn *c = conn_new(t->net, t, fd, peer, NULL);
    c->tls = tls;
    c->state = SEND;
    c->refused = true; /* what still comes is dropped */
    if (rest) {
        c->body = *rest;
        *rest = (struct buf){0};
    }
    if (file)
        c->file = *file;
    conn_send_off(c);
}

/* ---- the states ---- */

/* The answer is in c->r; it goes out, and the request is done with. */
static void begin_send(struct conn *c)
{
    struct net_reply *r = steal(&c->r);
    r->conn = NULL;
    buf_put(&c->out, r->answer_head.data, r->answer_head.size);
    c->body = r->answer_body;
    r->answer_body = (struct buf){0};
    c->close = c->refused || r->begun || !r->head.keep_alive;
    c->state = r->status || r->begun ? SEND : END;
    if (!conn_account(c))
        c->state = END;
    c->milestone = clock_now();
    conn_begin_transfer(c, c->body.size);
    log_debug("event=request method=%s path=%s peer=%s status=%u bytes=%zu us=%llu",
              r->method ? r->method : "-", r->path ? r->path : "-",
              *c->peer.address ? c->peer.address : "local", r->status, c->body.size,
              c->began ? (unsigned long long)(clock_now() - c->began) : 0ull);
    c->began = 0;
    reply_unref(r);
}

/* Refuses the current request with a page; what is left of it is not read. */
static void refuse(struct conn *c, unsigned status, const char *why)
{
    c->refused = true;
    c->r->head.keep_alive = false;
    c->net->n_refused++;
    reply_set_error(c->r, status, why);
    begin_send(c);
}

static bool prefix_fits(const char *prefix, const char *path)
{
    return strncmp(prefix, path, strlen(prefix)) == 0;
}

/* Is `e` nearer than `best`? A named method before any method. */
static bool is_nearer(const struct net_route *e, const struct net_route *best)
{
    size_t a = strlen(e->path_prefix), b = best ? strlen(best->path_prefix) : 0;
    return !best || a > b || (a == b && str_eq(best->method, "*"));
}

/* The route with the longest prefix; *ret_method tells whether the method has any. */
static const struct net_route *find_route(const struct net *n, const char *method, const char *path,
                                          bool *ret_method)
{
    const struct net_route *best = NULL;
    for (unsigned i = 0; i <= n->config.n_routes; i++) {
        const struct net_route *e = i < n->config.n_routes ? &n->config.routes[i] : &n->files;
        bool named = e->method && str_eq(e->method, method);
        if (!named && !(e->method && str_eq(e->method, "*")))
            continue;
        *ret_method = *ret_method || named;
        if (prefix_fits(e->path_prefix, path) && is_nearer(e, best))
            best = e;
    }
    bool files =
        n->files.method && ((best && best->kind == NET_FILES) || (!best && str_eq(method, "HEAD")));
    if (files || (best && best->kind == NET_FILES))
        best = files ? &n->files : NULL;
    return best;
}

static void count_route(struct net *n, const struct net_route *r)
{
    bool own = r == &n->files;
    n->route_requests[own ? n->config.n_routes : (size_t)(r - n->config.routes)]++;
}

/* A preflight is answered for every path under which something may be read from elsewhere. */
static bool is_preflight(const struct net *n, const struct net_reply *r)
{
    bool any = false;
    if (!str_eq(r->method, "OPTIONS"))
        return false;
    const struct net_route *own = find_route(n, "OPTIONS", r->path, &any);
    if (own && str_eq(own->method, "*"))
        return false;
    const struct net_route *post = find_route(n, "POST", r->path, &any);
    const struct net_route *get = find_route(n, "GET", r->path, &any);
    return (post && (post->cors || post->kind == NET_RPC)) || (get && get->cors);
}

/* Hands the connection to a stream thread: *cp is NULL then. True when it goes on here. */
static bool take_over(struct conn **cp)
{
    struct conn *c = *cp;
    if (!streams_admit(c->net, &c->peer)) {
        refuse(c, 503, "There are too many connections");
        return true;
    }
    if (c->r->head.expect_continue && !c->in.size)
        buf_puts(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    if (conn_flush(c) <= 0) { /* so few bytes always fit, unless the client is gone */
        c->state = END;
        return false;
    }
    unhook(c);
    stream_start(c->net, c->thread, c->fd, steal(&c->tls), &c->in, steal(&c->r));
    conn_free(c);
    *cp = NULL;
    return false;
}

/* Does the handler wait for the whole body? One that is too long or of unknown length is its own
 * matter. */
static bool is_gathered(const struct net_reply *r)
{
    return r->route && r->route->kind == NET_TAKEOVER && r->head.has_length &&
           r->head.length <= r->route->gather;
}

static size_t body_max(const struct conn *c)
{
    if (is_gathered(c->r))
        return c->r->route->gather;
    return c->r->route && c->r->route->kind == NET_RPC ? c->net->config.rpc_body_max
                                                       : SIMPLE_BODY_MAX;
}

static void begin_body(struct conn *c)
{
    const struct http_head *h = &c->r->head;
    if (h->has_length && h->length > body_max(c)) {
        refuse(c, 500, "The request is too large");
        return;
    }
    buf_init(&c->r->body, body_max(c));
    c->chunks = (struct http_chunks){0};
    c->state = BODY;
    if (!h->chunked && c->in.size >= h->length)
        return; /* all there: no need for a timer */
    if (h->expect_continue && !c->in.size)
        buf_puts(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    conn_begin_transfer(c, h->has_length ? h->length : body_max(c));
}

/* False when more bytes are needed, or the connection is not ours any more (*c is NULL then). */
static bool run_head(struct conn **cp)
{
    struct conn *c = *cp;
    ssize_t size = http_head_end((struct view){c->in.data, c->in.size}, &c->scanned);
    if (size == 0) {
        if (c->in.size && !c->started) {
            c->started = true;
            conn_set_timer(c, c->net->config.head_time);
        }
        return false;
    }
    unsigned status = size < 0 ? (unsigned)-size : 0;
    struct view head = {c->in.data, size < 0 ? 0 : (size_t)size};
    unsigned bad = 0;
    c->r = reply_new(c->thread, &c->peer, head, &bad);
    c->r->conn = c;
    c->milestone = clock_now();
    c->started = false;
    c->scanned = 0;
    buf_consume(&c->in, head.size);
    c->net->n_requests++;
    if (status || bad) {
        refuse(c, status ? status : bad, "The request cannot be understood");
        return true;
    }
    if (c->net->refusing) {
        refuse(c, 503, "The host is stopping");
        return true;
    }
    if (is_preflight(c->net, c->r)) {
        begin_body(c);
        return true;
    }
    bool has_method = false;
    c->r->route = find_route(c->net, c->r->method, c->r->path, &has_method);
    if (!c->r->route) {
        refuse(c, !has_method ? 501 : 403, "Nothing is to be had here by that method");
        return true;
    }
    count_route(c->net, c->r->route);
    if (secure_turn_away(c->net, c->r)) {
        c->refused = true;
        begin_send(c);
        return true;
    }
    c->r->req.rest = c->r->path + strlen(c->r->route->path_prefix);
    if (c->r->route->kind == NET_TAKEOVER && !is_gathered(c->r))
        return take_over(cp);
    begin_body(c);
    return true;
}

static void dispatch(struct conn *c)
{
    struct net_reply *r = c->r;
    r->req.body = (struct view){r->body.data ? r->body.data : "", r->body.size};
    if (!r->route) {
        reply_set_options(r);
        begin_send(c);
        return;
    }
    c->state = OWED;
    c->began = clock_now();
    conn_set_timer(c, USEC_NEVER);
    r->req.loop = c->thread->loop;
    r->refs++; /* the handler's */
    c->net->n_owed++;
    r->route->call(c->net->config.arg, &r->req, r);
}

static void take_body(struct conn *c, size_t size)
{
    struct net_reply *r = c->r;
    if (size == c->in.size && size > 4096) { /* the whole buffer, without a copy */
        size_t max = c->in.max;
        r->body = c->in;
        buf_init(&c->in, max);
        return;
    }
    buf_put(&r->body, c->in.data, size);
    buf_consume(&c->in, size);
}

static bool run_body(struct conn **cp)
{
    struct conn *c = *cp;
    const struct http_head *h = &c->r->head;
    if (h->chunked) {
        bool done;
        ssize_t n =
            http_chunks_feed(&c->chunks, (struct view){c->in.data, c->in.size}, &c->r->body, &done);
        if (n < 0) {
            refuse(c, n == -E2BIG ? 500 : 400, "The body is too large or malformed");
            return true;
        }
        buf_consume(&c->in, (size_t)n);
        if (!done)
            return false;
    } else {
        if (c->in.size < h->length)
            return false;
        if (is_gathered(c->r))
            return take_over(cp);
        take_body(c, h->has_length ? (size_t)h->length : 0);
    }
    dispatch(c);
    return true;
}

static bool run_send(struct conn *c)
{
    int r = conn_flush(c);
    if (r == 0)
        return false;
    if (r < 0 || (c->close && !c->refused)) {
        if (r > 0)
            conn_say_goodbye(c);
        c->state = END;
        return true;
    }
    if (c->refused) {
        conn_say_goodbye(c);
        c->state = c->ended ? END : LINGER;
        shutdown(c->fd, SHUT_WR);
        buf_clear(&c->in);
        conn_set_timer(c, LINGER_TIME);
        return true;
    }
    c->state = HEAD;
    c->served = true;
    c->milestone = clock_now();
    if (!c->in.size)
        buf_done(&c->in); /* an idle connection holds no buffer */
    (void)conn_account(c);
    conn_set_timer(c, c->net->config.idle_time);
    return true;
}

/* One step; false when nothing more can be done now. */
static bool step(struct conn **cp)
{
    struct conn *c = *cp;
    switch (c->state) {
    case HEAD:
        return run_head(cp);
    case BODY:
        return run_body(cp);
    case SEND:
        return run_send(c);
    default:
        return false;
    }
}

/* What to wait for now. */
static void rewatch(struct conn *c)
{
    bool full = c->state == OWED && c->in.size >= PIPELINE_MAX;
    unsigned events = (c->state != SEND && !full && !c->ended) ? LOOP_READ : 0;
    if (conn_has_output(c))
        events |= LOOP_WRITE;
    if (c->tls && !tls_is_ready(c->tls) && !tls_out(c->tls)->size)
        events = LOOP_READ;
    watch(c, events);
}

/* The client sends no more: an unfinished request is dropped, one that is being answered counts as
 * left, for who waits for an answer keeps the connection open. */
static bool is_over(const struct conn *c)
{
    return c->state == END || (c->ended && c->state != SEND);
}

/* A request that has begun is told; an idle connection, or one without a handshake, is not. */
static void give_up(struct conn *c)
{
    if (c->state == HEAD && !c->in.size) {
        c->state = END;
        return;
    }
    if (c->state == HEAD) {
        unsigned bad;
        c->r = reply_new(c->thread, &c->peer, (struct view){"", 0}, &bad);
        c->r->conn = c;
    }
    refuse(c, 408, "The request did not arrive in time");
}

/* The pieces given so far are sent; the answer may go on. */
static void note_drained(struct conn *c)
{
    conn_set_timer(c, USEC_NEVER);
    if (c->r->drained)
        c->r->drained(c->r->drained_arg);
}

static void conn_run(struct conn *c)
{
    if (c->running)
        return;
    c->running = true;
    while (step(&c))
        ;
    if (c && c->overdue && (c->state == HEAD || c->state == BODY)) {
        give_up(c);
        while (step(&c))
            ;
    }
    if (!c)
        return; /* taken over */
    c->running = false;
    bool pending = c->state != SEND && conn_has_output(c);
    if (!is_over(c) && pending && conn_flush(c) < 0)
        c->state = END; /* handshakes, 100 Continue, pieces of an answer */
    if (is_over(c)) {
        conn_close(c);
        return;
    }
    rewatch(c);
    if (pending && c->r && c->r->begun && !conn_has_output(c))
        note_drained(c); /* last: it may end the connection */
}

void conn_answer(struct conn *c, struct net_reply *r)
{
    c->r = r;
    begin_send(c);
    conn_run(c);
}

/* A connection that breaks here is closed from the loop, for the caller still holds the reply. */
void conn_feed(struct conn *c, const void *p, size_t size)
{
    c->out.max = FEED_MAX;
    c->transfer_end = USEC_NEVER;
    bool idle = !conn_has_output(c);
    buf_put(&c->out, p, size);
    if (!buf_ok(&c->out) || (idle && conn_flush(c) < 0)) {
        conn_set_timer(c, 0);
        return;
    }
    if (idle)
        conn_set_timer(c, conn_has_output(c) ? c->net->config.stall_time : USEC_NEVER);
    if (!c->running)
        rewatch(c);
}

bool conn_is_drained(const struct conn *c)
{
    return !conn_has_output(c);
}

static void on_socket(void *arg, int fd, unsigned events)
{
    struct conn *c = arg;
    if (events & LOOP_READ && c->state != SEND) {
        size_t before = c->in.size;
        int r = conn_receive(c);
        if (r < 0) {
            log_debug("event=connection-broken peer=%s errno=%d", c->peer.address, -r);
            conn_flush(c); /* perhaps a TLS alert */
            conn_close(c);
            return;
        }
        if (c->state == BODY && c->in.size > before)
            conn_note_progress(c);
    }
    conn_run(c);
}

/* Time is up: what has arrived by now counts, for it may be us who are late. */
static void on_timer(void *arg)
{
    struct conn *c = arg;
    bool reading = c->state == HEAD || c->state == BODY;
    if (!reading || conn_receive(c) < 0) {
        conn_close(c);
        return;
    }
    c->overdue = true;
    conn_run(c);
}
