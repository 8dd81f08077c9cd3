/* mem.c: see mem.h. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *must(void *p)
{
    if (!p) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_zalloc(size_t n, size_t size)
{
    return must(calloc(n ? n : 1, size ? size : 1));
}

void *mem_realloc(void *p, size_t n, size_t size)
{
    return must(reallocarray(p, n ? n : 1, size ? size : 1));
}

void *mem_try_alloc(size_t n, size_t size)
{
    return calloc(n ? n : 1, size ? size : 1);
}

char *mem_strdup(const char *s)
{
    return must(strdup(s));
}

char *mem_strndup(const char *s, size_t size)
{
    return must(strndup(s, size));
}

void *mem_dup(const void *p, size_t size)
{
    void *copy = mem_zalloc(1, size);
    if (size)
        memcpy(copy, p, size);
    return copy;
}

char *mem_printf(const char *fmt, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        s = NULL;
    va_end(ap);
    return must(s);
}
