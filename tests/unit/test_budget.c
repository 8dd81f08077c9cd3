/*
 * test_budget.c: many disks on one device, each with its share, on a model of a device that is
 * served first come, first served.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "disk/backend/pace.h"

#define DISKS     20u
#define DEPTH_MAX 32u
#define BLOCK     65536u
#define STEPS     100000u
#define STEP_US   160u /* a block each: 400 MB/s */

/* First come, first served, a block every STEP_US. */
struct device {
    struct backend backend;
    struct io *queue[DISKS * DEPTH_MAX]; /* a ring */
    unsigned first, n;
    uint64_t now_us;
    bool is_over; /* the guests ask no more */
};

struct guest;
struct request {
    struct io io;
    struct iovec iov;
    struct guest *g;
};
struct guest {
    struct request request[DEPTH_MAX];
    struct pace *pace;
    struct backend *to;
    struct device *device;
    uint64_t bytes;
};

static struct file file = {.fd = -1, .direct_fd = -1};

static void device_submit(struct backend *b, struct io *io)
{
    struct device *d = (struct device *)b;
    d->queue[(d->first + d->n++) % (DISKS * DEPTH_MAX)] = io;
}

static const struct backend_ops device_ops = {.submit = device_submit};

static uint64_t device_now(void *arg)
{
    return ((struct device *)arg)->now_us;
}

static void request_done(struct io *io, int err)
{
    struct request *r = (struct request *)io;
    assert_int_equal(err, 0);
    r->g->bytes += BLOCK;
    r->io.size = BLOCK;
    if (!r->g->device->is_over)
        backend_submit(r->g->to, &r->io);
}

static struct io *device_take(struct device *d)
{
    assert_int_not_equal(d->n, 0);
    struct io *io = d->queue[d->first];
    d->first = (d->first + 1) % (DISKS * DEPTH_MAX);
    d->n--;
    d->now_us += STEP_US;
    return io;
}

static void device_empty(struct device *d)
{
    while (d->n) {
        struct io *io = device_take(d);
        io->done(io, 0);
    }
}

/* Half of the guests keep DEPTH_MAX requests in flight, the others 4. */
static unsigned depth_of(unsigned guest)
{
    return guest % 2 ? DEPTH_MAX : 4;
}

static void guest_start(struct guest *g, unsigned depth)
{
    for (unsigned k = 0; k < depth; k++) {
        struct request *r = &g->request[k];
        r->g = g;
        r->iov = (struct iovec){NULL, BLOCK};
        r->io = (struct io){.op = IO_READ,
                            .file = &file,
                            .is_data = true,
                            .size = BLOCK,
                            .iov = &r->iov,
                            .n_iov = 1,
                            .done = request_done};
        backend_submit(g->to, &r->io);
    }
}

/* The coefficient of variation of what the guests got. */
static double run(const char *path, uint64_t bytes)
{
    struct device d = {.backend = {.ops = &device_ops}, .now_us = 1000000};
    struct guest *guests = mem_new_n(struct guest, DISKS);
    for (unsigned i = 0; i < DISKS; i++) {
        struct guest *g = &guests[i];
        struct budget *b = NULL;
        if (bytes) {
            assert_int_equal(budget_open(path, bytes, &b), 0);
            g->pace = pace_new(&d.backend, b, device_now, &d);
        }
        g->to = g->pace ? pace_backend(g->pace) : &d.backend;
        g->device = &d;
        guest_start(g, depth_of(i));
    }
    for (unsigned i = 0; i < STEPS; i++) {
        struct io *io = device_take(&d);
        io->done(io, 0);
    }
    double mean = (double)STEPS * BLOCK / DISKS, squares = 0;
    for (unsigned i = 0; i < DISKS; i++) {
        squares += pow((double)guests[i].bytes - mean, 2);
    }
    d.is_over = true;
    device_empty(&d);
    for (unsigned i = 0; i < DISKS; i++)
        pace_free(guests[i].pace);
    free(guests);
    return sqrt(squares / DISKS) / mean;
}

static char *page_of(const char *name)
{
    return mem_printf("%s/cairn-budget-%d-%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
                      (int)getpid(), name);
}

static void test_all_get_the_same(void **state)
{
    (void)state;
    _cleanup_(freep) char *path = page_of("even");
    double without = run(NULL, 0), with = run(path, DISKS * 4 * BLOCK);
    (void)unlink(path);
    assert_true(without > 0.5);
    assert_true(with <= 0.02);
}

static void test_the_budget_is_divided_among_the_busy(void **state)
{
    (void)state;
    _cleanup_(freep) char *path = page_of("busy");
    struct budget *a, *b, *c;
    assert_int_equal(budget_open(path, 12 << 20, &a), 0);
    assert_int_equal(budget_open(path, 12 << 20, &b), 0);
    assert_int_equal(budget_open(path, 12 << 20, &c), 0);
    uint64_t now = 1000000;
    assert_int_equal(budget_share(a, now, 0), 12 << 20);
    assert_int_equal(budget_share(b, now, 0), 6 << 20);
    now += 10000;
    assert_int_equal(budget_share(c, now, 0), 4 << 20);
    assert_int_equal(budget_share(a, now, 0), 4 << 20);
    /* Who is silent takes nothing, whether closed, idle or killed. */
    budget_close(b);
    assert_int_equal(budget_users(a, now), 2);
    now += BUDGET_BUSY_US + 1;
    assert_int_equal(budget_users(a, now), 0);
    assert_int_equal(budget_share(a, now, 0), 12 << 20);
    budget_close(a);
    budget_close(c);
    (void)unlink(path);
}

static void test_a_page_that_is_none_is_refused(void **state)
{
    (void)state;
    struct budget *b;
    assert_int_equal(budget_open("/", 1, &b), -EISDIR);
    assert_int_equal(budget_open("/no/such/folder/page", 1, &b), -ENOENT);
    assert_int_equal(budget_open("/dev/null", 1, &b), -EINVAL);
}

/* One request always goes, however small the share; a part of a split one, too. */
static void test_nothing_is_too_large(void **state)
{
    (void)state;
    _cleanup_(freep) char *path = page_of("large");
    struct device d = {.backend = {.ops = &device_ops}, .now_us = 1000000};
    struct file split = {.fd = -1, .direct_fd = 0, .split = BLOCK};
    struct budget *b;
    assert_int_equal(budget_open(path, 1, &b), 0);
    struct pace *p = pace_new(&d.backend, b, device_now, &d);
    struct guest g = {.to = &d.backend, .device = &d};
    struct request r = {.iov = {NULL, 4 * BLOCK}, .g = &g};
    r.io = (struct io){.op = IO_WRITE,
                       .file = &split,
                       .is_data = true,
                       .size = 4 * BLOCK,
                       .iov = &r.iov,
                       .n_iov = 1,
                       .done = request_done};
    backend_submit(pace_backend(p), &r.io);
    assert_int_equal(pace_get_stats(p).queued, 3);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(d.n, 1);
        struct io *io = device_take(&d);
        assert_int_equal(io->size, BLOCK);
        assert_int_equal(io->offset, i * BLOCK);
        io->done(io, 0);
    }
    assert_int_equal(g.bytes, BLOCK); /* told once */
    assert_int_equal(pace_get_stats(p).in_flight, 0);
    pace_free(p);
    (void)unlink(path);
}

static void ended(struct io *io, int err)
{
    assert_int_equal(err, 0);
}

/* What a module serves is held back, too, and gets there. */
static void test_a_backend_of_its_own(void **state)
{
    (void)state;
    _cleanup_(freep) char *path = page_of("own");
    struct device local = {.backend = {.ops = &device_ops}, .now_us = 1000000};
    struct device server = {.backend = {.ops = &device_ops}};
    struct file remote = {.fd = -1, .direct_fd = -1, .backend = &server.backend};
    struct budget *b;
    assert_int_equal(budget_open(path, BLOCK, &b), 0);
    struct pace *p = pace_new(&local.backend, b, device_now, &local);
    struct request r[2];
    for (unsigned i = 0; i < 2; i++) {
        r[i].io = (struct io){
            .op = IO_READ, .file = &remote, .is_data = true, .size = BLOCK, .done = ended};
        backend_submit(pace_backend(p), &r[i].io);
    }
    assert_int_equal(local.n, 0);
    assert_int_equal(server.n, 1);
    assert_int_equal(pace_get_stats(p).queued, 1);
    /* A sync does not wait behind data. */
    struct io sync = {.op = IO_SYNC, .file = &remote, .done = ended};
    backend_submit(pace_backend(p), &sync);
    assert_int_equal(server.n, 2);
    device_empty(&server);
    assert_int_equal(pace_get_stats(p).queued, 0);
    pace_free(p);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_get_the_same),
        cmocka_unit_test(test_the_budget_is_divided_among_the_busy),
        cmocka_unit_test(test_a_page_that_is_none_is_refused),
        cmocka_unit_test(test_nothing_is_too_large),
        cmocka_unit_test(test_a_backend_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
