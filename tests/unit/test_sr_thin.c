/* Tests of host/sr_thin.c: sizes of volumes that grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "host/sr_thin.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (MIB << 10)
#define TIB (GIB << 10)

static struct val *config(const char *allocation, const char *initial, const char *quantum)
{
    struct val *v = val_map();
    if (allocation)
        val_put_str(v, "allocation", allocation);
    if (initial)
        val_put_str(v, "initial_allocation", initial);
    if (quantum)
        val_put_str(v, "allocation_quantum", quantum);
    return v;
}

static struct sr_thin of(const struct val *sr, const struct val *vdi, uint64_t bytes)
{
    struct sr_thin t;
    sr_thin_of(sr, vdi, bytes, &t);
    return t;
}

static void only_two_words_turn_it_on(void **state)
{
    static const struct {
        const char *word;
        bool on;
    } words[] = {
        {"xlvhd", true}, {"dynamic", true}, {"thick", false}, {"thin", false}, {NULL, false}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        _cleanup_(val_unrefp) struct val *v = config(words[i].word, NULL, NULL);
        assert_int_equal(of(v, NULL, TIB).on, words[i].on);
    }
}

static void a_quantum_fits_its_repository(void **state)
{
    _cleanup_(val_unrefp) struct val *none = config("xlvhd", NULL, NULL);
    _cleanup_(val_unrefp) struct val *small = config("xlvhd", NULL, "1");
    _cleanup_(val_unrefp) struct val *large = config("xlvhd", NULL, "999999999999999");
    assert_int_equal(of(none, NULL, GIB).quantum, 16 * MIB);
    assert_int_equal(of(none, NULL, 10000 * 100 * MIB).quantum, 100 * MIB);
    assert_int_equal(of(small, NULL, 50000 * 20 * MIB).quantum, 20 * MIB);
    assert_int_equal(of(large, NULL, 4000 * 60 * MIB).quantum, 60 * MIB);
    assert_int_equal(of(large, NULL, GIB).quantum, 16 * MIB);
    assert_int_equal(of(large, NULL, 100 * 1000 * TIB).quantum, GIB);
}

static void a_disk_s_own_values_go_first(void **state)
{
    _cleanup_(val_unrefp) struct val *sr = config("xlvhd", "33554432", "134217728");
    _cleanup_(val_unrefp) struct val *vdi = config(NULL, "4096", "167772160");
    _cleanup_(val_unrefp) struct val *bare = config(NULL, NULL, NULL);
    struct sr_thin t = of(sr, vdi, TIB);
    assert_int_equal(t.initial, 4096);
    assert_int_equal(t.quantum, 160 * MIB);
    t = of(sr, bare, TIB);
    assert_int_equal(t.initial, 32 * MIB);
    assert_int_equal(t.quantum, 128 * MIB);
    _cleanup_(val_unrefp) struct val *noted = sr_thin_note(vdi, &t);
    assert_string_equal(val_map_str(noted, "initial_allocation", ""), "33554432");
    assert_string_equal(val_map_str(noted, "allocation_quantum", ""), "134217728");
}

static void what_is_no_number_is_refused(void **state)
{
    struct val *words[] = {config("xlvhd", "much", NULL), config("xlvhd", NULL, "-1"),
                           config("thinner", NULL, NULL)};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        _cleanup_(err_freep) struct err *e = sr_thin_check("lvm", words[i]);
        assert_non_null(e);
        assert_string_equal(err_code(e), "INVALID_VALUE");
        val_unref(words[i]);
    }
    _cleanup_(val_unrefp) struct val *fine = config("dynamic", "0", "16777216");
    assert_null(sr_thin_check("lvm", fine));
    _cleanup_(val_unrefp) struct val *other = config("anything", NULL, NULL);
    assert_null(sr_thin_check("nfs", other));
}

static void volumes_begin_small_and_end_full(void **state)
{
    struct sr_thin t = {.on = true, .initial = 0, .quantum = 16 * MIB};
    assert_int_equal(sr_thin_first(&t, GIB, GIB + 8 * MIB), 8 * MIB);
    assert_int_equal(sr_thin_first(&t, 1, 4 * MIB), 4 * MIB);
    t.initial = 9 * MIB;
    assert_int_equal(sr_thin_first(&t, GIB, GIB + 8 * MIB), 12 * MIB);
    t.initial = GIB;
    assert_int_equal(sr_thin_first(&t, GIB, GIB + 8 * MIB), GIB + 8 * MIB);
    assert_int_equal(sr_thin_next(16 * MIB, 8 * MIB, GIB, GIB), 24 * MIB);
    assert_int_equal(sr_thin_next(16 * MIB, 8 * MIB, 20 * MIB, GIB), 20 * MIB);
    assert_int_equal(sr_thin_next(16 * MIB, 8 * MIB, GIB, 6 * MIB), 12 * MIB);
    assert_int_equal(sr_thin_next(16 * MIB, 8 * MIB, GIB, 3 * MIB), 8 * MIB);
    assert_int_equal(sr_thin_next(16 * MIB, GIB, GIB, GIB), GIB);
    assert_int_equal(sr_thin_low(16 * MIB), 8 * MIB);
    assert_int_equal(sr_thin_low(100 * MIB), 50 * MIB);
}

static void only_what_is_written_on_a_volume_asks(void **state)
{
    _cleanup_(val_unrefp) struct val *sr = config("xlvhd", NULL, "33554432");
    struct image image = {.path = (char *)"lv:VHD-x:/dev/x@0+8388608", .format = (char *)"vhd"};
    sr_thin_image(sr, NULL, 10000 * 32 * MIB, &image);
    assert_int_equal(image.quantum, 32 * MIB);
    _cleanup_(val_unrefp) struct val *activate = val_map();
    sr_thin_request(&image, activate);
    assert_int_equal(val_get_int(val_map_get(activate, "low_water")), 16 * MIB);
    image.readonly = true;
    sr_thin_image(sr, NULL, TIB, &image);
    assert_int_equal(image.quantum, 0);
    image.readonly = false;
    image.path = (char *)"/srv/x.vhd";
    sr_thin_image(sr, NULL, TIB, &image);
    assert_int_equal(image.quantum, 0);
    _cleanup_(val_unrefp) struct val *none = val_map();
    sr_thin_request(&image, none);
    assert_null(val_map_get(none, "low_water"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_two_words_turn_it_on),
        cmocka_unit_test(a_quantum_fits_its_repository),
        cmocka_unit_test(a_disk_s_own_values_go_first),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(volumes_begin_small_and_end_full),
        cmocka_unit_test(only_what_is_written_on_a_volume_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
