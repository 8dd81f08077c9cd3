/* conn_io.c: the bytes of a connection, in and out, and how long they may take; see conn_impl.h. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/fd.h"
#include "net/conn_impl.h"

/* ---- times ---- */

void conn_set_timer(struct conn *c, usec_t wait)
{
    c->overdue = false;
    loop_timer_set(c->timer, wait == USEC_NEVER ? USEC_NEVER : clock_now() + wait);
}

void conn_begin_transfer(struct conn *c, uint64_t size)
{
    usec_t stall = c->net->config.stall_time;
    c->transfer_end = clock_now() + stall + size * USEC_PER_SEC / SLOWEST;
    conn_set_timer(c, stall);
}

void conn_note_progress(struct conn *c)
{
    usec_t now = clock_now(), end = now + c->net->config.stall_time;
    if (c->state == SEND)
        c->milestone = now;
    loop_timer_set(c->timer, end < c->transfer_end ? end : c->transfer_end);
}

/* ---- bytes in ---- */

static int decrypt(struct conn *c, const char *p, size_t size)
{
    c->tls = c->tls ? c->tls : tls_new(c->tls_context);
    tls_push(c->tls, p, size);
    for (;;) {
        char *at = buf_reserve(&c->in, 16384);
        if (!at)
            return -E2BIG;
        ssize_t n = tls_read(c->tls, at, 16384);
        if (n > 0) {
            buf_added(&c->in, (size_t)n);
            continue;
        }
        if (!c->in.size)
            buf_done(&c->in); /* a handshake holds no buffer */
        c->ended = c->ended || n == -EPIPE;
        return n == -EPIPE ? 0 : (int)n;
    }
}

static int take(struct conn *c, const char *p, size_t size)
{
    int r = 0;
    if (c->tls_context)
        r = decrypt(c, p, size);
    else
        buf_put(&c->in, p, size);
    if (!c->shook && c->tls && tls_is_ready(c->tls)) {
        c->shook = true;
        c->milestone = clock_now();
    }
    if (r < 0 || !buf_ok(&c->in))
        return r < 0 ? r : -E2BIG;
    return conn_account(c) ? 0 : -ENOBUFS;
}

int conn_receive(struct conn *c)
{
    char chunk[16384];
    for (int round = 0; round < 8; round++) {
        ssize_t n = recv(c->fd, chunk, sizeof(chunk), 0);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0) {
            c->ended = true;
            return 0;
        }
        int r = c->state == LINGER ? 0 : take(c, chunk, (size_t)n);
        if (r < 0)
            return r;
        if ((size_t)n < sizeof(chunk))
            return 0;
    }
    return 0;
}

/* ---- bytes out ---- */

/* Ciphertext is made as it can be sent, so that a large answer does not exist twice. */
static int encrypt_more(struct conn *c)
{
    while (c->out_at < c->out.size) {
        int r = tls_write(c->tls, c->out.data + c->out_at, c->out.size - c->out_at);
        if (r < 0)
            return r;
        c->out_at = c->out.size;
    }
    while (c->body_at < c->body.size && tls_out(c->tls)->size < TLS_OUT_MAX) {
        size_t n = c->body.size - c->body_at < SEND_CHUNK ? c->body.size - c->body_at : SEND_CHUNK;
        int r = tls_write(c->tls, c->body.data + c->body_at, n);
        if (r < 0)
            return r;
        c->body_at += n;
    }
    return 0;
}

static struct iovec rest_of(const struct buf *b, size_t at)
{
    return (struct iovec){b->data ? b->data + at : NULL, b->size - at};
}

static ssize_t send_some(struct conn *c)
{
    if (c->tls) {
        struct buf *out = tls_out(c->tls);
        ssize_t n = send(c->fd, out->data, out->size, MSG_NOSIGNAL);
        if (n > 0)
            buf_consume(out, (size_t)n);
        return n;
    }
    struct iovec v[2] = {rest_of(&c->out, c->out_at), rest_of(&c->body, c->body_at)};
    struct msghdr msg = {.msg_iov = v, .msg_iovlen = 2};
    ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    if (n > 0) {
        size_t head = (size_t)n < v[0].iov_len ? (size_t)n : v[0].iov_len;
        c->out_at += head;
        c->body_at += (size_t)n - head;
    }
    return n;
}

void conn_drop_file(struct conn *c)
{
    if (c->file.size)
        fd_close(c->file.fd);
    c->file = (struct net_file){0};
}

/* The next piece of the file behind the body, when that has gone. What is served stands in the page
 * cache, mostly. */
static int read_ahead(struct conn *c)
{
    if (!c->file.size || c->body_at < c->body.size)
        return 0;
    size_t n = c->file.size < SEND_CHUNK ? (size_t)c->file.size : SEND_CHUNK;
    buf_done(&c->body);
    buf_init(&c->body, SEND_CHUNK);
    c->body_at = 0;
    int r = fd_pread_all(c->file.fd, buf_reserve(&c->body, n), n, c->file.at);
    if (r < 0)
        return r; /* it has become shorter: half an answer */
    buf_added(&c->body, n);
    c->file.at += (int64_t)n;
    if (c->file.size == (int64_t)n)
        conn_drop_file(c);
    else
        c->file.size -= (int64_t)n;
    return 0;
}

bool conn_has_output(const struct conn *c)
{
    return c->out_at < c->out.size || c->body_at < c->body.size || c->file.size ||
           (c->tls && tls_out(c->tls)->size);
}

int conn_flush(struct conn *c)
{
    for (size_t sent = 0; conn_has_output(c) && sent < SEND_TURN;) {
        int r = read_ahead(c);
        if (r == 0 && c->tls && tls_is_ready(c->tls))
            r = encrypt_more(c);
        if (r < 0)
            return r;
        if (c->tls && !tls_out(c->tls)->size)
            return 0; /* output, but the handshake is not done: wait */
        ssize_t n = send_some(c);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        sent += (size_t)n;
        if (c->state == SEND || (c->r && c->r->begun))
            conn_note_progress(c);
    }
    if (conn_has_output(c))
        return 0;
    buf_clear(&c->out);
    c->out_at = 0;
    buf_done(&c->body);
    c->body_at = 0;
    return 1;
}

void conn_say_goodbye(struct conn *c)
{
    if (!c->tls)
        return;
    tls_shutdown(c->tls);
    send_some(c);
}
