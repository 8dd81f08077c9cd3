/*
 * test_disk_tree.c: trees of images against a model, with deaths and power cuts at any point. A few
 * thousand steps by default; `make disk-torture` runs millions:
 *
 *     test_disk_tree STEPS SEED CRASH_EACH [FORMAT]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/disk_tree.h"

static enum image_format format = IMAGE_VHD;

static void try(uint64_t seed, uint64_t steps, unsigned crash_each, bool devices, bool raw_root)
{
    struct tree_options o = {.seed = seed,
                             .steps = steps,
                             .crash_each = crash_each,
                             .devices = devices,
                             .raw_root = raw_root,
                             .format = format};
    struct tree_counts c = tree_run(&o);
    assert_int_equal(c.steps, steps);
    assert_true(c.kills && c.snapshots && (c.power_cuts || !crash_each));
}

static void test_without_power_cuts(void **state)
{
    try(1, 1000, 0, false, false);
}

static void test_on_raw(void **state)
{
    try(2, 400, 20, false, true);
}

static void test_power_cuts(void **state)
{
    for (uint64_t seed = 10; seed < 12; seed++)
        try(seed, 400, 6, false, false);
}

static void test_power_cuts_on_devices(void **state)
{
    try(20, 400, 6, true, false);
}

static void test_qcow2(void **state)
{
    format = IMAGE_QCOW2;
    try(30, 500, 0, false, false);
    try(31, 300, 6, false, false);
    try(32, 300, 20, false, true);
    try(33, 300, 6, true, false);
    format = IMAGE_VHD;
}

/* Many trees, of every sort, each of at most 2000 steps. */
static int torture(uint64_t steps, uint64_t seed, unsigned crash_each)
{
    struct tree_counts sum = {0};
    for (; sum.steps < steps; seed++) {
        uint64_t left = steps - sum.steps;
        struct tree_options o = {.seed = seed,
                                 .steps = left < 2000 ? left : 2000,
                                 .crash_each = crash_each,
                                 .devices = seed % 4 == 3,
                                 .raw_root = seed % 4 == 2,
                                 .format = format};
        struct tree_counts c = tree_run(&o);
        sum.steps += c.steps;
        sum.power_cuts += c.power_cuts;
        sum.kills += c.kills;
        sum.snapshots += c.snapshots;
        sum.merges += c.merges;
        if (c.deepest > sum.deepest)
            sum.deepest = c.deepest;
    }
    (void)printf("%llu steps, %llu power cuts, %llu kills, %llu snapshots, %llu merges, "
                 "%llu levels at most: no difference\n",
                 (unsigned long long)sum.steps, (unsigned long long)sum.power_cuts,
                 (unsigned long long)sum.kills, (unsigned long long)sum.snapshots,
                 (unsigned long long)sum.merges, (unsigned long long)sum.deepest);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_power_cuts),
        cmocka_unit_test(test_on_raw),
        cmocka_unit_test(test_power_cuts),
        cmocka_unit_test(test_power_cuts_on_devices),
        cmocka_unit_test(test_qcow2),
    };
    if (argc == 5 && image_parse_format(argv[4], &format) < 0)
        return EXIT_FAILURE;
    if (argc >= 4)
        return torture(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10),
                       (unsigned)strtoul(argv[3], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
