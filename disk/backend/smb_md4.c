/*
 * smb_md4.c: MD4 (RFC 1320), which only passwords of NTLM need: libcrypto keeps it among what is
 * not loaded. Pure.
 */
#include <string.h>

#include "codec/bytes.h"
#include "disk/backend/smb_auth.h"

#define BLOCK 64

static uint32_t turn(uint32_t v, unsigned by)
{
    return v << by | v >> (32 - by);
}

static uint32_t choice(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) | (~x & z);
}

static uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
    return (x & y) | (x & z) | (y & z);
}

static uint32_t parity(uint32_t x, uint32_t y, uint32_t z)
{
    return x ^ y ^ z;
}

/* Sixteen steps; `order` is that of the words. */
static void go_round(uint32_t s[4], const uint32_t words[16], unsigned round)
{
    static uint32_t (*const mixes[3])(uint32_t, uint32_t, uint32_t) = {choice, majority, parity};
    static const uint32_t constants[3] = {0, 0x5a827999, 0x6ed9eba1};
    static const uint8_t turns[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
    static const uint8_t orders[3][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                          {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
                                          {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15}};
    for (unsigned i = 0; i < 16; i++) {
        uint32_t v =
            s[0] + mixes[round](s[1], s[2], s[3]) + words[orders[round][i]] + constants[round];
        uint32_t next = turn(v, turns[round][i % 4]);
        s[0] = s[3];
        s[3] = s[2];
        s[2] = s[1];
        s[1] = next;
    }
}

static void take_block(uint32_t s[4], const uint8_t *block)
{
    uint32_t words[16], sum[4];
    memcpy(sum, s, sizeof(sum));
    for (unsigned i = 0; i < 16; i++)
        words[i] = get_le32(block + (size_t)4 * i);
    for (unsigned round = 0; round < 3; round++)
        go_round(sum, words, round);
    for (unsigned i = 0; i < 4; i++)
        s[i] += sum[i];
}

void smb_md4(const void *p, size_t size, uint8_t ret[16])
{
    uint32_t s[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint8_t tail[2 * BLOCK] = {0};
    const uint8_t *bytes = p;
    size_t whole = size / BLOCK * BLOCK, rest = size - whole;
    size_t tail_size = rest + 9 <= BLOCK ? BLOCK : 2 * BLOCK;
    for (size_t i = 0; i < whole; i += BLOCK)
        take_block(s, bytes + i);
    if (rest)
        memcpy(tail, bytes + whole, rest);
    tail[rest] = 0x80;
    put_le64(tail + tail_size - 8, (uint64_t)size * 8);
    for (size_t i = 0; i < tail_size; i += BLOCK)
        take_block(s, tail + i);
    for (unsigned i = 0; i < 4; i++)
        put_le32(ret + (size_t)4 * i, s[i]);
}
