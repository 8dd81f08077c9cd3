/*
 * bytes.h: integers in bytes, big and little end first, and cursors that cannot run over.
 *
 * On-disk and wire structures are read and written field by field; nothing is cast onto a struct.
 * get_* and put_* work on a place the caller knows to be large enough. A cursor knows its end:
 * reading beyond it yields zeroes and marks the cursor `bad`, which is looked at once, at the end.
 *
 *     struct cursor c = cursor_of(p, size);
 *     uint32_t magic = cursor_be32(&c);
 *     uint64_t at = cursor_be64(&c);
 *     if (c.bad || magic != MAGIC)
 *         return -EINVAL;
 *
 * Any thread; no state of its own.
 */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BYTES_DEFINE(bits, end)                                                                    \
    static inline uint##bits##_t get_##end##bits(const void *p)                                    \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof(v));                                                                  \
        return end##bits##toh(v);                                                                  \
    }                                                                                              \
    static inline void put_##end##bits(void *p, uint##bits##_t v)                                  \
    {                                                                                              \
        v = hto##end##bits(v);                                                                     \
        memcpy(p, &v, sizeof(v));                                                                  \
    }

BYTES_DEFINE(16, be)
BYTES_DEFINE(32, be)
BYTES_DEFINE(64, be)
BYTES_DEFINE(16, le)
BYTES_DEFINE(32, le)
BYTES_DEFINE(64, le)
#undef BYTES_DEFINE

/* A place to read from; the bytes belong to the caller. */
struct cursor {
    const uint8_t *p;
    size_t left;
    bool bad; /* somebody asked for more than there was */
};

static inline struct cursor cursor_of(const void *p, size_t size)
{
    return (struct cursor){p, size, false};
}

/* The next `size` bytes in place, or NULL (and bad) when there are not as many. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t size)
{
    if (c->bad || size > c->left) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *p = c->p;
    c->p += size;
    c->left -= size;
    return p;
}

static inline void cursor_copy(struct cursor *c, void *to, size_t size)
{
    const uint8_t *p = cursor_take(c, size);
    if (p)
        memcpy(to, p, size);
    else
        memset(to, 0, size);
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 1);
    return p ? *p : 0;
}

#define CURSOR_DEFINE(bits, end)                                                                   \
    static inline uint##bits##_t cursor_##end##bits(struct cursor *c)                              \
    {                                                                                              \
        const uint8_t *p = cursor_take(c, bits / 8);                                               \
        return p ? get_##end##bits(p) : 0;                                                         \
    }

CURSOR_DEFINE(16, be)
CURSOR_DEFINE(32, be)
CURSOR_DEFINE(64, be)
CURSOR_DEFINE(16, le)
CURSOR_DEFINE(32, le)
CURSOR_DEFINE(64, le)
#undef CURSOR_DEFINE
