/*
 * test_profile.c: what is made of a sweep, on two models of devices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/profile.h"

/* A sweep of one second a point over a device that does `rate(block, depth)` requests a second. */
static struct profile sweep(double (*rate)(uint32_t block, uint32_t depth))
{
    struct profile p = {.is_direct = true};
    for (uint32_t block = PROFILE_OUTSTANDING; block >= PROFILE_MIN_BLOCK; block /= 2) {
        uint32_t depth = PROFILE_OUTSTANDING / block;
        uint64_t ops = (uint64_t)(rate(block, depth) * 1000);
        p.point[p.n++] = (struct profile_point){block, depth, ops, 1000};
    }
    return p;
}

/* 64 channels of 100 MB/s, 100 µs to begin: a request keeps one busy for each 64 KiB of its own. */
static double flash(uint32_t block, uint32_t depth)
{
    uint32_t used = (block + 65535) / 65536;
    double channels = (double)depth * used < 16 ? (double)depth * used : 16;
    double seconds = 100e-6 + (double)block / used / 100e6;
    double overhead = block > 262144 ? 2.0 : 1.0;
    return channels / used / seconds / overhead;
}

/* One head: 8 ms to be there, then 150 MB/s. */
static double head(uint32_t block, uint32_t depth)
{
    (void)depth;
    return 1 / (8e-3 + (double)block / 150e6);
}

/* It does not matter. */
static double even(uint32_t block, uint32_t depth)
{
    (void)depth;
    return 1e9 / block;
}

static void test_flash_is_split(void **state)
{
    (void)state;
    struct profile p = sweep(flash);
    uint32_t split = profile_split(&p);
    assert_in_range(split, 32768, 262144);
    for (unsigned i = 0; i < p.n; i++)
        if (p.point[i].block == split)
            assert_true(profile_mbs(&p.point[i]) >= 1.5 * profile_mbs(&p.point[0]));
}

static void test_one_head_is_left_alone(void **state)
{
    (void)state;
    struct profile p = sweep(head);
    assert_int_equal(profile_split(&p), 0);
}

static void test_without_a_difference_nothing_is_split(void **state)
{
    (void)state;
    struct profile p = sweep(even);
    assert_int_equal(profile_split(&p), 0);
}

/* A device that is busy with 1 MiB in flight, and one that needs 8 MiB. */
static void test_a_budget_keeps_the_device_busy(void **state)
{
    (void)state;
    static const uint64_t knees[] = {1 << 20, 8 << 20};
    static const uint64_t budgets[] = {PROFILE_OUTSTANDING, 16 << 20};
    for (unsigned k = 0; k < 2; k++) {
        struct profile p = {.is_direct = true};
        for (uint32_t depth = 1; depth <= 512; depth *= 2) {
            uint64_t bytes = depth * 65536ull, busy = bytes < knees[k] ? bytes : knees[k];
            p.depth[p.n_depths++] = (struct profile_point){65536, depth, busy, 1};
        }
        assert_int_equal(profile_budget(&p), budgets[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flash_is_split),
        cmocka_unit_test(test_one_head_is_left_alone),
        cmocka_unit_test(test_without_a_difference_nothing_is_split),
        cmocka_unit_test(test_a_budget_keeps_the_device_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
