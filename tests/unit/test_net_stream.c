/* test_net_stream.c: connections that are taken over: streams, relays, TLS, WebSocket, files. */
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
    const char *head = ANSWER("8", "close", "text/html; charset=utf-8") "Content-Security-Policy: ";
    assert_true(strncmp(a, head, strlen(head)) == 0);
    assert_true(str_ends(a, "\r\n\r\n<p>hello"));
    status_is("GET /index.html HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ");
    status_is("GET /none HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET /.secret HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET /../secret HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET /%2e%2e/secret HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    status_is("GET //etc/passwd HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_stream_speaks_for_itself),
        T(a_relay_carries_bytes_both_ways),
        T(a_descriptor_can_be_lent),
        T(tls_carries_calls_streams_and_relays),
        T(tls_sends_a_large_answer_whole),
        T(a_websocket_is_a_relay_too),
        T(files_are_served_from_their_folder_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
