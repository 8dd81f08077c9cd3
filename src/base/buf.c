/* buf.c: see buf.h. */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

void buf_init(struct buf *b, size_t max_size)
{
    *b = (struct buf){.max = max_size};
}

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b)
{
    b->size = 0;
    b->full = false;
    if (b->data)
        b->data[0] = '\0';
}

bool buf_ok(const struct buf *b)
{
    return !b->full;
}

char *buf_reserve(struct buf *b, size_t size)
{
    if (b->full || size > b->max - b->size) {
        b->full = true;
        return NULL;
    }
    size_t need = b->size + size + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < need)
            cap *= 2;
        b->data = mem_realloc(b->data, cap, 1);
        b->cap = cap;
    }
    return b->data + b->size;
}

void buf_added(struct buf *b, size_t size)
{
    b->size += size;
    b->data[b->size] = '\0';
}

void buf_put_slowly(struct buf *b, const void *p, size_t size)
{
    char *at = buf_reserve(b, size);
    if (!at)
        return;
    if (size)
        memcpy(at, p, size);
    buf_added(b, size);
}

void buf_puts(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
    buf_put(b, &c, 1);
}

void buf_put_int(struct buf *b, int64_t i)
{
    char text[20], *at = text + sizeof(text);
    uint64_t left = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (i < 0)
        *--at = '-';
    buf_put(b, at, (size_t)(text + sizeof(text) - at));
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    char text[128]; /* most are short and need to be formatted only once */
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    char *at = n < 0 ? NULL : buf_reserve(b, (size_t)n);
    if (at) {
        if ((size_t)n < sizeof(text))
            memcpy(at, text, (size_t)n);
        else
            vsnprintf(at, (size_t)n + 1, fmt, again);
        buf_added(b, (size_t)n);
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_consume(struct buf *b, size_t size)
{
    if (size > b->size)
        size = b->size;
    if (!size)
        return;
    memmove(b->data, b->data + size, b->size - size);
    b->size -= size;
    b->data[b->size] = '\0';
}

const char *buf_str(struct buf *b)
{
    return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
    char *s = b->data ? b->data : mem_strdup("");
    *b = (struct buf){.max = b->max};
    return s;
}
