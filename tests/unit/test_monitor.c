/* Tests of src/host/{qmp,console,agent}: what is said over sockets, with a thread in QEMU's place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "codec/json.h"
#include "host/agent.h"
#include "host/console.h"
#include "host/mon.h"
#include "host/qmp.h"

#define GREETING "{\"QMP\":{\"version\":{}}}\r\n"
#define SOON     (clock_now() + 5 * USEC_PER_SEC)

struct fixture {
    struct loop *l;
    int theirs, ours; /* QEMU's end, ours */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    char events[256];
    unsigned closed, told;
    struct val *data;
    struct qmp *q;
    struct agent *agent;
    struct console *console;
    char dir[32];
    int client;
};

static void write_text(int fd, const char *text)
{
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

static int setup(void **state)
{
    struct fixture *x = mem_new(struct fixture);
    int pair[2];
    x->client = -1;
    (void)signal(SIGPIPE, SIG_IGN);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    x->theirs = pair[0];
    x->ours = pair[1];
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->cond, NULL);
    strcpy(x->dir, "/tmp/cairn-mon-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    x->l = loop_start("mon");
    *state = x;
    return 0;
}

static void free_on_loop(void *arg)
{
    struct fixture *x = arg;
    agent_free(x->agent);
    console_free(x->console);
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    mon_run(x->l, free_on_loop, x);
    qmp_close(x->q);
    loop_stop_join(x->l);
    fd_close(x->theirs);
    fd_close(x->ours);
    val_unref(x->data);
    fd_remove_tree(x->dir);
    free(x);
    return 0;
}

/* Waits until a counter has reached n. */
static bool reached(struct fixture *x, const unsigned *counter, unsigned n)
{
    usec_t end = SOON;
    pthread_mutex_lock(&x->lock);
    bool in_time = true;
    while (*counter < n && in_time)
        in_time = clock_wait(&x->cond, &x->lock, end);
    bool yes = *counter >= n;
    pthread_mutex_unlock(&x->lock);
    return yes;
}

static void count(struct fixture *x, unsigned *counter)
{
    pthread_mutex_lock(&x->lock);
    ++*counter;
    pthread_cond_broadcast(&x->cond);
    pthread_mutex_unlock(&x->lock);
}

/* --- the monitor --- */

static void on_event(void *arg, const char *event, const struct val *data)
{
    struct fixture *x = arg;
    size_t n = strlen(x->events);
    snprintf(x->events + n, sizeof(x->events) - n, "%s:%s ", event,
             val_map_str(data, "reason", "-"));
}

static void on_close(void *arg)
{
    struct fixture *x = arg;
    count(x, &x->closed);
}

static void open_monitor(struct fixture *x)
{
    write_text(x->theirs, GREETING "{\"return\":{}}\n");
    assert_null(qmp_open(x->l, fd_take(&x->ours), on_event, on_close, x, SOON, &x->q));
}

static char *read_line(int fd)
{
    char line[4096];
    size_t n = 0;
    while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = '\0';
    return mem_strdup(line);
}

/* QEMU's part in a_call_gets_its_own_answer. */
static void *answer_in_reverse(void *arg)
{
    struct fixture *x = arg;
    free(read_line(x->theirs)); /* qmp_capabilities */
    for (int i = 0; i < 2; i++) {
        _cleanup_(freep) char *line = read_line(x->theirs);
        _cleanup_(val_unrefp) struct val *v = NULL;
        if (json_parse(view_of(line), &v) < 0)
            return NULL;
        char text[256];
        long long id = (long long)val_get_int(val_map_get(v, "id"));
        bool bad = str_eq(val_map_str(v, "execute", ""), "bad");
        snprintf(text, sizeof(text),
                 "{\"event\":\"STOP\",\"data\":{\"reason\":\"x\"}}\n"
                 "{\"id\":99,\"return\":{\"late\":1}}\n"
                 "{\"id\":%lld,%s}\n",
                 id,
                 bad ? "\"error\":{\"class\":\"GenericError\",\"desc\":\"no, thank you\"}"
                     : "\"return\":{\"n\":7}");
        if (fd_write_all(x->theirs, text, strlen(text)) < 0)
            return NULL;
    }
    return NULL;
}

static void a_call_gets_its_own_answer(void **state)
{
    struct fixture *x = *state;
    pthread_t qemu;
    open_monitor(x);
    assert_int_equal(pthread_create(&qemu, NULL, answer_in_reverse, x), 0);
    _cleanup_(val_unrefp) struct val *ret = NULL;
    assert_null(qmp_call(x->q, "good", val_map(), -1, SOON, &ret));
    assert_int_equal(val_get_int(val_map_get(ret, "n")), 7);
    struct err *e = qmp_call(x->q, "bad", NULL, -1, SOON, NULL);
    assert_non_null(e);
    assert_non_null(strstr(err_param(e, 0), "no, thank you"));
    err_free(e);
    pthread_join(qemu, NULL);
    assert_string_equal(x->events, "STOP:x STOP:x ");
}

static void a_silent_monitor_fails_in_time(void **state)
{
    struct fixture *x = *state;
    open_monitor(x);
    struct err *e = qmp_call(x->q, "hello", NULL, -1, clock_now() + 50 * USEC_PER_MSEC, NULL);
    assert_int_equal(err_get_errno(e), ETIMEDOUT);
    err_free(e);
    write_text(x->theirs, "{\"id\":1,\"return\":{}}\n"); /* too late: dropped */
}

static void a_greeting_that_does_not_come_is_an_error(void **state)
{
    struct fixture *x = *state;
    struct err *e = qmp_open(x->l, fd_take(&x->ours), on_event, on_close, x,
                             clock_now() + 50 * USEC_PER_MSEC, &x->q);
    assert_int_equal(err_get_errno(e), ETIMEDOUT);
    err_free(e);
    assert_int_equal(x->closed, 0);
}

static void *hang_up(void *arg)
{
    struct fixture *x = arg;
    free(read_line(x->theirs));
    free(read_line(x->theirs));
    fd_closep(&x->theirs);
    return NULL;
}

static void the_end_of_qemu_fails_what_waits(void **state)
{
    struct fixture *x = *state;
    pthread_t qemu;
    open_monitor(x);
    assert_int_equal(pthread_create(&qemu, NULL, hang_up, x), 0);
    struct err *e = qmp_call(x->q, "hello", NULL, -1, SOON, NULL);
    assert_int_equal(err_get_errno(e), EPIPE);
    err_free(e);
    pthread_join(qemu, NULL);
    assert_true(reached(x, &x->closed, 1));
    e = qmp_call(x->q, "hello", NULL, -1, SOON, NULL);
    assert_int_equal(err_get_errno(e), EPIPE);
    err_free(e);
}

static void nonsense_ends_the_connection(void **state)
{
    struct fixture *x = *state;
    open_monitor(x);
    write_text(x->theirs, "{\"event\":3}\n[1]\n");
    assert_true(reached(x, &x->closed, 1));
}

/* --- the console --- */

static void make_console(void *arg)
{
    struct fixture *x = arg;
    _cleanup_(freep) char *ring = mem_printf("%s/ring", x->dir);
    assert_null(console_new(x->l, fd_take(&x->ours), ring, &x->console));
}

static void attach(void *arg)
{
    struct fixture *x = arg;
    assert_null(console_attach(x->console, &x->client));
}

/* Reads until `size` bytes have come, and returns the last one. */
static char read_bytes(int fd, size_t size)
{
    char room[4096] = "";
    ssize_t got = 0;
    while (size) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 5000), 1);
        got = read(fd, room, size < sizeof(room) ? size : sizeof(room));
        assert_true(got > 0);
        size -= (size_t)got;
    }
    return room[got - 1];
}

static void a_console_remembers_the_last_64_kib(void **state)
{
    struct fixture *x = *state;
    static char text[CONSOLE_RING + 100];
    memset(text, '.', sizeof(text));
    text[99] = '#'; /* the last byte that is forgotten */
    text[sizeof(text) - 1] = '$';
    mon_run(x->l, make_console, x);
    mon_run(x->l, attach, x);
    int first = x->client;
    assert_int_equal(fd_write_all(x->theirs, text, 1000), 0);
    read_bytes(first, 1000);
    assert_int_equal(fd_write_all(x->theirs, text + 1000, sizeof(text) - 1000), 0);
    assert_int_equal(read_bytes(first, sizeof(text) - 1000), '$');
    mon_run(x->l, attach, x);
    assert_int_equal(read_bytes(x->client, 1), '.');
    assert_int_equal(read_bytes(x->client, CONSOLE_RING - 1), '$');
    write_text(x->client, "ls\n");
    assert_int_equal(read_bytes(x->theirs, 3), '\n');
    close(first);
    close(x->client);
}

static void the_ring_outlives_the_daemon(void **state)
{
    struct fixture *x = *state;
    int pair[2];
    mon_run(x->l, make_console, x);
    mon_run(x->l, attach, x);
    write_text(x->theirs, "hello");
    read_bytes(x->client, 5);
    close(x->client);
    mon_run(x->l, free_on_loop, x);
    x->console = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    x->ours = pair[1];
    mon_run(x->l, make_console, x);
    mon_run(x->l, attach, x);
    assert_int_equal(read_bytes(x->client, 5), 'o');
    close(x->client);
    close(pair[0]);
}

/* --- the agent --- */

static void on_data(void *arg, const struct val *data)
{
    struct fixture *x = arg;
    pthread_mutex_lock(&x->lock);
    val_unref(x->data);
    x->data = val_ref(data);
    x->told++;
    pthread_cond_broadcast(&x->cond);
    pthread_mutex_unlock(&x->lock);
}

static void make_agent(void *arg)
{
    struct fixture *x = arg;
    x->agent = agent_new(x->l, fd_take(&x->ours), on_data, x);
    agent_set_open(x->agent, true);
}

static void close_port(void *arg)
{
    struct fixture *x = arg;
    agent_set_open(x->agent, false);
}

static void ask_shutdown(void *arg)
{
    struct fixture *x = arg;
    struct err *e = agent_shutdown(x->agent, true);
    x->closed = e != NULL;
    err_free(e);
}

static void an_agent_is_asked_in_turn(void **state)
{
    struct fixture *x = *state;
    mon_run(x->l, make_agent, x);
    mon_run(x->l, ask_shutdown, x);
    assert_int_equal(x->closed, 1); /* it has not answered yet */
    _cleanup_(freep) char *sync = read_line(x->theirs);
    _cleanup_(val_unrefp) struct val *v = NULL;
    assert_int_equal(json_parse(view_of(sync), &v), 0);
    assert_string_equal(val_map_str(v, "execute", ""), "guest-sync");
    char text[96];
    int64_t id = val_get_int(val_map_get(val_map_get(v, "arguments"), "id"));
    snprintf(text, sizeof(text), "{\"return\":{\"old\":1}}\n{\"return\":%lld}\n", (long long)id);
    write_text(x->theirs, text);
    free(read_line(x->theirs));
    write_text(x->theirs, "{\"return\":{\"version\":\"7.2\"}}\n");
    free(read_line(x->theirs));
    write_text(x->theirs, "{\"return\":{\"pretty-name\":\"Debian 12\",\"version-id\":\"12\"}}\n");
    free(read_line(x->theirs));
    write_text(x->theirs, "{\"error\":{\"desc\":\"no networks\"}}\n");
    assert_true(reached(x, &x->told, 1));
    assert_string_equal(val_map_str(x->data, "version", ""), "7.2");
    const struct val *os = val_map_get(x->data, "os_version");
    assert_string_equal(val_map_str(os, "name", ""), "Debian 12");
    mon_run(x->l, ask_shutdown, x);
    assert_int_equal(x->closed, 0);
    _cleanup_(freep) char *line = read_line(x->theirs);
    assert_non_null(strstr(line, "reboot"));
    mon_run(x->l, close_port, x);
    assert_true(reached(x, &x->told, 2));
    assert_int_equal(val_count(x->data), 0);
}

/* One question and what came of it. */
static char answered[200];

static void on_answer(void *arg, struct err *e, const struct val *result)
{
    snprintf(answered, sizeof(answered), "%s",
             e ? err_param(e, 0) : val_map_str(result, "word", "no word"));
    err_free(e);
}

static void ask(void *arg)
{
    struct fixture *x = arg;
    answered[0] = '\0';
    agent_ask(x->agent, "{\"execute\":\"guest-word\"}", on_answer, x);
}

static void forget(void *arg)
{
    agent_forget(((struct fixture *)arg)->agent);
}

static void settle(void *arg)
{
    (void)arg;
}

/* Reads a question of the agent's and answers guest-sync with its number, others with `text`. */
static void reply(struct fixture *x, const char *text)
{
    _cleanup_(freep) char *line = read_line(x->theirs);
    _cleanup_(val_unrefp) struct val *v = NULL;
    char number[64];
    assert_int_equal(json_parse(view_of(line), &v), 0);
    bool sync = str_eq(val_map_str(v, "execute", ""), "guest-sync");
    assert_int_equal(sync, text == NULL);
    if (sync)
        snprintf(number, sizeof(number), "{\"return\":%lld}\n",
                 (long long)val_get_int(val_map_get(val_map_get(v, "arguments"), "id")));
    write_text(x->theirs, sync ? number : text);
}

static void a_question_waits_for_the_end_of_a_round(void **state)
{
    struct fixture *x = *state;
    mon_run(x->l, make_agent, x);
    mon_run(x->l, ask, x);
    assert_string_equal(answered, "no guest agent answers");
    reply(x, NULL);
    free(read_line(x->theirs));
    mon_run(x->l, ask, x); /* in the middle of a round */
    mon_run(x->l, ask, x);
    assert_string_equal(answered, "the guest agent is busy");
    write_text(x->theirs, "{\"return\":{}}\n");
    reply(x, "{\"return\":{}}\n");
    reply(x, "{\"return\":[]}\n");
    reply(x, NULL);
    reply(x, "{\"return\":{\"word\":\"yes\"}}\n");
    assert_true(reached(x, &x->told, 1));
    while (!str_eq(answered, "yes"))
        mon_run(x->l, settle, x);
    mon_run(x->l, ask, x);
    reply(x, NULL);
    reply(x, "{\"error\":{\"desc\":\"never heard of it\"}}\n");
    while (!str_eq(answered, "the guest agent: never heard of it"))
        mon_run(x->l, settle, x);
    mon_run(x->l, ask, x);
    mon_run(x->l, forget, x);
    mon_run(x->l, close_port, x);
    assert_string_equal(answered, "");
}

static void who_asks_is_told_of_the_end(void **state)
{
    struct fixture *x = *state;
    mon_run(x->l, make_agent, x);
    reply(x, NULL);
    free(read_line(x->theirs));
    mon_run(x->l, ask, x);
    mon_run(x->l, close_port, x);
    assert_string_equal(answered, "the guest agent has gone");
}

static void addresses_are_numbered_by_interface(void **state)
{
    static const char text[] =
        "[{\"name\":\"lo\",\"ip-addresses\":[{\"ip-address\":\"127.0.0.1\",\"ip-address-type\":"
        "\"ipv4\"}]},"
        "{\"name\":\"eth0\",\"ip-addresses\":[{\"ip-address\":\"10.0.0.5\",\"ip-address-type\":"
        "\"ipv4\"},{\"ip-address\":\"fe80::1\",\"ip-address-type\":\"ipv6\"},{\"ip-address\":7}]},"
        "{\"name\":\"eth1\"}, 5,"
        "{\"name\":\"eth2\",\"ip-addresses\":[{\"ip-address\":\"10.0.0.6\",\"ip-address-type\":"
        "\"ipv4\"}]}]";
    _cleanup_(val_unrefp) struct val *nets = NULL;
    assert_int_equal(json_parse(view_of(text), &nets), 0);
    _cleanup_(val_unrefp) struct val *data =
        agent_data(NULL, nets, nets); /* an answer of the wrong kind is no answer */
    const struct val *networks = val_map_get(data, "networks");
    assert_string_equal(val_map_str(networks, "0/ip", ""), "10.0.0.5");
    assert_string_equal(val_map_str(networks, "0/ipv4/0", ""), "10.0.0.5");
    assert_string_equal(val_map_str(networks, "0/ipv6/0", ""), "fe80::1");
    assert_string_equal(val_map_str(networks, "2/ip", ""), "10.0.0.6");
    assert_int_equal(val_count(networks), 5);
    assert_int_equal(val_count(val_map_get(data, "os_version")), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_gets_its_own_answer),
        TEST(a_silent_monitor_fails_in_time),
        TEST(a_greeting_that_does_not_come_is_an_error),
        TEST(the_end_of_qemu_fails_what_waits),
        TEST(nonsense_ends_the_connection),
        TEST(a_console_remembers_the_last_64_kib),
        TEST(the_ring_outlives_the_daemon),
        TEST(an_agent_is_asked_in_turn),
        TEST(a_question_waits_for_the_end_of_a_round),
        TEST(who_asks_is_told_of_the_end),
        TEST(addresses_are_numbered_by_interface),
    };
    return cmocka_run_group_tests_name("monitor", tests, NULL, NULL);
}
