/*
 * rstr.h: immutable strings with a reference count.
 *
 * Records share their strings: copying a record of ninety fields takes ninety counts, not ninety
 * allocations. An rstr is an ordinary NUL-terminated `const char *` whose count and size stand in
 * front of its first byte, so it reads like any string; only its owner must know what it is.
 *
 *     const char *name = rstr_new("demo");
 *     rstr_set(&vm->name_label, "other");   // drops the old one
 *     rstr_unref(name);
 *
 * Counts are atomic; any thread may take and drop references. An rstr holds no NUL inside.
 */
#pragma once

#include <stddef.h>

#include "base/mem.h"

const char *rstr_new(const char *s);
const char *rstr_new_n(const char *s, size_t size);
const char *rstr_printf(const char *fmt, ...) _printf_(1, 2);
const char *rstr_ref(const char *r);
void rstr_unref(const char *r);  /* NULL is fine */
size_t rstr_size(const char *r); /* bytes, without the NUL; constant time */
const char *rstr_empty(void);    /* a reference to "" */

/* Replaces the string that *slot owns (or NULL) by a new one made from s. */
void rstr_set(const char **slot, const char *s);
/* Replaces it by another reference to r, which stays the caller's. */
void rstr_assign(const char **slot, const char *r);

static inline void rstr_unrefp(const char **r)
{
    rstr_unref(*r);
    *r = NULL;
}
