/* Tests of host/sample: the parsers of /proc, and the simulator's counters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "host/host.h"
#include "host/sample_impl.h"
#include "host/sim.h"
#include "loop/loop.h"

static void cpus_are_busy_but_for_idle_and_waiting(void **state)
{
    (void)state;
    double s[4];
    const char *text = "cpu  99 99 99 99 99 99 99 99 0 0\ncpu0 100 20 30 4000 500 6 7 8 99 9\n"
                       "cpu1 1 0 0 9 9 0 0 0 0 0\nintr 12345\n";
    assert_int_equal(sample_parse_stat(text, 100, s, 4), 2);
    assert_true(fabs(s[0] - 1.71) < 1e-9 && fabs(s[1] - 0.01) < 1e-9);
    assert_int_equal(sample_parse_stat(text, 100, s, 1), 1);
    assert_int_equal(sample_parse_stat("", 100, s, 4), 0);
    assert_int_equal(sample_parse_stat("cpu0\n", 100, s, 4), 1);
    assert_true(isnan(s[0])); /* cut short: not zero */
}

static void interfaces_of_the_host_alone(void **state)
{
    (void)state;
    struct host_nic_sample n[4];
    const char *text =
        "Inter-|   Receive                         |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop\n"
        "    lo: 1 1 1 0 0 0 0 0 1 1 1 0 0 0 0 0\n"
        "  tap0: 1 1 1 0 0 0 0 0 1 1 1 0 0 0 0 0\n"
        "  eth0:12345 9 2 0 0 0 0 0 678 9 3 0 0 0 0 0\n"
        "enp3s0: 5 0 0 0 0 0 0 0 6 0 0 0 0 0 0 0\n";
    assert_int_equal(sample_parse_net_dev(text, n, 4), 2);
    assert_string_equal(n[0].name, "eth0");
    assert_int_equal(n[0].rx_bytes, 12345);
    assert_int_equal(n[0].rx_errors, 2);
    assert_int_equal(n[0].tx_bytes, 678);
    assert_int_equal(n[0].tx_errors, 3);
    assert_string_equal(n[1].name, "enp3s0");
    assert_int_equal(sample_parse_net_dev(text, n, 1), 1);
    assert_int_equal(sample_parse_net_dev("a_name_that_is_too_long: 1 2", n, 4), 0);
    assert_int_equal(sample_parse_net_dev("eth0:", n, 4), 1);
    assert_int_equal(n[0].rx_bytes, 0);
}

static void threads_with_any_name(void **state)
{
    (void)state;
    assert_true(sample_parse_task_stat("12 (CPU 0) (x)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0", 100) ==
                2);
    assert_true(isnan(sample_parse_task_stat("12 (a) S 1 2 3", 100)));
    assert_true(isnan(sample_parse_task_stat("nothing", 100)));
    double mine = sample_thread(getpid(), getpid());
    assert_true(mine >= 0 && mine < 3600);
    assert_true(isnan(sample_thread(getpid(), 0)));
}

static void lines_of_meminfo(void **state)
{
    (void)state;
    const char *text = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:\t 70 kB\n";
    assert_true(sample_parse_meminfo(text, "MemAvailable") == 70);
    assert_true(isnan(sample_parse_meminfo(text, "Mem")));
    assert_true(isnan(sample_parse_meminfo("MemFree", "MemFree")));
}

static void simulated_counters_follow_the_clock(void **state)
{
    (void)state;
    static const char vm[] = "2f000000-0000-4000-8000-000000000000";
    char dir[] = "/tmp/cairn-sample-XXXXXX";
    assert_non_null(mkdtemp(dir));
    clock_fake(1000 * USEC_PER_SEC);
    struct host *h = NULL;
    struct host_config c = {.run_dir = dir, .state_dir = dir, .simulate = true};
    assert_null(host_new(&c, &h));
    double cpu[1], before;
    struct disk_sample disks[] = {{.device = 0}, {.device = 1}};
    struct nic_sample nic = {.device = 0};
    struct guest_sample s = {
        .n_cpus = 1, .cpu_s = cpu, .n_disks = 2, .disks = disks, .n_nics = 1, .nics = &nic};
    host_sample_guest(h, vm, &s);
    before = cpu[0];
    uint64_t reads = disks[0].read_ops, bytes = nic.rx_bytes;
    clock_advance(20 * USEC_PER_SEC);
    host_sample_guest(h, vm, &s);
    assert_true(s.time == 1020);
    assert_true(fabs(cpu[0] - before - 3) < 1e-9); /* '2' is rate 3: 3/20 of the time */
    assert_int_equal(disks[0].read_ops - reads, 20 * 3);
    assert_int_equal(nic.rx_bytes - bytes, 20 * 3 * 1000);
    assert_true(disks[1].known && disks[1].device == 1 && disks[1].read_ops == 0);
    host_free(h);
    clock_real();
    fd_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus_are_busy_but_for_idle_and_waiting),
        cmocka_unit_test(interfaces_of_the_host_alone),
        cmocka_unit_test(threads_with_any_name),
        cmocka_unit_test(lines_of_meminfo),
        cmocka_unit_test(simulated_counters_follow_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
