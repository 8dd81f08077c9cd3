/* Tests of state/filter: the grammar's oddities, and what is compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "gen/typed.h"
#include "state/filter.h"

static struct row *vm;

static int setup(void **state)
{
    (void)state;
    vm = row_new(desc_classes[CLASS_VM], rstr_new("OpaqueRef:1"));
    struct rec_VM *r = (struct rec_VM *)vm;
    rstr_set(&r->name_label, "demo");
    r->memory_target = 42;
    r->is_a_template = true;
    val_assign(&r->other_config, val_with(r->other_config, "k", "it's"));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    row_unref(vm);
    return 0;
}

static bool matches(const char *text)
{
    _cleanup_(filter_freep) struct filter *f = NULL;
    struct err *e = filter_parse(vm->cls, text, &f);
    if (e)
        fail_msg("%s: %s", text, err_text(e));
    return filter_match(f, vm);
}

static void values_are_compared_by_their_text(void **state)
{
    (void)state;
    assert_true(matches("field \"name__label\" = \"demo\""));
    assert_true(matches("\"demo\"=field\"name__label\""));
    assert_false(matches("field \"name__label\" = \"Demo\""));
    assert_true(matches("field \"_ref\" = \"OpaqueRef:1\""));
    assert_true(matches("field \"memory__target\" = \"42\""));
    assert_true(matches("field \"is_a_template\" = \"true\""));
    assert_true(matches("field \"power_state\" = \"Halted\""));
    assert_true(matches("field \"resident_on\" = \"OpaqueRef:NULL\""));
    assert_true(matches("field \"other_config\" = \"(('k' 'it\\'s'))\""));
    assert_true(matches("field \"VBDs\" = \"()\""));
    assert_true(matches("\"a\" = \"a\""));
    assert_true(matches("field \"name__label\" = field \"name__label\""));
}

static void and_binds_like_or_and_not_binds_loosest(void **state)
{
    (void)state;
    assert_true(matches("not false and false"));
    assert_true(matches("not (false and false)"));
    assert_false(matches("(not false) and false"));
    assert_false(matches("true or true and false"));
    assert_true(matches("true or (true and false)"));
    assert_false(matches("false and true or false"));
    assert_false(matches("true and not false or true"));
    assert_true(matches(" \t\n( true ) "));
    assert_true(matches("nottrueorfalse and false"));
}

static void wrong_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          "(",        "(true",         "true)",   "true true",
        "TRUE",      "not",      "\"a\"",         "\"a\" =", "\"a\" = \"b",
        "'a' = 'a'", "true and", "field = \"a\"", "true\r",  "\"a\" = true",
        "= \"a\""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct filter *f = NULL;
        _cleanup_(err_freep) struct err *e = filter_parse(vm->cls, bad[i], &f);
        if (!err_is(e, "INVALID_VALUE"))
            fail_msg("'%s' was taken", bad[i]);
        assert_string_equal(err_param(e, 0), bad[i]);
    }
    struct filter *f = NULL;
    _cleanup_(err_freep) struct err *e = filter_parse(vm->cls, "field \"name_label\" = \"x\"", &f);
    assert_true(err_is(e, "INTERNAL_ERROR"));
    assert_string_equal(err_param(e, 0), "missing field");
}

static void depth_and_length_have_limits(void **state)
{
    (void)state;
    char text[70000];
    memset(text, '(', sizeof(text));
    strcpy(text + 1000, "true");
    memset(text + 1004, ')', 1000);
    text[2004] = 0;
    assert_true(matches(text));
    memset(text, '(', 1001);
    struct filter *f = NULL;
    _cleanup_(err_freep) struct err *e = filter_parse(vm->cls, text, &f);
    assert_true(err_is(e, "INVALID_VALUE"));
    memset(text, ' ', sizeof(text));
    strcpy(text + 66000, "true");
    _cleanup_(err_freep) struct err *too_long = filter_parse(vm->cls, text, &f);
    assert_true(err_is(too_long, "INVALID_VALUE"));
    text[0] = 0;
    for (int i = 0; i < 5000; i++)
        strcpy(text + (size_t)i * 9, "false or ");
    strcpy(text + 45000, "true");
    assert_true(matches(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_compared_by_their_text),
        cmocka_unit_test(and_binds_like_or_and_not_binds_loosest),
        cmocka_unit_test(wrong_text_is_refused),
        cmocka_unit_test(depth_and_length_have_limits),
    };
    return cmocka_run_group_tests_name("filter", tests, setup, teardown);
}
