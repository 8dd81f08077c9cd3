/* nbd_gate.c: the socket of the gate and the threads of its clients; see nbd_gate.h. */
#include "handler/nbd_gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define LOG_MODULE "nbd"
#include "base/fd.h"
#include "base/log.h"
#include "base/vec.h"
#include "handler/nbd_door.h"

#define SLICE_MS 250

struct client {
    struct nbd_gate *gate;
    pthread_t thread;
    int fd;
    char address[INET6_ADDRSTRLEN];
    atomic_bool has_left; /* the thread is done and can be joined */
};

struct nbd_gate {
    struct handlers *h;
    struct tls_context *tls;
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_bool is_ending;
    VEC(struct client *) clients; /* of the gate's thread */
};

static bool is_ending(void *arg)
{
    return atomic_load(&((struct nbd_gate *)arg)->is_ending);
}

static void *serve_client(void *arg)
{
    struct client *c = arg;
    struct nbd_visitor v = {.h = c->gate->h,
                            .tls = c->gate->tls,
                            .link = {.fd = c->fd, .stop = is_ending, .arg = c->gate},
                            .address = c->address};
    nbd_receive(&v);
    fd_close(c->fd);
    atomic_store(&c->has_left, true);
    return NULL;
}

/* Joins those who have left, or all. */
static void let_go(struct nbd_gate *g, bool all)
{
    for (size_t i = g->clients.n; i-- > 0;) {
        struct client *c = g->clients.v[i];
        if (!all && !atomic_load(&c->has_left))
            continue;
        pthread_join(c->thread, NULL);
        free(c);
        vec_remove(&g->clients, i);
    }
}

static void name_of(const struct sockaddr_storage *sa, char out[INET6_ADDRSTRLEN])
{
    const void *p = sa->ss_family == AF_INET6
                        ? (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr
                        : (const void *)&((const struct sockaddr_in *)sa)->sin_addr;
    if (!inet_ntop(sa->ss_family, p, out, INET6_ADDRSTRLEN))
        out[0] = '\0';
}

static void let_in(struct nbd_gate *g)
{
    struct sockaddr_storage sa = {0};
    socklen_t size = sizeof(sa);
    int fd = accept4(g->fd, (struct sockaddr *)&sa, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    let_go(g, false);
    if (g->clients.n >= NBD_GATE_MAX) {
        fd_close(fd);
        return;
    }
    struct client *c = mem_new(struct client);
    c->gate = g;
    c->fd = fd;
    name_of(&sa, c->address);
    if (pthread_create(&c->thread, NULL, serve_client, c) != 0) {
        fd_close(fd);
        free(c);
        return;
    }
    vec_push(&g->clients, c);
}

static void *keep(void *arg)
{
    struct nbd_gate *g = arg;
    while (!is_ending(g)) {
        struct pollfd p = {.fd = g->fd, .events = POLLIN};
        if (poll(&p, 1, SLICE_MS) > 0)
            let_in(g);
        else
            let_go(g, false);
    }
    let_go(g, true);
    return NULL;
}

static struct err *open_socket(const char *address, uint16_t port, int *ret_fd, uint16_t *ret_port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    bool is_four = inet_pton(AF_INET, address, &four.sin_addr) == 1;
    if (!is_four && inet_pton(AF_INET6, address, &six.sin6_addr) != 1)
        return err_internal("'%s' is no address", address);
    struct sockaddr *sa = is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six;
    socklen_t size = is_four ? sizeof(four) : sizeof(six);
    _cleanup_(fd_closep) int fd =
        socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, sa, size) < 0 || listen(fd, NBD_GATE_MAX) < 0 || getsockname(fd, sa, &size) < 0)
        return err_errno(errno, "cannot listen on '%s' port %u", address, port);
    *ret_port = ntohs(is_four ? four.sin_port : six.sin6_port);
    *ret_fd = fd_take(&fd);
    return NULL;
}

struct err *nbd_gate_new(struct handlers *h, struct tls_context *tls, const char *address,
                         uint16_t port, struct nbd_gate **ret)
{
    struct nbd_gate *g = mem_new(struct nbd_gate);
    g->h = h;
    g->tls = tls;
    struct err *e = open_socket(address, port, &g->fd, &g->port);
    if (!e && pthread_create(&g->thread, NULL, keep, g) != 0) {
        fd_close(g->fd);
        e = err_errno(EAGAIN, "no thread for NBD");
    }
    if (e)
        free(g);
    else
        *ret = g;
    return e;
}

uint16_t nbd_gate_port(const struct nbd_gate *g)
{
    return g->port;
}

void nbd_gate_free(struct nbd_gate *g)
{
    if (!g)
        return;
    atomic_store(&g->is_ending, true);
    pthread_join(g->thread, NULL);
    fd_close(g->fd);
    vec_done(&g->clients);
    free(g);
}
