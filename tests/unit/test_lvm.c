/* test_lvm.c: codec/lvm against what lvm2's tools left on a device (tests/facts/lvm2.head: label,
 * header of the metadata, text), and against texts that lie. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fd.h"
#include "codec/bytes.h"
#include "codec/lvm.h"

static struct buf head;

static int read_head(void **state)
{
    (void)state;
    char *path = mem_printf("%s/tests/facts/lvm2.head", getenv("SOURCE_ROOT"));
    buf_init(&head, 1 << 20);
    int r = fd_read_file(path, 1 << 20, &head);
    free(path);
    return r;
}

static int drop_head(void **state)
{
    (void)state;
    buf_done(&head);
    return 0;
}

static const uint8_t *bytes(size_t at)
{
    return (const uint8_t *)head.data + at;
}

static void test_a_physical_volume(void **state)
{
    struct lvm_label l;
    struct lvm_place p;
    const char *why = NULL;
    (void)state;
    assert_int_equal(lvm_label_parse(bytes(0), &l, &why), 0);
    assert_string_equal(l.id, "eail4B-Mm0x-Jnaq-KSeX-n3g3-LZGY-PmPaXF");
    assert_int_equal(l.device_size, 256 << 20);
    assert_int_equal(l.data.at, 11 << 20);
    assert_int_equal(l.mda.at, 4096);
    assert_int_equal(lvm_mda_parse(bytes(LVM_LABEL_BYTES), &l.mda, &p, &why), 0);
    assert_int_equal(p.at, 4096 + 12288);
    assert_int_equal(p.size, head.size - LVM_LABEL_BYTES - LVM_MDA_BYTES);
    assert_int_equal(p.wraps_to, 4096 + 512);
    assert_int_equal(p.end, 11 << 20);
}

static void test_a_byte_that_differs(void **state)
{
    uint8_t copy[LVM_LABEL_BYTES];
    struct lvm_label l;
    const char *why = NULL;
    (void)state;
    memcpy(copy, bytes(0), sizeof(copy));
    copy[512 + 40] ^= 1;
    assert_int_equal(lvm_label_parse(copy, &l, &why), -EINVAL);
    assert_string_equal(why, "the label's sum is wrong");
    memset(copy, 0, sizeof(copy));
    assert_int_equal(lvm_label_parse(copy, &l, &why), -EINVAL);
    assert_string_equal(why, "there is no label of LVM2");
}

static struct view text_of_head(void)
{
    size_t at = LVM_LABEL_BYTES + LVM_MDA_BYTES;
    return (struct view){head.data + at, head.size - at};
}

static void test_a_volume_group(void **state)
{
    struct lvm_vg vg;
    const char *why = NULL;
    struct view text = text_of_head();
    uint32_t sum = get_le32(bytes(LVM_LABEL_BYTES) + 56);
    (void)state;
    assert_int_equal(lvm_vg_parse(text, sum, &vg, &why), 0);
    assert_string_equal(vg.name, "VG_XenStorage-11111111-2222-3333-4444-555555555555");
    assert_int_equal(vg.extent_size, 4 << 20);
    assert_int_equal(vg.seqno, 7);
    assert_int_equal(vg.pvs.n, 2);
    assert_int_equal(vg.pvs.v[1].start, 11 << 20);
    assert_int_equal(lvm_vg_free(&vg), 50 + 27);
    const struct lvm_lv *grown = lvm_vg_find(&vg, "VHD-c"), *old = lvm_vg_find(&vg, "LV-b");
    const struct lvm_lv *striped = lvm_vg_find(&vg, "striped");
    assert_null(lvm_vg_find(&vg, "VHD-a"));
    assert_true(grown && grown->is_writable && grown->is_plain && grown->extents == 6);
    assert_int_equal(grown->segments.n, 2);
    assert_int_equal(grown->segments.v[1].first, 2);
    assert_int_equal(grown->segments.v[1].stripes.v[0].extent, 5);
    assert_true(old && !old->is_writable && old->tags.n == 2);
    assert_string_equal(old->tags.v[0], "hidden");
    assert_int_equal(striped->segments.v[0].stripe_size, 64 << 10);
    assert_int_equal(striped->segments.v[0].stripes.v[1].pv, 1);
    lvm_vg_done(&vg);
    assert_int_equal(lvm_vg_parse(text, sum + 1, &vg, &why), -EINVAL);
    assert_string_equal(why, "the sum of the metadata's text is wrong");
    lvm_vg_done(&vg);
}

#define PV                                                                                         \
    "vg { id = \"x\" seqno = 1 extent_size = 8192 physical_volumes { pv0 { pe_start = 2048 "       \
    "pe_count = 10 } } logical_volumes { "
#define LV(name, from, to, n)                                                                      \
    name " { status = [ ] segment1 { start_extent = " from " extent_count = " n                    \
         " type = \"striped\" stripes = [ \"pv0\", " to " ] } } "

static void test_texts_that_lie(void **state)
{
    static const char *const lies[][2] = {
        {PV LV("a", "0", "0", "2") LV("b", "0", "1", "2") "} }",
         "two logical volumes share extents"},
        {PV LV("a", "0", "9", "2") "} }", "a segment beyond the end of its physical volume"},
        {PV LV("a", "1", "0", "2") "} }", "segments that leave gaps"},
        {PV "a { } } }", "a logical volume without segments"},
        {PV LV("a", "0", "0", "2"), "a member without a name"},
        {"vg { seqno = 1 }", "a volume group without extents"},
        {"a = [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ [ 1", "too deep"},
        {"a = \"x", "a string without an end"},
        {"contents = \"Text\"", "there is no volume group in the metadata"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct lvm_vg vg;
        const char *why = NULL;
        struct view text = view_of(lies[i][0]);
        assert_int_equal(lvm_vg_parse(text, lvm_sum(text.p, text.size), &vg, &why), -EINVAL);
        assert_string_equal(why, lies[i][1]);
        lvm_vg_done(&vg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_physical_volume),
        cmocka_unit_test(test_a_byte_that_differs),
        cmocka_unit_test(test_a_volume_group),
        cmocka_unit_test(test_texts_that_lie),
    };
    return cmocka_run_group_tests(tests, read_head, drop_head);
}
