/* Tests of what other systems write, as bytes: src/codec/vmdk, qcow2_head and ovf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "codec/bytes.h"
#include "codec/ovf.h"
#include "codec/qcow2_head.h"
#include "codec/vmdk.h"

/* ---- VMDK ---- */

static void vmdk_make(uint8_t out[VMDK_HEADER_SIZE])
{
    memset(out, 0, VMDK_HEADER_SIZE);
    memcpy(out, "KDMV", 4);
    put_le32(out + 4, 3);
    put_le32(out + 8, 0x30004);
    put_le64(out + 12, 1000 * 128 + 5);
    put_le64(out + 20, 128);
    put_le64(out + 28, 1);
    put_le64(out + 36, 20);
    put_le32(out + 44, 512);
    put_le64(out + 56, UINT64_MAX); /* the directory is at the end */
    put_le64(out + 64, 128);
    put_le16(out + 77, 1);
}

static void a_vmdk_says_what_it_is(void **state)
{
    (void)state;
    uint8_t b[VMDK_HEADER_SIZE];
    struct vmdk_header h;
    const char *why;
    vmdk_make(b);
    assert_int_equal(vmdk_header_parse(b, &h, &why), 0);
    assert_int_equal(h.size, (1000 * 128 + 5) * 512);
    assert_int_equal(h.grain, 65536);
    assert_int_equal(vmdk_tables(&h), 2);
    assert_int_equal(h.data_at, 65536);
    assert_true(h.is_stream && h.has_zero_mark);
}

static void a_vmdk_that_lies_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint64_t value;
    } lies[] = {{4, 9},  {12, 1ull << 60}, {20, 0},   {20, 3}, {20, 1ull << 40},
                {44, 0}, {44, 513},        {36, ~0u}, {0, 0},  {77, 2}};
    (void)state;
    struct vmdk_header h;
    const char *why;
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        uint8_t b[VMDK_HEADER_SIZE];
        vmdk_make(b);
        if (lies[i].at == 77)
            put_le16(b + 77, (uint16_t)lies[i].value);
        else if (lies[i].at == 44 || lies[i].at < 12)
            put_le32(b + lies[i].at, (uint32_t)lies[i].value);
        else
            put_le64(b + lies[i].at, lies[i].value);
        assert_true(vmdk_header_parse(b, &h, &why) < 0);
        assert_true(strlen(why) > 0);
    }
}

static void markers_stand_between_grains(void **state)
{
    (void)state;
    uint8_t b[VMDK_MARKER_SIZE] = {0};
    struct vmdk_marker m;
    assert_int_equal(vmdk_marker_parse(b, &m), 0);
    assert_int_equal(m.kind, VMDK_END);
    put_le64(b, 4);
    put_le32(b + 12, 1);
    assert_int_equal(vmdk_marker_parse(b, &m), 0);
    assert_int_equal(m.kind, VMDK_SKIP);
    assert_int_equal(m.size, 2048);
    put_le32(b + 12, 77);
    assert_true(vmdk_marker_parse(b, &m) < 0);
    put_le32(b + 8, 300);
    assert_int_equal(vmdk_marker_parse(b, &m), 0);
    assert_int_equal(m.kind, VMDK_GRAIN);
    assert_int_equal(m.at, 2048);
    put_le32(b + 8, 1u << 30);
    assert_true(vmdk_marker_parse(b, &m) < 0);
}

static void a_descriptor_tells_of_other_files(void **state)
{
    (void)state;
    const char *why;
    const char *good = "# x\nparentCID=ffffffff\r\n createType = \"streamOptimized\"\n";
    assert_int_equal(vmdk_descriptor_check(view_of(good), &why), 0);
    assert_true(vmdk_descriptor_check(view_of("createType=\"vmfs\"\n"), &why) < 0);
    assert_true(vmdk_descriptor_check(view_of("parentCID=12345678"), &why) < 0);
    assert_string_equal(why, "it is a difference to another image");
}

/* ---- qcow2 ---- */

static void qcow2_make(uint8_t out[QCOW2_HEAD_SIZE])
{
    memset(out, 0, QCOW2_HEAD_SIZE);
    memcpy(out, QCOW2_MAGIC, 4);
    put_be32(out + 4, 3);
    put_be32(out + 20, 16);
    put_be64(out + 24, 3ull << 29);
    put_be32(out + 36, 3);
    put_be64(out + 40, 0x30000);
    put_be32(out + 100, 112);
}

static void a_qcow2_says_what_it_is(void **state)
{
    (void)state;
    uint8_t b[QCOW2_HEAD_SIZE];
    struct qcow2_head h;
    const char *why;
    qcow2_make(b);
    assert_int_equal(qcow2_head_parse(b, &h, &why), 0);
    assert_int_equal(h.size, 3ull << 29);
    assert_int_equal(h.l1_entries, 3);
    assert_false(h.is_zstd || h.is_difference);
    put_be32(b + 12, 1024);
    put_be32(b + 16, 5);
    assert_int_equal(qcow2_head_parse(b, &h, &why), 0);
    assert_true(h.is_difference);
    struct qcow2_entry e = qcow2_l2_entry(&h, 1ull << 63 | 0x50000);
    assert_true(e.kind == QCOW2_IS_DATA && e.at == 0x50000 && e.size == 65536);
    assert_int_equal(qcow2_l2_entry(&h, 0x50001).kind, QCOW2_IS_ZEROES);
    assert_int_equal(qcow2_l2_entry(&h, 1).kind, QCOW2_IS_ZEROES);
    assert_int_equal(qcow2_l2_entry(&h, 0).kind, QCOW2_IS_ABSENT);
    e = qcow2_l2_entry(&h, 1ull << 62 | 2ull << 54 | 0x50123);
    assert_true(e.kind == QCOW2_IS_COMPRESSED && e.at == 0x50123 && e.size == 3 * 512 - 0x123);
}

static void a_qcow2_that_needs_more_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
    } lies[] = {{4, 4},   {20, 8},  {20, 22},       {24, 1u << 30}, {32, 1},
                {36, 2},  {44, 17}, {72, 1u << 31}, {76, 2},        {76, 4},
                {76, 16}, {76, 8},  {0, 0},         {40, 1u << 31}};
    (void)state;
    struct qcow2_head h;
    const char *why;
    for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        uint8_t b[QCOW2_HEAD_SIZE];
        qcow2_make(b);
        put_be32(b + 100, 104);
        put_be32(b + lies[i].at, lies[i].value);
        assert_true(qcow2_head_parse(b, &h, &why) < 0);
    }
}

/* ---- OVF ---- */

static void units_have_many_names(void **state)
{
    (void)state;
    assert_int_equal(ovf_unit("byte * 2^30"), 1 << 30);
    assert_int_equal(ovf_unit("GigaBytes"), 1 << 30);
    assert_int_equal(ovf_unit("MB"), 1 << 20);
    assert_int_equal(ovf_unit(" byte "), 1);
    assert_int_equal(ovf_unit("byte * 2^99"), 0);
    assert_int_equal(ovf_unit("acres"), 0);
}

#define ITEM(type, rest) "<Item><r:ResourceType>" type "</r:ResourceType>" rest "</Item>"
#define ENVELOPE(inside)                                                                           \
    "<o:Envelope xmlns:o='o' xmlns:r='r'><References><File o:id='f' o:href='a b.vmdk'/>"           \
    "</References><Disk o:diskId='d' o:capacity='3' o:capacityAllocationUnits='GB' "               \
    "o:fileRef='f'/><VirtualSystem o:id='m'>" inside "</VirtualSystem></o:Envelope>"

static int parse(const char *text, struct ovf *o)
{
    const char *why;
    return ovf_parse(view_of(text), o, &why);
}

static void a_machine_is_joined(void **state)
{
    (void)state;
    struct ovf o;
    const char *text = ENVELOPE(ITEM("17", "<r:HostResource>ovf:/disk/d</r:HostResource>")
                                    ITEM("4", "<r:VirtualQuantity>7</r:VirtualQuantity>")
                                        ITEM("3", "<r:VirtualQuantity> 5 </r:VirtualQuantity>")
                                            ITEM("10", "<r:Connection>net &amp; work</r:Connection>"
                                                       "<r:Address>00:50:56:00:00:01</r:Address>"));
    assert_int_equal(parse(text, &o), 0);
    assert_string_equal(o.name, "m");
    assert_int_equal(o.memory, 7 << 20);
    assert_int_equal(o.cpus, 5);
    assert_false(o.is_uefi);
    assert_int_equal(o.disks.n, 1);
    assert_string_equal(o.disks.v[0].href, "a b.vmdk");
    assert_int_equal(o.disks.v[0].size, 3ull << 30);
    assert_int_equal(o.nics.n, 1);
    assert_string_equal(o.nics.v[0].network, "net & work");
    assert_string_equal(o.nics.v[0].mac, "00:50:56:00:00:01");
    ovf_done(&o);
}

static void machines_that_cannot_be_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "<a>",
        "<a/>",
        "<!DOCTYPE a><a/>",
        ENVELOPE("") "<b/>",
        ENVELOPE("</VirtualSystem><VirtualSystem>"),
        ENVELOPE(ITEM("17", "<r:HostResource>ovf:/disk/none</r:HostResource>")),
        "<E><Disk diskId='d' capacity='many'/><VirtualSystem/></E>",
        "<E><Disk diskId='d' capacity='1' parentRef='c'/><VirtualSystem/></E>",
    };
    (void)state;
    struct ovf o;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_true(parse(texts[i], &o) < 0);
        ovf_done(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vmdk_says_what_it_is),
        cmocka_unit_test(a_vmdk_that_lies_is_refused),
        cmocka_unit_test(markers_stand_between_grains),
        cmocka_unit_test(a_descriptor_tells_of_other_files),
        cmocka_unit_test(a_qcow2_says_what_it_is),
        cmocka_unit_test(a_qcow2_that_needs_more_is_refused),
        cmocka_unit_test(units_have_many_names),
        cmocka_unit_test(a_machine_is_joined),
        cmocka_unit_test(machines_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
