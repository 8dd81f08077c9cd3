/* test_zone.c: offsets of zones, compared with what the C library says of the same zones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/zone.h"

static int64_t by_library(const char *zone, int64_t at)
{
    time_t t = (time_t)at;
    struct tm tm;
    setenv("TZ", zone, 1);
    tzset();
    localtime_r(&t, &tm);
    return tm.tm_gmtoff;
}

static void zones_agree_with_the_library(void **state)
{
    static const char *const zones[] = {"UTC",
                                        "Europe/Berlin",
                                        "America/New_York",
                                        "Asia/Kolkata",
                                        "Australia/Lord_Howe",
                                        "America/Sao_Paulo",
                                        "Asia/Shanghai",
                                        "Europe/Dublin",
                                        "Pacific/Chatham",
                                        "America/St_Johns",
                                        "Antarctica/Troll"};
    for (size_t z = 0; z < sizeof(zones) / sizeof(zones[0]); z++)
        for (int64_t at = 0; at < INT64_C(4000000000); at += 86400 * 9 + 3607)
            if (zone_offset(zones[z], at) != by_library(zones[z], at))
                fail_msg("%s at %lld: %lld, not %lld", zones[z], (long long)at,
                         (long long)zone_offset(zones[z], at), (long long)by_library(zones[z], at));
}

static void what_is_no_zone_is_utc(void **state)
{
    static const char *const names[] = {"", "/etc/passwd", "../zoneinfo/Europe/Berlin", "Nowhere",
                                        "Europe"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(zone_offset(names[i], 1700000000), 0);
}

/* Every beginning of a file, and counts that promise more than there is. */
static void broken_files_are_refused(void **state)
{
    uint8_t file[44 * 2 + 6] = "TZif2";
    int64_t offset;
    memcpy(file + 44, "TZif2", 5);
    assert_false(zone_offset_in(file, sizeof(file), 0, &offset));
    file[44 + 20 + 19] = 1; /* one kind of time in the second part, none in the first */
    file[20 + 19] = 0;
    assert_false(zone_offset_in(file, sizeof(file), 0, &offset));
    for (size_t size = 0; size < sizeof(file); size++)
        assert_false(zone_offset_in(file, size, 0, &offset));
    for (unsigned i = 0; i < 24; i++) {
        file[20 + i] = 0xff;
        assert_false(zone_offset_in(file, sizeof(file), 0, &offset));
        file[20 + i] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zones_agree_with_the_library),
        cmocka_unit_test(what_is_no_zone_is_utc),
        cmocka_unit_test(broken_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
