/*
 * test_op_parts.c: the pure parts of operations - device names, the provision text, template files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "op/provision_xml.h"
#include "op/templates.h"

static void devices_have_names_and_numbers(void **state)
{
    static const struct {
        unsigned number;
        const char *name;
    } cases[] = {{0, "xvda"}, {3, "xvdd"}, {25, "xvdz"}, {26, "xvdaa"}, {254, "xvdiu"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[16];
        unsigned number = 999;
        device_name(cases[i].number, name, sizeof(name));
        assert_string_equal(name, cases[i].name);
        assert_true(device_number(name, &number));
        assert_int_equal(number, cases[i].number);
    }
}

static void odd_device_names_are_refused(void **state)
{
    static const char *const bad[] = {"",     "xvd",   "xvdA", "255",  "-1", "0x1",
                                      "xvd1", "xvdiv", "eth0", "sda1", " 0", "99999999999"};
    unsigned number;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (device_number(bad[i], &number))
            fail_msg("'%s' was taken for device %u", bad[i], number);
    }
    assert_true(device_number("hdc", &number) && number == 2);
}

static void the_provision_text_is_read(void **state)
{
    struct provision p;
    assert_int_equal(provision_parse("", &p), 0);
    assert_int_equal(p.n, 0);
    assert_int_equal(provision_parse("<provision><disk device='0' size='1024' sr='x' "
                                     "bootable='true' type='system'/><disk device='1' size='2'/>"
                                     "</provision>",
                                     &p),
                     0);
    assert_int_equal(p.n, 2);
    assert_true(p.disks[0].bootable && p.disks[0].system && p.disks[0].size_bytes == 1024);
    assert_string_equal(p.disks[0].sr, "x");
    assert_false(p.disks[1].bootable || p.disks[1].system);
}

static void odd_provision_texts_are_refused(void **state)
{
    static const char *const bad[] = {
        "x",
        "<provision>",
        "<provision><disk/></provision>",
        "<provision><disk device='0' size='-1'/></provision>",
        "<provision><disk device='eth0' size='1'/></provision>",
        "<!DOCTYPE p [<!ENTITY a 'b'>]><provision><disk device='0' size='1'/></provision>"};
    struct provision p;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(provision_parse(bad[i], &p), -EINVAL);
}

static void templates_inherit(void **state)
{
    struct templates ts = {0};
    assert_null(templates_parse("t",
                                "# comment\n[base]\nabstract = true\nmemory = 1GiB\n"
                                "disk = 8GiB\n\n[one]\nfrom = base\ndisk = none\ndisk = 2GiB\n"
                                "firmware = uefi\n",
                                &ts));
    assert_int_equal(ts.n, 2);
    assert_true(ts.v[0].abstract && !ts.v[1].abstract);
    assert_int_equal(ts.v[1].memory_bytes, 1 << 30);
    assert_int_equal(ts.v[1].n_disks, 1);
    assert_string_equal(ts.v[1].firmware, "uefi");
    templates_done(&ts);
}

static void odd_templates_name_their_line(void **state)
{
    static const char *const bad[] = {"x = 1\n",    "[a]\nmemory = much\n", "[a]\nfrom = b\n",
                                      "[a]\n[a]\n", "[a]\ncolour = blue\n", "[a\n"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct templates ts = {0};
        struct err *e = templates_parse("file", bad[i], &ts);
        assert_non_null(e);
        assert_non_null(strstr(err_param(e, 0), "file:"));
        err_free(e);
        templates_done(&ts);
    }
}

static void the_default_templates_are_whole(void **state)
{
    static const char *const wanted[] = {"Other install media",
                                         "Debian Bookworm 12",
                                         "Windows 11",
                                         "CentOS 7",
                                         "Debian Squeeze 6.0 (32-bit)",
                                         "CoreOS",
                                         "Windows Server 2012 R2 (64-bit)"};
    struct templates ts = {0};
    _cleanup_(freep) char *dir = mem_printf("%s/data/templates", getenv("SOURCE_ROOT"));
    size_t n = 0;
    assert_null(templates_read(dir, &ts));
    for (size_t i = 0; i < ts.n; i++) {
        n += !ts.v[i].abstract;
        assert_true(ts.v[i].abstract || ts.v[i].memory_bytes >= 128 * MIB);
    }
    assert_int_equal(n, 59); /* 49 of the current release, 10 of the older one */
    for (size_t w = 0; w < ARRAY_LEN(wanted); w++) {
        bool found = false;
        for (size_t i = 0; i < ts.n; i++)
            found = found || str_eq(ts.v[i].name, wanted[w]);
        if (!found)
            fail_msg("no template '%s'", wanted[w]);
    }
    templates_done(&ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_have_names_and_numbers),
        cmocka_unit_test(odd_device_names_are_refused),
        cmocka_unit_test(the_provision_text_is_read),
        cmocka_unit_test(odd_provision_texts_are_refused),
        cmocka_unit_test(templates_inherit),
        cmocka_unit_test(odd_templates_name_their_line),
        cmocka_unit_test(the_default_templates_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
