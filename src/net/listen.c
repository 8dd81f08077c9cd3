/*
 * listen.c: the net threads, the sockets that connections come from, and how many may come.
 *
 * All sockets are watched by thread 0, which hands connections out in turn. Over the limit a
 * connection is told 503 and closed, so that the listen queue never fills with the waiting.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_MODULE "net"
#include "base/fd.h"
#include "base/log.h"
#include "net/net_impl.h"

#define FULL_PAUSE (100 * USEC_PER_MSEC)
#define AT_A_TIME  4      /* connections taken from one socket before the others have their turn */
#define UNSENT_MAX 131072 /* bytes that the kernel takes of an answer before it can send them */
#define LAG        4      /* so many times the limit is none; see enter() */
#define GROWN      (100 * USEC_PER_MSEC) /* who is younger is not judged by one thread alone */

static _Thread_local const struct net_thread *mine;

bool net_thread_is_mine(const struct net_thread *t)
{
    return mine == t;
}

bool net_thread_post(struct net_thread *t, const char *name, loop_fn fn, void *arg)
{
    mutex_lock(&t->lock);
    bool open = t->open;
    if (open)
        loop_post_named(t->loop, name, fn, arg);
    mutex_unlock(&t->lock);
    return open;
}

void net_thread_unref(struct net_thread *t)
{
    if (atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    mutex_done(&t->lock);
    free(t);
}

static void claim_thread(void *arg)
{
    mine = arg;
}

static struct net_thread *thread_new(struct net *n, unsigned i)
{
    struct net_thread *t = mem_new(struct net_thread);
    char name[16];
    snprintf(name, sizeof(name), "net%u", i);
    atomic_init(&t->refs, 1);
    mutex_init(&t->lock, LOCK_THREAD);
    t->net = n;
    t->loop = loop_start(name);
    t->open = true;
    loop_post(t->loop, claim_thread, t);
    return t;
}

static void fill_in(struct net_config *c)
{
    c->threads = c->threads ? c->threads : 2;
    c->max_streams = c->max_streams ? c->max_streams : 512;
    c->max_peers = c->max_peers ? c->max_peers : 1000;
    c->max_per_peer = c->max_per_peer ? c->max_per_peer : 250;
    c->strangers_bytes = c->strangers_bytes ? c->strangers_bytes : (size_t)64 << 20;
    c->max_known = c->max_known ? c->max_known : 10000;
    c->rpc_body_max = c->rpc_body_max ? c->rpc_body_max : 4u << 20;
    c->head_time = c->head_time ? c->head_time : 30 * USEC_PER_SEC;
    c->idle_time = c->idle_time ? c->idle_time : 600 * USEC_PER_SEC;
    c->stall_time = c->stall_time ? c->stall_time : 60 * USEC_PER_SEC;
}

struct err *net_new(const struct net_config *config, struct net **ret)
{
    for (unsigned i = 0; i < config->n_routes; i++) {
        const struct net_route *r = &config->routes[i];
        if (r->kind != NET_FILES && (r->kind == NET_TAKEOVER ? !r->takeover : !r->call))
            return err_internal("route '%s %s' has no handler", r->method, r->path_prefix);
    }
    struct net *n = mem_new(struct net);
    n->config = *config;
    fill_in(&n->config);
    n->route_requests = mem_new_n(atomic_ulong, config->n_routes + 1);
    if (config->web_root)
        n->files =
            (struct net_route){"GET", "/", "get_root", NET_TAKEOVER, .takeover = files_serve};
    mutex_init(&n->lock, LOCK_NET);
    pthread_cond_init(&n->work, NULL);
    n->queue_end = &n->queue;
    n->peers = peers_new(LAG * n->config.max_peers);
    n->threads = mem_new_n(struct net_thread *, n->config.threads);
    for (unsigned i = 0; i < n->config.threads; i++)
        n->threads[i] = thread_new(n, i);
    *ret = n;
    return NULL;
}

/* ---- limits ---- */

/* Under the lock, as the next one. */
static void count_in(struct net *n, const struct net_peer *peer)
{
    n->n_peers++;
    if (peer->kind != NET_LOCAL)
        peers_add(n->peers, peer->crowd);
}

static void count_out(struct net *n, const struct net_peer *peer)
{
    n->n_peers--;
    if (peer->kind != NET_LOCAL)
        peers_remove(n->peers, peer->crowd);
}

/*
 * Strangers are let in beyond the limits, and one of the crowd that is too large goes instead
 * (conn_crowd.c). What cannot be made up for that way (all are owed an answer, or the threads are
 * starved of processors) is refused at a multiple of the limit.
 */
enum admission {
    REFUSED,
    ADMITTED,
    ADMITTED_FOR_ANOTHER,
    ADMITTED_AT_ONCE /* the same, but the other threads lag behind with it */
};

static bool is_far_over(unsigned n, unsigned limit)
{
    return n >= limit + (limit + 3) / 4;
}

static enum admission enter(struct net *n, const struct net_peer *peer,
                            char ret_crowd[NET_CROWD_SIZE])
{
    const struct net_config *c = &n->config;
    bool local = peer->kind == NET_LOCAL;
    enum admission result = ADMITTED;
    mutex_lock(&n->lock);
    unsigned from_here = local ? 0 : peers_count(n->peers, peer->crowd);
    if (n->stopping || from_here >= LAG * c->max_per_peer || n->n_peers >= LAG * c->max_peers)
        result = REFUSED;
    else if (from_here >= c->max_per_peer || n->n_peers >= c->max_peers)
        result = is_far_over(from_here, c->max_per_peer) || is_far_over(n->n_peers, c->max_peers)
                     ? ADMITTED_AT_ONCE
                     : ADMITTED_FOR_ANOTHER;
    if (result > ADMITTED)
        strcpy(ret_crowd,
               from_here >= c->max_per_peer ? peer->crowd : peers_most_crowded(n->peers));
    if (result != REFUSED)
        count_in(n, peer);
    mutex_unlock(&n->lock);
    return result;
}

void net_peer_leave(struct net *n, const struct net_peer *peer)
{
    mutex_lock(&n->lock);
    if (peer->known)
        n->n_known--;
    else
        count_out(n, peer);
    mutex_unlock(&n->lock);
}

void net_peer_known(struct net *n, struct net_peer *peer)
{
    if (peer->known)
        return;
    mutex_lock(&n->lock);
    if (n->n_known < n->config.max_known) {
        count_out(n, peer);
        n->n_known++;
        peer->known = true;
    }
    mutex_unlock(&n->lock);
}

/* One connection has to go; the threads are asked in turn. */
struct eviction {
    struct net *net;
    char crowd[NET_CROWD_SIZE];
    uint64_t before;
    unsigned thread, asked;
};

static void evict(void *arg)
{
    struct eviction *e = arg;
    struct net *n = e->net;
    if (!conn_evict(n->threads[e->thread], e->crowd, e->before, 0) &&
        ++e->asked < n->config.threads) {
        e->thread = (e->thread + 1) % n->config.threads;
        if (net_thread_post(n->threads[e->thread], "evict", evict, e))
            return;
    }
    free(e);
}

/* For the connection of that number, which came last. Its thread is asked first: as connections go
 * round, it has the older ones. */
static void make_room(struct net *n, const char *crowd, uint64_t serial)
{
    struct eviction *e = mem_new(struct eviction);
    *e = (struct eviction){
        .net = n, .thread = (n->next_thread - 1) % n->config.threads, .before = serial};
    strcpy(e->crowd, crowd);
    if (!net_thread_post(n->threads[e->thread], "evict", evict, e))
        free(e);
}

/* ---- accepting ---- */

static void describe_peer(const struct listener *l, int fd, const struct sockaddr_storage *from,
                          struct net_peer *ret)
{
    *ret = (struct net_peer){.kind = l->kind};
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)from;
        if (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr))
            inet_ntop(AF_INET, a->sin6_addr.s6_addr + 12, ret->address, sizeof(ret->address));
        else
            inet_ntop(AF_INET6, &a->sin6_addr, ret->address, sizeof(ret->address));
    } else if (from->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)from;
        inet_ntop(AF_INET, &a->sin_addr, ret->address, sizeof(ret->address));
    } else {
        struct ucred cred;
        socklen_t size = sizeof(cred);
        ret->uid =
            getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0 ? cred.uid : (uid_t)-1;
    }
    peers_crowd(ret->address, ret->crowd);
}

static void turn_away(struct listener *l, int fd, const struct net_peer *peer)
{
    l->net->n_refused++;
    log_warn("event=connection-refused reason=limit peer=%s", peer->address);
    if (!l->tls) {
        _cleanup_(buf_done) struct buf b;
        _cleanup_(buf_done) struct buf page;
        buf_init(&b, 8192);
        buf_init(&page, 4096);
        put_error_page(&page, 503, "There are too many connections");
        put_answer_head(&b, 503, (int64_t)page.size, false, "text/html", false, NULL, 0);
        buf_put(&b, page.data, page.size);
        send(fd, b.data, b.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    fd_close(fd);
}

static void set_options(const struct listener *l, int fd)
{
    int on = 1, unsent = UNSENT_MAX;
    if (l->kind != NET_LOCAL) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    }
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static void adopt(struct listener *l, int fd, const struct sockaddr_storage *from)
{
    struct net *n = l->net;
    struct net_peer peer;
    describe_peer(l, fd, from, &peer);
    char crowd[NET_CROWD_SIZE] = "";
    enum admission how = enter(n, &peer, crowd);
    if (how == REFUSED) {
        turn_away(l, fd, &peer);
        return;
    }
    set_options(l, fd);
    struct net_thread *t = n->threads[n->next_thread++ % n->config.threads];
    struct conn *c = conn_new(n, t, fd, &peer, l->tls);
    uint64_t serial = conn_serial(c);
    conn_send_off(c);
    if (how == ADMITTED_AT_ONCE && conn_evict(n->threads[0], crowd, serial, GROWN))
        return;
    if (how > ADMITTED)
        make_room(n, crowd, serial);
}

static void on_pause_over(void *arg)
{
    struct listener *l = arg;
    loop_fd_set(l->watch, LOOP_READ);
}

static void on_connections(void *arg, int fd, unsigned events)
{
    struct listener *l = arg;
    for (int i = 0; i < AT_A_TIME; i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof(from);
        int s = accept4(fd, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (s >= 0) {
            adopt(l, s, &from);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_err("event=accept-failed errno=%d", errno);
            loop_fd_set(l->watch, 0);
            loop_timer_set(l->pause, clock_now() + FULL_PAUSE);
        }
        return;
    }
}

static void start_listener(void *arg)
{
    struct listener *l = arg;
    struct loop *loop = l->net->threads[0]->loop;
    l->pause = loop_timer_new(loop, on_pause_over, l);
    l->watch = loop_fd_add(loop, l->fd, LOOP_READ, on_connections, l);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage sa;
    socklen_t size = sizeof(sa);
    if (getsockname(fd, (struct sockaddr *)&sa, &size) < 0)
        return 0;
    return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                          : ((struct sockaddr_in *)&sa)->sin_port);
}

/* Takes the descriptor and the path over. */
static struct err *add_listener(struct net *n, int fd, enum net_peer_kind kind,
                                struct tls_context *tls, const char *unix_path)
{
    unsigned none = 0;
    if (kind == NET_TLS)
        atomic_compare_exchange_strong(&n->tls_port, &none, port_of(fd));
    struct listener *l = mem_new(struct listener);
    *l = (struct listener){.net = n, .fd = fd, .kind = kind, .tls = tls};
    l->unix_path = unix_path ? mem_strdup(unix_path) : NULL;
    mutex_lock(&n->lock);
    vec_push(&n->listeners, l);
    mutex_unlock(&n->lock);
    net_thread_post(n->threads[0], "start_listener", start_listener, l);
    return NULL;
}

static struct err *parse_address(const char *address, uint16_t port, struct sockaddr_storage *ret,
                                 socklen_t *ret_size)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    *ret = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *ret_size = sizeof(*v4);
        return NULL;
    }
    if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
        return err_internal("'%s' is no address", address);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    *ret_size = sizeof(*v6);
    return NULL;
}

struct err *net_listen_tcp(struct net *n, const char *address, uint16_t port,
                           struct tls_context *tls, uint16_t *ret_port)
{
    struct sockaddr_storage sa;
    socklen_t size = 0;
    TRY(parse_address(address, port, &sa, &size));
    _cleanup_(fd_closep) int fd =
        socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&sa, size) < 0 || listen(fd, SOMAXCONN) < 0)
        return err_errno(errno, "cannot listen on '%s' port %u", address, port);
    if (ret_port)
        *ret_port = port_of(fd);
    return add_listener(n, fd_take(&fd), tls ? NET_TLS : NET_TCP, tls, NULL);
}

struct err *net_listen_unix(struct net *n, const char *path, mode_t mode)
{
    int fd = fd_listen_unix(path, mode);
    if (fd < 0)
        return err_errno(-fd, "cannot listen on '%s'", path);
    return add_listener(n, fd, NET_LOCAL, NULL, path);
}

struct err *net_listen_fd(struct net *n, int fd, struct tls_context *tls)
{
    int family = 0, listens = 0;
    socklen_t size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens)
        return err_errno(errno, "descriptor %d is no listening socket", fd);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    enum net_peer_kind kind = family == AF_UNIX ? NET_LOCAL : tls ? NET_TLS : NET_TCP;
    return add_listener(n, fd, kind, kind == NET_LOCAL ? NULL : tls, NULL);
}

unsigned net_inherited(bool ret_tls[NET_INHERITED_MAX])
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    const char *named = getenv("LISTEN_FDNAMES");
    uint64_t p = 0, count = 0;
    bool ours = pid && fds && str_u64(view_of(pid), 1, INT32_MAX, &p) == 0 &&
                str_u64(view_of(fds), 1, NET_INHERITED_MAX, &count) == 0 && p == (uint64_t)getpid();
    struct view names = view_of(named ? named : ""), name;
    for (unsigned i = 0; i < NET_INHERITED_MAX; i++) {
        view_split(&names, ':', &name);
        ret_tls[i] = view_eq(name, "https") || view_eq(name, "tls");
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return ours ? (unsigned)count : 0;
}

/* ---- the end ---- */

static void listener_free(struct listener *l)
{
    loop_fd_del(l->watch);
    loop_timer_free(l->pause);
    fd_close(l->fd);
    if (l->unix_path)
        unlink(l->unix_path);
    free(l->unix_path);
    free(l);
}

static void close_listeners(void *arg)
{
    struct net *n = arg;
    vec_each (l, &n->listeners)
        listener_free(*l);
    vec_done(&n->listeners);
}

static void close_conns(void *arg)
{
    struct net_thread *t = arg;
    while (t->conns)
        conn_close(t->conns);
    while (t->strangers)
        conn_close(t->strangers);
}

static void close_relays(void *arg)
{
    struct net_thread *t = arg;
    while (t->relays)
        relay_close(t->relays);
}

/* Runs fn(arg) on the thread and waits for it. */
struct errand {
    loop_fn fn;
    void *arg;
    struct mutex lock;
    pthread_cond_t done;
    bool is_done;
};

static void run_errand(void *arg)
{
    struct errand *e = arg;
    e->fn(e->arg);
    mutex_lock(&e->lock);
    e->is_done = true;
    pthread_cond_signal(&e->done);
    mutex_unlock(&e->lock);
}

static void call_there(struct net_thread *t, loop_fn fn, void *arg)
{
    struct errand e = {
        .fn = fn, .arg = arg, .lock = MUTEX_INIT(LOCK_LEAF), .done = PTHREAD_COND_INITIALIZER};
    net_thread_post(t, "run_errand", run_errand, &e);
    mutex_lock(&e.lock);
    while (!e.is_done)
        cond_wait(&e.done, &e.lock);
    mutex_unlock(&e.lock);
}

static void close_thread(struct net_thread *t)
{
    call_there(t, close_conns, t); /* streams have ended since the first time */
    call_there(t, close_relays, t);
    mutex_lock(&t->lock);
    t->open = false;
    mutex_unlock(&t->lock);
    loop_stop_join(t->loop);
    net_thread_unref(t);
}

void net_stop(struct net *n)
{
    if (!n)
        return;
    n->refusing = true;
    call_there(n->threads[0], close_listeners, n);
    streams_shut(n, SHUT_RD);
}

void net_free(struct net *n)
{
    if (!n)
        return;
    net_stop(n);
    for (unsigned i = 0; i < n->config.threads; i++)
        call_there(n->threads[i], close_conns, n->threads[i]);
    streams_stop(n);
    for (unsigned i = 0; i < n->config.threads; i++)
        close_thread(n->threads[i]);
    free(n->threads);
    free(n->route_requests);
    peers_free(n->peers);
    vec_done(&n->workers);
    pthread_cond_destroy(&n->work);
    mutex_done(&n->lock);
    free(n);
}

void net_route_stats(struct net *n, void (*fn)(void *arg, const struct net_route *r, uint64_t n),
                     void *arg)
{
    for (unsigned i = 0; i < n->config.n_routes; i++)
        fn(arg, &n->config.routes[i], n->route_requests[i]);
    if (n->files.method)
        fn(arg, &n->files, n->route_requests[n->config.n_routes]);
}

void net_dump(struct net *n, struct buf *out)
{
    static const char *const kinds[] = {"tcp", "tls", "local"};
    mutex_lock(&n->lock);
    vec_each (l, &n->listeners)
        buf_printf(out, "listener kind=%s port=%u path=%s\n", kinds[(*l)->kind],
                   (*l)->kind == NET_LOCAL ? 0 : port_of((*l)->fd),
                   (*l)->unix_path ? (*l)->unix_path : "-");
    unsigned streams = 0;
    for (const struct net_stream *s = n->streams; s; s = s->all_next)
        streams++;
    buf_printf(out, "connections known=%u strangers=%u addresses=%u refused=%lu evicted=%lu\n",
               n->n_known, n->n_peers, peers_n_places(n->peers), n->n_refused, n->n_evicted);
    buf_printf(out, "strangers bytes=%zu streams=%u\n", n->n_held, n->n_strange_streams);
    buf_printf(out, "requests all=%lu owed=%lu\n", n->n_requests, n->n_owed);
    buf_printf(out, "streams now=%u queued=%u threads=%zu\n", streams, n->n_queued, n->workers.n);
    mutex_unlock(&n->lock);
}
