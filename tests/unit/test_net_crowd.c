/* test_net_crowd.c: crowds of strangers: who gives way, what they may hold, whom they hinder. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "net/net_impl.h"
#include "tests/unit/net_fixture.h"

#define HELLO "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"

static void limits(void **state, struct net_config config)
{
    stop(state);
    log_set_level("net", LOG_ERR);
    start_net(config);
}

static void expect_end(int fd)
{
    char c;
    ssize_t n = read(fd, &c, 1);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

static int dial_and_greet(void)
{
    int fd = dial(port);
    say(fd, HELLO);
    hear(fd, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n"
             "cache-control: no-cache, no-store\r\ncontent-type: text/xml\r\n" CORS "\r\nx");
    return fd;
}

static void who_says_nothing_goes_first(void **state)
{
    limits(state, (struct net_config){.max_per_peer = 3, .threads = 1});
    clock_fake(clock_now()); /* nobody grows old */
    int served = dial_and_greet();
    int silent = dial(port), half = dial(port);
    say(half, "POST / HT");
    int last = dial_and_greet();
    expect_end(silent);
    int more = dial_and_greet();
    expect_end(half);
    say(served, HELLO);
    hear(served, "HTTP/1.1 200 OK");
    close(served);
    close(last);
    close(more);
    clock_real();
}

static void a_slow_command_holds_no_thread(void **state)
{
    limits(state, (struct net_config){.max_streams = 1});
    int slow = dial(port);
    say(slow, "POST /whole HTTP/1.0\r\nContent-Length: 4\r\n\r\na");
    _cleanup_(freep) char *quick = ask("POST /whole HTTP/1.0\r\nContent-Length: 2\r\n\r\nb.");
    assert_true(str_ends(quick, "\r\n\r\nB."));
    say(slow, "bc.");
    _cleanup_(freep) char *rest = hear_all(slow);
    assert_true(str_ends(rest, "\r\n\r\nABC."));
}

static void strangers_have_half_of_the_streams(void **state)
{
    limits(state, (struct net_config){.max_streams = 2});
    int one = dial(port);
    say(one, "PUT /shout HTTP/1.1\r\n\r\na");
    hear(one, "HTTP/1.1 200 OK\r\n");
    status_is("PUT /shout HTTP/1.1\r\n\r\n.", "HTTP/1.1 503 ");
    int local = fd_connect_unix(sock_path); /* no stranger */
    say(local, "PUT /shout HTTP/1.1\r\n\r\na.");
    hear(local, "HTTP/1.1 200 OK\r\n");
    close(local);
    say(one, ".");
    _cleanup_(freep) char *rest = hear_all(one);
    assert_true(str_ends(rest, "\r\n\r\nA."));
    status_is("PUT /shout HTTP/1.1\r\n\r\n.", "HTTP/1.1 200 ");
}

static void a_stranger_may_not_trickle_into_a_stream(void **state)
{
    limits(state, (struct net_config){.stall_time = 60 * USEC_PER_MSEC});
    int fd = dial(port), sent = 0;
    say(fd, "PUT /shout HTTP/1.1\r\n\r\n");
    for (ssize_t n = 0; n >= 0 && sent < 500; sent++) {
        usleep(10000);
        n = send(fd, "x", 1, MSG_NOSIGNAL);
    }
    assert_true(sent < 500);
    close(fd);
}

static void what_strangers_hold_is_bounded(void **state)
{
    static char text[150001];
    memset(text, 'x', sizeof(text) - 1);
    limits(state, (struct net_config){.strangers_bytes = 300000});
    int first = dial(port), second = dial(port);
    say(first, "POST / HTTP/1.1\r\nContent-Length: 160000\r\n\r\n");
    say(first, text);
    while (atomic_load(&net->n_held) < sizeof(text)) /* all of it has come to a buffer */
        usleep(1000);
    _cleanup_(freep) char *small = ask("POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
    say(second, "POST / HTTP/1.1\r\nContent-Length: 160000\r\n\r\n");
    (void)!send(second, text, sizeof(text) - 1, MSG_NOSIGNAL);
    expect_end(second);
    _cleanup_(freep) char *still = ask("POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
    assert_true(str_ends(small, "\r\n\r\nx") && str_ends(still, "\r\n\r\nx"));
    close(first);
}

static void crowds_are_counted(void **state)
{
    char crowd[NET_CROWD_SIZE];
    peers_crowd("2001:db8:1:2:3:4:5:6", crowd);
    assert_string_equal(crowd, "2001:db8:1:2::/64");
    peers_crowd("192.0.2.7", crowd);
    assert_string_equal(crowd, "192.0.2.7");
    struct peers *p = peers_new(10);
    assert_string_equal(peers_most_crowded(p), "");
    peers_add(p, "a");
    peers_add(p, "b");
    peers_add(p, "b");
    assert_string_equal(peers_most_crowded(p), "b");
    assert_int_equal(peers_count(p, "b"), 2);
    peers_remove(p, "b");
    peers_remove(p, "b");
    assert_string_equal(peers_most_crowded(p), "a");
    assert_int_equal(peers_n_places(p), 1);
    assert_int_equal(peers_count(p, "b"), 0);
    peers_free(p);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_says_nothing_goes_first),        T(a_slow_command_holds_no_thread),
        T(strangers_have_half_of_the_streams), T(a_stranger_may_not_trickle_into_a_stream),
        T(what_strangers_hold_is_bounded),     T(crowds_are_counted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
