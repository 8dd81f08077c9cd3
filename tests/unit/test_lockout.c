/* Who guesses passwords has to wait, and nobody else has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "api/lockout.h"
#include "loop/loop.h"

static void free_lockout(struct lockout **l)
{
    lockout_free(*l);
}

static bool may_try(struct lockout *l, const char *address, const char *user)
{
    _cleanup_(err_freep) struct err *e = lockout_begin(l, address, user);
    if (e)
        assert_string_equal(err_code(e), "SESSION_AUTHENTICATION_FAILED");
    else
        lockout_undecided(l, address, user);
    return !e;
}

static unsigned guess(struct lockout *l, const char *address, const char *user)
{
    unsigned seconds;
    lockout_failed(l, address, user, &seconds);
    return seconds;
}

static void test_the_delay_grows_and_ends(void **state)
{
    _cleanup_(free_lockout) struct lockout *l = lockout_new();
    unsigned last = 0, seconds;
    for (int i = 1; i < LOCKOUT_FREE; i++) {
        assert_false(lockout_failed(l, "192.0.2.1", "root", &seconds));
        assert_int_equal(seconds, 0);
    }
    assert_true(lockout_failed(l, "192.0.2.1", "root", &seconds));
    assert_int_equal(seconds, 1);
    assert_false(may_try(l, "192.0.2.1", "root"));
    clock_advance(USEC_PER_SEC);
    assert_true(may_try(l, "192.0.2.1", "root"));
    for (int i = 0; i < 12; i++) {
        seconds = guess(l, "192.0.2.1", "root");
        assert_true(seconds > last || seconds == 300);
        last = seconds;
    }
    assert_int_equal(last, 300);
    clock_advance(299 * USEC_PER_SEC);
    assert_false(may_try(l, "192.0.2.1", "root"));
    clock_advance(USEC_PER_SEC);
    assert_true(may_try(l, "192.0.2.1", "root"));
}

static void test_others_are_not_hurt(void **state)
{
    _cleanup_(free_lockout) struct lockout *l = lockout_new();
    for (int i = 0; i < 10; i++)
        guess(l, "192.0.2.1", "root");
    assert_false(may_try(l, "192.0.2.1", "root"));
    assert_true(may_try(l, "192.0.2.1", "other"));
    assert_true(may_try(l, "192.0.2.2", "root"));
    assert_true(may_try(l, "", "root"));
    for (int i = 0; i < 10; i++)
        guess(l, "2001:db8::1", "root");
    assert_false(may_try(l, "2001:db8::ffff", "root"));
    assert_true(may_try(l, "2001:db8:0:1::1", "root"));
}

static void test_a_right_password_ends_the_count(void **state)
{
    _cleanup_(free_lockout) struct lockout *l = lockout_new();
    for (int i = 1; i < LOCKOUT_FREE; i++)
        guess(l, "192.0.2.1", "root");
    lockout_passed(l, "192.0.2.1", "root");
    assert_int_equal(guess(l, "192.0.2.1", "root"), 0);
    for (int i = 2; i < LOCKOUT_FREE; i++)
        guess(l, "192.0.2.1", "root");
    clock_advance(16 * 60 * USEC_PER_SEC);
    assert_int_equal(guess(l, "192.0.2.1", "root"), 0);
}

static void test_one_password_on_many_users(void **state)
{
    _cleanup_(free_lockout) struct lockout *l = lockout_new();
    char user[32];
    for (int i = 0; i < LOCKOUT_SPRAYED; i++) {
        snprintf(user, sizeof(user), "user%d", i);
        assert_true(may_try(l, "192.0.2.1", user));
        guess(l, "192.0.2.1", user);
    }
    assert_false(may_try(l, "192.0.2.1", "yet another"));
    assert_true(may_try(l, "192.0.2.2", "yet another"));
}

/* Many tries at the same time do not get more guesses. */
static void test_tries_at_once(void **state)
{
    _cleanup_(free_lockout) struct lockout *l = lockout_new();
    for (int i = 0; i < LOCKOUT_AT_ONCE; i++)
        assert_null(lockout_begin(l, "192.0.2.1", "root"));
    assert_false(may_try(l, "192.0.2.1", "root"));
    lockout_passed(l, "192.0.2.1", "root");
    assert_true(may_try(l, "192.0.2.1", "root"));
}

/* A flood of addresses pushes out the oldest, and the newest is still counted. */
static void test_the_table_is_bounded(void **state)
{
    _cleanup_(free_lockout) struct lockout *l = lockout_new();
    char address[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(address, sizeof(address), "10.0.%d.%d", i / 256, i % 256);
        guess(l, address, "root");
        clock_advance(1);
    }
    for (int i = 0; i < LOCKOUT_FREE; i++)
        guess(l, "192.0.2.9", "root");
    assert_false(may_try(l, "192.0.2.9", "root"));
}

static int fake(void **state)
{
    clock_fake(1000 * USEC_PER_SEC);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_delay_grows_and_ends, fake),
        cmocka_unit_test_setup(test_others_are_not_hurt, fake),
        cmocka_unit_test_setup(test_a_right_password_ends_the_count, fake),
        cmocka_unit_test_setup(test_one_password_on_many_users, fake),
        cmocka_unit_test_setup(test_tries_at_once, fake),
        cmocka_unit_test_setup(test_the_table_is_bounded, fake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
