/* rstr.c: see rstr.h. */
#include "base/rstr.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct rstr {
    atomic_uint refs;
    unsigned size;
    char text[];
};

static struct rstr empty = {.refs = 1, .text = ""};

static struct rstr *head(const char *r)
{
    return (struct rstr *)(void *)((char *)(uintptr_t)r - offsetof(struct rstr, text));
}

const char *rstr_empty(void)
{
    return rstr_ref(empty.text);
}

const char *rstr_new_n(const char *s, size_t size)
{
    if (!size)
        return rstr_empty();
    if (size > UINT32_MAX / 2)
        abort();
    struct rstr *r = mem_zalloc(1, sizeof(*r) + size + 1);
    atomic_init(&r->refs, 1);
    r->size = (unsigned)size;
    memcpy(r->text, s, size);
    return r->text;
}

const char *rstr_new(const char *s)
{
    return rstr_new_n(s, strlen(s));
}

const char *rstr_printf(const char *fmt, ...)
{
    _cleanup_(freep) char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&s, fmt, ap) < 0)
        abort();
    va_end(ap);
    return rstr_new(s);
}

const char *rstr_ref(const char *r)
{
    atomic_fetch_add_explicit(&head(r)->refs, 1, memory_order_relaxed);
    return r;
}

void rstr_unref(const char *r)
{
    if (!r)
        return;
    struct rstr *h = head(r);
    if (atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) == 1)
        free(h);
}

size_t rstr_size(const char *r)
{
    return head(r)->size;
}

void rstr_set(const char **slot, const char *s)
{
    const char *old = *slot;
    *slot = rstr_new(s);
    rstr_unref(old);
}

void rstr_assign(const char **slot, const char *r)
{
    const char *old = *slot;
    *slot = rstr_ref(r);
    rstr_unref(old);
}
