/*
 * Golden tests of src/host/qemu_argv: each tests/golden/qemu_argv/<name>.json is a boot record,
 * <name>.argv its command line, an argument a line. CAIRN_REGEN=1 rewrites the latter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "host/qemu_argv.h"

#define TEXT_MAX (1U << 20)

static char *dir;

static const struct qemu_paths paths = {
    .program = "qemu-system-x86_64",
    .dir = "/run/cairn/vm/demo,1",
    .disk_dir = "/run/cairn/disk/demo",
    .firmware = "/usr/share/OVMF/OVMF_CODE_4M.fd",
    .nvram = "/var/lib/cairn/nvram/demo.fd",
    .now_s = 1700000000,
};

static struct boot *record(const char *name)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", dir, name);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, TEXT_MAX);
    assert_int_equal(fd_read_file(path, TEXT_MAX, &text), 0);
    struct boot *b = NULL;
    struct err *e = boot_parse(buf_str(&text), &b);
    if (e)
        fail_msg("%s: %s", name, err_param(e, 0));
    return b;
}

static void compare(const char *name)
{
    _cleanup_(boot_freep) struct boot *b = record(name);
    struct qemu_paths p = paths;
    p.restore = strstr(name, "restore") != NULL;
    char **argv = qemu_argv(b, &p);
    _cleanup_(buf_done) struct buf got, want;
    buf_init(&got, TEXT_MAX);
    buf_init(&want, TEXT_MAX);
    for (char **s = argv; *s; s++)
        buf_printf(&got, "%s\n", *s);
    qemu_argv_free(argv);
    _cleanup_(freep) char *path =
        mem_printf("%s/%.*s.argv", dir, (int)(strlen(name) - strlen(".json")), name);
    if (getenv("CAIRN_REGEN"))
        assert_int_equal(fd_replace_file(path, got.data, got.size, 0644), 0);
    assert_int_equal(fd_read_file(path, TEXT_MAX, &want), 0);
    assert_string_equal(buf_str(&got), buf_str(&want));
    buf_done(&want);
}

static void records_become_command_lines(void **state)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    unsigned n = 0;
    for (struct dirent *entry; (entry = readdir(d)); n += str_ends(entry->d_name, ".json"))
        if (str_ends(entry->d_name, ".json"))
            compare(entry->d_name);
    closedir(d);
    assert_true(n >= 6);
}

/* Every place on a bus is given once, however many devices there are. */
static void no_two_devices_share_an_address(void **state)
{
    _cleanup_(boot_freep) struct boot *b = boot_new("11111111-2222-4333-8444-555555555555", "x");
    b->memory_bytes = 64 << 20;
    for (unsigned i = 0; i < BOOT_DISKS_MAX; i++)
        boot_set_disk(b,
                      &(struct boot_disk){
                          .id = "d",
                          .device = i,
                          .cd = i % 5 == 3,
                          .bus = i % 2 ? BOOT_EMULATED : BOOT_VIRTIO,
                          .image = {.vdi = "v", .path = "/d", .format = "raw", .size_bytes = 512}});
    for (unsigned i = 0; i < BOOT_NICS; i++)
        boot_set_nic(b, &(struct boot_nic){.id = "n", .device = i, .mac = "02:00:00:00:00:01"});
    char **argv = qemu_argv(b, &paths);
    VEC(char *) seen = {0};
    for (char **s = argv; *s; s++) {
        const char *bus = strstr(*s, "bus=");
        if (!bus || str_eq(*s, "usb-tablet,bus=usb.0"))
            continue;
        const char *addr = strstr(*s, "addr=");
        char *place = mem_printf("%.*s %.*s", (int)strcspn(bus, ","), bus,
                                 addr ? (int)strcspn(addr, ",") : 0, addr ? addr : "");
        vec_each (other, &seen)
            assert_string_not_equal(*other, place);
        vec_push(&seen, place);
    }
    assert_true(seen.n > BOOT_DISKS_MAX + BOOT_NICS);
    vec_each (place, &seen)
        free(*place);
    vec_done(&seen);
    qemu_argv_free(argv);
}

static void names_are_made_safe(void **state)
{
    _cleanup_(freep) char *name = qemu_safe_name("a b,c=d/ü-9.x");
    assert_string_equal(name, "a_b_c_d___-9.x");
}

int main(int argc, char **argv)
{
    dir = mem_printf("%s/tests/golden/qemu_argv", getenv("SOURCE_ROOT"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_become_command_lines),
        cmocka_unit_test(no_two_devices_share_an_address),
        cmocka_unit_test(names_are_made_safe),
    };
    int r = cmocka_run_group_tests_name("qemu_argv", tests, NULL, NULL);
    free(dir);
    return r;
}
