/*
 * test_ring.c: when the loop hands work to the kernel and takes what is done.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/mem.h"
#include "disk/ring.h"

#define MANY 40u

static unsigned n_done;

static void on_done(struct ring_op *op, int res)
{
    (void)op;
    assert_true(res > 0);
    n_done++;
}

/* Of a long queue the first are with the device before the last are prepared. */
static void test_long_queue_begins_early(void **state)
{
    (void)state;
    _cleanup_(fd_closep) int in = -1, out = -1;
    int fds[2], n = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    in = fds[0];
    out = fds[1];
    struct ring *r;
    assert_int_equal(ring_new(&r), 0);
    struct ring_op op[MANY];
    struct iovec byte = {"x", 1};
    n_done = 0;
    for (unsigned i = 0; i < MANY; i++) {
        op[i] = (struct ring_op){.done = on_done};
        ring_writev(r, &op[i], out, &byte, 1, UINT64_MAX);
    }
    assert_int_equal(ioctl(in, FIONREAD, &n), 0);
    assert_in_range(n, 1, MANY - 1);
    assert_int_equal(n_done, 0);
    while (n_done < MANY)
        assert_int_equal(ring_step(r), 0);
    assert_int_equal(ioctl(in, FIONREAD, &n), 0);
    assert_int_equal(n, MANY);
    ring_free(r);
}

struct wait {
    struct ring_op op;
    int fd;
};

/* What ended together is told in one round, so that it is answered by one signal. */
static void test_what_ends_together_is_told_together(void **state)
{
    (void)state;
    struct ring *r;
    assert_int_equal(ring_new(&r), 0);
    struct wait w[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        w[i] = (struct wait){.op = {.done = on_done}, .fd = eventfd(0, EFD_CLOEXEC)};
        ring_poll(r, &w[i].op, w[i].fd);
    }
    struct wait first = {.op = {.done = on_done}, .fd = eventfd(1, EFD_CLOEXEC)};
    ring_poll(r, &first.op, first.fd);
    n_done = 0;
    while (n_done == 0)
        assert_int_equal(ring_step(r), 0);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(eventfd_write(w[i].fd, 1), 0);
    assert_int_equal(ring_step(r), 0);
    assert_int_equal(n_done, MANY + 1);
    ring_free(r);
    fd_close(first.fd);
    for (unsigned i = 0; i < MANY; i++)
        fd_close(w[i].fd);
}

struct chatter {
    struct ring_op op, answer;
    struct ring_op write[MANY];
    struct ring *r;
    int out;
    bool is_answered;
};

static void on_answer(struct ring_op *op, int res)
{
    struct chatter *c = (struct chatter *)((char *)op - offsetof(struct chatter, answer));
    (void)res;
    assert_int_equal(n_done, 0);
    c->is_answered = true;
}

static void on_asked(struct ring_op *op, int res)
{
    static struct iovec byte = {"x", 1};
    struct chatter *c = (struct chatter *)op;
    assert_true(res > 0);
    ring_later(c->r, &c->answer);
    for (unsigned i = 0; i < MANY; i++) {
        c->write[i] = (struct ring_op){.done = on_done};
        ring_writev(c->r, &c->write[i], c->out, &byte, 1, UINT64_MAX);
    }
}

/* What ends while others are told, being quick, does not keep their signal back. */
static void test_what_ends_meanwhile_is_told_later(void **state)
{
    (void)state;
    _cleanup_(fd_closep) int in = -1, out = -1, asked = eventfd(1, EFD_CLOEXEC);
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    in = fds[0];
    out = fds[1];
    struct chatter c = {.op.done = on_asked, .answer.done = on_answer, .out = out};
    assert_int_equal(ring_new(&c.r), 0);
    ring_poll(c.r, &c.op, asked);
    n_done = 0;
    while (n_done < MANY)
        assert_int_equal(ring_step(c.r), 0);
    assert_true(c.is_answered);
    ring_free(c.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_queue_begins_early),
        cmocka_unit_test(test_what_ends_together_is_told_together),
        cmocka_unit_test(test_what_ends_meanwhile_is_told_later),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
