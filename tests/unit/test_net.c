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
#include "tests/unit/net_fixture.h"

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

static void an_answer_may_come_in_pieces(void **state)
{
    const char *head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: no-cache, no-store"
                       "\r\ncontent-type: text/plain\r\n";
    int fd = dial(port);
    say(fd, "GET /feed HTTP/1.1\r\n\r\n");
    hear(fd, head);
    size_t n = 2;
    char chunk[65536];
    for (ssize_t r; (r = read(fd, chunk, sizeof(chunk))) > 0;)
        n += (size_t)r;
    assert_int_equal(n, 4 + 2000 * 1000);
    close(fd);

    fd = dial(port);
    say(fd, "GET /feed/park HTTP/1.1\r\n\r\n");
    hear(fd, head);
    hear(fd, CORS "\r\nfirst");
    wait_parked();
    close(fd);
    pthread_mutex_lock(&lock);
    while (!n_gone)
        pthread_cond_wait(&changed, &lock);
    n_gone = 0;
    pthread_mutex_unlock(&lock);
}

static void a_route_may_take_any_method(void **state)
{
    _cleanup_(freep) char *patch = ask("PATCH /any/x HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_string_equal(patch,
                        ANSWER("23", "close", "text/plain") CORS "\r\nPATCH /x a=- tcp uid=-1");
    _cleanup_(freep) char *options = ask("OPTIONS /any HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(options, "OPTIONS  a=- tcp"));
    _cleanup_(freep) char *head = ask("HEAD /any HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_string_equal(head, ANSWER("20", "close", "text/plain") CORS "\r\n");
    _cleanup_(freep) char *put = ask("PUT /any HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(put, "content-length: 6291456"));
    _cleanup_(freep) char *page = ask("GET /console.html HTTP/1.1\r\n\r\n");
    assert_non_null(strstr(page, "<p>console"));
    assert_non_null(strstr(page, "Content-Security-Policy: default-src 'self'"));
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

static void count_complaints(enum log_level level, const char *line, void *arg)
{
    if (strstr(line, "event=accept-failed"))
        __atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_RELEASE);
}

static void late_requests_are_closed(void **state)
{
    stop(state);
    /* Long enough for us to say what we say, on a machine with much else to do. */
    start_net((struct net_config){.head_time = 300 * USEC_PER_MSEC,
                                  .idle_time = 300 * USEC_PER_MSEC,
                                  .stall_time = 300 * USEC_PER_MSEC});
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
    /* A third one from here is let in, and the oldest idle one goes. */
    status_is("GET /tell HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ");
    free(hear_all(a)); /* returns: it is closed */
    int local = fd_connect_unix(sock_path);
    say(local, "GET /tell HTTP/1.1\r\n\r\n");
    hear(local, "HTTP/1.1 200 ");
    close(b);
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
        T(an_answer_may_come_in_pieces),
        T(a_route_may_take_any_method),
        T(refusals_have_their_codes),
        T(a_refused_upload_still_hears_why),
        T(preflights_are_answered),
        T(a_parked_call_is_answered_from_another_thread),
        T(who_waits_is_told_when_the_client_leaves),
        T(an_answer_may_come_after_the_end),
        T(a_large_answer_is_sent_whole),
        T(the_local_socket_knows_its_peer),
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
