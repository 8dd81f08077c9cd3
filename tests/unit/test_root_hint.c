/* Tests of src/host/root_hint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "host/root_hint.h"

static bool feed(struct root_hint *h, const char *text)
{
    return root_hint_feed(h, text, strlen(text));
}

static void it_is_seen_once_in_any_pieces(void **state)
{
    (void)state;
    static const char text[] = "linux rroot=/dev/xvroot=/dev/xvda12 ro root=/dev/xvdb ";
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        struct root_hint h = {0};
        bool first = root_hint_feed(&h, text, cut);
        bool second = root_hint_feed(&h, text + cut, strlen(text + cut));
        assert_true(first != second);
        assert_string_equal(h.device, "/dev/xvda12");
        assert_false(feed(&h, "root=/dev/xvdc "));
    }
}

static void other_roots_are_no_matter(void **state)
{
    (void)state;
    struct root_hint h = {0};
    assert_false(feed(&h, "root=/dev/vda1 root=UUID=xvda root=/dev/ xvda toor=/dev/xvda1 "));
    assert_false(feed(&h, "root=/dev/xvda1")); /* it may go on */
    assert_true(feed(&h, "\n"));
}

static void long_names_are_cut(void **state)
{
    (void)state;
    struct root_hint h = {0};
    assert_true(feed(&h, "root=/dev/xvdaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "));
    assert_int_equal(strlen(h.device), ROOT_HINT_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_seen_once_in_any_pieces),
        cmocka_unit_test(other_roots_are_no_matter),
        cmocka_unit_test(long_names_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
