/* Tests of src/host/boot: the boot record and its JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "host/boot.h"

#define VM  "11111111-2222-4333-8444-555555555555"
#define VDI "99999999-2222-4333-8444-555555555555"

static struct boot *sample(void)
{
    struct boot *b = boot_new(VM, "a \"demo\", ü");
    b->domid = 7;
    b->memory_bytes = 256 << 20;
    b->rtc_offset_s = -3600;
    boot_set_disk(b, &(struct boot_disk){.id = "vbd3", .device = 3, .cd = true});
    boot_set_disk(
        b, &(struct boot_disk){
               .id = "vbd0",
               .device = 0,
               .image = {.vdi = VDI, .path = "/sr/x.vhd", .format = "vhd", .size_bytes = 1 << 30},
               .limit_ops = 500});
    boot_set_nic(b, &(struct boot_nic){.id = "vif1", .device = 1, .mac = "02:00:00:00:00:01"});
    return b;
}

static void assert_parses(const char *json, bool want)
{
    struct boot *b = NULL;
    struct err *e = boot_parse(json, &b);
    assert_int_equal(e == NULL, want);
    err_free(e);
    boot_free(b);
}

/* The text with its first `from` replaced by `to`. */
static char *edited(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    return mem_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void a_record_survives_json(void **state)
{
    _cleanup_(boot_freep) struct boot *b = sample();
    _cleanup_(freep) char *json = boot_format(b);
    _cleanup_(boot_freep) struct boot *again = NULL;
    assert_null(boot_parse(json, &again));
    _cleanup_(freep) char *json2 = boot_format(again);
    assert_string_equal(json, json2);
    assert_int_equal(again->n_disks, 2);
    assert_int_equal(again->disks[0].device, 0);
    assert_string_equal(again->disks[0].image.path, "/sr/x.vhd");
    assert_int_equal(again->disks[0].limit_ops, 500);
    assert_int_equal(again->disks[0].limit_bytes, 0);
    assert_int_equal(again->rtc_offset_s, -3600);
    assert_string_equal(again->name, "a \"demo\", ü");
}

static void bad_records_are_refused(void **state)
{
    static const char *const edits[][2] = {
        {"\"device\":3", "\"device\":0"},
        {"\"device\":3", "\"device\":255"},
        {"\"device\":3", "\"device\":\"3\""},
        {"\"domid\":7", "\"domid\":7,\"x\":1"},
        {"\"domid\":7,", ""},
        {"\"cpus\":1", "\"cpus\":0"},
        {"\"order\":\"\"", "\"order\":\"cx\""},
        {"\"firmware\":\"bios\"", "\"firmware\":\"coreboot\""},
        {"\"firmware\":\"bios\"", "\"firmware\":\"direct\""},
        {"\"path\":\"/sr/x.vhd\"", "\"path\":\"sr/x.vhd\""},
        {"\"path\":\"/sr/x.vhd\"", "\"path\":\"\""},
        {VM, "demo"},
    };
    _cleanup_(boot_freep) struct boot *b = sample();
    _cleanup_(freep) char *json = boot_format(b);
    assert_parses(json, true);
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        _cleanup_(freep) char *bad = edited(json, edits[i][0], edits[i][1]);
        assert_parses(bad, false);
    }
    assert_parses("[]", false);
    assert_parses("{", false);
}

static void devices_are_replaced_and_removed(void **state)
{
    _cleanup_(boot_freep) struct boot *b = sample();
    boot_set_disk(b, &(struct boot_disk){.id = "new", .device = 3, .cd = true});
    assert_int_equal(b->n_disks, 2);
    assert_string_equal(boot_disk(b, 3)->id, "new");
    assert_ptr_equal(boot_disk_by_id(b, "vbd0"), boot_disk(b, 0));
    boot_del_disk(b, 0);
    boot_del_disk(b, 0);
    assert_int_equal(b->n_disks, 1);
    assert_null(boot_disk(b, 0));
    boot_del_nic(b, 1);
    assert_null(boot_nic_by_id(b, "vif1"));
}

static void a_copy_is_its_own(void **state)
{
    _cleanup_(boot_freep) struct boot *b = sample();
    _cleanup_(boot_freep) struct boot *c = boot_copy(b);
    boot_del_disk(b, 0);
    assert_string_equal(boot_disk(c, 0)->image.vdi, VDI);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_survives_json),
        cmocka_unit_test(bad_records_are_refused),
        cmocka_unit_test(devices_are_replaced_and_removed),
        cmocka_unit_test(a_copy_is_its_own),
    };
    return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
