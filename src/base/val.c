/* val.c: see val.h. Maps search linearly up to INDEX_FROM entries, then keep a hash index. */
#include "base/val.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "base/rstr.h"

#define INDEX_FROM 16

struct pair {
    const char *key; /* rstr; NULL in sets */
    struct val *item;
};

struct val_shape {
    const char **keys; /* rstr */
    uint32_t n;
    uint32_t *slots; /* as in struct val; NULL while small */
    uint32_t n_slots;
};

/* The pairs of sets that were grown from one another, oldest item first; each shows as many of them
 * as it has. Counted by those sets; what is in it lives as long as the last of them. */
struct grown {
    atomic_uint refs;
    uint32_t used, cap;
    struct pair pairs[];
};

/* Scalars are allocated without what lies behind their member. */
struct val {
    atomic_uint refs;
    enum val_kind kind;
    union {
        bool b;
        int64_t i; /* also datetimes */
        double d;
        const char *s; /* rstr */
        struct {
            struct pair *pairs;
            uint32_t n, cap;
            uint32_t *slots; /* index+1 into pairs, 0 is free; NULL while small */
            uint32_t n_slots;
            const struct val_shape *shape; /* owns the keys and the index; or NULL */
            struct grown *grown;           /* owns the pairs; or NULL */
        } c;
    };
};

#define SCALAR_SIZE (offsetof(struct val, i) + sizeof(int64_t))

static struct val void_val = {.refs = 1, .kind = VAL_VOID};
static struct val empty_set = {.refs = 1, .kind = VAL_SET};
static struct val empty_map = {.refs = 1, .kind = VAL_MAP};

const struct val *val_void(void)
{
    return &void_val;
}

const struct val *val_empty_set(void)
{
    return &empty_set;
}

const struct val *val_empty_map(void)
{
    return &empty_map;
}

static struct val *new_val(enum val_kind kind)
{
    bool container = kind == VAL_SET || kind == VAL_MAP;
    struct val *v = mem_zalloc(1, container ? sizeof(struct val) : SCALAR_SIZE);
    atomic_init(&v->refs, 1);
    v->kind = kind;
    return v;
}

struct val *val_bool(bool b)
{
    struct val *v = new_val(VAL_BOOL);
    v->b = b;
    return v;
}

struct val *val_int(int64_t i)
{
    struct val *v = new_val(VAL_INT);
    v->i = i;
    return v;
}

struct val *val_float(double d)
{
    struct val *v = new_val(VAL_FLOAT);
    v->d = d;
    return v;
}

struct val *val_datetime(int64_t s)
{
    struct val *v = new_val(VAL_DATETIME);
    v->i = s;
    return v;
}

struct val *val_str_n(const char *s, size_t size)
{
    struct val *v = new_val(VAL_STRING);
    v->s = rstr_new_n(s, size);
    return v;
}

struct val *val_str(const char *s)
{
    return val_str_n(s, strlen(s));
}

struct val *val_rstr(const char *r)
{
    struct val *v = new_val(VAL_STRING);
    v->s = rstr_ref(r);
    return v;
}

struct val *val_set(void)
{
    return new_val(VAL_SET);
}

struct val *val_map(void)
{
    return new_val(VAL_MAP);
}

struct val *val_ref(const struct val *cv)
{
    struct val *v = (struct val *)(uintptr_t)cv;
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

static bool is_container(const struct val *v)
{
    return v->kind == VAL_SET || v->kind == VAL_MAP;
}

static void grown_unref(struct grown *g)
{
    if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < g->used; i++)
        val_unref(g->pairs[i].item);
    free(g);
}

static void free_val(struct val *v)
{
    if (v->kind == VAL_STRING)
        rstr_unref(v->s);
    if (is_container(v) && v->c.grown) {
        grown_unref(v->c.grown);
    } else if (is_container(v)) {
        for (uint32_t i = 0; i < v->c.n; i++) {
            if (!v->c.shape)
                rstr_unref(v->c.pairs[i].key);
            val_unref(v->c.pairs[i].item);
        }
        free(v->c.pairs);
        free(v->c.slots);
    }
    free(v);
}

void val_unref(const struct val *cv)
{
    struct val *v = (struct val *)(uintptr_t)cv;
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1)
        free_val(v);
}

void val_assign(const struct val **slot, struct val *v)
{
    const struct val *old = *slot;
    *slot = v;
    val_unref(old);
}

enum val_kind val_kind(const struct val *v)
{
    return v->kind;
}

bool val_get_bool(const struct val *v)
{
    assert(v->kind == VAL_BOOL);
    return v->b;
}

int64_t val_get_int(const struct val *v)
{
    assert(v->kind == VAL_INT || v->kind == VAL_DATETIME);
    return v->i;
}

double val_get_float(const struct val *v)
{
    assert(v->kind == VAL_FLOAT);
    return v->d;
}

const char *val_get_str(const struct val *v)
{
    assert(v->kind == VAL_STRING);
    return v->s;
}

static uint32_t hash(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static void index_one(uint32_t *slots, uint32_t n_slots, const char *key, uint32_t i)
{
    uint32_t at = hash(key) & (n_slots - 1);
    while (slots[at])
        at = (at + 1) & (n_slots - 1);
    slots[at] = i + 1;
}

/* A power of two at which the index of `cap` entries is at most half full. */
static uint32_t slots_for(uint32_t cap)
{
    uint32_t n = 64;
    while (n < cap * 2)
        n *= 2;
    return n;
}

static void reindex(struct val *v)
{
    free(v->c.slots);
    v->c.slots = NULL;
    if (v->kind != VAL_MAP || v->c.n < INDEX_FROM)
        return;
    v->c.n_slots = slots_for(v->c.cap);
    v->c.slots = mem_new_n(uint32_t, v->c.n_slots);
    for (uint32_t i = 0; i < v->c.n; i++)
        index_one(v->c.slots, v->c.n_slots, v->c.pairs[i].key, i);
}

const struct val_shape *val_shape_new(const char *const *keys, size_t n)
{
    assert(n < UINT32_MAX / 4);
    struct val_shape *shape = mem_new(struct val_shape);
    shape->n = (uint32_t)n;
    shape->keys = mem_new_n(const char *, n ? n : 1);
    if (n >= INDEX_FROM) {
        shape->n_slots = slots_for(shape->n);
        shape->slots = mem_new_n(uint32_t, shape->n_slots);
    }
    for (uint32_t i = 0; i < shape->n; i++) {
        shape->keys[i] = rstr_new(keys[i]);
        if (shape->slots)
            index_one(shape->slots, shape->n_slots, keys[i], i);
    }
    return shape;
}

struct val *val_shaped(const struct val_shape *shape, struct val *const *items)
{
    struct val *v = val_map();
    v->c.n = v->c.cap = shape->n;
    v->c.pairs = mem_realloc(NULL, shape->n ? shape->n : 1, sizeof(struct pair));
    v->c.shape = shape;
    for (uint32_t i = 0; i < shape->n; i++)
        v->c.pairs[i] = (struct pair){shape->keys[i], items[i]};
    return v;
}

/* Before a set is changed it gets pairs of its own. */
static void leave_grown(struct val *v)
{
    struct grown *g = v->c.grown;
    v->c.grown = NULL;
    v->c.cap = v->c.n;
    v->c.pairs = mem_new_n(struct pair, v->c.n);
    for (uint32_t i = 0; i < v->c.n; i++)
        v->c.pairs[i] = (struct pair){NULL, val_ref(g->pairs[i].item)};
    grown_unref(g);
}

/* Before a map is changed it gets keys and an index of its own. */
static void leave_shape(struct val *v)
{
    if (v->c.grown)
        leave_grown(v);
    if (!v->c.shape)
        return;
    v->c.shape = NULL;
    for (uint32_t i = 0; i < v->c.n; i++)
        rstr_ref(v->c.pairs[i].key);
    reindex(v);
}

static void append(struct val *v, const char *key, struct val *item)
{
    assert(atomic_load_explicit(&v->refs, memory_order_relaxed) == 1 && v != &empty_set &&
           v != &empty_map);
    leave_shape(v);
    bool grown = v->c.n == v->c.cap;
    if (grown) {
        assert(v->c.cap < UINT32_MAX / 4);
        v->c.cap = v->c.cap ? v->c.cap * 2 : 4;
        v->c.pairs = mem_realloc(v->c.pairs, v->c.cap, sizeof(struct pair));
    }
    v->c.pairs[v->c.n++] = (struct pair){key, item};
    if (v->kind != VAL_MAP)
        return;
    if (grown || !v->c.slots)
        reindex(v);
    else
        index_one(v->c.slots, v->c.n_slots, key, v->c.n - 1);
}

/* Place of a key, or -1. */
static int64_t find(const struct val *v, const char *key)
{
    assert(v->kind == VAL_MAP);
    const uint32_t *slots = v->c.shape ? v->c.shape->slots : v->c.slots;
    uint32_t n_slots = v->c.shape ? v->c.shape->n_slots : v->c.n_slots;
    if (!slots) {
        for (uint32_t i = 0; i < v->c.n; i++)
            if (strcmp(v->c.pairs[i].key, key) == 0)
                return i;
        return -1;
    }
    uint32_t at = hash(key) & (n_slots - 1);
    for (; slots[at]; at = (at + 1) & (n_slots - 1))
        if (strcmp(v->c.pairs[slots[at] - 1].key, key) == 0)
            return slots[at] - 1;
    return -1;
}

void val_add(struct val *set, struct val *item)
{
    assert(set->kind == VAL_SET);
    append(set, NULL, item);
}

void val_add_str(struct val *set, const char *s)
{
    val_add(set, val_str(s));
}

static bool replace(struct val *map, const char *key, struct val *item)
{
    int64_t i = find(map, key);
    if (i < 0)
        return false;
    val_unref(map->c.pairs[i].item);
    map->c.pairs[i].item = item;
    return true;
}

void val_put(struct val *map, const char *key, struct val *item)
{
    if (!replace(map, key, item))
        append(map, rstr_new(key), item);
}

void val_put_shared(struct val *map, const char *key, struct val *item)
{
    if (!replace(map, key, item))
        append(map, rstr_ref(key), item);
}

void val_put_str(struct val *map, const char *key, const char *s)
{
    val_put(map, key, val_str(s));
}

void val_put_int(struct val *map, const char *key, int64_t i)
{
    val_put(map, key, val_int(i));
}

void val_put_bool(struct val *map, const char *key, bool b)
{
    val_put(map, key, val_bool(b));
}

static void remove_at(struct val *v, uint32_t i)
{
    leave_shape(v);
    rstr_unref(v->c.pairs[i].key);
    val_unref(v->c.pairs[i].item);
    memmove(&v->c.pairs[i], &v->c.pairs[i + 1], (v->c.n - i - 1) * sizeof(struct pair));
    v->c.n--;
    reindex(v);
}

void val_del(struct val *map, const char *key)
{
    int64_t i = find(map, key);
    if (i >= 0)
        remove_at(map, (uint32_t)i);
}

size_t val_count(const struct val *v)
{
    assert(is_container(v));
    return v->c.n;
}

const struct val *val_at(const struct val *v, size_t i)
{
    assert(is_container(v) && i < v->c.n);
    return v->c.pairs[i].item;
}

const char *val_str_at(const struct val *v, size_t i)
{
    return val_get_str(val_at(v, i));
}

const char *val_key_at(const struct val *map, size_t i)
{
    assert(map->kind == VAL_MAP && i < map->c.n);
    return map->c.pairs[i].key;
}

const struct val *val_map_get(const struct val *map, const char *key)
{
    int64_t i = find(map, key);
    return i < 0 ? NULL : map->c.pairs[i].item;
}

const char *val_map_str(const struct val *map, const char *key, const char *otherwise)
{
    const struct val *v = val_map_get(map, key);
    return v && v->kind == VAL_STRING ? v->s : otherwise;
}

/* Place of a string in a set, or -1. */
static int64_t find_item(const struct val *set, const char *s)
{
    for (uint32_t i = 0; i < set->c.n; i++)
        if (set->c.pairs[i].item->kind == VAL_STRING && strcmp(set->c.pairs[i].item->s, s) == 0)
            return i;
    return -1;
}

bool val_set_has(const struct val *set, const char *s)
{
    assert(set->kind == VAL_SET);
    return find_item(set, s) >= 0;
}

struct val *val_copy(const struct val *v)
{
    if (!is_container(v))
        return val_ref(v);
    struct val *c = new_val(v->kind);
    c->c.n = c->c.cap = v->c.n;
    c->c.pairs = mem_new_n(struct pair, v->c.n);
    for (uint32_t i = 0; i < v->c.n; i++) {
        const struct pair *p = &v->c.pairs[i];
        c->c.pairs[i] = (struct pair){p->key ? rstr_ref(p->key) : NULL, val_ref(p->item)};
    }
    reindex(c);
    return c;
}

struct val *val_with(const struct val *map, const char *key, const char *s)
{
    struct val *c = val_copy(map);
    val_put_str(c, key, s);
    return c;
}

struct val *val_without(const struct val *v, const char *key)
{
    struct val *c = val_copy(v);
    int64_t i = v->kind == VAL_MAP ? find(c, key) : find_item(c, key);
    if (i >= 0)
        remove_at(c, (uint32_t)i);
    if (c->c.n)
        return c;
    val_unref(c);
    return val_ref(v->kind == VAL_MAP ? &empty_map : &empty_set);
}

#define GROWN_FROM 16 /* smaller ones are copied */

/* Pairs like those of the set, with room for more. */
static struct grown *grown_copy(const struct val *set)
{
    uint32_t cap = set->c.n + set->c.n / 2 + 1;
    struct grown *g = mem_zalloc(1, sizeof(*g) + cap * sizeof(struct pair));
    atomic_init(&g->refs, 0);
    g->cap = cap;
    g->used = set->c.n;
    for (uint32_t i = 0; i < g->used; i++)
        g->pairs[i].item = val_ref(set->c.pairs[i].item);
    return g;
}

/* Whether the place behind the set is free, or holds that very string already. */
static bool has_place(const struct val *set, const char *r)
{
    const struct grown *g = set->c.grown;
    if (!g || set->c.n == g->cap)
        return false;
    return set->c.n == g->used || g->pairs[set->c.n].item->s == r;
}

struct val *val_set_grown(const struct val *set, const char *r)
{
    assert(set->kind == VAL_SET && set->c.n < UINT32_MAX / 4);
    if (set->c.n < GROWN_FROM) {
        struct val *c = val_copy(set);
        val_add(c, val_rstr(r));
        return c;
    }
    struct grown *g = has_place(set, r) ? set->c.grown : grown_copy(set);
    if (set->c.n == g->used)
        g->pairs[g->used++].item = val_rstr(r);
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    struct val *v = new_val(VAL_SET);
    v->c.grown = g;
    v->c.pairs = g->pairs;
    v->c.n = v->c.cap = set->c.n + 1;
    return v;
}

struct val *val_set_with(const struct val *set, const char *s)
{
    if (val_set_has(set, s))
        return val_ref(set);
    struct val *c = val_copy(set);
    val_add_str(c, s);
    return c;
}

static bool equal_items(const struct val *a, const struct val *b)
{
    for (uint32_t i = 0; i < a->c.n; i++) {
        const struct pair *p = &a->c.pairs[i];
        const struct val *other = a->kind == VAL_MAP ? val_map_get(b, p->key) : val_at(b, i);
        if (!other || !val_equal(p->item, other))
            return false;
    }
    return true;
}

bool val_equal(const struct val *a, const struct val *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VAL_VOID:
        return true;
    case VAL_BOOL:
        return a->b == b->b;
    case VAL_INT:
    case VAL_DATETIME:
        return a->i == b->i;
    case VAL_FLOAT:
        return a->d == b->d;
    case VAL_STRING:
        return strcmp(a->s, b->s) == 0;
    case VAL_SET:
    case VAL_MAP:
        return a->c.n == b->c.n && equal_items(a, b);
    }
    return false;
}
