/*
 * relay.c: bytes between a client and another socket, on a net thread, without a thread of its own.
 *
 *     client ── tls? ── ws? ──►  b.out  ──► other socket
 *            ◄─ tls? ◄─ ws? ◄──  a.out  ◄──
 *
 * A side is read while less than LIMIT waits for the other one, so a slow reader slows the writer
 * down and nothing grows. An end is passed on as an end; when both sides have ended, or one is
 * broken, the relay is gone. After the first end the other side has a while left to finish.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/net_impl.h"

#define LIMIT      262144
#define OUT_MAX    (4u << 20) /* LIMIT, and what one read may become */
#define LAST_WORDS (30 * USEC_PER_SEC)

struct relay {
    struct net_thread *thread;
    struct relay *next, **at;
    struct net_peer peer;
    struct relay_side a, b; /* the client; the other socket */
    struct loop_timer *timer;
};

static void side_done(struct relay_side *s)
{
    loop_fd_del(s->watch);
    fd_close(s->fd);
    tls_free(s->tls);
    ws_free(s->ws);
    buf_done(&s->out);
}

void relay_close(struct relay *r)
{
    *r->at = r->next;
    if (r->next)
        r->next->at = r->at;
    loop_timer_free(r->timer);
    net_peer_leave(r->thread->net, &r->peer);
    side_done(&r->a);
    side_done(&r->b);
    free(r);
}

/* Payload that came from the client goes to b as it is. */
static int take_from_client(struct relay *r, const char *p, size_t size)
{
    if (!r->a.ws) {
        buf_put(&r->b.out, p, size);
        return 0;
    }
    _cleanup_(buf_done) struct buf control;
    buf_init(&control, OUT_MAX);
    int e = ws_feed(r->a.ws, p, size, &r->b.out, &control);
    if (control.size) {
        if (r->a.tls)
            e = tls_write(r->a.tls, control.data, control.size) < 0 ? -EPROTO : e;
        else
            buf_put(&r->a.out, control.data, control.size);
    }
    return e;
}

static int take_tls(struct relay *r)
{
    char plain[16384];
    for (;;) {
        ssize_t n = tls_read(r->a.tls, plain, sizeof(plain));
        if (n <= 0)
            return (int)n;
        int e = take_from_client(r, plain, (size_t)n);
        if (e < 0)
            return e;
    }
}

/* -EPIPE: the side has ended well. */
static int read_client(struct relay *r)
{
    char chunk[16384];
    ssize_t n = recv(r->a.fd, chunk, sizeof(chunk), 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -EPIPE;
    if (!r->a.tls)
        return take_from_client(r, chunk, (size_t)n);
    tls_push(r->a.tls, chunk, (size_t)n);
    return take_tls(r);
}

static int give_client(struct relay *r, const char *p, size_t size)
{
    _cleanup_(buf_done) struct buf framed;
    buf_init(&framed, OUT_MAX);
    if (r->a.ws) {
        int e = ws_wrap(r->a.ws, p, size, &framed);
        if (e < 0)
            return e;
        p = framed.data;
        size = framed.size;
    }
    if (r->a.tls)
        return tls_write(r->a.tls, p, size);
    buf_put(&r->a.out, p, size);
    return 0;
}

static int read_other(struct relay *r)
{
    char chunk[16384];
    ssize_t n = recv(r->b.fd, chunk, sizeof(chunk), 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    return n == 0 ? -EPIPE : give_client(r, chunk, (size_t)n);
}

static struct buf *output(struct relay_side *s)
{
    return s->tls ? tls_out(s->tls) : &s->out;
}

/* Sends what waits for a side; closes its direction when the other side has ended. */
static int write_side(struct relay_side *s, struct relay_side *from)
{
    struct buf *out = output(s);
    while (s->out_at < out->size) {
        ssize_t n = send(s->fd, out->data + s->out_at, out->size - s->out_at, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        s->out_at += (size_t)n;
    }
    buf_clear(out);
    s->out_at = 0;
    if (from->ended && !s->closed) {
        s->closed = true;
        shutdown(s->fd, SHUT_WR);
    }
    return 0;
}

/* The client is told that nothing more comes. */
static void end_other(struct relay *r)
{
    r->b.ended = true;
    if (r->a.ws) {
        _cleanup_(buf_done) struct buf bye;
        buf_init(&bye, 4096);
        ws_put_close(r->a.ws, &bye);
        if (r->a.tls)
            (void)!tls_write(r->a.tls, bye.data, bye.size);
        else
            buf_put(&r->a.out, bye.data, bye.size);
    }
    if (r->a.tls)
        tls_shutdown(r->a.tls);
}

static size_t waiting(struct relay_side *s)
{
    return output(s)->size - s->out_at;
}

static void rewatch(struct relay *r)
{
    unsigned a =
        (!r->a.ended && waiting(&r->b) < LIMIT ? LOOP_READ : 0) | (waiting(&r->a) ? LOOP_WRITE : 0);
    unsigned b =
        (!r->b.ended && waiting(&r->a) < LIMIT ? LOOP_READ : 0) | (waiting(&r->b) ? LOOP_WRITE : 0);
    loop_fd_set(r->a.watch, a);
    loop_fd_set(r->b.watch, b);
    if (r->a.ended || r->b.ended)
        loop_timer_set(r->timer, clock_now() + LAST_WORDS);
}

/* After reading; e: how that went. */
static void go_on(struct relay *r, int e)
{
    if (e >= 0)
        e = write_side(&r->a, &r->b);
    if (e >= 0)
        e = write_side(&r->b, &r->a);
    if (e < 0 || !buf_ok(&r->a.out) || !buf_ok(&r->b.out) || (r->a.closed && r->b.closed))
        relay_close(r);
    else
        rewatch(r);
}

static void on_client(void *arg, int fd, unsigned events)
{
    struct relay *r = arg;
    int e = events & LOOP_READ && !r->a.ended ? read_client(r) : 0;
    if (e == -EPIPE) {
        r->a.ended = true;
        e = 0;
    }
    go_on(r, e);
}

static void on_other(void *arg, int fd, unsigned events)
{
    struct relay *r = arg;
    int e = events & LOOP_READ && !r->b.ended ? read_other(r) : 0;
    if (e == -EPIPE) {
        end_other(r);
        e = 0;
    }
    go_on(r, e);
}

static void on_last_words_over(void *arg)
{
    relay_close(arg);
}

static void start(void *arg)
{
    struct relay *r = arg;
    struct net_thread *t = r->thread;
    r->next = t->relays;
    r->at = &t->relays;
    if (r->next)
        r->next->at = &r->next;
    t->relays = r;
    r->timer = loop_timer_new(t->loop, on_last_words_over, r);
    fd_set_nonblocking(r->a.fd);
    fd_set_nonblocking(r->b.fd);
    r->a.watch = loop_fd_add(t->loop, r->a.fd, LOOP_READ, on_client, r);
    r->b.watch = loop_fd_add(t->loop, r->b.fd, LOOP_READ, on_other, r);
    int e = 0;
    if (r->a.ws && r->b.out.size) { /* frames came with the handshake */
        struct buf early = r->b.out;
        buf_init(&r->b.out, OUT_MAX);
        e = take_from_client(r, early.data, early.size);
        buf_done(&early);
    }
    if (e >= 0 && r->a.tls)
        e = take_tls(r);
    if (e == -EPIPE) {
        r->a.ended = true;
        e = 0;
    }
    go_on(r, e);
}

void relay_start(struct net_thread *t, const struct net_peer *peer, int a, struct tls *tls, bool ws,
                 struct buf *first, int b)
{
    struct relay *r = mem_new(struct relay);
    r->thread = t;
    r->peer = *peer;
    r->a.fd = a;
    r->a.tls = tls;
    r->a.ws = ws ? ws_new() : NULL;
    r->b.fd = b;
    buf_init(&r->a.out, OUT_MAX);
    r->b.out = *first;
    r->b.out.max = OUT_MAX;
    *first = (struct buf){0};
    net_thread_post(t, "relay_start", start, r);
}
