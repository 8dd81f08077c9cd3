/*
 * test_throttle.c: buckets of bytes and requests on a clock of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/throttle.h"

#define SECOND 1000000000ull

/* How many requests of a size begin within a time, each as soon as it may. */
static uint64_t begun(struct throttle *t, uint64_t bytes, uint64_t ns)
{
    uint64_t now = SECOND, n = 0;
    for (;;) {
        now += throttle_wait_ns(t, now);
        if (now > SECOND + ns)
            return n;
        throttle_take(t, now, bytes);
        n++;
    }
}

static void test_without_limits_nothing_waits(void **state)
{
    struct throttle t;
    (void)state;
    throttle_set(&t, 0, 0);
    throttle_take(&t, SECOND, UINT64_MAX);
    assert_int_equal(throttle_wait_ns(&t, SECOND), 0);
}

/* Over ten seconds the rate is kept; the burst is a twentieth of a second's worth. */
static void test_bytes(void **state)
{
    struct throttle t;
    (void)state;
    throttle_set(&t, 1 << 20, 0);
    uint64_t n = begun(&t, 4096, 10 * SECOND);
    assert_in_range(n, 2560, 2560 + 256 / 20 + 2);
}

static void test_ops(void **state)
{
    struct throttle t;
    (void)state;
    throttle_set(&t, 0, 100);
    assert_in_range(begun(&t, 1 << 30, 10 * SECOND), 1000, 1006);
}

/* The stricter one counts. */
static void test_both(void **state)
{
    struct throttle t;
    (void)state;
    throttle_set(&t, 1 << 20, 10);
    assert_in_range(begun(&t, 4096, 10 * SECOND), 100, 102);
    throttle_set(&t, 1 << 20, 1000000);
    assert_in_range(begun(&t, 1 << 20, 10 * SECOND), 10, 12);
}

/* What is larger than the bucket gets through, and is paid for afterwards. */
static void test_large(void **state)
{
    struct throttle t;
    (void)state;
    throttle_set(&t, 1000, 0);
    assert_int_equal(throttle_wait_ns(&t, SECOND), 0);
    throttle_take(&t, SECOND, 10000);
    assert_int_equal(throttle_wait_ns(&t, SECOND), 10 * SECOND - THROTTLE_BURST_NS);
}

/* Idle time is not saved up beyond the burst. */
static void test_idle(void **state)
{
    struct throttle t;
    (void)state;
    throttle_set(&t, 0, 100);
    assert_in_range(begun(&t, 1, SECOND / 10), 10, 17);
    uint64_t later = 1000 * SECOND, n = 0;
    while (throttle_wait_ns(&t, later) == 0) {
        throttle_take(&t, later, 1);
        n++;
    }
    assert_in_range(n, 5, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_limits_nothing_waits),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
