/* qcow2_head.c: see qcow2_head.h. */
#include "codec/qcow2_head.h"

#include <errno.h>
#include <string.h>

#include "codec/bytes.h"
#include "codec/qcow2.h"

#define DATA_FILE 4ull /* an incompatible feature: the data is in another file */

static int refuse(const char *why, const char **ret_why)
{
    *ret_why = why;
    return -EINVAL;
}

static int check_features(const uint8_t *b, struct qcow2_head *h, const char **ret_why)
{
    uint64_t features = get_be64(b + 72);
    if (features & QCOW2_CORRUPT)
        return refuse("it is marked as damaged", ret_why);
    if (features & DATA_FILE)
        return refuse("its data is in another file", ret_why);
    if (features & ~(QCOW2_DIRTY | QCOW2_COMPRESSION))
        return refuse("it uses features that are not known", ret_why);
    if (!(features & QCOW2_COMPRESSION))
        return 0;
    if (get_be32(b + 100) < 105 || b[104] > 1)
        return refuse("its compression is not known", ret_why);
    h->is_zstd = b[104] == 1;
    return 0;
}

static int check_tables(struct qcow2_head *h, uint32_t l1_entries, const char **ret_why)
{
    uint64_t covered = 1ull << (2 * h->cluster_bits - 3);
    uint64_t needed = (h->size + covered - 1) / covered;
    if (h->size > QCOW2_SIZE_MAX || needed * 8 > QCOW2_TABLE_MAX || needed > l1_entries)
        return refuse("its header makes no sense", ret_why);
    if (needed && (h->l1_at == 0 || h->l1_at % (1ull << h->cluster_bits) || h->l1_at >> 56))
        return refuse("its header makes no sense", ret_why);
    h->l1_entries = (uint32_t)needed;
    return 0;
}

int qcow2_head_parse(const void *p, struct qcow2_head *ret, const char **ret_why)
{
    const uint8_t *b = p;
    uint32_t version = get_be32(b + 4), bits = get_be32(b + 20);
    if (memcmp(b, QCOW2_MAGIC, 4) != 0)
        return refuse("this is no qcow2", ret_why);
    if (version != 2 && version != 3)
        return refuse("its version is not known", ret_why);
    if (get_be32(b + 32))
        return refuse("it is encrypted", ret_why);
    if (bits < QCOW2_BITS_MIN || bits > QCOW2_BITS_MAX)
        return refuse("its header makes no sense", ret_why);
    *ret = (struct qcow2_head){
        .size = get_be64(b + 24), .cluster_bits = bits, .l1_at = get_be64(b + 40)};
    ret->is_difference = get_be64(b + 8) || get_be32(b + 16);
    if (version == 3 && check_features(b, ret, ret_why) < 0)
        return -EINVAL;
    return check_tables(ret, get_be32(b + 36), ret_why);
}

uint64_t qcow2_l1_place(uint64_t entry)
{
    return entry & QCOW2_OFFSET_MASK;
}

struct qcow2_entry qcow2_l2_entry(const struct qcow2_head *h, uint64_t entry)
{
    unsigned shift = 62 - (h->cluster_bits - 8);
    if (entry & QCOW2_COMPRESSED) {
        uint64_t at = entry & ((1ull << shift) - 1);
        uint64_t sectors = ((entry >> shift) & ((1ull << (h->cluster_bits - 8)) - 1)) + 1;
        return (struct qcow2_entry){QCOW2_IS_COMPRESSED, at, (uint32_t)(sectors * 512 - at % 512)};
    }
    uint64_t at = entry & QCOW2_OFFSET_MASK;
    if ((entry & QCOW2_ZERO) || at == 0)
        return (struct qcow2_entry){.kind = entry & QCOW2_ZERO ? QCOW2_IS_ZEROES : QCOW2_IS_ABSENT};
    return (struct qcow2_entry){QCOW2_IS_DATA, at, 1u << h->cluster_bits};
}
