/* test_net.c: the server as a client sees it: bytes in, bytes out, over real sockets. */
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
#include "net/net.h"

static struct net *net;
static uint16_t port, tls_port;
static struct tls_context *server_tls, *client_tls;
static char dir[] = "/tmp/cairn-net-XXXXXX", sock_path[64];

/* ---- the handlers ---- */

/* Calls that wait; the test answers them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct net_reply *parked;
static unsigned n_gone, n_console;

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

static void deny(void *arg, const struct net_request *req, struct net_reply *reply)
{
    net_reply_error(reply, 401, "who are <you>?");
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
    {"GET", "/deny", "deny_handler", NET_SIMPLE, .call = deny},
    {"PUT", "/shout", "shout", NET_TAKEOVER, .takeover = shout},
    {"POST", "/shout", "shout", NET_TAKEOVER, .takeover = shout},
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

static void start_net(struct net_config config)
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

static int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    snprintf(sock_path, sizeof(sock_path), "%s/sock", dir);
    char web[64];
    snprintf(web, sizeof(web), "%s/web", dir);
    mkdir(web, 0755);
    write_file("web/index.html", "<p>hello");
    write_file("web/.secret", "x");
    write_file("secret", "x");
    return 0;
}

static int teardown(void **state)
{
    tls_context_free(server_tls);
    tls_context_free(client_tls);
    return fd_remove_tree(dir);
}

static int start(void **state)
{
    static char web[64];
    snprintf(web, sizeof(web), "%s/web", dir);
    start_net((struct net_config){.web_root = web, .rpc_body_max = 1 << 20});
    return 0;
}

static int stop(void **state)
{
    net_free(net);
    net = NULL;
    return 0;
}

/* ---- the client ---- */

static int dial(uint16_t to)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(to)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

/* All until the server closes. */
static char *hear_all(int fd)
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
static void hear(int fd, const char *expected)
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

static char *ask(const char *text)
{
    int fd = dial(port);
    say(fd, text);
    return hear_all(fd);
}

static void status_is(const char *request, const char *expected)
{
    _cleanup_(freep) char *answer = ask(request);
    if (strncmp(answer, expected, strlen(expected)) != 0)
        fail_msg("'%s' answered: %s", request, answer);
}

#define ANSWER(body_size, connection, type)                                                        \
    "HTTP/1.1 200 OK\r\ncontent-length: " body_size "\r\nconnection: " connection                  \
    "\r\ncache-control: no-cache, no-store\r\ncontent-type: " type "\r\n"
#define CORS "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: X-Requested-With\r\n"

static void count_complaints(enum log_level level, const char *line, void *arg)
{
    if (strstr(line, "event=accept-failed"))
        __atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_RELEASE);
}

/* ---- the tests ---- */

static void a_call_is_answered_byte_by_byte(void **state)
{
    int fd = dial(port);
    for (int i = 0; i < 3; i++) {
        say(fd, "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/xml\r\nContent-Length: 5\r\n\r\n"
                "hello");
        hear(fd, ANSWER("5", "keep-alive", "text/xml") CORS "\r\nhello");
    }
    say(fd, "POST /RPC2 HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
    hear(fd, ANSWER("2", "close", "text/xml") CORS "\r\nhi");
    _cleanup_(freep) char *rest = hear_all(fd);
    assert_string_equal(rest, "");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    _cleanup_(freep) char *answer =
        ask("GET /tell?a=1 HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
            "abcGET /tell/x?a=2 HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_string_equal(answer,
                        ANSWER("19", "keep-alive", "text/plain") "\r\nGET  a=1 tcp uid=-1" //
                        ANSWER("3", "keep-alive", "text/xml") CORS "\r\nabc"               //
                        ANSWER("21", "close", "text/plain") "\r\nGET /x a=2 tcp uid=-1");
}

static void a_request_may_come_byte_by_byte(void **state)
{
    int fd = dial(port);
    const char *text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (const char *at = text; *at; at++)
        assert_int_equal(send(fd, at, 1, MSG_NOSIGNAL), 1);
    hear(fd, ANSWER("3", "keep-alive", "text/xml") CORS "\r\nabc");
    close(fd);
}

static void continue_is_said_when_expected(void **state)
{
    int fd = dial(port);
    say(fd, "POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    hear(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "ok");
    hear(fd, ANSWER("2", "keep-alive", "text/xml") CORS "\r\nok");
    close(fd);
    fd = dial(port);
    say(fd, "PUT /shout HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    hear(fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n");
    say(fd, "o.");
    free(hear_all(fd));
}

static void refusals_have_their_codes(void **state)
{
    status_is("nonsense\r\n\r\n", "HTTP/1.1 400 ");
    status_is("\x16\x03\x01\x02", "HTTP/1.1 400 ");
    status_is("GET /%zz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ");
    status_is("PUT /nowhere HTTP/1.1\r\n\r\n", "HTTP/1.1 403 ");
    status_is("DELETE / HTTP/1.1\r\n\r\n", "HTTP/1.1 501 ");
    status_is("POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", "HTTP/1.1 500 ");
    status_is("GET /tell HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", "HTTP/1.1 500 ");
    status_is("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 501 ");
    status_is("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 ");
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    buf_puts(&b, "GET / HTTP/1.1\r\nA: ");
    while (b.size < 20000)
        buf_putc(&b, 'x');
    status_is(buf_str(&b), "HTTP/1.1 431 ");
    _cleanup_(freep) char *denied = ask("GET /deny HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(denied, "\r\nWWW-Authenticate: Basic realm=\"deny_handler\"\r\n"));
    assert_non_null(strstr(denied, "who are &lt;you>?"));
}

static void a_refused_upload_still_hears_why(void **state)
{
    int fd = dial(port);
    say(fd, "POST / HTTP/1.1\r\nContent-Length: 90000000\r\n\r\n");
    char chunk[65536] = {0};
    for (int i = 0; i < 32; i++)
        send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    _cleanup_(freep) char *answer = hear_all(fd);
    assert_true(str_starts(answer, "HTTP/1.1 500 "));
}

static void preflights_are_answered(void **state)
{
    _cleanup_(freep) char *a = ask("OPTIONS /jsonrpc HTTP/1.1\r\nConnection: close\r\n"
                                   "Access-Control-Request-Headers: x-a\r\n\r\n");
    assert_string_equal(a, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n"
                           "cache-control: no-cache, no-store\r\n"
                           "Access-Control-Allow-Origin: *\r\n"
                           "Access-Control-Allow-Headers: x-a, X-Requested-With\r\n"
                           "Access-Control-Allow-Methods: PUT\r\n\r\n");
    _cleanup_(freep) char *b = ask("GET /tell/more HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(b, CORS));
}

static struct net_reply *wait_parked(void)
{
    pthread_mutex_lock(&lock);
    while (!parked)
        pthread_cond_wait(&changed, &lock);
    struct net_reply *r = steal(&parked);
    pthread_mutex_unlock(&lock);
    return r;
}

static void a_parked_call_is_answered_from_another_thread(void **state)
{
    int fd = dial(port);
    say(fd, "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    struct net_reply *r = wait_parked();
    int other = dial(port); /* is served meanwhile, on either thread */
    int third = dial(port);
    say(other, "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    say(third, "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    hear(other, ANSWER("1", "keep-alive", "text/xml") CORS "\r\nx");
    hear(third, ANSWER("1", "keep-alive", "text/xml") CORS "\r\nx");
    close(other);
    close(third);
    net_reply_send(r, 200, "text/xml", NULL, 0, NULL);
    hear(fd, ANSWER("0", "keep-alive", "text/xml") CORS "\r\n");
    close(fd);
}

static void who_waits_is_told_when_the_client_leaves(void **state)
{
    unsigned before = n_gone;
    int fd = dial(port);
    say(fd, "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    pthread_mutex_lock(&lock);
    while (!parked)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    close(fd);
    pthread_mutex_lock(&lock);
    while (n_gone == before)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void an_answer_may_come_after_the_end(void **state)
{
    int fd = dial(port);
    say(fd, "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    struct net_reply *r = wait_parked();
    net_reply_on_gone(r, NULL, NULL);
    net_free(net);
    net_reply_send(r, 200, "text/xml", NULL, 0, NULL);
    close(fd);
    start(state);
}

static void a_large_answer_is_sent_whole(void **state)
{
    _cleanup_(freep) char *a = ask("GET /big HTTP/1.0\r\n\r\n");
    char *body = strstr(a, "\r\n\r\n") + 4;
    assert_int_equal(strspn(body, "x"), 6 << 20);
}

static void the_local_socket_knows_its_peer(void **state)
{
    int fd = fd_connect_unix(sock_path);
    say(fd, "GET /tell HTTP/1.0\r\n\r\n");
    _cleanup_(freep) char *a = hear_all(fd);
    char expected[64];
    snprintf(expected, sizeof(expected), "GET  a=- local uid=%d", (int)getuid());
    assert_string_equal(strstr(a, "\r\n\r\n") + 4, expected);
}

static void a_stream_speaks_for_itself(void **state)
{
    int fd = dial(port);
    say(fd, "POST /shout HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"); /* early bytes are kept */
    hear(fd, "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: no-cache, no-store\r\n"
             "content-type: text/plain\r\n\r\nABC");
    say(fd, "def.");
    _cleanup_(freep) char *rest = hear_all(fd);
    assert_string_equal(rest, "DEF.");
}

#define TAKEN "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: no-cache, no-store\r\n\r\n"

static void a_relay_carries_bytes_both_ways(void **state)
{
    int fd = dial(port);
    say(fd, "CONNECT /console?uuid=1 HTTP/1.0\r\n\r\nearly");
    hear(fd, TAKEN "early");
    for (int i = 0; i < 100; i++) {
        say(fd, "ping");
        hear(fd, "ping");
    }
    shutdown(fd, SHUT_WR); /* the end is passed on, and comes back */
    _cleanup_(freep) char *rest = hear_all(fd);
    assert_string_equal(rest, "");
    pthread_mutex_lock(&lock);
    while (n_console)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void a_descriptor_can_be_lent(void **state)
{
    int fd = dial(port);
    say(fd, "CONNECT /lend HTTP/1.1\r\n\r\nearly");
    hear(fd, TAKEN "early");
    say(fd, "late");
    hear(fd, "late");
    close(fd);
}

/* A client's TLS session over a blocking socket. */
struct tls_peer {
    int fd;
    struct tls *t;
};

static void tls_flush(struct tls_peer *p)
{
    struct buf *out = tls_out(p->t);
    assert_int_equal(fd_write_all(p->fd, out->data, out->size), 0);
    buf_clear(out);
}

static ssize_t tls_hear(struct tls_peer *p, char *to, size_t size)
{
    char chunk[4096];
    for (;;) {
        ssize_t n = tls_read(p->t, to, size);
        tls_flush(p);
        if (n != 0)
            return n == -EPIPE ? 0 : n;
        n = read(p->fd, chunk, sizeof(chunk));
        assert_true(n > 0);
        tls_push(p->t, chunk, (size_t)n);
    }
}

static struct tls_peer tls_dial(void)
{
    struct tls_peer p = {.fd = dial(tls_port), .t = tls_new(client_tls)};
    char chunk[4096];
    while (!tls_is_ready(p.t)) {
        assert_int_equal(tls_read(p.t, chunk, 0), 0);
        tls_flush(&p);
        if (tls_is_ready(p.t))
            break;
        ssize_t n = read(p.fd, chunk, sizeof(chunk));
        assert_true(n > 0);
        tls_push(p.t, chunk, (size_t)n);
    }
    return p;
}

static void tls_say(struct tls_peer *p, const char *text)
{
    assert_int_equal(tls_write(p->t, text, strlen(text)), 0);
    tls_flush(p);
}

static void tls_expect(struct tls_peer *p, const char *expected)
{
    char got[8192] = {0};
    size_t have = 0, size = strlen(expected);
    while (have < size) {
        ssize_t n = tls_hear(p, got + have, size - have);
        assert_true(n > 0);
        have += (size_t)n;
    }
    assert_string_equal(got, expected);
}

static void tls_hang_up(struct tls_peer *p)
{
    tls_free(p->t);
    close(p->fd);
}

static void tls_carries_calls_streams_and_relays(void **state)
{
    struct tls_peer p = tls_dial();
    tls_say(&p, "GET /tell HTTP/1.1\r\n\r\n");
    tls_expect(&p, ANSWER("19", "keep-alive", "text/plain") "\r\nGET  a=- tls uid=-1");
    tls_say(&p, "CONNECT /console HTTP/1.0\r\n\r\nearly");
    tls_expect(&p, TAKEN "early");
    tls_say(&p, "late");
    tls_expect(&p, "late");
    tls_hang_up(&p);
    p = tls_dial();
    tls_say(&p, "CONNECT /lend HTTP/1.0\r\n\r\nearly");
    tls_expect(&p, TAKEN "early");
    tls_say(&p, "late");
    tls_expect(&p, "late");
    tls_hang_up(&p);
    p = tls_dial();
    tls_say(&p, "POST /shout HTTP/1.0\r\n\r\nabc.");
    tls_expect(&p, "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: no-cache, no-store\r\n"
                   "content-type: text/plain\r\n\r\nABC.");
    char c;
    assert_int_equal(tls_hear(&p, &c, 2), 0); /* close_notify */
    tls_hang_up(&p);
}

static void tls_sends_a_large_answer_whole(void **state)
{
    struct tls_peer p = tls_dial();
    tls_say(&p, "GET /big HTTP/1.0\r\n\r\n");
    size_t total = 0;
    static char chunk[65536];
    for (ssize_t n; (n = tls_hear(&p, chunk, sizeof(chunk))) > 0;)
        total += (size_t)n;
    assert_true(total > 6 << 20);
    tls_hang_up(&p);
}

static void a_websocket_is_a_relay_too(void **state)
{
    int fd = dial(port);
    say(fd, "GET /console?uuid=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
            "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Protocol: base64, binary\r\nSec-WebSocket-Version: 13\r\n\r\n");
    hear(fd, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
             "Sec-WebSocket-Protocol: binary\r\n\r\n");
    /* "Hello", masked: the example of RFC 6455 §5.7 as a binary frame, then a ping */
    say(fd, "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    hear(fd, "\x82\x05Hello");
    say(fd, "\x89\x81\x37\xfa\x21\x3d\x4f");
    hear(fd, "\x8a\x01x");
    say(fd, "\x88\x80\x37\xfa\x21\x3d"); /* goodbye */
    _cleanup_(freep) char *rest = hear_all(fd);
    assert_int_equal(rest[0], (char)0x88);
    status_is("GET /console HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
              "HTTP/1.1 400 ");
}

static void files_are_served_from_their_folder_alone(void **state)
{
    _cleanup_(freep) char *a = ask("GET / HTTP/1.1\r\n\r\n");
    assert_string_equal(a, ANSWER("8", "close", "text/html; charset=utf-8") "\r\n<p>hello");
    status_is("GET /index.html HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ");
    status_is("GET /none HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET /.secret HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET /../secret HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET /%2e%2e/secret HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET //etc/passwd HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
}

static void late_requests_are_closed(void **state)
{
    stop(state);
    start_net((struct net_config){.head_time = 30 * USEC_PER_MSEC,
                                  .idle_time = 30 * USEC_PER_MSEC,
                                  .stall_time = 30 * USEC_PER_MSEC});
    _cleanup_(freep) char *silent = ask("");
    assert_string_equal(silent, "");
    _cleanup_(freep) char *half = ask("GET / HT");
    assert_true(str_starts(half, "HTTP/1.1 408 "));
    _cleanup_(freep) char *body = ask("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na");
    assert_true(str_starts(body, "HTTP/1.1 408 "));
    _cleanup_(freep) char *idle = ask("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\na");
    assert_true(str_ends(idle, "\r\n\r\na")); /* served, then closed */
    _cleanup_(freep) char *stream = ask("PUT /shout HTTP/1.1\r\n\r\na");
    assert_true(str_ends(stream, "\r\n\r\nA"));
}

static void a_trickle_is_not_a_transfer(void **state)
{
    stop(state);
    start_net((struct net_config){.stall_time = 60 * USEC_PER_MSEC});
    int fd = dial(port);
    say(fd, "POST / HTTP/1.1\r\nContent-Length: 500\r\n\r\n");
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int sent = 0;
    for (; sent < 500 && poll(&p, 1, 10) == 0; sent++)
        say(fd, "x"); /* always progress, never a stall */
    assert_true(sent < 500);
    _cleanup_(freep) char *answer = hear_all(fd);
    assert_true(str_starts(answer, "HTTP/1.1 408 "));
}

static void the_number_of_connections_is_bounded(void **state)
{
    stop(state);
    log_set_level("net", LOG_ERR);
    start_net((struct net_config){.max_peers = 3, .max_per_peer = 2});
    int a = dial(port), b = dial(port);
    say(a, "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"); /* so that it is counted */
    hear(a, "HTTP/1.1 200 ");
    say(b, "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    hear(b, "HTTP/1.1 200 ");
    status_is("", "HTTP/1.1 503 ");
    int local = fd_connect_unix(sock_path);
    say(local, "GET /tell HTTP/1.1\r\n\r\n");
    hear(local, "HTTP/1.1 200 ");
    close(a);
    usleep(50000);
    int c = dial(port);
    say(c, "GET /tell HTTP/1.1\r\n\r\n");
    hear(c, "HTTP/1.1 200 ");
    close(b);
    close(c);
    close(local);
    log_set_level("net", LOG_INFO);
}

static void the_end_wakes_a_blocked_stream(void **state)
{
    int fd = dial(port);
    say(fd, "PUT /shout HTTP/1.1\r\n\r\na");
    hear(fd, "HTTP/1.1 200 OK\r\n");
    stop(state);
    close(fd);
    start(state);
}

static void stopping_lets_the_answers_out(void **state)
{
    int waiting = dial(port), idle = dial(port), stream = dial(port);
    say(waiting, "POST /park HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    struct net_reply *r = wait_parked();
    say(idle, "GET /tell HTTP/1.1\r\n\r\n");
    hear(idle, ANSWER("19", "keep-alive", "text/plain") "\r\nGET  a=- tcp uid=-1");
    say(stream, "PUT /shout HTTP/1.1\r\n\r\na");
    hear(stream, "HTTP/1.1 200 OK\r\n");
    net_stop(net);
    _cleanup_(freep) char *end = hear_all(stream);
    assert_true(str_ends(end, "\r\n\r\nA"));
    say(idle, "GET /tell HTTP/1.1\r\n\r\n");
    _cleanup_(freep) char *refused = hear_all(idle);
    assert_true(str_starts(refused, "HTTP/1.1 503 "));
    net_reply_send(r, 200, "text/xml", NULL, 0, NULL);
    hear(waiting, ANSWER("0", "keep-alive", "text/xml") CORS "\r\n");
    close(waiting);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&sa, sizeof(sa)), -1);
    close(late);
}

/* Descriptors run out between a client's connect and the accept. */
static void a_lack_of_descriptors_is_waited_out(void **state)
{
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tight = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = old.rlim_max};
    log_set_level("net", LOG_ERR);
    unsigned complaints = 0;
    log_set_sink(count_complaints, &complaints);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    while (!__atomic_load_n(&complaints, __ATOMIC_ACQUIRE))
        usleep(1000);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    say(fd, "GET /tell HTTP/1.0\r\n\r\n");
    _cleanup_(freep) char *a = hear_all(fd);
    assert_true(str_starts(a, "HTTP/1.1 200 "));
    log_set_sink(NULL, NULL);
}

static void inherited_sockets_are_counted_once(void **state)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    bool tls[NET_INHERITED_MAX];
    setenv("LISTEN_PID", "1", 1);
    setenv("LISTEN_FDS", "2", 1);
    assert_int_equal(net_inherited(tls), 0);
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "3", 1);
    setenv("LISTEN_FDNAMES", "http:https:local", 1);
    assert_int_equal(net_inherited(tls), 3);
    assert_true(!tls[0] && tls[1] && !tls[2] && !tls[3]);
    assert_null(getenv("LISTEN_FDS"));
    assert_int_equal(net_inherited(tls), 0);
}

static void an_inherited_socket_is_served(void **state)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/inherited", dir);
    assert_null(net_listen_fd(net, fd_listen_unix(path, 0600), NULL));
    int fd = fd_connect_unix(path);
    say(fd, "GET /tell HTTP/1.0\r\n\r\n");
    _cleanup_(freep) char *a = hear_all(fd);
    assert_non_null(strstr(a, "local uid="));
    _cleanup_(err_freep) struct err *e = net_listen_fd(net, 0, NULL);
    assert_non_null(e);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 8192);
    net_dump(net, &b);
    assert_non_null(strstr(buf_str(&b), "listener kind=local"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_call_is_answered_byte_by_byte),
        T(pipelined_requests_are_answered_in_order),
        T(a_request_may_come_byte_by_byte),
        T(continue_is_said_when_expected),
        T(refusals_have_their_codes),
        T(a_refused_upload_still_hears_why),
        T(preflights_are_answered),
        T(a_parked_call_is_answered_from_another_thread),
        T(who_waits_is_told_when_the_client_leaves),
        T(an_answer_may_come_after_the_end),
        T(a_large_answer_is_sent_whole),
        T(the_local_socket_knows_its_peer),
        T(a_stream_speaks_for_itself),
        T(a_relay_carries_bytes_both_ways),
        T(a_descriptor_can_be_lent),
        T(tls_carries_calls_streams_and_relays),
        T(tls_sends_a_large_answer_whole),
        T(a_websocket_is_a_relay_too),
        T(files_are_served_from_their_folder_alone),
        T(late_requests_are_closed),
        T(a_trickle_is_not_a_transfer),
        T(the_number_of_connections_is_bounded),
        T(the_end_wakes_a_blocked_stream),
        T(stopping_lets_the_answers_out),
        T(a_lack_of_descriptors_is_waited_out),
        T(inherited_sockets_are_counted_once),
        T(an_inherited_socket_is_served),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
