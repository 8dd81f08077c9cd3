/*
 * fuzz_foreign.c: images and descriptions of other systems: headers and tables of VMDK and qcow2,
 * markers, descriptors, OVF. Input: what the first bytes say; the rest goes to the tables' readers.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "codec/bytes.h"
#include "codec/ovf.h"
#include "codec/qcow2_head.h"
#include "codec/vmdk.h"

static void read_vmdk(const uint8_t *data, size_t size)
{
    uint8_t first[VMDK_HEADER_SIZE] = {0};
    struct vmdk_header h;
    struct vmdk_marker m;
    struct view text = {(const char *)data, size}, value;
    const char *why;
    memcpy(first, data, size < sizeof(first) ? size : sizeof(first));
    if (vmdk_header_parse(first, &h, &why) == 0 && vmdk_tables(&h) > 8u << 20)
        __builtin_trap();
    for (size_t at = 0; at + VMDK_MARKER_SIZE <= size; at += VMDK_MARKER_SIZE)
        (void)vmdk_marker_parse(data + at, &m);
    (void)vmdk_descriptor_check(text, &why);
    if (vmdk_descriptor_get(text, "CID", &value) && value.size > size)
        __builtin_trap();
}

static void read_qcow2(const uint8_t *data, size_t size)
{
    uint8_t first[QCOW2_HEAD_SIZE] = {0};
    struct qcow2_head h;
    const char *why;
    memcpy(first, data, size < sizeof(first) ? size : sizeof(first));
    if (qcow2_head_parse(first, &h, &why) < 0)
        return;
    for (size_t at = 0; at + 8 <= size; at += 8) {
        struct qcow2_entry e = qcow2_l2_entry(&h, get_be64(data + at));
        if (e.size > (2u << h.cluster_bits) + 512)
            __builtin_trap();
    }
}

static void read_ovf(const uint8_t *data, size_t size)
{
    struct ovf o;
    const char *why;
    if (ovf_parse((struct view){(const char *)data, size}, &o, &why) == 0 && o.disks.n > OVF_PARTS)
        __builtin_trap();
    ovf_done(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 4 && memcmp(data, QCOW2_MAGIC, 4) == 0)
        read_qcow2(data, size);
    else if (size && data[0] == '<')
        read_ovf(data, size);
    else
        read_vmdk(data, size);
    return 0;
}
