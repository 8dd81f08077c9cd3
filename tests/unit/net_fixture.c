/* net_fixture.c: see net_fixture.h. */
#include "tests/unit/net_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"

struct net *net;
uint16_t port, tls_port;
static struct tls_context *server_tls;
struct tls_context *client_tls;
char dir[] = "/tmp/cairn-net-XXXXXX", sock_path[64];

/* ---- the handlers ---- */

/* Calls that wait; the test answers them. */
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
struct net_reply *parked;
unsigned n_gone, n_console;

static void echo(void *arg, const struct net_request *req, struct net_reply *reply)
{
    struct buf b;
    buf_init(&b, 8 << 20);
    buf_put(&b, req->body.p, req->body.size);
    net_reply_send(reply, 200, "text/xml", NULL, 0, &b);
}

static void tell(void *arg, const struct net_request *req, struct net_reply *reply)
{
    static const char *const kinds[] = {"tcp", "tls", "local"};
    struct buf b;
    buf_init(&b, 4096);
    _cleanup_(freep) char *a = http_query_get(req->query, "a");
    buf_printf(&b, "%s %s a=%s %s uid=%d", req->method, req->rest, a ? a : "-",
               kinds[req->peer.kind], req->peer.kind == NET_LOCAL ? (int)req->peer.uid : -1);
    net_reply_send(reply, 200, "text/plain", NULL, 0, &b);
}

static void big(void *arg, const struct net_request *req, struct net_reply *reply)
{
    struct buf b;
    buf_init(&b, 8 << 20);
    memset(buf_reserve(&b, 6 << 20), 'x', 6 << 20);
    buf_added(&b, 6 << 20);
    net_reply_send(reply, 200, "text/plain", NULL, 0, &b);
}

static void on_gone(void *arg)
{
    net_reply_drop(arg);
    pthread_mutex_lock(&lock);
    n_gone++;
    parked = NULL;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void park(void *arg, const struct net_request *req, struct net_reply *reply)
{
    net_reply_on_gone(reply, on_gone, reply);
    pthread_mutex_lock(&lock);
    parked = reply;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Tells 2000 times 1000 bytes, never more than fits, then ends. */
static unsigned n_told;
static const char piece[1000] = "piece";

static void tell_more(void *arg)
{
    struct net_reply *reply = arg;
    while (n_told < 2000 && net_reply_is_drained(reply)) {
        net_reply_more(reply, piece, sizeof(piece));
        n_told++;
    }
    if (n_told == 2000)
        net_reply_drop(reply);
}

static void feed(void *arg, const struct net_request *req, struct net_reply *reply)
{
    n_told = 0;
    net_reply_on_drained(reply, tell_more, reply);
    net_reply_begin(reply, 200, "text/plain", NULL, 0);
    tell_more(reply);
}

/* A first piece; the test or the client ends it. */
static void feed_park(void *arg, const struct net_request *req, struct net_reply *reply)
{
    net_reply_begin(reply, 200, "text/plain", NULL, 0);
    net_reply_more(reply, "first", 5);
    park(arg, req, reply);
}

static void deny(void *arg, const struct net_request *req, struct net_reply *reply)
{
    net_reply_error(reply, 401, "who are <you>?");
}

/* Upper case of all that comes, until "." */
static void shout(void *arg, const struct net_request *req, struct net_stream *s)
{
    char c = 0;
    if (net_stream_head(s, 200, "text/plain", NULL, 0) < 0)
        c = '.';
    while (c != '.' && net_stream_read(s, &c, 1) == 1) {
        char up = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
        if (net_stream_write(s, &up, 1) < 0)
            break;
    }
    net_stream_close(s);
}

/* An echo behind a socket pair; the far end is served here. */
static void *serve_echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char chunk[4096];
    for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) > 0;)
        if (fd_write_all(fd, chunk, (size_t)n) < 0)
            break;
    close(fd);
    pthread_mutex_lock(&lock);
    n_console--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static int start_echo(void)
{
    int pair[2];
    pthread_t t;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pthread_mutex_lock(&lock);
    n_console++;
    pthread_mutex_unlock(&lock);
    pthread_create(&t, NULL, serve_echo, (void *)(intptr_t)pair[1]);
    pthread_detach(t);
    return pair[0];
}

static void console(void *arg, const struct net_request *req, struct net_stream *s)
{
    if (net_wants_websocket(req)) {
        if (net_stream_websocket(s, req, "binary") < 0) {
            net_stream_close(s);
            return;
        }
    } else if (net_stream_head(s, 200, NULL, NULL, 0) < 0) {
        net_stream_close(s);
        return;
    }
    net_stream_relay(s, start_echo());
}

/* Gives the descriptor to a thread that echoes; early bytes first. */
static void lend(void *arg, const struct net_request *req, struct net_stream *s)
{
    struct buf early;
    buf_init(&early, 65536);
    if (net_stream_head(s, 200, NULL, NULL, 0) < 0)
        return;
    int fd = net_stream_take_fd(s, &early);
    assert_true(fd >= 0);
    if (fd_write_all(fd, early.data, early.size) == 0) {
        pthread_mutex_lock(&lock);
        n_console++;
        pthread_mutex_unlock(&lock);
        serve_echo((void *)(intptr_t)fd);
    }
    buf_done(&early);
}

static const struct net_route routes[] = {
    {"POST", "/", "post_root", NET_RPC, .call = echo},
    {"POST", "/park", "park", NET_RPC, .call = park},
    {"GET", "/tell", "tell", NET_SIMPLE, .call = tell},
    {"GET", "/tell/more", "tell_more", NET_SIMPLE, .cors = true, .call = tell},
    {"GET", "/big", "big", NET_SIMPLE, .call = big},
    {"GET", "/feed", "feed", NET_SIMPLE, .call = feed},
    {"GET", "/feed/park", "feed_park", NET_SIMPLE, .cors = true, .call = feed_park},
    {"*", "/any", "any", NET_SIMPLE, .cors = true, .call = tell},
    {"PUT", "/any", "any_put", NET_SIMPLE, .call = big},
    {"GET", "/console.html", "console_page", NET_FILES, .cors = false},
    {"GET", "/deny", "deny_handler", NET_SIMPLE, .call = deny},
    {"PUT", "/shout", "shout", NET_TAKEOVER, .takeover = shout},
    {"POST", "/shout", "shout", NET_TAKEOVER, .takeover = shout},
    {"POST", "/whole", "whole", NET_TAKEOVER, .gather = 100, .takeover = shout},
    {"CONNECT", "/console", "connect_console", NET_TAKEOVER, .takeover = console},
    {"GET", "/console", "connect_console_ws", NET_TAKEOVER, .takeover = console},
    {"CONNECT", "/lend", "lend", NET_TAKEOVER, .takeover = lend},
};

static void write_file(const char *name, const char *text)
{
    char path[100];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(fd_replace_file(path, text, strlen(text), 0644), 0);
}

void start_net(struct net_config config)
{
    char cert[100], key[100];
    config.routes = routes;
    config.n_routes = ARRAY_LEN(routes);
    snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
    snprintf(key, sizeof(key), "%s/key.pem", dir);
    if (!server_tls) {
        assert_null(tls_make_certificate(cert, key, "cairn", NULL, 0));
        assert_null(tls_context_server(cert, key, &server_tls));
        assert_null(tls_context_client(NULL, &client_tls));
    }
    assert_null(net_new(&config, &net));
    assert_null(net_listen_tcp(net, "127.0.0.1", 0, NULL, &port));
    assert_null(net_listen_tcp(net, "127.0.0.1", 0, server_tls, &tls_port));
    assert_null(net_listen_unix(net, sock_path, 0600));
}

int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    snprintf(sock_path, sizeof(sock_path), "%s/sock", dir);
    char web[64];
    snprintf(web, sizeof(web), "%s/web", dir);
    mkdir(web, 0755);
    write_file("web/index.html", "<p>hello");
    write_file("web/console.html", "<p>console");
    write_file("web/.secret", "x");
    write_file("secret", "x");
    return 0;
}

int teardown(void **state)
{
    tls_context_free(server_tls);
    tls_context_free(client_tls);
    return fd_remove_tree(dir);
}

int start(void **state)
{
    static char web[64];
    snprintf(web, sizeof(web), "%s/web", dir);
    start_net((struct net_config){.web_root = web, .rpc_body_max = 1 << 20});
    return 0;
}

int stop(void **state)
{
    net_free(net);
    net = NULL;
    return 0;
}

/* ---- the client ---- */

int dial(uint16_t to)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(to)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

void say(int fd, const char *text)
{
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

/* All until the server closes. */
char *hear_all(int fd)
{
    struct buf b;
    buf_init(&b, 16 << 20);
    char chunk[65536];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_put(&b, chunk, (size_t)n);
    if (n < 0)
        fail_msg("read: %s after %zu bytes: %s", strerror(errno), b.size, buf_str(&b));
    close(fd);
    return buf_take(&b);
}

/* Exactly what is expected, the connection stays. */
void hear(int fd, const char *expected)
{
    char got[8192] = {0};
    size_t size = strlen(expected), have = 0;
    while (have < size) {
        ssize_t n = read(fd, got + have, size - have);
        if (n <= 0)
            fail_msg("the end after: %s", got);
        have += (size_t)n;
    }
    assert_string_equal(got, expected);
}

char *ask(const char *text)
{
    int fd = dial(port);
    say(fd, text);
    return hear_all(fd);
}

void status_is(const char *request, const char *expected)
{
    _cleanup_(freep) char *answer = ask(request);
    if (strncmp(answer, expected, strlen(expected)) != 0)
        fail_msg("'%s' answered: %s", request, answer);
}

struct net_reply *wait_parked(void)
{
    pthread_mutex_lock(&lock);
    while (!parked)
        pthread_cond_wait(&changed, &lock);
    struct net_reply *r = steal(&parked);
    pthread_mutex_unlock(&lock);
    return r;
}
