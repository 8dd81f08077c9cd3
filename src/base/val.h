/*
 * val.h: a value of the API, as an immutable tree.
 *
 * Arguments, results, and the set and map fields of records are values. A value is shared by
 * reference counting and never changes once another thread may see it; building uses the _add and
 * _put functions on a value that nobody else holds yet.
 *
 *     struct val *m = val_map();
 *     val_put_str(m, "order", "cd");              // m still private
 *     const char *order = val_map_str(m, "order", "");
 *     val_unref(m);
 *
 * Enums and references are strings here; which string is what says the descriptor (state/desc.h).
 * Maps keep the order of insertion on the wire and find keys by an index once they are large.
 * Counts are atomic; everything else needs the value to be private or finished.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

enum val_kind {
    VAL_VOID,
    VAL_BOOL,
    VAL_INT,
    VAL_FLOAT,
    VAL_STRING,
    VAL_DATETIME, /* seconds since 1970, UTC */
    VAL_SET,
    VAL_MAP, /* string keys; also structs */
};

struct val;

const struct val *val_void(void); /* shared; no reference to drop */
const struct val *val_empty_set(void);
const struct val *val_empty_map(void);

struct val *val_bool(bool b);
struct val *val_int(int64_t i);
struct val *val_float(double d);
struct val *val_datetime(int64_t s);
struct val *val_str(const char *s); /* copies */
struct val *val_str_n(const char *s, size_t size);
struct val *val_rstr(const char *r); /* takes another reference to an rstr */
struct val *val_set(void);
struct val *val_map(void);

/* The shared constants may be referenced and dropped like any other value. */
struct val *val_ref(const struct val *v);
void val_unref(const struct val *v); /* NULL is fine */
static inline void val_unrefp(struct val **v)
{
    val_unref(*v);
    *v = NULL;
}
static inline void val_cunrefp(const struct val **v)
{
    val_unref(*v);
    *v = NULL;
}
/* Replaces what *slot owns by v, whose reference is taken over. */
void val_assign(const struct val **slot, struct val *v);

enum val_kind val_kind(const struct val *v);
bool val_get_bool(const struct val *v);   /* the kind must fit; asserted */
int64_t val_get_int(const struct val *v); /* VAL_INT and VAL_DATETIME */
double val_get_float(const struct val *v);
const char *val_get_str(const struct val *v); /* an rstr, borrowed */

/* Building. Ownership of `item` passes to the container. */
void val_add(struct val *set, struct val *item);
void val_add_str(struct val *set, const char *s);
void val_put(struct val *map, const char *key, struct val *item); /* replaces an old one */
void val_put_str(struct val *map, const char *key, const char *s);
/* The same with an rstr as key, which is shared instead of copied. */
void val_put_shared(struct val *map, const char *key, struct val *item);
void val_put_int(struct val *map, const char *key, int64_t i);
void val_put_bool(struct val *map, const char *key, bool b);
void val_del(struct val *map, const char *key); /* absent is fine */

/* The keys of maps that all look alike, such as the records of a class. Made once, never freed. */
struct val_shape;
const struct val_shape *val_shape_new(const char *const *keys, size_t n); /* all different */
/* A map of that shape; the references of its n items are taken over. */
struct val *val_shaped(const struct val_shape *shape, struct val *const *items);

/* Reading sets and maps. Items are borrowed. */
size_t val_count(const struct val *v);
const struct val *val_at(const struct val *v, size_t i); /* item of a set, value of a map */
const char *val_str_at(const struct val *v, size_t i);   /* the same, of strings */
const char *val_key_at(const struct val *map, size_t i);
const struct val *val_map_get(const struct val *map, const char *key); /* NULL if absent */
const char *val_map_str(const struct val *map, const char *key, const char *otherwise);
bool val_set_has(const struct val *set, const char *s);

/* New values made from old ones (shallow copies; items are shared). An empty one may be the shared
 * constant: it is finished, not for building on. */
struct val *val_copy(const struct val *v);
struct val *val_with(const struct val *map, const char *key, const char *s);
struct val *val_without(const struct val *map_or_set, const char *key);
struct val *val_set_with(const struct val *set, const char *s); /* the same if it is in already */
/* A set of strings with one more, the rstr r, whether it is in already or not. What both have is
 * shared, so that growing a large set again and again costs little. Sets that are grown from one
 * another are grown by one thread. */
struct val *val_set_grown(const struct val *set, const char *r);
bool val_equal(const struct val *a, const struct val *b); /* maps: order does not matter */

/* for each item of a set of strings: val_each (ref, vm->VBDs) … */
#define val_each(s, v)                                                                             \
    for (size_t s##_i = 0; s##_i < val_count(v); s##_i++)                                          \
        for (const char *s = val_str_at((v), s##_i); s; s = NULL)
