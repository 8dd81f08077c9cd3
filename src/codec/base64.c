/* base64.c: see base64.h. */
#include "codec/base64.h"

#include <errno.h>
#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t byte_at(struct view v, size_t i)
{
    return i < v.size ? (unsigned char)v.p[i] : 0;
}

void base64_put(struct buf *b, struct view bytes)
{
    for (size_t i = 0; i < bytes.size; i += 3) {
        uint32_t w = byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8 | byte_at(bytes, i + 2);
        char out[4] = {alphabet[w >> 18], alphabet[w >> 12 & 63], alphabet[w >> 6 & 63],
                       alphabet[w & 63]};
        if (i + 1 >= bytes.size)
            out[2] = '=';
        if (i + 2 >= bytes.size)
            out[3] = '=';
        buf_put(b, out, sizeof(out));
    }
}

/* The six bits of a letter, or -1. */
static int bits(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int get_four(const char *p, unsigned letters, struct buf *ret)
{
    uint32_t w = 0;
    for (unsigned i = 0; i < 4; i++) {
        int v = i < letters ? bits(p[i]) : 0;
        if (v < 0)
            return -EINVAL;
        w = w << 6 | (uint32_t)v;
    }
    const char out[3] = {(char)(w >> 16), (char)(w >> 8), (char)w};
    buf_put(ret, out, letters - 1);
    return 0;
}

int base64_get(struct view text, struct buf *ret)
{
    if (text.size % 4)
        return -EINVAL;
    for (size_t i = 0; i < text.size; i += 4) {
        unsigned letters = 4;
        if (i + 4 == text.size && text.p[i + 3] == '=')
            letters = text.p[i + 2] == '=' ? 2 : 3;
        int e = get_four(text.p + i, letters, ret);
        if (e < 0)
            return e;
    }
    return 0;
}
