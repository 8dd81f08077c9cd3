/*
 * vhd_locator.c: where a VHD says its parent is: paths as file: URLs and as UTF-16. Called by vhd.c
 * and by disk/ on any thread; owns nothing.
 */
#include <errno.h>
#include <stdio.h>

#include "codec/bytes.h"
#include "codec/vhd.h"
#include "codec/vhd_text.h"

#define URL "file://"

/* One code point; advances *s, which is not at its end. */
static uint32_t utf8_next(const char **s)
{
    const uint8_t *p = (const uint8_t *)*s;
    unsigned more = p[0] < 0x80 ? 0 : p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : 1;
    uint32_t c = more == 0 ? p[0] : p[0] & (0x3fu >> more);
    bool is_bad = p[0] >= 0xf8 || (p[0] >= 0x80 && p[0] < 0xc2);
    for (unsigned i = 1; i <= more && !is_bad; i++) {
        is_bad = (p[i] & 0xc0) != 0x80;
        c = c << 6 | (p[i] & 0x3f);
    }
    is_bad |= c > 0x10ffff || (c >= 0xd800 && c < 0xe000);
    *s += is_bad ? 1 : more + 1;
    return is_bad ? '?' : c;
}

static size_t utf8_put(uint32_t c, char out[4])
{
    unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (unsigned i = more; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[more] | c);
    return more + 1;
}

static uint16_t unit_at(const uint8_t *p, bool big)
{
    return big ? get_be16(p) : get_le16(p);
}

int utf16_parse(const uint8_t *p, size_t size, bool big, char *out, size_t max)
{
    size_t n = 0;
    int r = 0;
    for (size_t i = 0; i + 1 < size && r == 0; i += 2) {
        uint32_t u = unit_at(p + i, big);
        if (u == 0)
            break;
        uint32_t low = i + 3 < size ? unit_at(p + i + 2, big) : 0;
        if (u >= 0xd800 && u < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
            u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        } else if (u >= 0xd800 && u < 0xe000) {
            u = '?';
        }
        char bytes[4];
        size_t k = utf8_put(u, bytes);
        if (n + k + 1 > max)
            r = -EINVAL;
        else
            memcpy(out + n, bytes, k), n += k;
    }
    out[n] = '\0';
    return r;
}

size_t utf16_put(const char *s, bool big, uint8_t *out, size_t max)
{
    size_t n = 0;
    while (*s) {
        uint32_t c = utf8_next(&s);
        uint16_t units[2] = {(uint16_t)c, 0};
        size_t k = 1;
        if (c >= 0x10000) {
            units[0] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
            units[1] = (uint16_t)(0xdc00 + ((c - 0x10000) & 0x3ff));
            k = 2;
        }
        if (n + 2 * k > max)
            break;
        for (size_t i = 0; i < k; i++, n += 2)
            big ? put_be16(out + n, units[i]) : put_le16(out + n, units[i]);
    }
    return n;
}

static void swap_slashes(char *s, char from, char to)
{
    for (; *s; s++)
        if (*s == from)
            *s = to;
}

int vhd_locator_put(uint32_t code, const char *path, uint8_t out[VHD_SECTOR])
{
    char text[VHD_SECTOR + 1];
    int n = snprintf(text, sizeof(text), "%s%s", code == VHD_MACX ? URL : "", path);
    memset(out, 0, VHD_SECTOR);
    if (n < 0 || (size_t)n > VHD_SECTOR)
        return -ENAMETOOLONG;
    if (code == VHD_MACX) {
        memcpy(out, text, (size_t)n);
        return n;
    }
    uint8_t wide[2 * VHD_SECTOR + 4];
    swap_slashes(text, '/', '\\');
    size_t size = utf16_put(text, false, wide, sizeof(wide));
    if (size > VHD_SECTOR)
        return -ENAMETOOLONG;
    memcpy(out, wide, size);
    return (int)size;
}

int vhd_locator_parse(uint32_t code, const void *p, size_t size, char *ret, size_t max)
{
    if (code == VHD_W2KU || code == VHD_W2RU) {
        int r = utf16_parse(p, size, false, ret, max);
        swap_slashes(ret, '\\', '/');
        return r < 0 || !*ret ? -EINVAL : 0;
    }
    size_t skip = sizeof(URL) - 1;
    if (code != VHD_MACX || size <= skip || memcmp(p, URL, skip) != 0)
        return -EINVAL;
    size_t n = strnlen((const char *)p + skip, size - skip);
    if (n == 0 || n >= max)
        return -EINVAL;
    memcpy(ret, (const char *)p + skip, n);
    ret[n] = '\0';
    return 0;
}
