/*
 * qcow2.c: see qcow2.h.
 */
#include "codec/qcow2.h"

#include <errno.h>
#include <string.h>

#include "codec/bytes.h"

#define MAGIC           0x514649fbu
#define SIZE_V2         72u
#define SIZE_V3         104u
#define SIZE_WRITTEN    112u
#define EXT_END         0u
#define EXT_FORMAT      0xe2792acau
#define EXT_HIDDEN      0x76617465u
#define EXT_BITMAPS     0x23852875u
#define EXT_HIDDEN_SIZE 8u
#define L1_MAX          (4u << 20) /* entries */

#define FAIL(code, why)                                                                            \
    do {                                                                                           \
        *ret_why = (why);                                                                          \
        return -(code);                                                                            \
    } while (0)

static int parse_fixed(const uint8_t *p, struct qcow2_header *h, uint32_t *ret_size,
                       const char **ret_why);
static int parse_extensions(const uint8_t *p, size_t size, size_t at, struct qcow2_header *h,
                            const char **ret_why);
static int parse_backing(const uint8_t *p, size_t size, struct qcow2_header *h,
                         const char **ret_why);
static int judge(const struct qcow2_header *h, const char **ret_why);

int qcow2_parse(const void *data, size_t size, struct qcow2_header *ret, const char **ret_why)
{
    const uint8_t *p = data;
    struct qcow2_header h = {0};
    uint32_t header_size = 0;
    if (size < SIZE_V3 || get_be32(p) != MAGIC)
        FAIL(EINVAL, "this is not a qcow2 image");
    int r = parse_fixed(p, &h, &header_size, ret_why);
    if (r == 0)
        r = judge(&h, ret_why);
    if (r == 0)
        r = parse_extensions(p, size, header_size, &h, ret_why);
    if (r == 0)
        r = parse_backing(p, size, &h, ret_why);
    if (r == 0)
        *ret = h;
    return r;
}

static int parse_fixed(const uint8_t *p, struct qcow2_header *h, uint32_t *ret_size,
                       const char **ret_why)
{
    h->version = get_be32(p + 4);
    h->cluster_bits = get_be32(p + 20);
    h->size = get_be64(p + 24);
    h->is_encrypted = get_be32(p + 32) != 0;
    h->l1_size = get_be32(p + 36);
    h->l1_at = get_be64(p + 40);
    h->refcounts_at = get_be64(p + 48);
    h->refcounts_clusters = get_be32(p + 56);
    h->has_snapshots = get_be32(p + 60) != 0;
    h->refcount_order = 4;
    *ret_size = SIZE_V2;
    if (h->version == 2)
        return 0;
    if (h->version != 3)
        FAIL(EOPNOTSUPP, "it is of a version that is not known");
    h->incompatible = get_be64(p + 72);
    h->compatible = get_be64(p + 80);
    h->autoclear = get_be64(p + 88);
    h->refcount_order = get_be32(p + 96);
    *ret_size = get_be32(p + 100);
    if (*ret_size < SIZE_V3 || *ret_size % 8)
        FAIL(EINVAL, "the header's size is not possible");
    return 0;
}

static int judge(const struct qcow2_header *h, const char **ret_why)
{
    uint64_t known = QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION;
    if (h->is_encrypted)
        FAIL(EOPNOTSUPP, "the image is encrypted");
    if (h->has_snapshots)
        FAIL(EOPNOTSUPP, "the image has internal snapshots");
    if (h->incompatible & ~known)
        FAIL(EOPNOTSUPP, "the image has features that are not known");
    if (h->cluster_bits < QCOW2_BITS_MIN || h->cluster_bits > QCOW2_BITS_MAX ||
        h->refcount_order > 6)
        FAIL(EINVAL, "the size of its clusters is not possible");
    uint64_t cluster = 1ull << h->cluster_bits;
    if (h->size == 0 || h->size % 512 || h->size > 1ull << 46)
        FAIL(EINVAL, "the size of the disk is not possible");
    uint64_t span = cluster * (cluster / 8); /* what an L2 table is for */
    if (h->l1_size > L1_MAX || (h->size + span - 1) / span > h->l1_size)
        FAIL(EINVAL, "the table of clusters is smaller than the disk, or too large");
    if (h->l1_at == 0 || h->l1_at % cluster || h->l1_at > 1ull << 50)
        FAIL(EINVAL, "the table of clusters is at an impossible place");
    return 0;
}

static void take_extension(uint32_t type, const uint8_t *p, uint32_t size, struct qcow2_header *h)
{
    if (type == EXT_FORMAT && size < sizeof(h->backing_format))
        memcpy(h->backing_format, p, size);
    else if (type == EXT_HIDDEN && size >= 1)
        h->is_hidden = p[0] != 0;
    else if (type == EXT_BITMAPS)
        h->has_bitmaps = true;
}

static int parse_extensions(const uint8_t *p, size_t size, size_t at, struct qcow2_header *h,
                            const char **ret_why)
{
    uint64_t end = get_be64(p + 8); /* the backing file's name ends them, too */
    if (end == 0 || end > size)
        end = size;
    while (at + 8 <= end) {
        uint32_t type = get_be32(p + at), length = get_be32(p + at + 4);
        if (type == EXT_END)
            return 0;
        if (length > end - at - 8)
            FAIL(EINVAL, "an extension of the header is cut short");
        take_extension(type, p + at + 8, length, h);
        at += 8 + ((size_t)length + 7) / 8 * 8;
    }
    return 0;
}

static int parse_backing(const uint8_t *p, size_t size, struct qcow2_header *h,
                         const char **ret_why)
{
    uint64_t at = get_be64(p + 8);
    uint32_t length = get_be32(p + 16);
    if (at == 0)
        return 0;
    if (at > size || length == 0 || length > size - at || length >= sizeof(h->backing) ||
        memchr(p + at, 0, length))
        FAIL(EINVAL, "the parent's name is not possible");
    memcpy(h->backing, p + at, length);
    h->has_backing = true;
    return 0;
}

static uint32_t put_extension(uint8_t *out, uint32_t at, uint32_t type, const void *p,
                              uint32_t size)
{
    put_be32(out + at, type);
    put_be32(out + at + 4, size);
    memcpy(out + at + 8, p, size);
    return at + 8 + (size + 7) / 8 * 8;
}

int qcow2_put(const struct qcow2_header *h, uint8_t out[QCOW2_HEADER_SIZE])
{
    uint8_t hidden[EXT_HIDDEN_SIZE] = {h->is_hidden};
    memset(out, 0, QCOW2_HEADER_SIZE);
    put_be32(out, MAGIC);
    put_be32(out + 4, 3);
    put_be32(out + 20, h->cluster_bits);
    put_be64(out + 24, h->size);
    put_be32(out + 36, h->l1_size);
    put_be64(out + 40, h->l1_at);
    put_be64(out + 48, h->refcounts_at);
    put_be32(out + 56, h->refcounts_clusters);
    put_be64(out + 72, h->incompatible);
    put_be64(out + 80, h->compatible);
    put_be64(out + 88, h->autoclear);
    put_be32(out + 96, h->refcount_order);
    put_be32(out + 100, SIZE_WRITTEN);
    uint32_t at = SIZE_WRITTEN;
    if (h->has_backing && h->backing_format[0])
        at = put_extension(out, at, EXT_FORMAT, h->backing_format,
                           (uint32_t)strnlen(h->backing_format, sizeof(h->backing_format) - 1));
    at = put_extension(out, at, EXT_HIDDEN, hidden, sizeof(hidden)) + 8;
    size_t length = h->has_backing ? strlen(h->backing) : 0;
    if (length > QCOW2_HEADER_SIZE - at)
        return -ENAMETOOLONG;
    if (length) {
        put_be64(out + 8, at);
        put_be32(out + 16, (uint32_t)length);
        memcpy(out + at, h->backing, length);
    }
    return 0;
}
