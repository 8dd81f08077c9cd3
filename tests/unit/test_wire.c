/* A library's socket on the ring: served when something comes, left when asked, by another thread.
 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/backend/wire.h"

/* A library that reads bytes, and writes one while it has something to say. */
struct library {
    struct wire wire;
    int fd, other;
    unsigned n_ticks, n_read, n_to_write;
    bool is_idle, is_hung_up;
};

static int lib_fd(void *arg)
{
    return ((struct library *)arg)->fd;
}

static short lib_events(void *arg)
{
    return ((struct library *)arg)->n_to_write ? POLLIN | POLLOUT : POLLIN;
}

static void lib_service(void *arg, short events)
{
    struct library *l = arg;
    char byte = 'x';
    if (events == 0)
        l->n_ticks++;
    if (events & POLLHUP)
        l->is_hung_up = true;
    if (events & POLLIN && read(l->fd, &byte, 1) == 1)
        l->n_read++;
    if (events & POLLOUT && l->n_to_write && write(l->fd, &byte, 1) == 1)
        l->n_to_write--;
}

static bool lib_is_idle(void *arg)
{
    return ((struct library *)arg)->is_idle;
}

static const struct wire_ops ops = {
    .fd = lib_fd, .events = lib_events, .service = lib_service, .is_idle = lib_is_idle};

static struct ring *ring;

static void library_init(struct library *l)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *l = (struct library){
        .wire = {.ops = &ops, .arg = l, .fd = -1}, .fd = fds[0], .other = fds[1], .is_idle = true};
}

static void *leave(void *arg)
{
    struct library *l = arg;
    wire_leave(&l->wire);
    return NULL;
}

/* From another thread, while the loop runs as it does in the daemon. */
static void library_done(struct library *l)
{
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, leave, l), 0);
    while (l->wire.is_used)
        assert_int_equal(ring_step(ring), 0);
    pthread_join(t, NULL);
    assert_false(l->wire.is_polling || l->wire.is_ticking);
    close(l->fd);
    if (l->other >= 0)
        close(l->other);
}

static void test_is_served_when_something_comes(void **state)
{
    struct library l;
    (void)state;
    library_init(&l);
    wire_use(&l.wire);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(write(l.other, "a", 1), 1);
        while (l.n_read < i)
            assert_int_equal(ring_step(ring), 0);
    }
    library_done(&l);
}

/* It waits for reading; then it has something to write, too. */
static void test_other_events_are_waited_for(void **state)
{
    struct library l;
    (void)state;
    library_init(&l);
    wire_use(&l.wire);
    l.n_to_write = 2;
    wire_use(&l.wire);
    while (l.n_to_write)
        assert_int_equal(ring_step(ring), 0);
    library_done(&l);
}

static void test_time_passes_while_it_is_busy(void **state)
{
    struct library l;
    (void)state;
    library_init(&l);
    l.is_idle = false;
    wire_use(&l.wire);
    while (l.n_ticks < 2)
        assert_int_equal(ring_step(ring), 0);
    library_done(&l);
}

/* A descriptor that always polls as broken is asked once a tick, not without end. */
static void test_broken_connection_is_no_busy_loop(void **state)
{
    struct library l;
    (void)state;
    library_init(&l);
    close(l.other);
    l.other = -1;
    wire_use(&l.wire);
    unsigned rounds = 0;
    for (; l.n_ticks < 2; rounds++)
        assert_int_equal(ring_step(ring), 0);
    assert_true(l.is_hung_up);
    assert_true(rounds < 20);
    library_done(&l);
}

static void test_unused_one_is_left_at_once(void **state)
{
    struct library l;
    (void)state;
    library_init(&l);
    wire_leave(&l.wire);
    library_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_served_when_something_comes),
        cmocka_unit_test(test_other_events_are_waited_for),
        cmocka_unit_test(test_time_passes_while_it_is_busy),
        cmocka_unit_test(test_broken_connection_is_no_busy_loop),
        cmocka_unit_test(test_unused_one_is_left_at_once),
    };
    if (ring_new(&ring) < 0)
        return 1;
    wire_start(ring);
    int r = cmocka_run_group_tests_name("wire", tests, NULL, NULL);
    ring_free(ring);
    return r;
}
