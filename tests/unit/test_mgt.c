/* test_mgt.c: codec/mgt, on lists as XenServer leaves them and on lists that lie. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/mgt.h"

#define A       "11111111-2222-3333-4444-555555555555"
#define B       "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
#define SECTORS 10

static char list[SECTORS * MGT_SECTOR];

static void put(unsigned sector, const char *text)
{
    memset(list + sector * MGT_SECTOR, ' ', MGT_SECTOR);
    memcpy(list + sector * MGT_SECTOR, text, strlen(text));
}

static int clear(void **state)
{
    (void)state;
    memset(list, 0, sizeof(list));
    put(0, "XSSM:5120      :1:2");
    return 0;
}

static void parse(struct mgt *ret)
{
    mgt_parse((struct view){list, sizeof(list)}, ret);
}

static void test_two_disks(void **state)
{
    (void)state;
    struct mgt m;
    put(4,
        "<vdi><name_label>a &amp; b</name_label><name_description>what it is</name_description>");
    put(5, "<uuid>" A "</uuid><is_a_snapshot>0</is_a_snapshot><snapshot_of></snapshot_of>"
           "<deleted>0</deleted></vdi>");
    put(6, "<vdi><name_label>as it was</name_label><name_description></name_description>");
    put(7, "<uuid>" B "</uuid><is_a_snapshot>1</is_a_snapshot><snapshot_of>" A "</snapshot_of>"
           "<snapshot_time>20160229T12:00:01Z</snapshot_time><deleted>0</deleted></vdi>");
    parse(&m);
    assert_int_equal(m.vdis.n, 2);
    const struct mgt_vdi *a = mgt_find(&m, A), *b = mgt_find(&m, B);
    assert_string_equal(a->name, "a & b");
    assert_string_equal(a->description, "what it is");
    assert_string_equal(a->snapshot_of, "");
    assert_false(a->is_snapshot);
    assert_string_equal(b->name, "as it was");
    assert_string_equal(b->snapshot_of, A);
    assert_true(b->is_snapshot);
    assert_int_equal(b->snapshot_time, 1456747201);
    assert_null(mgt_find(&m, "00000000-0000-0000-0000-000000000000"));
    mgt_done(&m);
}

static void test_what_is_passed_over(void **state)
{
    (void)state;
    struct mgt m;
    put(4, "<vdi><name_label>gone</name_label>");
    put(5, "<uuid>" A "</uuid><deleted>1</deleted></vdi>");
    put(6, "<vdi><name_label>half");
    put(8, "<!DOCTYPE vdi [<!ENTITY x 'y'>]><vdi><uuid>" B "</uuid></vdi>");
    parse(&m);
    assert_int_equal(m.vdis.n, 0);
    mgt_done(&m);
    put(4, "<vdi><name_label>no uuid</name_label>");
    put(5, "<uuid>no</uuid></vdi>");
    put(6, "<vdi><a><uuid>" B "</uuid></a>");
    put(7, "</vdi>");
    put(8, "<disk><uuid>" B "</uuid></disk>");
    parse(&m);
    assert_int_equal(m.vdis.n, 0);
    mgt_done(&m);
}

static void test_a_list_that_ends_in_a_slot(void **state)
{
    (void)state;
    struct mgt m;
    put(4, "<vdi><uuid>" A "</uuid>");
    put(5, "</vdi>");
    mgt_parse((struct view){list, 6 * MGT_SECTOR - 1}, &m);
    assert_int_equal(m.vdis.n, 0);
    mgt_done(&m);
    mgt_parse((struct view){list, 6 * MGT_SECTOR}, &m);
    assert_int_equal(m.vdis.n, 1);
    mgt_done(&m);
}

static void test_sizes(void **state)
{
    (void)state;
    uint64_t size;
    assert_int_equal(mgt_parse_size(list, &size), 0);
    assert_int_equal(size, 5120);
    put(0, "XSSM:5121      :1:7");
    assert_int_equal(mgt_parse_size(list, &size), 0);
    assert_int_equal(size, 5120);
    static const char *const bad[] = {"",
                                      "XSSM",
                                      "XSSM:",
                                      "XSSM:5120      ",
                                      "XSSM:5120      :2:0",
                                      "XSSM:-1        :1:2",
                                      "XSSM:9999999999:1:2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        put(0, bad[i]);
        assert_int_equal(mgt_parse_size(list, &size), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_two_disks, clear),
        cmocka_unit_test_setup(test_what_is_passed_over, clear),
        cmocka_unit_test_setup(test_a_list_that_ends_in_a_slot, clear),
        cmocka_unit_test_setup(test_sizes, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
