/* cbtlog.c: see cbtlog.h. Called by cairn-diskd while a disk is written, and by the daemon. */
#include "codec/cbtlog.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "codec/bytes.h"

uint64_t cbtlog_bitmap_size(uint64_t disk_size)
{
    uint64_t blocks = disk_size / CBTLOG_BLOCK + (disk_size % CBTLOG_BLOCK != 0);
    return blocks / 8 + (blocks % 8 != 0);
}

int cbtlog_parse(const uint8_t *p, uint64_t file_size, struct cbtlog_header *ret)
{
    if (file_size < CBTLOG_HEADER)
        return -EINVAL;
    uint32_t whole = get_le32(p + 32);
    struct cbtlog_header h = {
        .is_whole = whole == 1, .boot = get_le32(p + 36), .disk_size = get_le64(p + 40)};
    memcpy(h.parent, p, 16);
    memcpy(h.child, p + 16, 16);
    if (whole > 1 || h.disk_size > CBTLOG_DISK_MAX ||
        file_size - CBTLOG_HEADER < cbtlog_bitmap_size(h.disk_size))
        return -EINVAL;
    *ret = h;
    return 0;
}

void cbtlog_format(const struct cbtlog_header *h, uint8_t out[CBTLOG_HEADER])
{
    memcpy(out, h->parent, 16);
    memcpy(out + 16, h->child, 16);
    put_le32(out + 32, h->is_whole);
    put_le32(out + 36, h->is_whole ? 0 : h->boot);
    put_le64(out + 40, h->disk_size);
}

bool cbtlog_mark(uint8_t *bitmap, uint64_t disk_size, uint64_t offset, uint64_t size)
{
    if (size == 0)
        return true;
    if (offset >= disk_size)
        return false;
    bool fits = size <= disk_size - offset;
    uint64_t last = (offset + (fits ? size : disk_size - offset) - 1) / CBTLOG_BLOCK;
    for (uint64_t b = offset / CBTLOG_BLOCK; b <= last; b++) {
        uint8_t bit = (uint8_t)(1u << b % 8);
        if (!(bitmap[b / 8] & bit)) /* a page that is not touched needs no writing back */
            bitmap[b / 8] |= bit;
    }
    return fits;
}

bool cbtlog_is_marked(const uint8_t *bitmap, uint64_t block)
{
    return bitmap[block / 8] >> block % 8 & 1;
}

void cbtlog_merge(uint8_t *into, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        into[i] |= from[i];
}

void cbtlog_turn(uint8_t *bitmap, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned b = bitmap[i];
        b = (b & 0xf0) >> 4 | (b & 0x0f) << 4;
        b = (b & 0xcc) >> 2 | (b & 0x33) << 2;
        bitmap[i] = (uint8_t)((b & 0xaa) >> 1 | (b & 0x55) << 1);
    }
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int cbtlog_uuid_parse(const char *text, uint8_t ret[16])
{
    uint8_t out[16] = {0};
    unsigned n = 0;
    for (; *text && n < 32; text++) {
        int d = digit(*text);
        if (*text == '-' && n % 2 == 0)
            continue;
        if (d < 0)
            return -EINVAL;
        out[n / 2] = (uint8_t)(out[n / 2] << 4 | d);
        n++;
    }
    if (*text || (n != 32 && n != 0))
        return -EINVAL;
    memcpy(ret, out, 16);
    return 0;
}

uint32_t cbtlog_boot(const char *boot_id)
{
    uint8_t id[16] = {0};
    if (cbtlog_uuid_parse(boot_id, id) < 0)
        return 0;
    return get_le32(id) ^ get_le32(id + 4) ^ get_le32(id + 8) ^ get_le32(id + 12);
}

void cbtlog_uuid_text(const uint8_t u[16], char out[37])
{
    static const uint8_t none[16];
    out[0] = '\0';
    if (memcmp(u, none, 16) == 0)
        return;
    (void)snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
                   u[13], u[14], u[15]);
}
