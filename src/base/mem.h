/*
 * mem.h: memory that is either there or the program ends.
 *
 * Small allocations abort on exhaustion: nothing useful can be done a few bytes later, and code
 * without those branches is code that can be read. Sizes that come from outside never reach these
 * functions unchecked; they go through buf.h (which has a ceiling) or mem_try_alloc().
 *
 *     _cleanup_(freep) char *s = mem_printf("xvd%c", 'a' + n);
 *     return steal(&s);
 *
 * Every function may be called from any thread.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _must_use_     __attribute__((warn_unused_result))
#define _unused_       __attribute__((unused))
#define _printf_(a, b) __attribute__((format(printf, a, b)))

#define ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))

/* A zeroed object, or n of them; n*size is checked. */
#define mem_new(type)      ((type *)mem_zalloc(1, sizeof(type)))
#define mem_new_n(type, n) ((type *)mem_zalloc((n), sizeof(type)))

/* Hands an owning pointer over: returns *p and clears it. */
#define steal(p)                                                                                   \
    ({                                                                                             \
        __typeof__(*(p)) steal_tmp = *(p);                                                         \
        *(p) = NULL;                                                                               \
        steal_tmp;                                                                                 \
    })

void *mem_zalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
void *mem_try_alloc(size_t n, size_t size); /* NULL when there is no memory or n*size overflows */
char *mem_strdup(const char *s) __attribute__((returns_nonnull));
char *mem_strndup(const char *s, size_t size) __attribute__((returns_nonnull));
void *mem_dup(const void *p, size_t size) __attribute__((returns_nonnull));
char *mem_printf(const char *fmt, ...) _printf_(1, 2) __attribute__((returns_nonnull));

static inline void freep(void *p)
{
    free(*(void **)p);
    *(void **)p = NULL;
}
