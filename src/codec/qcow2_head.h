/*
 * qcow2_head.h: header and table entries of a qcow2 image, for those who read one from front to
 * back, as bytes.
 *
 *     0       header: at least 72 bytes (version 2) or 104 (version 3)
 *     l1_at   u64 a second table, its place
 *     there   u64 a cluster: where it is, or that it is compressed or reads as zeroes
 *
 * Integers are big-endian. Pure, any thread. qcow2_head_parse() returns 0 or -EINVAL and names the
 * reason in *ret_why, a static string.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QCOW2_MAGIC     "QFI\xfb"
#define QCOW2_HEAD_SIZE 112u
#define QCOW2_SIZE_MAX  (64ull << 40)
#define QCOW2_TABLE_MAX (32u << 20) /* bytes of the first table */

struct qcow2_head {
    uint64_t size; /* of the disk */
    unsigned cluster_bits;
    uint64_t l1_at;
    uint32_t l1_entries; /* those that the disk needs */
    bool is_zstd;        /* compressed clusters are; else deflated */
    bool is_difference;  /* what is absent is another image's */
};
/* `p` has QCOW2_HEAD_SIZE bytes. */
int qcow2_head_parse(const void *p, struct qcow2_head *ret, const char **ret_why);

/* An entry of the first table: 0 if there is no second one. */
uint64_t qcow2_l1_place(uint64_t entry);

enum qcow2_entry_kind { QCOW2_IS_ABSENT, QCOW2_IS_ZEROES, QCOW2_IS_DATA, QCOW2_IS_COMPRESSED };
struct qcow2_entry {
    enum qcow2_entry_kind kind; /* what is absent reads as zeroes, or as what is below */
    uint64_t at;
    uint32_t size; /* compressed: no more than so many bytes */
};
struct qcow2_entry qcow2_l2_entry(const struct qcow2_head *h, uint64_t entry);
