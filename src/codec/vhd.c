/*
 * vhd.c: footer, header and tables of a VHD from and to bytes. Called by image.c and create.c on
 * any thread; owns nothing.
 */
#include "codec/vhd.h"

#include <errno.h>

#include "codec/bytes.h"
#include "codec/vhd_text.h"

#define FOOTER_COOKIE      "conectix"
#define FOOTER_POISON      "v_poison"
#define HEADER_COOKIE      "cxsparse"
#define BATMAP_COOKIE      "tdbatmap"
#define FORMAT_VERSION     0x00010000u
#define BATMAP_VERSION     0x00010002u
#define BATMAP_VERSION_OLD 0x00010001u
#define FEATURE_TEMP       1u
#define FEATURE_RESERVED   2u
#define CHECKSUM_AT        64
#define HIDDEN_AT          85
#define HEADER_SUM_AT      36
#define PARENT_NAME_AT     64
#define LOCATORS_AT        576
#define MAX_CHS_SECTORS    (65535ull * 16 * 255)

#define FAIL(why)                                                                                  \
    do {                                                                                           \
        *ret_why = (why);                                                                          \
        return -EINVAL;                                                                            \
    } while (0)

static bool footer_checksum_ok(const uint8_t *p, size_t size);
static int footer_check(const struct vhd_footer *f, uint32_t features, uint32_t version,
                        const char **ret_why);
static void locator_parse(struct cursor *c, struct vhd_locator *l);

int vhd_footer_parse(const void *p, size_t size, struct vhd_footer *ret, const char **ret_why)
{
    if (size < VHD_FOOTER_SIZE - 1)
        FAIL("the footer is cut short");
    if (size > VHD_FOOTER_SIZE)
        size = VHD_FOOTER_SIZE;
    struct cursor c = cursor_of(p, size);
    const uint8_t *cookie = cursor_take(&c, 8);
    if (memcmp(cookie, FOOTER_POISON, 8) == 0) {
        *ret_why = "the image is disabled";
        return -EACCES;
    }
    if (memcmp(cookie, FOOTER_COOKIE, 8) != 0)
        FAIL("there is no footer");
    if (!footer_checksum_ok(p, size))
        FAIL("the footer's checksum is wrong");
    uint32_t features = cursor_be32(&c), version = cursor_be32(&c);
    struct vhd_footer f = {.data_offset = cursor_be64(&c), .timestamp = cursor_be32(&c)};
    cursor_copy(&c, f.creator, 4);
    f.creator_version = cursor_be32(&c);
    f.creator_os = cursor_be32(&c);
    f.original_size = cursor_be64(&c);
    f.current_size = cursor_be64(&c);
    f.geometry.cylinders = cursor_be16(&c);
    f.geometry.heads = cursor_u8(&c);
    f.geometry.sectors = cursor_u8(&c);
    f.type = cursor_be32(&c);
    (void)cursor_be32(&c); /* checksum */
    cursor_copy(&c, f.uuid, 16);
    f.saved = cursor_u8(&c);
    f.hidden = cursor_u8(&c);
    int r = footer_check(&f, features, version, ret_why);
    if (r == 0)
        *ret = f;
    return r;
}

/* Early blktap set the hidden flag without a new checksum, so a sum that fits hidden=0 is fine. */
static bool footer_checksum_ok(const uint8_t *p, size_t size)
{
    uint8_t copy[VHD_FOOTER_SIZE] = {0};
    memcpy(copy, p, size);
    uint32_t want = get_be32(copy + CHECKSUM_AT);
    put_be32(copy + CHECKSUM_AT, 0);
    if (vhd_checksum(copy, sizeof(copy)) == want)
        return true;
    copy[HIDDEN_AT] = 0;
    return vhd_checksum(copy, sizeof(copy)) == want;
}

static int footer_check(const struct vhd_footer *f, uint32_t features, uint32_t version,
                        const char **ret_why)
{
    if (version != FORMAT_VERSION)
        FAIL("the format version is unknown");
    if (features & ~(FEATURE_TEMP | FEATURE_RESERVED))
        FAIL("the footer asks for unknown features");
    if (f->type < VHD_FIXED || f->type > VHD_DIFFERENCING)
        FAIL("the disk type is unknown");
    if (memcmp(f->creator, "tap", 4) == 0 && f->creator_version > VHD_CREATOR_VERSION)
        FAIL("the image is of a later version");
    if (f->hidden > 1)
        FAIL("the hidden flag is neither 0 nor 1");
    if (f->type != VHD_FIXED && (f->data_offset < VHD_FOOTER_SIZE || f->data_offset > 1ull << 40))
        FAIL("the header lies nowhere sensible");
    return 0;
}

void vhd_footer_put(const struct vhd_footer *f, uint8_t out[VHD_FOOTER_SIZE])
{
    memset(out, 0, VHD_FOOTER_SIZE);
    memcpy(out, FOOTER_COOKIE, 8);
    put_be32(out + 8, FEATURE_RESERVED);
    put_be32(out + 12, FORMAT_VERSION);
    put_be64(out + 16, f->data_offset);
    put_be32(out + 24, f->timestamp);
    memcpy(out + 28, f->creator, 4);
    put_be32(out + 32, f->creator_version);
    put_be32(out + 36, f->creator_os);
    put_be64(out + 40, f->original_size);
    put_be64(out + 48, f->current_size);
    put_be16(out + 56, f->geometry.cylinders);
    out[58] = f->geometry.heads;
    out[59] = f->geometry.sectors;
    put_be32(out + 60, f->type);
    memcpy(out + 68, f->uuid, 16);
    out[84] = f->saved;
    out[HIDDEN_AT] = f->hidden;
    put_be32(out + CHECKSUM_AT, vhd_checksum(out, VHD_FOOTER_SIZE));
}

int vhd_header_parse(const void *p, size_t size, struct vhd_header *ret, const char **ret_why)
{
    if (size < VHD_HEADER_SIZE)
        FAIL("the header is cut short");
    uint8_t copy[VHD_HEADER_SIZE];
    memcpy(copy, p, sizeof(copy));
    uint32_t want = get_be32(copy + HEADER_SUM_AT);
    put_be32(copy + HEADER_SUM_AT, 0);
    if (memcmp(copy, HEADER_COOKIE, 8) != 0)
        FAIL("there is no header");
    if (vhd_checksum(copy, sizeof(copy)) != want)
        FAIL("the header's checksum is wrong");
    struct cursor c = cursor_of(copy + 16, sizeof(copy) - 16);
    struct vhd_header h = {.table_offset = cursor_be64(&c)};
    if (cursor_be32(&c) != FORMAT_VERSION)
        FAIL("the header's version is unknown");
    h.max_bat_size = cursor_be32(&c);
    h.block_size = cursor_be32(&c);
    (void)cursor_be32(&c); /* checksum */
    cursor_copy(&c, h.parent_uuid, 16);
    h.parent_timestamp = cursor_be32(&c);
    (void)cursor_be32(&c);
    (void)utf16_parse(cursor_take(&c, 512), 512, true, h.parent_name, sizeof(h.parent_name));
    for (int i = 0; i < VHD_LOCATORS; i++)
        locator_parse(&c, &h.locators[i]);
    if (h.block_size < VHD_BLOCK_SIZE_MIN || h.block_size > VHD_BLOCK_SIZE ||
        (h.block_size & (h.block_size - 1)))
        FAIL("the block size is not supported");
    if (h.table_offset % VHD_SECTOR || h.table_offset < VHD_TABLE_AT || h.table_offset > 1ull << 41)
        FAIL("the allocation table lies nowhere sensible");
    *ret = h;
    return 0;
}

/* The space field should count sectors but is often bytes: a value below 512 counts sectors. */
static void locator_parse(struct cursor *c, struct vhd_locator *l)
{
    l->code = cursor_be32(c);
    uint32_t space = cursor_be32(c);
    l->data_len = cursor_be32(c);
    (void)cursor_be32(c);
    l->data_offset = cursor_be64(c);
    l->space = space < VHD_SECTOR ? (uint64_t)space * VHD_SECTOR : space;
}

static void locator_put(const struct vhd_locator *l, uint8_t *out)
{
    put_be32(out, l->code);
    put_be32(out + 4, (uint32_t)l->space);
    put_be32(out + 8, l->data_len);
    put_be64(out + 16, l->data_offset);
}

void vhd_header_put(const struct vhd_header *h, uint8_t out[VHD_HEADER_SIZE])
{
    memset(out, 0, VHD_HEADER_SIZE);
    memcpy(out, HEADER_COOKIE, 8);
    put_be64(out + 8, UINT64_MAX);
    put_be64(out + 16, h->table_offset);
    put_be32(out + 24, FORMAT_VERSION);
    put_be32(out + 28, h->max_bat_size);
    put_be32(out + 32, h->block_size);
    memcpy(out + 40, h->parent_uuid, 16);
    put_be32(out + 56, h->parent_timestamp);
    (void)utf16_put(h->parent_name, true, out + PARENT_NAME_AT, 510);
    for (int i = 0; i < VHD_LOCATORS; i++)
        locator_put(&h->locators[i], out + LOCATORS_AT + 24 * i);
    put_be32(out + HEADER_SUM_AT, vhd_checksum(out, VHD_HEADER_SIZE));
}

void vhd_header_move(uint8_t bytes[VHD_HEADER_SIZE], uint64_t table_offset, uint32_t max_bat_size)
{
    put_be64(bytes + 16, table_offset);
    put_be32(bytes + 28, max_bat_size);
    put_be32(bytes + HEADER_SUM_AT, 0);
    put_be32(bytes + HEADER_SUM_AT, vhd_checksum(bytes, VHD_HEADER_SIZE));
}

int vhd_batmap_parse(const void *p, size_t size, struct vhd_batmap_header *ret)
{
    if (size < VHD_SECTOR || memcmp(p, BATMAP_COOKIE, 8) != 0)
        return -EINVAL;
    struct cursor c = cursor_of((const uint8_t *)p + 8, size - 8);
    struct vhd_batmap_header h = {.offset = cursor_be64(&c), .sectors = cursor_be32(&c)};
    h.version = cursor_be32(&c);
    h.is_sum_signed = h.version == BATMAP_VERSION_OLD;
    h.checksum = cursor_be32(&c);
    (void)cursor_u8(&c); /* marker */
    h.encrypted = cursor_u8(&c) != 0;
    *ret = h;
    return 0;
}

void vhd_batmap_put(const struct vhd_batmap_header *h, uint8_t out[VHD_SECTOR])
{
    memset(out, 0, VHD_SECTOR);
    memcpy(out, BATMAP_COOKIE, 8);
    put_be64(out + 8, h->offset);
    put_be32(out + 16, h->sectors);
    put_be32(out + 20, BATMAP_VERSION);
    put_be32(out + 24, h->checksum);
}

uint32_t vhd_checksum(const void *p, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += ((const uint8_t *)p)[i];
    return ~sum;
}

uint32_t vhd_checksum_signed(const void *p, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += (uint32_t)((const int8_t *)p)[i];
    return ~sum;
}

uint64_t vhd_batmap_sum_size(uint64_t disk_size)
{
    uint64_t bytes = disk_size >> 24;
    if (bytes == 0)
        bytes = 1;
    return (bytes + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

struct vhd_geometry vhd_geometry_of(uint64_t size)
{
    uint64_t total = size / VHD_SECTOR;
    if (total > MAX_CHS_SECTORS)
        total = MAX_CHS_SECTORS;
    uint64_t spt = 255, heads = 16;
    if (total < 65535ull * 16 * 63) {
        spt = 17;
        heads = (total / spt + 1023) / 1024;
        if (heads < 4)
            heads = 4;
        if (total / spt >= heads * 1024 || heads > 16) {
            spt = 31;
            heads = 16;
        }
        if (total / spt >= heads * 1024) {
            spt = 63;
            heads = 16;
        }
    }
    return (struct vhd_geometry){(uint16_t)(total / spt / heads), (uint8_t)heads, (uint8_t)spt};
}

/*
 * The rule readers in the field share: some creators mean the current size, others the product of
 * the geometry, unless that is at its maximum. `caml` writes exact sizes with a rounded geometry.
 */
uint64_t vhd_virtual_size(const struct vhd_footer *f)
{
    static const char exact[][5] = {"tap", "qem2", "win ", "d2v ", "CTXS", "caml"};
    for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
        if (memcmp(f->creator, exact[i], 4) == 0)
            return f->current_size;
    uint64_t product = (uint64_t)f->geometry.cylinders * f->geometry.heads * f->geometry.sectors;
    if (product == 0 || product == MAX_CHS_SECTORS)
        return f->current_size;
    return product * VHD_SECTOR;
}

uint64_t vhd_round_size(uint64_t size)
{
    if (size == 0 || size > VHD_MAX_SIZE)
        return 0;
    return (size + VHD_BLOCK_SIZE - 1) / VHD_BLOCK_SIZE * VHD_BLOCK_SIZE;
}

bool vhd_has_batmap(const struct vhd_footer *f)
{
    return f->type != VHD_FIXED && memcmp(f->creator, "tap", 4) == 0 &&
           f->creator_version > 0x00000001u;
}

uint64_t vhd_bat_size(uint32_t entries)
{
    return ((uint64_t)entries * 4 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

uint32_t vhd_bitmap_sectors(uint32_t block_size)
{
    uint32_t bytes = block_size / VHD_SECTOR / 8;
    return (bytes + VHD_SECTOR - 1) / VHD_SECTOR;
}
