/* link.c: see link.h. Received plaintext waits in `in`, whatever the transport. */
#include "xe/link.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "tls/tls.h"

#define CONNECT_MS 10000

struct link {
    int fd;
    struct tls_context *context; /* NULL: plain */
    struct tls *tls;
    struct buf in;
    size_t in_at; /* what of it was read already */
    bool ended;
    bool holding; /* the end of the handshake goes out with what is written next */
};

static size_t waiting(const struct link *l)
{
    return l->in.size - l->in_at;
}

static void consume(struct link *l, size_t size)
{
    l->in_at += size;
    if (l->in_at == l->in.size) {
        buf_clear(&l->in);
        l->in_at = 0;
    }
}

bool place_is_local(const struct place *p)
{
    return p->server[0] == '/';
}

/* ---- opening ---- */

static int finish_connect(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof(error);
    int n = poll(&pfd, 1, CONNECT_MS);
    if (n <= 0)
        return n == 0 ? -ETIMEDOUT : -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

static int connect_address(const struct addrinfo *a)
{
    _cleanup_(fd_closep) int fd =
        socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
        if (errno != EINPROGRESS)
            return -errno;
        int r = finish_connect(fd);
        if (r < 0)
            return r;
    }
    int on = 1; /* questions and answers; nothing is gained by waiting for more to send */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd_take(&fd);
}

/* "[::1]" without its brackets. */
static char *bare_host(const char *server)
{
    size_t size = strlen(server);
    if (size > 2 && server[0] == '[' && server[size - 1] == ']')
        return mem_strndup(server + 1, size - 2);
    return mem_strdup(server);
}

static int connect_tcp(const char *server, const char *port, char **ret_why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    _cleanup_(freep) char *host = bare_host(server);
    int r = getaddrinfo(host, port, &hints, &found), fd = -ECONNREFUSED;
    if (r != 0) {
        *ret_why = mem_printf("cannot find host '%s': %s", host, gai_strerror(r));
        return -ENOENT;
    }
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = connect_address(a);
    freeaddrinfo(found);
    if (fd < 0)
        *ret_why = mem_printf("cannot reach host '%s' on port %s: %s; is cairnd running there?",
                              host, port, strerror(-fd));
    return fd;
}

static int connect_unix(const char *path, char **ret_why)
{
    int fd = fd_connect_unix(path);
    if (fd < 0)
        *ret_why = mem_printf("cannot reach this host through '%s': %s; is cairnd running?", path,
                              strerror(-fd));
    else
        (void)fd_set_nonblocking(fd);
    return fd;
}

static bool is_loopback(const char *server)
{
    return strcmp(server, "127.0.0.1") == 0 || strcmp(server, "localhost") == 0 ||
           strcmp(server, "::1") == 0 || strcmp(server, "[::1]") == 0;
}

/* TLS, but for this machine itself: there only on the ports known for it. */
static bool wants_tls(const struct place *p)
{
    if (p->plain || place_is_local(p))
        return false;
    return p->tls || !is_loopback(p->server) ||
           (p->port && (strcmp(p->port, "443") == 0 || strcmp(p->port, "8443") == 0));
}

bool place_is_doubtful(const struct place *p)
{
    return !p->plain && !place_is_local(p) && p->port && !wants_tls(p);
}

static char *start_tls(struct link *l, const char *server)
{
    _cleanup_(freep) char *host = bare_host(server);
    const char *authorities = getenv("XE_CACERT");
    tls_start_short();
    struct err *e = tls_context_client(authorities, &l->context);
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        err_free(e);
        return mem_printf("cannot use TLS: %s", text);
    }
    l->tls = tls_new(l->context);
    tls_set_host(l->tls, host);
    return NULL;
}

struct link *link_open(const struct place *p, char **ret_why)
{
    bool secure = wants_tls(p);
    const char *port = p->port ? p->port : secure ? "443" : "80";
    int fd = place_is_local(p) ? connect_unix(p->server, ret_why)
                               : connect_tcp(p->server, port, ret_why);
    if (fd < 0)
        return NULL;
    struct link *l = mem_new(struct link);
    l->fd = fd;
    buf_init(&l->in, 1 << 20);
    char *why = secure ? start_tls(l, p->server) : NULL;
    if (why) {
        link_close(l);
        *ret_why = why;
        return NULL;
    }
    return l;
}

void link_close(struct link *l)
{
    if (!l)
        return;
    tls_free(l->tls);
    tls_context_free(l->context);
    fd_close(l->fd);
    buf_done(&l->in);
    free(l);
}

/* ---- bytes ---- */

static int wait_for(const struct link *l, short events)
{
    struct pollfd pfd = {.fd = l->fd, .events = events};
    while (poll(&pfd, 1, -1) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int send_raw(struct link *l, const char *p, size_t size)
{
    while (size > 0) {
        ssize_t n = send(l->fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            int r = wait_for(l, POLLOUT);
            if (r < 0)
                return r;
            continue;
        }
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            p += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static int flush_tls(struct link *l)
{
    if (l->holding && tls_is_ready(l->tls))
        return 0;
    struct buf *out = tls_out(l->tls);
    int r = send_raw(l, out->data, out->size);
    buf_clear(out);
    return r;
}

/* Plaintext out of what was received. */
static int drain_tls(struct link *l)
{
    for (;;) {
        char *room = buf_reserve(&l->in, 16384);
        ssize_t n = room ? tls_read(l->tls, room, 16384) : -ENOBUFS;
        if (n > 0) {
            buf_added(&l->in, (size_t)n);
            continue;
        }
        if (n == -EPIPE)
            l->ended = true;
        int r = flush_tls(l);
        return n < 0 && n != -EPIPE ? (int)n : r;
    }
}

/* Waits for more and takes it in. */
static int fill(struct link *l)
{
    char bytes[65536];
    ssize_t n;
    buf_consume(&l->in, l->in_at);
    l->in_at = 0;
    while ((n = recv(l->fd, bytes, sizeof(bytes), 0)) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        int r = wait_for(l, POLLIN);
        if (r < 0)
            return r;
    }
    if (n == 0)
        l->ended = true;
    if (!l->tls) {
        buf_put(&l->in, bytes, (size_t)n);
        return 0;
    }
    tls_push(l->tls, bytes, (size_t)n);
    return drain_tls(l);
}

static int handshake(struct link *l)
{
    while (l->tls && !tls_is_ready(l->tls)) {
        int r = drain_tls(l);
        if (r == 0 && !tls_is_ready(l->tls))
            r = l->ended ? -EPROTO : fill(l);
        if (r < 0)
            return r;
    }
    return 0;
}

ssize_t link_read(struct link *l, void *p, size_t size)
{
    int r = handshake(l);
    while (r == 0 && !waiting(l) && !l->ended)
        r = fill(l);
    if (r < 0)
        return r;
    size = size < waiting(l) ? size : waiting(l);
    memcpy(p, l->in.data ? l->in.data + l->in_at : "", size);
    consume(l, size);
    return (ssize_t)size;
}

int link_read_all(struct link *l, void *p, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = link_read(l, (char *)p + done, size - done);
        if (n <= 0)
            return n < 0 ? (int)n : -ENODATA;
        done += (size_t)n;
    }
    return 0;
}

int link_write(struct link *l, const void *p, size_t size)
{
    if (!l->tls)
        return send_raw(l, p, size);
    l->holding = true;
    int r = handshake(l);
    l->holding = false;
    if (r == 0)
        r = tls_write(l->tls, p, size);
    return r < 0 ? r : flush_tls(l);
}

int link_fd(const struct link *l)
{
    return l->fd;
}

bool link_has_bytes(const struct link *l)
{
    return waiting(l) > 0 || l->ended;
}

void link_end(struct link *l)
{
    if (l->tls) {
        tls_shutdown(l->tls);
        (void)flush_tls(l);
    }
    (void)shutdown(l->fd, SHUT_WR);
}

/* ---- HTTP ---- */

int link_request(struct link *l, const char *head, struct buf *text, struct http_head *ret)
{
    size_t scanned = 0;
    ssize_t n = 0;
    int r = link_write(l, head, strlen(head));
    if (r == 0)
        r = handshake(l);
    while (r == 0 &&
           (n = http_head_end((struct view){l->in.data + l->in_at, waiting(l)}, &scanned)) == 0)
        r = l->ended ? -ENODATA : fill(l);
    if (r < 0 || n < 0)
        return r < 0 ? r : -EPROTO;
    buf_init(text, HTTP_HEAD_MAX + 1);
    buf_put(text, l->in.data + l->in_at, (size_t)n);
    consume(l, (size_t)n);
    if (http_parse_response((struct view){text->data, text->size}, ret) != 0)
        return -EPROTO;
    return (int)ret->status;
}
