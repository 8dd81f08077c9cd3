/* Tests of codec/base64 (vectors of RFC 4648 §10). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "codec/base64.h"

static void the_vectors_of_the_standard(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfb", "//77"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        _cleanup_(buf_done) struct buf text;
        _cleanup_(buf_done) struct buf bytes;
        buf_init(&text, 100);
        buf_init(&bytes, 100);
        base64_put(&text, view_of(pairs[i][0]));
        assert_string_equal(buf_str(&text), pairs[i][1]);
        assert_int_equal(base64_get(view_of(pairs[i][1]), &bytes), 0);
        assert_string_equal(buf_str(&bytes), pairs[i][0]);
    }
}

static void other_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zm9 ", "Zm9-", "Z=9v"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        _cleanup_(buf_done) struct buf bytes;
        buf_init(&bytes, 100);
        assert_int_equal(base64_get(view_of(bad[i]), &bytes), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_standard),
        cmocka_unit_test(other_text_is_refused),
    };
    return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
