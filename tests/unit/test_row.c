/* Tests of state/row and text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "gen/typed.h"

static void text_round_trips(void **state)
{
    (void)state;
    _cleanup_(row_unrefp) const struct row *cr = row_new(desc_classes[CLASS_VM], rstr_new("r"));
    struct row *r = (struct row *)(uintptr_t)cr;
    const struct field_desc *f = desc_field(r->cls, "other_config");
    static const char text[] = "(('a b' 'it\\'s') ('c' 'back\\\\slash') ('' ''))";
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(row_parse(r, f, view_of(text)), 0);
    row_text(r, f, &b);
    assert_string_equal(buf_str(&b), text);
    assert_string_equal(val_map_str(((struct rec_VM *)r)->other_config, "a b", ""), "it's");
    static const char *const bad[] = {
        "", "(", "('a')", "(('a' 'b')", "(('a' 'b'))x", "(('a'  'b'))", "(('a' 'b)", "(('a' 'b\\"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(row_parse(r, f, view_of(bad[i])), -EINVAL);
    assert_int_equal(row_parse(r, desc_field(r->cls, "power_state"), view_of("Running")), 0);
    assert_int_equal(row_parse(r, desc_field(r->cls, "power_state"), view_of("Flying")), -EINVAL);
    assert_int_equal(row_parse(r, desc_field(r->cls, "memory_target"), view_of("-7")), 0);
    buf_clear(&b);
    row_encode(r, &b);
    assert_non_null(strstr(buf_str(&b), "('power_state' 'Running')"));
    assert_null(strstr(buf_str(&b), "name__label"));
}

static void decoding_takes_what_encoding_made(void **state)
{
    (void)state;
    const struct class_desc *c = desc_classes[CLASS_VM];
    _cleanup_(row_unrefp) const struct row *a = row_new(c, rstr_new("r"));
    _cleanup_(row_unrefp) const struct row *b = row_new(c, rstr_new("r"));
    struct rec_VM *vm = (struct rec_VM *)(uintptr_t)a;
    rstr_set(&vm->name_label, "it's (a) \\ test");
    val_assign(&vm->other_config, val_with(vm->other_config, "k'", "v\\"));
    vm->memory_target = INT64_MIN;
    vm->is_a_template = true;
    _cleanup_(buf_done) struct buf data;
    buf_init(&data, 4000);
    row_encode(a, &data);
    unsigned skipped;
    assert_int_equal(
        row_decode((struct row *)(uintptr_t)b, (struct view){data.data, data.size}, &skipped), 0);
    assert_int_equal(skipped, 0);
    assert_true(row_is_equal(a, b));
    assert_int_equal(row_decode((struct row *)(uintptr_t)b,
                                view_of("(('gone' '1') ('memory__target' 'x'))"), &skipped),
                     0);
    assert_int_equal(skipped, 2);
}

/* What is equal exists once; what differs stays. */
static void equal_parts_are_shared(void **state)
{
    (void)state;
    struct rec_VM *a = (struct rec_VM *)row_new(desc_classes[CLASS_VM], rstr_new("OpaqueRef:a"));
    struct rec_VM *b = (struct rec_VM *)row_new(desc_classes[CLASS_VM], rstr_new("OpaqueRef:b"));
    rstr_set(&a->name_label, "same");
    rstr_set(&b->name_label, "same");
    rstr_set(&a->name_description, "one");
    rstr_set(&b->name_description, "other");
    struct val *x = val_map(), *y = val_map();
    val_put_str(x, "k", "v");
    val_put_str(y, "k", "v");
    val_assign(&a->platform, x);
    val_assign(&b->platform, y);
    row_share(&b->row, &a->row);
    assert_ptr_equal(a->name_label, b->name_label);
    assert_ptr_equal(a->platform, b->platform);
    assert_string_equal(b->name_description, "other");
    row_unref(&a->row);
    assert_string_equal(val_map_str(b->platform, "k", ""), "v");
    row_unref(&b->row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_round_trips),
        cmocka_unit_test(decoding_takes_what_encoding_made),
        cmocka_unit_test(equal_parts_are_shared),
    };
    return cmocka_run_group_tests_name("row", tests, NULL, NULL);
}
