/*
 * buf.h: bytes that grow up to a ceiling.
 *
 * A buffer is born with the size it may never pass. Reaching it does not lose bytes silently: the
 * buffer becomes `full`, further writes are dropped, and the one who looks at the end (buf_ok)
 * turns that into an error. So a writer need not check each call.
 *
 *     _cleanup_(buf_done) struct buf b;
 *     buf_init(&b, 1 << 20);
 *     buf_printf(&b, "%d items", n);
 *     if (!buf_ok(&b))
 *         return -E2BIG;
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

struct buf {
    char *data;  /* always NUL-terminated behind size once something was written; may be NULL */
    size_t size; /* bytes in use */
    size_t cap;
    size_t max; /* ceiling of size */
    bool full;  /* something did not fit */
};

void buf_init(struct buf *b, size_t max_size);
void buf_done(struct buf *b);
void buf_clear(struct buf *b); /* keeps the memory */
bool buf_ok(const struct buf *b);
void buf_put_slowly(struct buf *b, const void *p, size_t size); /* any case */
static inline void buf_put(struct buf *b, const void *p, size_t size)
{
    if (b->full || size >= b->cap - b->size || size > b->max - b->size) {
        buf_put_slowly(b, p, size);
        return;
    }
    if (size) /* p may be NULL */
        memcpy(b->data + b->size, p, size);
    b->size += size;
    b->data[b->size] = '\0';
}
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_put_int(struct buf *b, int64_t i); /* decimal; as printf, but quick */
void buf_printf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) _printf_(2, 0);
/* Room for `size` more bytes, to be filled and then counted with buf_added(); NULL when full. */
char *buf_reserve(struct buf *b, size_t size);
void buf_added(struct buf *b, size_t size);
/* Drops the first `size` bytes. */
void buf_consume(struct buf *b, size_t size);
/* The contents as a string, "" when empty; stays the buffer's. */
const char *buf_str(struct buf *b);
/* The contents as a string of the caller's (free); the buffer is empty afterwards. */
char *buf_take(struct buf *b);
