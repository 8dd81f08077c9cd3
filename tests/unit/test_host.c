/* Tests of src/host on the simulator: verbs, facts, and a world that outlives its commander. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/host.h"
#include "host/sim.h"

#define VM    "11111111-2222-4333-8444-555555555555"
#define OTHER "22222222-2222-4333-8444-555555555555"
#define VDI   "99999999-2222-4333-8444-555555555555"

struct fixture {
    char dir[32];
    char *disk;
    struct host *h;
    struct boot *boot;
    struct host_fact last; /* kind and numbers only */
    unsigned n_facts;
    char address[32];
};

static void note(void *arg, const struct host_fact *f)
{
    struct fixture *x = arg;
    x->last = *f;
    x->n_facts++;
    if (f->data && val_map_get(f->data, "networks"))
        snprintf(x->address, sizeof(x->address), "%s",
                 val_map_str(val_map_get(f->data, "networks"), "0/ip", ""));
}

static struct host *open_host(struct fixture *x)
{
    struct host_config c = {.run_dir = x->dir, .simulate = true, .fact = note, .fact_arg = x};
    struct host *h = NULL;
    assert_null(host_new(&c, &h));
    assert_null(host_start(h));
    return h;
}

/* An image of 1 MiB. */
#define RAW(file, is_readonly)                                                                     \
    {                                                                                              \
        .vdi = (char *)VDI, .path = (file), .format = (char *)"raw", .size_bytes = 1 << 20,        \
        .readonly = (is_readonly)                                                                  \
    }

static struct boot *record(struct fixture *x, const char *vm)
{
    struct boot *b = boot_new(vm, "demo");
    b->domid = 1;
    b->memory_bytes = 64 << 20;
    boot_set_disk(b, &(struct boot_disk){.id = "vbd", .image = RAW(x->disk, false)});
    return b;
}

static int setup(void **state)
{
    struct fixture *x = mem_new(struct fixture);
    strcpy(x->dir, "/tmp/cairn-host-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    x->disk = mem_printf("%s/disk.raw", x->dir);
    int fd = open(x->disk, O_CREAT | O_RDWR, 0600);
    assert_int_equal(ftruncate(fd, 128 << 20), 0);
    close(fd);
    x->h = open_host(x);
    x->boot = record(x, VM);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    host_free(x->h);
    boot_free(x->boot);
    fd_remove_tree(x->dir);
    free(x->disk);
    free(x);
    return 0;
}

static struct verb verb(void)
{
    return (struct verb){0};
}

static struct verb step(unsigned n)
{
    return (struct verb){.id = {.epoch = 1, .op = "op", .step = n}};
}

static void assert_fails(struct err *e)
{
    assert_non_null(e);
    err_free(e);
}

static enum guest_state guest(struct fixture *x)
{
    struct guest_info info;
    assert_null(host_vm_query(x->h, VM, &info));
    return info.state;
}

static void start(struct fixture *x)
{
    struct verb v = verb();
    assert_null(host_disks_attach(x->h, &v, x->boot));
    assert_null(host_vm_build(x->h, &v, x->boot, NULL));
    assert_null(host_vm_unpause(x->h, &v, VM));
}

static void a_guest_starts_and_shuts_down(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb();
    start(x);
    assert_int_equal(guest(x), GUEST_RUNNING);
    assert_null(host_vm_pause(x->h, &v, VM));
    assert_int_equal(guest(x), GUEST_PAUSED);
    assert_fails(host_vm_shutdown(x->h, &v, VM, SHUTDOWN_ACPI, false));
    assert_null(host_vm_unpause(x->h, &v, VM));
    assert_fails(host_vm_shutdown(x->h, &v, VM, SHUTDOWN_AGENT, false));
    assert_null(host_vm_shutdown(x->h, &v, VM, SHUTDOWN_ACPI, false));
    assert_int_equal(x->last.kind, FACT_SHUTDOWN);
    assert_int_equal(guest(x), GUEST_ABSENT);
    assert_null(host_disks_detach(x->h, &v, VM));
    _cleanup_(freep) char *world = mem_printf("%s/world", x->dir);
    _cleanup_(freep) char *left = sim_world_text(world);
    assert_string_equal(left, "");
}

static void a_guest_needs_its_disks(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb();
    assert_fails(host_vm_build(x->h, &v, x->boot, NULL));
    assert_int_equal(guest(x), GUEST_ABSENT);
}

static void an_image_has_one_writer(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb();
    assert_null(host_disks_attach(x->h, &v, x->boot));
    assert_null(host_disks_attach(x->h, &v, x->boot));
    _cleanup_(boot_freep) struct boot *other = record(x, OTHER);
    assert_fails(host_disks_attach(x->h, &v, other));
    assert_null(host_disk_detach(x->h, &v, VM, 0));
    assert_null(host_disks_attach(x->h, &v, other));
}

static void guests_outlive_the_host(void **state)
{
    struct fixture *x = *state;
    start(x);
    host_free(x->h);
    x->h = open_host(x);
    struct guest_item *items = NULL;
    size_t n = 0;
    assert_null(host_list(x->h, &items, &n));
    assert_int_equal(n, 1);
    assert_string_equal(items[0].vm, VM);
    assert_int_equal(items[0].info.state, GUEST_RUNNING);
    assert_string_equal(items[0].boot->disks[0].image.path, x->disk);
    guest_items_free(items, n);
    assert_null(sim_guest(x->h, VM, SIM_LOSE, 0));
    assert_int_equal(x->last.kind, FACT_LOST);
    assert_int_equal(x->last.domid, 1);
}

static void a_verb_is_executed_once(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb(), one = step(1), two = step(2);
    assert_fails(host_vm_build(x->h, &one, x->boot, NULL));
    assert_null(host_disks_attach(x->h, &v, x->boot));
    assert_fails(host_vm_build(x->h, &one, x->boot, NULL)); /* told again, not tried again */
    assert_null(host_vm_build(x->h, &two, x->boot, NULL));
    assert_null(host_vm_build(x->h, &two, x->boot, NULL));
    one.id.epoch = 2;
    one.id.step = 3;
    assert_null(host_vm_unpause(x->h, &one, VM));
    two.id.step = 4; /* epoch 1 is over */
    assert_fails(host_vm_pause(x->h, &two, VM));
    assert_int_equal(guest(x), GUEST_RUNNING);
}

static void a_saved_guest_comes_back(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb();
    start(x);
    uint64_t need = 0;
    assert_null(host_vm_save_size(x->h, VM, &need));
    assert_true(need > x->boot->memory_bytes);
    _cleanup_(freep) char *path = mem_printf("%s/state.raw", x->dir);
    assert_int_equal(fd_replace_file(path, "", 0, 0600), 0);
    struct image small = {.vdi = VDI, .path = path, .format = "raw", .size_bytes = 1 << 20},
                 image = {.vdi = VDI, .path = path, .format = "raw", .size_bytes = need};
    assert_fails(host_vm_save(x->h, &v, VM, &small));
    assert_int_equal(guest(x), GUEST_RUNNING);
    assert_null(host_vm_save(x->h, &v, VM, &image));
    assert_int_equal(guest(x), GUEST_ABSENT);
    struct image wrong = {.vdi = VDI, .path = x->disk, .format = "raw", .size_bytes = need};
    assert_fails(host_vm_build(x->h, &v, x->boot, &wrong));
    assert_null(host_vm_build(x->h, &v, x->boot, &image));
    assert_int_equal(guest(x), GUEST_PAUSED);
}

static void guests_tell_what_they_do(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb();
    start(x);
    assert_null(sim_guest(x->h, VM, SIM_RTC, -7200));
    assert_int_equal(x->last.kind, FACT_RTC);
    assert_int_equal(x->last.rtc_offset_s, -7200);
    assert_null(sim_guest(x->h, VM, SIM_AGENT, 42));
    assert_string_equal(x->address, "10.0.0.42");
    assert_null(sim_guest(x->h, VM, SIM_REBOOT, 0));
    assert_int_equal(x->last.kind, FACT_REBOOT);
    assert_null(host_vm_set_domid(x->h, &v, VM, 2));
    assert_null(sim_guest(x->h, VM, SIM_DEAF, 1));
    unsigned n = x->n_facts;
    assert_null(host_vm_shutdown(x->h, &v, VM, SHUTDOWN_ACPI, false));
    assert_int_equal(x->n_facts, n);
    assert_int_equal(guest(x), GUEST_RUNNING);
    assert_null(sim_guest(x->h, VM, SIM_POWER_OFF, 0));
    assert_int_equal(x->last.domid, 2);
}

static void waiting_ends_with_the_state_or_the_deadline(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb();
    enum guest_state got = GUEST_STOPPED;
    start(x);
    assert_null(host_vm_wait(x->h, &v, VM, 1U << GUEST_RUNNING, &got));
    assert_int_equal(got, GUEST_RUNNING);
    v.deadline = 1;
    struct err *e = host_vm_wait(x->h, &v, VM, 1U << GUEST_ABSENT, &got);
    assert_int_equal(err_get_errno(e), ETIMEDOUT);
    err_free(e);
}

static void cds_change_and_faults_strike(void **state)
{
    struct fixture *x = *state;
    struct verb v = verb();
    boot_set_disk(x->boot, &(struct boot_disk){.id = "cd", .device = 3, .cd = true});
    start(x);
    struct boot_disk cd = {.id = "cd", .device = 3, .cd = true, .image = RAW(x->disk, true)};
    assert_fails(host_vm_insert_cd(x->h, &v, VM, &cd)); /* not attached */
    assert_null(host_disk_attach(x->h, &v, VM, &cd));
    assert_null(host_vm_insert_cd(x->h, &v, VM, &cd));
    assert_null(host_vm_insert_cd(x->h, &v, VM, &cd)); /* it is in */
    struct boot_disk other = cd;
    other.image.path = "/elsewhere";
    assert_fails(host_vm_insert_cd(x->h, &v, VM, &other)); /* not empty */
    sim_fail(x->h, "eject_cd", 1);
    assert_fails(host_vm_eject_cd(x->h, &v, VM, 3));
    assert_null(host_vm_eject_cd(x->h, &v, VM, 3));
    assert_fails(host_vm_eject_cd(x->h, &v, VM, 0));
}

static void memory_is_counted(void **state)
{
    struct fixture *x = *state;
    uint64_t before = host_memory_free(x->h);
    start(x);
    assert_int_equal(before - host_memory_free(x->h), host_guest_memory(x->boot));
}

static void a_run_folder_that_is_too_long_is_refused(void **state)
{
    struct fixture *x = *state;
    _cleanup_(freep) char *deep = mem_printf("%s/%060d", x->dir, 0);
    struct host_config c = {.run_dir = deep, .accel = "tcg"};
    struct host *h = NULL;
    struct err *e = host_new(&c, &h);
    assert_non_null(e);
    assert_non_null(strstr(err_param(e, 0), "is too long"));
    err_free(e);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_guest_starts_and_shuts_down),
        TEST(a_guest_needs_its_disks),
        TEST(an_image_has_one_writer),
        TEST(guests_outlive_the_host),
        TEST(a_verb_is_executed_once),
        TEST(a_saved_guest_comes_back),
        TEST(guests_tell_what_they_do),
        TEST(waiting_ends_with_the_state_or_the_deadline),
        TEST(cds_change_and_faults_strike),
        TEST(memory_is_counted),
        TEST(a_run_folder_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
