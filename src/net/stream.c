/*
 * stream.c: taken-over connections: the threads that run their handlers, and the blocking face.
 *
 * The socket stays non-blocking; a function that has to wait does so in poll(), with a deadline.
 * When the daemon ends, net_free shuts the sockets down, so every wait ends as well.
 *
 * A thread is dear: who is not known yet may have half of them at most, and may not trickle. What a
 * handler leaves behind when it closes - a rest of the answer, a client that still sends - is the
 * net thread's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "net"
#include "base/fd.h"
#include "base/log.h"
#include "base/turn.h"
#include "net/net_impl.h"

static void *run_worker(void *arg);

/* ---- the threads ---- */

static void enlist(struct net *n, struct net_stream *s)
{
    s->all_next = n->streams;
    s->all_at = &n->streams;
    if (s->all_next)
        s->all_next->all_at = &s->all_next;
    n->streams = s;
}

/* Under the lock. */
static void be_no_stranger(struct net_stream *s)
{
    s->net->n_strange_streams -= s->strange;
    s->strange = false;
}

static void delist(struct net_stream *s)
{
    mutex_lock(&s->net->lock);
    be_no_stranger(s);
    *s->all_at = s->all_next;
    if (s->all_next)
        s->all_next->all_at = s->all_at;
    mutex_unlock(&s->net->lock);
}

static void add_worker(struct net *n)
{
    pthread_t t;
    if (pthread_create(&t, NULL, run_worker, n) == 0)
        vec_push(&n->workers, t);
    else
        log_err("event=no-stream-thread streams=%zu", n->workers.n);
}

bool streams_admit(struct net *n, const struct net_peer *peer)
{
    mutex_lock(&n->lock);
    bool room = n->n_strange_streams < (n->config.max_streams + 1) / 2;
    mutex_unlock(&n->lock);
    return room || peer->known || peer->kind == NET_LOCAL;
}

void stream_start(struct net *n, struct net_thread *t, int fd, struct tls *tls, struct buf *early,
                  struct net_reply *request)
{
    struct net_stream *s = mem_new(struct net_stream);
    *s = (struct net_stream){.net = n,
                             .thread = t,
                             .request = request,
                             .fd = fd,
                             .tls = tls,
                             .early = *early,
                             .strange =
                                 !request->req.peer.known && request->req.peer.kind != NET_LOCAL,
                             .begun = clock_now(),
                             .patience = n->config.stall_time};
    *early = (struct buf){0};
    request->conn = NULL;
    mutex_lock(&n->lock);
    enlist(n, s);
    n->n_strange_streams += s->strange;
    *n->queue_end = s;
    n->queue_end = &s->next;
    if (++n->n_queued > n->idle_workers && n->workers.n < n->config.max_streams)
        add_worker(n);
    pthread_cond_signal(&n->work);
    mutex_unlock(&n->lock);
}

/* The next stream to serve; NULL at the end. *ret_late: only to be closed. */
static struct net_stream *next_stream(struct net *n, bool *ret_late)
{
    mutex_lock(&n->lock);
    n->idle_workers++;
    while (!n->queue && !n->stopping)
        cond_wait(&n->work, &n->lock);
    n->idle_workers--;
    struct net_stream *s = n->queue;
    *ret_late = n->stopping;
    if (s) {
        n->n_queued--;
        n->queue = s->next;
        if (!n->queue)
            n->queue_end = &n->queue;
    }
    mutex_unlock(&n->lock);
    return s;
}

static void *run_worker(void *arg)
{
    struct net *n = arg;
    pthread_setname_np(pthread_self(), "stream");
    turn_shorten();
    bool late;
    for (struct net_stream *s; (s = next_stream(n, &late));) {
        struct net_reply *r = s->request;
        if (late) {
            net_stream_close(s);
            continue;
        }
        r->refs++; /* the request outlives a stream that is closed inside */
        r->route->takeover(r->route == &n->files ? n : n->config.arg, &r->req, s);
        reply_unref(r);
    }
    return NULL;
}

void streams_shut(struct net *n, int how)
{
    mutex_lock(&n->lock);
    for (struct net_stream *s = n->streams; s; s = s->all_next)
        shutdown(s->fd, how);
    mutex_unlock(&n->lock);
}

void streams_stop(struct net *n)
{
    mutex_lock(&n->lock);
    n->stopping = true;
    pthread_cond_broadcast(&n->work);
    mutex_unlock(&n->lock);
    streams_shut(n, SHUT_RDWR);
    vec_each (t, &n->workers)
        pthread_join(*t, NULL);
}

/* ---- reading and writing ---- */

#define SLICE_MS 250 /* between two looks at `stop` */

static bool is_stopped(const struct net_stream *s)
{
    return s->stop && s->stop(s->stop_arg);
}

/* How long the next poll may last, of what is left; -1: for ever. */
static int slice_of(const struct net_stream *s, usec_t left)
{
    usec_t ms = left / USEC_PER_MSEC;
    if (s->stop)
        return ms > SLICE_MS ? SLICE_MS : (int)ms;
    return left == USEC_NEVER || ms > INT32_MAX ? -1 : (int)ms;
}

/* A stranger's bytes have to make SLOWEST on the whole, beside the time for a stall. */
static usec_t time_left(const struct net_stream *s, usec_t patience)
{
    if (!s->strange)
        return patience;
    usec_t end = s->begun + s->net->config.stall_time + s->moved * USEC_PER_SEC / SLOWEST;
    usec_t now = clock_now(), left = end > now ? end - now : 0;
    return left < patience ? left : patience;
}

/* Waits until the socket is ready for `events`. */
static int wait_for(struct net_stream *s, short events, usec_t patience)
{
    struct pollfd p = {.fd = s->fd, .events = events};
    for (usec_t left = time_left(s, patience);;) {
        int slice = slice_of(s, left);
        int n = poll(&p, 1, slice);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (is_stopped(s))
            return -ECANCELED;
        usec_t waited = n == 0 && slice > 0 ? (usec_t)slice * USEC_PER_MSEC : 0;
        if (n == 0 && left != USEC_NEVER && (waited == 0 || left - waited < USEC_PER_MSEC))
            return -ETIMEDOUT;
        left -= left == USEC_NEVER ? 0 : waited;
    }
}

static int send_all(struct net_stream *s, const char *p, size_t size)
{
    while (size) {
        ssize_t n = send(s->fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            int r = wait_for(s, POLLOUT, s->net->config.stall_time);
            if (r < 0)
                return r;
        } else if (n < 0 && errno != EINTR) {
            return -errno;
        } else if (n > 0) {
            p += n;
            size -= (size_t)n;
            s->moved += (size_t)n;
        }
    }
    return 0;
}

static int send_tls(struct net_stream *s)
{
    struct buf *out = tls_out(s->tls);
    int r = send_all(s, out->data, out->size);
    buf_clear(out);
    return r;
}

/* What the socket has, waiting for it. */
static ssize_t receive(struct net_stream *s, void *p, size_t size)
{
    for (;;) {
        ssize_t n = recv(s->fd, p, size, 0);
        s->moved += n > 0 ? (size_t)n : 0;
        if (n >= 0)
            return n;
        int r = errno == EAGAIN ? wait_for(s, POLLIN, s->patience) : errno == EINTR ? 0 : -errno;
        if (r < 0)
            return r;
    }
}

static ssize_t read_tls(struct net_stream *s, void *p, size_t size)
{
    char chunk[65536];
    for (;;) {
        ssize_t n = tls_read(s->tls, p, size);
        int r = send_tls(s);
        if (n > 0)
            return n;
        if (n < 0 || r < 0)
            return n == -EPIPE ? 0 : n < 0 ? n : r;
        n = receive(s, chunk, sizeof(chunk));
        if (n <= 0)
            return n;
        tls_push(s->tls, chunk, (size_t)n);
    }
}

static size_t early_left(const struct net_stream *s)
{
    return s->early.size - s->early_at;
}

ssize_t net_stream_read(struct net_stream *s, void *p, size_t size)
{
    size_t n = early_left(s) < size ? early_left(s) : size;
    if (n) {
        memcpy(p, s->early.data + s->early_at, n);
        s->early_at += n;
        return (ssize_t)n;
    }
    return s->tls ? read_tls(s, p, size) : receive(s, p, size);
}

int net_stream_read_all(struct net_stream *s, void *p, size_t size)
{
    while (size) {
        ssize_t n = net_stream_read(s, p, size);
        if (n <= 0)
            return n < 0 ? (int)n : -ENODATA;
        p = (char *)p + n;
        size -= (size_t)n;
    }
    return 0;
}

int net_stream_write(struct net_stream *s, const void *p, size_t size)
{
    if (!s->tls)
        return send_all(s, p, size);
    for (const char *at = p; size;) {
        size_t n = size < SEND_CHUNK ? size : SEND_CHUNK;
        int r = tls_write(s->tls, at, n);
        if (r >= 0)
            r = send_tls(s);
        if (r < 0)
            return r;
        at += n;
        size -= n;
    }
    return 0;
}

void net_stream_set_patience(struct net_stream *s, usec_t wait)
{
    s->patience = wait;
}

void net_stream_watch(struct net_stream *s, bool (*stop)(void *arg), void *arg)
{
    s->stop = stop;
    s->stop_arg = arg;
}

int net_stream_head(struct net_stream *s, unsigned status, const char *content_type,
                    const struct net_header *headers, unsigned n_headers)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 65536);
    put_answer_head(&b, status, -1, false, content_type, s->request->route->cors, headers,
                    n_headers);
    return buf_ok(&b) ? net_stream_write(s, b.data, b.size) : -E2BIG;
}

int net_stream_error(struct net_stream *s, unsigned status, const char *why)
{
    struct net_reply *r = s->request;
    buf_clear(&r->answer_head);
    buf_done(&r->answer_body);
    r->head.keep_alive = false;
    reply_set_error(r, status, why);
    int e = net_stream_write(s, r->answer_head.data, r->answer_head.size);
    return e < 0 ? e : net_stream_write(s, r->answer_body.data, r->answer_body.size);
}

/* ---- the end of a stream ---- */

/* Frees the stream; its socket and TLS session have been closed or handed on. */
static void stream_free(struct net_stream *s)
{
    delist(s);
    buf_done(&s->early);
    reply_unref(s->request);
    free(s);
}

void net_stream_known(struct net_stream *s)
{
    net_peer_known(s->net, &s->request->req.peer);
    mutex_lock(&s->net->lock);
    be_no_stranger(s);
    mutex_unlock(&s->net->lock);
}

static void leave(struct net_stream *s)
{
    net_peer_leave(s->net, &s->request->req.peer);
    int fd = s->fd;
    stream_free(s); /* off the list first: nobody shuts a recycled number down */
    fd_close(fd);
}

void net_stream_abort(struct net_stream *s)
{
    if (!s)
        return;
    tls_free(s->tls); /* without a good-bye: that is how TLS tells a torn connection */
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    leave(s);
}

void net_stream_finish_file(struct net_stream *s, struct buf *rest, const struct net_file *file)
{
    struct net_thread *t = s->thread;
    struct net_peer peer = s->request->req.peer;
    struct tls *tls = s->tls;
    int fd = s->fd;
    stream_free(s); /* off the list first: nobody shuts a recycled number down */
    conn_finish(t, fd, tls, &peer, rest, file);
}

void net_stream_finish(struct net_stream *s, struct buf *rest)
{
    net_stream_finish_file(s, rest, NULL);
}

void net_stream_close(struct net_stream *s)
{
    if (s)
        net_stream_finish(s, NULL);
}

int net_stream_take_fd(struct net_stream *s, struct buf *ret_early)
{
    if (early_left(s) && !ret_early)
        return -EBUSY;
    int pair[2] = {s->fd, -1};
    if (s->tls && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    if (ret_early)
        buf_put(ret_early, s->early.data + s->early_at, early_left(s));
    int fd = pair[0];
    if (s->tls) {
        s->early_at = s->early.size; /* the caller has them */
        net_stream_relay(s, pair[1]);
    } else {
        net_peer_leave(s->net, &s->request->req.peer);
        stream_free(s);
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

void net_stream_relay(struct net_stream *s, int fd)
{
    struct buf rest;
    buf_init(&rest, s->early.max);
    buf_put(&rest, s->early.data + s->early_at, early_left(s));
    int client = s->fd;
    struct tls *tls = s->tls;
    bool ws = s->websocket;
    struct net_thread *t = s->thread;
    struct net_peer peer = s->request->req.peer;
    stream_free(s);
    relay_start(t, &peer, client, tls, ws, &rest, fd);
}
