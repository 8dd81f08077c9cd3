/*
 * qcow2.h: the qcow2 format, as bytes.
 *
 * Only the header is more than an array: the tables are arrays of big-endian numbers. Pure: from
 * bytes to a struct and back, no I/O, no allocation, any thread.
 *
 *     cluster 0   header, extensions, backing file name
 *     anywhere    L1 table: u64 an L2 table; L2 tables: u64 a cluster; refcount table and blocks
 *
 * Versions 2 and 3 are read, 3 is written. A private extension of type 0x76617465, of 8 bytes,
 * carries the flag that a VHD has in its footer: not shown to users.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QCOW2_HEADER_SIZE                                                                          \
    512u                     /* what is written: one sector, so that a crash leaves one or none    \
                              */
#define QCOW2_HEAD_MAX 4096u /* what is looked at */
#define QCOW2_MAX_SIZE (16381ull << 30)
#define QCOW2_BITS_MIN 9u /* of a cluster's size */
#define QCOW2_BITS_MAX 21u

/* L1 and L2 entries. */
#define QCOW2_COPIED      (1ull << 63) /* nobody else refers to it */
#define QCOW2_COMPRESSED  (1ull << 62)
#define QCOW2_ZERO        1ull /* L2: reads as zeroes */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull

/* Features that a reader must know. */
#define QCOW2_DIRTY       1ull /* refcounts may be wrong */
#define QCOW2_CORRUPT     2ull /* not to be written */
#define QCOW2_COMPRESSION 8ull /* another way of compressing clusters */
/* Features that it need not. */
#define QCOW2_LAZY 1ull /* refcounts are written when the image is closed */

struct qcow2_header {
    uint32_t version;
    uint32_t cluster_bits;
    uint64_t size; /* of the disk, bytes */
    uint64_t l1_at, refcounts_at;
    uint32_t l1_size;            /* entries */
    uint32_t refcounts_clusters; /* of the table */
    uint32_t refcount_order;     /* bits of a count: 2 to the power of it */
    uint64_t incompatible, compatible, autoclear;
    bool has_snapshots, is_encrypted, has_bitmaps;
    bool is_hidden;
    bool has_backing;
    char backing[1024];      /* the parent's path; relative ones from the image's folder */
    char backing_format[16]; /* "": not said */
};

/* Reads the first bytes of an image: all of them, or QCOW2_HEAD_MAX. -EINVAL, or -EOPNOTSUPP for
 * what is valid but has features that are not known; the reason in *ret_why, a static string. */
int qcow2_parse(const void *p, size_t size, struct qcow2_header *ret, const char **ret_why);
/* The header of version 3 with its extensions; -ENAMETOOLONG when the names do not fit. */
int qcow2_put(const struct qcow2_header *h, uint8_t out[QCOW2_HEADER_SIZE]);
