/* nbd_link.c: the bytes of a connection of the gate; see nbd_door.h. The connection's thread. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "handler/nbd_door.h"

#define SLICE_MS  250 /* between two questions whether to stop */
#define PIECE     (256u << 10)
#define TLS_PIECE (64u << 10)
#define STALL     (60 * USEC_PER_SEC) /* for who does not take what he asked for */

/* Until one of the events, which it returns; 0 never. */
static int wait_for(struct nbd_link *l, short events, usec_t deadline)
{
    for (;;) {
        struct pollfd p = {.fd = l->fd, .events = events};
        int n = poll(&p, 1, SLICE_MS);
        if (n > 0)
            return p.revents;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (l->stop(l->arg))
            return -ECANCELED;
        if (clock_now() > deadline)
            return -ETIMEDOUT;
    }
}

static int send_all(struct nbd_link *l, const void *p, size_t size, usec_t deadline)
{
    const char *at = p;
    while (size) {
        ssize_t n = send(l->fd, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n < 0) {
            int r = wait_for(l, POLLOUT, deadline);
            if (r < 0)
                return r;
            continue;
        }
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* What TLS has to say, answers of its own included. */
static int flush_tls(struct nbd_link *l, usec_t deadline)
{
    struct buf *out = tls_out(l->tls);
    int r = send_all(l, out->data, out->size, deadline);
    buf_consume(out, out->size);
    return r;
}

int nbd_link_put(struct nbd_link *l, const void *p, size_t size, usec_t deadline)
{
    if (!l->tls)
        return send_all(l, p, size, deadline);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < TLS_PIECE ? size - at : TLS_PIECE;
        int r = tls_write(l->tls, (const char *)p + at, n);
        if (r == 0)
            r = flush_tls(l, deadline);
        if (r < 0)
            return r;
        at += n;
    }
    return 0;
}

/* What is there: 0 at the end, -EAGAIN for nothing yet. */
static ssize_t receive(struct nbd_link *l, void *p, size_t size)
{
    ssize_t n = recv(l->fd, p, size, 0);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    return n;
}

static ssize_t read_tls(struct nbd_link *l, void *p, size_t size, usec_t deadline)
{
    char cipher[16384];
    for (;;) {
        ssize_t n = tls_read(l->tls, p, size);
        int r = flush_tls(l, deadline);
        if (n == -EPIPE)
            return 0;
        if (n != 0 || r < 0)
            return n ? n : r;
        n = receive(l, cipher, sizeof(cipher));
        if (n <= 0)
            return n;
        tls_push(l->tls, cipher, (size_t)n);
    }
}

static ssize_t read_now(struct nbd_link *l, void *p, size_t size, usec_t deadline)
{
    return l->tls ? read_tls(l, p, size, deadline) : receive(l, p, size);
}

ssize_t nbd_link_read(struct nbd_link *l, void *p, size_t size, usec_t deadline)
{
    for (;;) {
        ssize_t n = read_now(l, p, size, deadline);
        if (n != -EAGAIN)
            return n;
        int r = wait_for(l, POLLIN, deadline);
        if (r < 0)
            return r;
    }
}

int nbd_link_take(struct nbd_link *l, void *p, size_t size, usec_t deadline)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = nbd_link_read(l, (char *)p + at, size - at, deadline);
        if (n <= 0)
            return n < 0 ? (int)n : -ENODATA;
        at += (size_t)n;
    }
    return 0;
}

/* All that is there from one to the other; 0: nothing more yet. */
static int carry(struct nbd_link *from, struct nbd_link *to, char *room)
{
    for (;;) {
        ssize_t n = read_now(from, room, PIECE, clock_now() + STALL);
        if (n == -EAGAIN)
            return 0;
        if (n <= 0)
            return n < 0 ? (int)n : -EPIPE;
        int r = nbd_link_put(to, room, (size_t)n, clock_now() + STALL);
        if (r < 0)
            return r;
    }
}

/* Requests are small and answers are few pieces, so each way may wait for the other to be taken. */
void nbd_link_relay(struct nbd_link *a, struct nbd_link *b)
{
    _cleanup_(freep) char *room = mem_zalloc(PIECE, 1);
    for (int r = 0; r == 0 && !a->stop(a->arg);) {
        r = carry(a, b, room);
        if (r == 0)
            r = carry(b, a, room);
        struct pollfd p[2] = {{.fd = a->fd, .events = POLLIN}, {.fd = b->fd, .events = POLLIN}};
        if (r == 0 && poll(p, 2, SLICE_MS) < 0 && errno != EINTR)
            r = -errno;
    }
}
