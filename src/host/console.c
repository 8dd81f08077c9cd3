/*
 * console.c: one serial port, its memory and its listeners.
 *
 * Everything happens on the mon loop's thread. The file of the ring: 8 bytes count of all bytes
 * ever said (host order; it never leaves the machine), then the ring, byte n at n % CONSOLE_RING.
 */
#include "host/console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/vec.h"
#include "host/root_hint.h"

#define CLIENT_BACKLOG (256U << 10)
#define INPUT_BACKLOG  (64U << 10)

struct ring {
    uint64_t total;
    char bytes[CONSOLE_RING];
};

struct client {
    struct console *console;
    int fd;
    struct loop_fd *watch;
    struct buf out; /* not yet taken */
};

struct console {
    struct loop *loop;
    int fd;
    struct loop_fd *watch;
    struct buf to_guest;
    struct ring *ring;
    VEC(struct client *) clients;
    struct root_hint hint;
    void (*on_root)(void *arg, const char *device);
    void *on_root_arg;
};

static void on_guest(void *arg, int fd, unsigned events);
static void on_client(void *arg, int fd, unsigned events);

static struct err *map_ring(const char *path, struct ring **ret)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct ring)) < 0)
        return err_errno(errno, "cannot make '%s'", path);
    void *p = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_errno(errno, "cannot map '%s'", path);
    *ret = p;
    return NULL;
}

struct err *console_new(struct loop *l, int fd_taken, const char *ring_path, struct console **ret)
{
    _cleanup_(fd_closep) int fd = fd_taken;
    struct ring *ring = NULL;
    TRY(map_ring(ring_path, &ring));
    struct console *c = mem_new(struct console);
    c->loop = l;
    c->ring = ring;
    c->fd = fd_take(&fd);
    (void)fd_set_nonblocking(c->fd);
    buf_init(&c->to_guest, INPUT_BACKLOG);
    c->watch = loop_fd_add(l, c->fd, LOOP_READ, on_guest, c);
    *ret = c;
    return NULL;
}

void console_watch_root(struct console *c, void (*fn)(void *arg, const char *device), void *arg)
{
    c->on_root = fn;
    c->on_root_arg = arg;
}

static void client_free(struct client *cl)
{
    struct console *c = cl->console;
    for (size_t i = 0; i < c->clients.n; i++) {
        if (c->clients.v[i] == cl) {
            vec_remove(&c->clients, i);
            break;
        }
    }
    loop_fd_del(cl->watch);
    fd_close(cl->fd);
    buf_done(&cl->out);
    free(cl);
}

void console_free(struct console *c)
{
    if (!c)
        return;
    while (c->clients.n)
        client_free(c->clients.v[0]);
    vec_done(&c->clients);
    loop_fd_del(c->watch);
    fd_close(c->fd);
    buf_done(&c->to_guest);
    munmap(c->ring, sizeof(*c->ring));
    free(c);
}

/* Writes what the descriptor takes; false when it is dead. */
static bool flush(int fd, struct buf *out)
{
    while (out->size) {
        ssize_t n = send(fd, out->data, out->size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        buf_consume(out, (size_t)n);
    }
    return true;
}

static void say(struct client *cl, const char *p, size_t size)
{
    buf_put(&cl->out, p, size);
    if (!buf_ok(&cl->out) || !flush(cl->fd, &cl->out)) {
        client_free(cl);
        return;
    }
    loop_fd_set(cl->watch, cl->out.size ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void remember(struct ring *r, const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        r->bytes[r->total++ % CONSOLE_RING] = p[i];
}

static void on_guest(void *arg, int fd, unsigned events)
{
    struct console *c = arg;
    char room[8192];
    if (c->to_guest.size && !flush(fd, &c->to_guest))
        buf_clear(&c->to_guest);
    ssize_t n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        loop_fd_set(c->watch, c->to_guest.size ? LOOP_READ | LOOP_WRITE : LOOP_READ);
        return;
    }
    if (n <= 0) { /* QEMU ends; its guest will be taken away soon */
        loop_fd_set(c->watch, 0);
        while (c->clients.n)
            client_free(c->clients.v[0]);
        return;
    }
    remember(c->ring, room, (size_t)n);
    if (c->on_root && root_hint_feed(&c->hint, room, (size_t)n))
        c->on_root(c->on_root_arg, c->hint.device);
    for (size_t i = c->clients.n; i > 0; i--)
        say(c->clients.v[i - 1], room, (size_t)n);
    loop_fd_set(c->watch, c->to_guest.size ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void on_client(void *arg, int fd, unsigned events)
{
    struct client *cl = arg;
    struct console *c = cl->console;
    char room[4096];
    if (!flush(fd, &cl->out)) {
        client_free(cl);
        return;
    }
    loop_fd_set(cl->watch, cl->out.size ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    ssize_t n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_free(cl);
        return;
    }
    if (c->to_guest.size + (size_t)n <= INPUT_BACKLOG) /* a guest that does not read loses input */
        buf_put(&c->to_guest, room, (size_t)n);
    (void)flush(c->fd, &c->to_guest);
    if (c->to_guest.size)
        loop_fd_set(c->watch, LOOP_READ | LOOP_WRITE);
}

struct err *console_attach(struct console *c, int *ret_fd)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(errno, "cannot make a socket pair");
    struct client *cl = mem_new(struct client);
    cl->console = c;
    cl->fd = pair[0];
    (void)fd_set_nonblocking(cl->fd);
    buf_init(&cl->out, CLIENT_BACKLOG);
    cl->watch = loop_fd_add(c->loop, cl->fd, LOOP_READ, on_client, cl);
    vec_push(&c->clients, cl);
    *ret_fd = pair[1];
    const struct ring *r = c->ring;
    size_t kept = r->total < CONSOLE_RING ? (size_t)r->total : CONSOLE_RING;
    size_t from = (size_t)((r->total - kept) % CONSOLE_RING);
    size_t first = kept < CONSOLE_RING - from ? kept : CONSOLE_RING - from;
    buf_put(&cl->out, r->bytes + from, first);
    say(cl, r->bytes, kept - first);
    return NULL;
}
