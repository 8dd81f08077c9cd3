/* Tests of src/host/lvm_group.c and of what the path of a volume says of its format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "host/disk_format.h"
#include "host/lvm_group.h"

static bool is_same(const char *a, const char *b)
{
    return lvm_group_is_same(view_of(a), view_of(b));
}

static void a_volume_is_known_by_its_name(void **state)
{
    (void)state;
    assert_true(is_same("lv:VHD-a:/dev/b@0+512", "lv:VHD-a:/dev/b@4096+512,/dev/b@0+512"));
    assert_false(is_same("lv:VHD-a:/dev/b@0+512", "lv:VHD-b:/dev/b@0+512"));
    assert_true(is_same("lv:VHD-a:/dev/b@0+512", "lv:VHD-a:/dev/c@0+512"));
    assert_false(is_same("lv:VHD-a:/dev/b@0+512", "VHD-a"));
    assert_true(is_same("/srv/a@1", "/srv/a@1"));
    assert_false(is_same("/srv/a@1", "/srv/a@2"));
    assert_false(is_same("lv:VHD-a:/dev/b@0+512", "/dev/b"));
}

static void its_name_tells_its_format(void **state)
{
    (void)state;
    assert_string_equal(disk_format_of("lv:VHD-a:/dev/b@0+512"), "vhd");
    assert_string_equal(disk_format_of("lv:LV-a:/dev/b@0+512"), "raw");
    assert_null(disk_format_of("lv:swap-a:/dev/b.raw"));
    assert_null(disk_format_of("VHD-a"));
    assert_string_equal(disk_format_of("VHD-a.qcow2"), "qcow2");
}

static char device[] = "/tmp/cairn-lvm-XXXXXX";

/* What lvm2's tools left on a device, each piece at its place. */
static int make_device(void **state)
{
    _cleanup_(freep) char *path = mem_printf("%s/tests/facts/lvm2.head", getenv("SOURCE_ROOT"));
    _cleanup_(buf_done) struct buf head;
    buf_init(&head, 1 << 20);
    (void)state;
    int fd = fd_read_file(path, 1 << 20, &head) < 0 ? -1 : mkstemp(device);
    if (fd < 0)
        return -1;
    const char *p = buf_str(&head);
    size_t text = LVM_LABEL_BYTES + LVM_MDA_BYTES;
    bool ok = pwrite(fd, p, LVM_LABEL_BYTES, 0) == LVM_LABEL_BYTES &&
              pwrite(fd, p + LVM_LABEL_BYTES, LVM_MDA_BYTES, 4096) == LVM_MDA_BYTES &&
              pwrite(fd, p + text, head.size - text, 4096 + 12288) == (ssize_t)(head.size - text);
    close(fd);
    return ok ? 0 : -1;
}

static int drop_device(void **state)
{
    (void)state;
    return unlink(device);
}

static int beside(const char *name, char **ret)
{
    _cleanup_(freep) char *path = mem_printf("lv:x:%s@0+512", device);
    return lvm_group_beside(path, name, ret);
}

static void volumes_of_the_group_have_paths(void **state)
{
    (void)state;
    char *path = NULL;
    assert_int_equal(beside("VHD-none", &path), -ENOENT);
    assert_int_equal(beside(NULL, &path), -ENOENT);
    assert_int_equal(beside("striped", &path), -EFBIG);
    assert_int_equal(lvm_group_beside("/srv/a.vhd", NULL, &path), -EINVAL);
    assert_int_equal(lvm_group_beside("lv:VHD-a:/nowhere@0+512", NULL, &path), -ENOENT);
    assert_null(path);
    assert_int_equal(beside("VHD-c", &path), 0);
    assert_non_null(strstr(path, device));
    free(path);
}

static void a_disk_between_two_names_is_found(void **state)
{
    (void)state;
    struct lvm_lv lvs[] = {
        {.name = (char[]){"swap-a"}}, {.name = (char[]){"VHD-b"}}, {.name = (char[]){"swap-b"}}};
    struct lvm_vg vg = {.lvs = {.v = lvs, .n = 3}};
    assert_ptr_equal(lvm_group_find(&vg, "VHD-a"), &lvs[0]);
    assert_ptr_equal(lvm_group_find(&vg, "VHD-b"), &lvs[1]);
    assert_null(lvm_group_find(&vg, "VHD-c"));
    assert_null(lvm_group_find(&vg, "LV-a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_is_known_by_its_name),
        cmocka_unit_test(its_name_tells_its_format),
        cmocka_unit_test(volumes_of_the_group_have_paths),
        cmocka_unit_test(a_disk_between_two_names_is_found),
    };
    return cmocka_run_group_tests_name("lvm_group", tests, make_device, drop_device);
}
