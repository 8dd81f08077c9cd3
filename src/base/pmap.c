/*
 * pmap.c: see pmap.h. A path-compressed trie over the 64 bits of a key's number, five bits a level
 * from the top, so that walking it is walking the numbers in order.
 *
 * A node covers the keys that agree with its `prefix` above its five bits; levels that do not
 * branch have no node. Children are leaves (bit 0 of the pointer set) or nodes, in order. Leaves
 * never change and are shared between versions; keys with the same number (string keys only) hang
 * in a chain. The root is always a node. A node with one reference, reached through nodes with one
 * reference, is nobody else's and may be changed in place.
 */
#include "base/pmap.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/rstr.h"
#include "base/str.h"

#define BITS      5u
#define TOP_SHIFT 60u

struct leaf {
    atomic_uint refs;
    uint64_t hash;
    const char *key; /* rstr or NULL */
    void *value;
    struct leaf *next; /* another key with the same hash */
};

struct pmap {
    atomic_uint refs;
    uint32_t bitmap; /* which of the 32 slots have a child */
    uint64_t prefix; /* number of any key below */
    const struct pmap_type *type;
    uint32_t count; /* keys below */
    uint32_t shift; /* of the five bits that this node branches on */
    void *child[];  /* one per bit set */
};

static bool is_leaf(const void *child)
{
    return (uintptr_t)child & 1;
}

static struct leaf *as_leaf(const void *child)
{
    return (struct leaf *)((uintptr_t)child - 1);
}

static void *from_leaf(struct leaf *l)
{
    return (void *)((uintptr_t)l + 1);
}

/* The part of a number above a node's five bits. */
static uint64_t above(uint64_t hash, uint32_t shift)
{
    return shift >= TOP_SHIFT ? 0 : hash >> (shift + BITS);
}

static uint32_t bit_of(uint64_t hash, uint32_t shift)
{
    return 1u << ((hash >> shift) & 31);
}

static unsigned place(const struct pmap *n, uint32_t bit)
{
    return (unsigned)__builtin_popcount(n->bitmap & (bit - 1));
}

static unsigned n_children(const struct pmap *n)
{
    return (unsigned)__builtin_popcount(n->bitmap);
}

static bool same_key(const struct leaf *l, const char *key)
{
    return l->key == key || (l->key && key && strcmp(l->key, key) == 0);
}

/* --- counting --- */

static struct leaf *leaf_new(uint64_t hash, const char *key, void *value, struct leaf *next)
{
    struct leaf *l = mem_new(struct leaf);
    atomic_init(&l->refs, 1);
    l->hash = hash;
    l->key = key ? rstr_ref(key) : NULL;
    l->value = value;
    l->next = next;
    return l;
}

static struct leaf *leaf_ref(struct leaf *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

static void leaf_unref(struct leaf *l, const struct pmap_type *type)
{
    while (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1) {
        struct leaf *next = l->next;
        rstr_unref(l->key);
        if (type->unref)
            type->unref(l->value);
        free(l);
        l = next;
    }
}

static void child_ref(void *child)
{
    if (is_leaf(child))
        leaf_ref(as_leaf(child));
    else
        pmap_ref(child);
}

static void child_unref(void *child, const struct pmap_type *type)
{
    if (is_leaf(child))
        leaf_unref(as_leaf(child), type);
    else
        pmap_unref(child);
}

struct pmap *pmap_ref(const struct pmap *m)
{
    struct pmap *n = (struct pmap *)(uintptr_t)m;
    if (n)
        atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
    return n;
}

void pmap_unref(struct pmap *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < n_children(m); i++)
        child_unref(m->child[i], m->type);
    free(m);
}

/* --- nodes --- */

static struct pmap *node_new(const struct pmap_type *type, uint64_t prefix, uint32_t shift,
                             unsigned n)
{
    struct pmap *node = mem_zalloc(1, sizeof(*node) + n * sizeof(void *));
    atomic_init(&node->refs, 1);
    node->type = type;
    node->prefix = prefix;
    node->shift = shift;
    return node;
}

static uint32_t child_count(const void *child)
{
    if (!is_leaf(child))
        return ((const struct pmap *)child)->count;
    uint32_t n = 0;
    for (const struct leaf *l = as_leaf(child); l; l = l->next)
        n++;
    return n;
}

static uint64_t child_hash(const void *child)
{
    return is_leaf(child) ? as_leaf(child)->hash : ((const struct pmap *)child)->prefix;
}

/* A node over two children whose numbers differ. */
static struct pmap *node_over(const struct pmap_type *type, void *a, void *b)
{
    uint64_t ha = child_hash(a), hb = child_hash(b);
    uint32_t shift = (63u - (uint32_t)__builtin_clzll(ha ^ hb)) / BITS * BITS;
    struct pmap *n = node_new(type, ha, shift, 2);
    n->bitmap = bit_of(ha, shift) | bit_of(hb, shift);
    n->child[ha > hb] = a;
    n->child[ha < hb] = b;
    n->count = child_count(a) + child_count(b);
    return n;
}

/* The root over a single leaf. */
static struct pmap *node_of_one(const struct pmap_type *type, void *leaf)
{
    struct pmap *n = node_new(type, child_hash(leaf), 0, 1);
    n->bitmap = bit_of(n->prefix, 0);
    n->child[0] = leaf;
    n->count = child_count(leaf);
    return n;
}

/* Gives up one's reference to n for a node that is one's own. */
static struct pmap *node_own(struct pmap *n)
{
    if (atomic_load_explicit(&n->refs, memory_order_acquire) == 1)
        return n;
    unsigned c = n_children(n);
    struct pmap *copy = node_new(n->type, n->prefix, n->shift, c);
    copy->bitmap = n->bitmap;
    copy->count = n->count;
    for (unsigned i = 0; i < c; i++) {
        copy->child[i] = n->child[i];
        child_ref(copy->child[i]);
    }
    pmap_unref(n);
    return copy;
}

static struct pmap *node_insert(struct pmap *n, uint32_t bit, void *child)
{
    unsigned at = place(n, bit), c = n_children(n);
    n = node_own(n);
    n = mem_realloc(n, 1, sizeof(*n) + (c + 1) * sizeof(void *));
    memmove(n->child + at + 1, n->child + at, (c - at) * sizeof(void *));
    n->child[at] = child;
    n->bitmap |= bit;
    return n;
}

static void node_remove(struct pmap *n, uint32_t bit)
{
    unsigned at = place(n, bit), c = n_children(n);
    memmove(n->child + at, n->child + at + 1, (c - at - 1) * sizeof(void *));
    n->bitmap &= ~bit;
}

/* --- chains of leaves with one number --- */

static struct leaf *chain_find(struct leaf *l, const char *key)
{
    while (l && !same_key(l, key))
        l = l->next;
    return l;
}

/* The chain without a key, as new references; NULL if nothing is left. */
static struct leaf *chain_without(struct leaf *l, const char *key, const struct pmap_type *type)
{
    if (!l)
        return NULL;
    if (same_key(l, key))
        return l->next ? leaf_ref(l->next) : NULL;
    void *value = type->ref ? type->ref(l->value) : l->value;
    return leaf_new(l->hash, l->key, value, chain_without(l->next, key, type));
}

/* --- setting --- */

static struct pmap *node_set(struct pmap *n, struct leaf *l, bool *ret_added);

/* What stands in a slot where l goes, the slot's reference being given up. */
static void *slot_set(const struct pmap_type *type, void *child, struct leaf *l, bool *ret_added)
{
    if (!is_leaf(child))
        return node_set(child, l, ret_added);
    struct leaf *old = as_leaf(child);
    if (old->hash != l->hash) {
        *ret_added = true;
        return node_over(type, child, from_leaf(l));
    }
    *ret_added = !chain_find(old, l->key);
    l->next = chain_without(old, l->key, type);
    if (*ret_added) {
        leaf_unref(l->next, type);
        l->next = leaf_ref(old);
    }
    leaf_unref(old, type);
    return from_leaf(l);
}

/* n, or the only leaf of a root, under one node with l. */
static struct pmap *node_beside(struct pmap *n, struct leaf *l)
{
    const struct pmap_type *type = n->type;
    void *child = n;
    if (n_children(n) == 1) {
        child = n->child[0];
        child_ref(child);
        pmap_unref(n);
    }
    return node_over(type, child, from_leaf(l));
}

static struct pmap *node_set(struct pmap *n, struct leaf *l, bool *ret_added)
{
    if (above(n->prefix, n->shift) != above(l->hash, n->shift)) {
        *ret_added = true;
        return node_beside(n, l);
    }
    uint32_t bit = bit_of(l->hash, n->shift);
    if (n->bitmap & bit) {
        n = node_own(n);
        void **slot = &n->child[place(n, bit)];
        *slot = slot_set(n->type, *slot, l, ret_added);
    } else {
        n = node_insert(n, bit, from_leaf(l));
        *ret_added = true;
    }
    n->count += *ret_added;
    return n;
}

bool pmap_set(struct pmap **slot, const struct pmap_type *type, uint64_t hash, const char *key,
              void *value)
{
    assert(value);
    struct leaf *l = leaf_new(hash, key, value, NULL);
    if (!*slot) {
        *slot = node_of_one(type, from_leaf(l));
        return true;
    }
    bool added = false;
    *slot = node_set(*slot, l, &added);
    return added;
}

/* --- removing --- */

/* The child without the key (which is there); NULL if nothing is left. Gives up the reference. */
static void *child_del(const struct pmap_type *type, void *child, uint64_t hash, const char *key)
{
    if (is_leaf(child)) {
        struct leaf *rest = chain_without(as_leaf(child), key, type);
        leaf_unref(as_leaf(child), type);
        return rest ? from_leaf(rest) : NULL;
    }
    struct pmap *n = node_own(child);
    uint32_t bit = bit_of(hash, n->shift);
    void **slot = &n->child[place(n, bit)];
    *slot = child_del(type, *slot, hash, key);
    n->count--;
    if (!*slot)
        node_remove(n, bit);
    if (n_children(n) > 1)
        return n;
    void *only = n_children(n) ? n->child[0] : NULL;
    free(n);
    return only;
}

bool pmap_del(struct pmap **slot, uint64_t hash, const char *key)
{
    if (!pmap_get(*slot, hash, key))
        return false;
    const struct pmap_type *type = (*slot)->type;
    void *rest = child_del(type, *slot, hash, key);
    *slot = rest && is_leaf(rest) ? node_of_one(type, rest) : rest;
    return true;
}

/* --- reading --- */

void *pmap_get(const struct pmap *m, uint64_t hash, const char *key)
{
    while (m && above(m->prefix, m->shift) == above(hash, m->shift)) {
        uint32_t bit = bit_of(hash, m->shift);
        if (!(m->bitmap & bit))
            return NULL;
        const void *child = m->child[place(m, bit)];
        if (is_leaf(child)) {
            struct leaf *l = as_leaf(child);
            l = l->hash == hash ? chain_find(l, key) : NULL;
            return l ? l->value : NULL;
        }
        m = child;
    }
    return NULL;
}

size_t pmap_count(const struct pmap *m)
{
    return m ? m->count : 0;
}

/* The outermost leaf below a child: the first, or the last. */
static const struct leaf *edge(const void *child, bool last)
{
    while (!is_leaf(child)) {
        const struct pmap *n = child;
        child = n->child[last ? n_children(n) - 1 : 0];
    }
    return as_leaf(child);
}

static const struct leaf *ceil_in(const void *child, uint64_t from)
{
    if (is_leaf(child))
        return as_leaf(child)->hash >= from ? as_leaf(child) : NULL;
    const struct pmap *n = child;
    uint64_t mine = above(n->prefix, n->shift), wanted = above(from, n->shift);
    if (mine != wanted)
        return mine > wanted ? edge(n, false) : NULL;
    uint32_t bit = bit_of(from, n->shift);
    unsigned at = place(n, bit);
    if (n->bitmap & bit) {
        const struct leaf *l = ceil_in(n->child[at++], from);
        if (l)
            return l;
    }
    return at < n_children(n) ? edge(n->child[at], false) : NULL;
}

static const struct leaf *floor_in(const void *child, uint64_t from)
{
    if (is_leaf(child))
        return as_leaf(child)->hash <= from ? as_leaf(child) : NULL;
    const struct pmap *n = child;
    uint64_t mine = above(n->prefix, n->shift), wanted = above(from, n->shift);
    if (mine != wanted)
        return mine < wanted ? edge(n, true) : NULL;
    uint32_t bit = bit_of(from, n->shift);
    unsigned at = place(n, bit);
    if (n->bitmap & bit) {
        const struct leaf *l = floor_in(n->child[at], from);
        if (l)
            return l;
    }
    return at ? edge(n->child[at - 1], true) : NULL;
}

static void *found(const struct leaf *l, uint64_t *ret_key)
{
    if (!l)
        return NULL;
    if (ret_key)
        *ret_key = l->hash;
    return l->value;
}

void *pmap_ceil(const struct pmap *m, uint64_t from, uint64_t *ret_key)
{
    return m ? found(ceil_in(m, from), ret_key) : NULL;
}

void *pmap_floor(const struct pmap *m, uint64_t from, uint64_t *ret_key)
{
    return m ? found(floor_in(m, from), ret_key) : NULL;
}

/* --- SipHash-1-3 --- */

static uint64_t hash_key[2];

static void hash_seed(void)
{
    str_random(hash_key, sizeof(hash_key));
}

static uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t pmap_hash(const char *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hash_seed);
    uint64_t v[4] = {hash_key[0] ^ 0x736f6d6570736575u, hash_key[1] ^ 0x646f72616e646f6du,
                     hash_key[0] ^ 0x6c7967656e657261u, hash_key[1] ^ 0x7465646279746573u};
    size_t size = strlen(s), left = size;
    for (; left >= 8; left -= 8, s += 8) {
        uint64_t word;
        memcpy(&word, s, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t word = 0;
    memcpy(&word, s, left);
    word |= (uint64_t)size << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
