/*
 * pmap.h: a persistent map: whoever holds a version keeps it, whatever others make of it.
 *
 * A map is a counted pointer; NULL is the empty map. Setting a key gives the map in *slot a new
 * version and leaves every other holder's version as it was; only the path to the key is copied
 * (O(log32 n)). When *slot is the only holder, nodes are changed in place.
 *
 *     struct pmap *m = NULL;
 *     pmap_set(&m, &row_type, 17, NULL, row);             // counted by row_type
 *     struct pmap *old = pmap_ref(m);                     // a snapshot
 *     pmap_del(&m, 17, NULL);
 *     assert(pmap_get(old, 17, NULL) == row);
 *
 * Keys: a number alone (key NULL), in whose ascending order the map is walked; or a string with
 * pmap_hash() of it as the number, walked in no useful order. One map uses one sort of key. String
 * keys are rstr, of which the map holds a reference.
 * Versions may be read, referenced and dropped by any thread; a slot belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pmap;

/* How the map counts its values; both NULL for plain ones (numbers cast to pointers). */
struct pmap_type {
    void *(*ref)(const void *value);
    void (*unref)(const void *value);
};

struct pmap *pmap_ref(const struct pmap *m); /* NULL gives NULL */
void pmap_unref(struct pmap *m);             /* may free a whole tree */

/* Sets a key; the reference to `value` (never NULL) is taken over. True if the key is new. `type`
 * must be the same for all of a map. */
bool pmap_set(struct pmap **slot, const struct pmap_type *type, uint64_t hash, const char *key,
              void *value);
/* Removes a key; true if it was there. */
bool pmap_del(struct pmap **slot, uint64_t hash, const char *key);

/* Borrowed, NULL if none; lives as long as the version. */
void *pmap_get(const struct pmap *m, uint64_t hash, const char *key);
size_t pmap_count(const struct pmap *m);

/* Walking maps with number keys: the value at the lowest key >= from, or at the highest <= from;
 * NULL if there is none. */
void *pmap_ceil(const struct pmap *m, uint64_t from, uint64_t *ret_key);
void *pmap_floor(const struct pmap *m, uint64_t from, uint64_t *ret_key);

/* A hash of text that strangers cannot foresee (keyed once per process). */
uint64_t pmap_hash(const char *s);
