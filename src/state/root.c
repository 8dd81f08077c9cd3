/*
 * root.c: see root.h; and the reading of snapshots, see db.h.
 */
#include "state/root.h"

#include <assert.h>
#include <string.h>

#include "loop/loop.h"

static void *row_count(const void *r)
{
    return row_ref(r);
}

static void row_uncount(const void *r)
{
    row_unref(r);
}

static void *mark_count(const void *m)
{
    return mark_ref(m);
}

static void mark_uncount(const void *m)
{
    mark_unref(m);
}

static void *multi_count(const void *p)
{
    return (uintptr_t)p & 1 ? (void *)(uintptr_t)p : pmap_ref(p);
}

static void multi_uncount(const void *p)
{
    if (!((uintptr_t)p & 1))
        pmap_unref((struct pmap *)(uintptr_t)p);
}

static const struct pmap_type row_type = {row_count, row_uncount};
static const struct pmap_type mark_type = {mark_count, mark_uncount};
static const struct pmap_type multi_type = {multi_count, multi_uncount};
static const struct pmap_type plain_type = {NULL, NULL};

static void *number(uint64_t n)
{
    return (void *)(uintptr_t)n;
}

/* --- indexes with several rows a key --- */

void multi_add(struct pmap **index, const char *key, void *packed)
{
    uint64_t hash = pmap_hash(key);
    void *old = pmap_get(*index, hash, key);
    if (!old) {
        pmap_set(index, &multi_type, hash, key, packed);
        return;
    }
    if (old == packed)
        return;
    struct pmap *rows = (uintptr_t)old & 1 ? NULL : pmap_ref(old);
    if (!rows)
        pmap_set(&rows, &plain_type, packed_seq(old), NULL, old);
    pmap_set(&rows, &plain_type, packed_seq(packed), NULL, packed);
    pmap_set(index, &multi_type, hash, key, rows);
}

void multi_del(struct pmap **index, const char *key, void *packed)
{
    uint64_t hash = pmap_hash(key);
    void *old = pmap_get(*index, hash, key);
    if (!old)
        return;
    if (old == packed) {
        pmap_del(index, hash, key);
        return;
    }
    if ((uintptr_t)old & 1)
        return;
    struct pmap *rows = pmap_ref(old);
    pmap_del(&rows, packed_seq(packed), NULL);
    if (rows)
        pmap_set(index, &multi_type, hash, key, rows);
    else
        pmap_del(index, hash, key);
}

void *multi_next(const struct pmap *index, const char *key, uint64_t after)
{
    void *p = pmap_get(index, pmap_hash(key), key);
    if (!p)
        return NULL;
    if ((uintptr_t)p & 1)
        return packed_seq(p) > after ? p : NULL;
    return pmap_ceil(p, after + 1, NULL);
}

/* --- marks --- */

struct mark *mark_ref(const struct mark *cm)
{
    struct mark *m = (struct mark *)(uintptr_t)cm;
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void mark_unref(const struct mark *cm)
{
    struct mark *m = (struct mark *)(uintptr_t)cm;
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    rstr_unref(m->ref);
    free(m);
}

void root_add_mark(struct snap *s, struct mark *m)
{
    m->change = ++s->last_change;
    pmap_set(&s->marks_by_ref, &plain_type, pmap_hash(m->ref), m->ref, number(m->change));
    pmap_set(&s->marks[m->stored], &mark_type, m->change, NULL, m);
}

void root_drop_mark(struct snap *s, const struct mark *m)
{
    pmap_del(&s->marks_by_ref, pmap_hash(m->ref), m->ref);
    pmap_del(&s->marks[m->stored], m->change, NULL);
}

const struct mark *root_mark(const struct snap *s, const char *ref)
{
    void *change = pmap_get(s->marks_by_ref, pmap_hash(ref), ref);
    const struct mark *m = pmap_get(s->marks[true], (uintptr_t)change, NULL);
    return m ? m : pmap_get(s->marks[false], (uintptr_t)change, NULL);
}

/* --- tables --- */

static struct table *table_ref(struct table *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

static void table_unref(struct table *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    pmap_unref(t->rows);
    pmap_unref(t->by_ref);
    pmap_unref(t->by_uuid);
    pmap_unref(t->by_name);
    free(t);
}

/* The table for writing: this root's alone. */
static struct table *table_own(struct snap *s, int cls)
{
    struct table *t = s->tables[cls];
    if (atomic_load_explicit(&t->refs, memory_order_acquire) == 1)
        return t;
    struct table *c = mem_new(struct table);
    atomic_init(&c->refs, 1);
    c->cls = t->cls;
    c->rows = pmap_ref(t->rows);
    c->by_ref = pmap_ref(t->by_ref);
    c->by_uuid = pmap_ref(t->by_uuid);
    c->by_name = pmap_ref(t->by_name);
    s->tables[cls] = c;
    table_unref(t);
    return c;
}

/* --- roots --- */

static struct snap *root_alloc(unsigned n)
{
    struct snap *s = mem_zalloc(1, sizeof(*s) + n * sizeof(struct table *));
    atomic_init(&s->refs, 1);
    s->n_tables = n;
    return s;
}

struct snap *root_new(struct db *db, uint64_t vol_start, const struct class_desc *const *classes,
                      unsigned n)
{
    struct snap *s = root_alloc(n);
    s->db = db;
    s->vol_start = s->token.vol = vol_start;
    for (unsigned i = 0; i < n; i++) {
        assert(classes[i]->num == (int)i);
        s->tables[i] = mem_new(struct table);
        atomic_init(&s->tables[i]->refs, 1);
        s->tables[i]->cls = classes[i];
    }
    return s;
}

struct snap *root_copy(const struct snap *s)
{
    struct snap *c = root_alloc(s->n_tables);
    size_t from = offsetof(struct snap, db); /* others are counting meanwhile */
    memcpy((char *)c + from, (const char *)s + from,
           sizeof(*s) + s->n_tables * sizeof(struct table *) - from);
    pmap_ref(c->log);
    pmap_ref(c->marks[false]);
    pmap_ref(c->marks[true]);
    pmap_ref(c->marks_by_ref);
    pmap_ref(c->back);
    for (unsigned i = 0; i < c->n_tables; i++)
        table_ref(c->tables[i]);
    return c;
}

void root_free(struct snap *s)
{
    pmap_unref(s->log);
    pmap_unref(s->marks[false]);
    pmap_unref(s->marks[true]);
    pmap_unref(s->marks_by_ref);
    pmap_unref(s->back);
    for (unsigned i = 0; i < s->n_tables; i++)
        table_unref(s->tables[i]);
    free(s);
}

const char *row_uuid(const struct row *r)
{
    int f = r->cls->field_uuid;
    if (f < 0)
        return NULL;
    return *(const char *const *)((const char *)r + r->cls->fields[f].offset);
}

static const char *row_name(const struct row *r)
{
    int f = r->cls->field_name_label;
    if (f < 0)
        return NULL;
    return *(const char *const *)((const char *)r + r->cls->fields[f].offset);
}

const struct row *root_row(const struct snap *s, int cls, uint64_t seq)
{
    return pmap_get(s->tables[cls]->rows, seq, NULL);
}

void root_put(struct snap *s, struct row *r)
{
    struct table *t = table_own(s, r->cls->num);
    if (pmap_set(&t->rows, &row_type, r->seq, NULL, r))
        pmap_set(&t->by_ref, &plain_type, pmap_hash(r->ref), r->ref, number(r->seq));
}

void root_remove(struct snap *s, const struct row *r)
{
    struct table *t = table_own(s, r->cls->num);
    pmap_del(&t->by_ref, pmap_hash(r->ref), r->ref);
    pmap_del(&t->rows, r->seq, NULL);
}

void root_set_uuid(struct snap *s, int cls, uint64_t seq, const char *old, const char *now)
{
    struct table *t = table_own(s, cls);
    if (old && *old)
        pmap_del(&t->by_uuid, pmap_hash(old), old);
    if (now && *now)
        pmap_set(&t->by_uuid, &plain_type, pmap_hash(now), now, number(seq));
}

static void reindex_name(struct snap *s, const struct row *before, const struct row *now)
{
    const struct row *r = now ? now : before;
    const char *a = before ? row_name(before) : NULL, *b = now ? row_name(now) : NULL;
    if (str_eq(a, b))
        return;
    struct table *t = table_own(s, r->cls->num);
    if (a)
        multi_del(&t->by_name, a, pack(r->cls->num, r->seq));
    if (b)
        multi_add(&t->by_name, b, pack(r->cls->num, r->seq));
}

struct back_change {
    struct snap *s;
    void *packed;
};

static void back_add(void *arg, const struct field_desc *f, const char *ref)
{
    (void)f;
    struct back_change *b = arg;
    multi_add(&b->s->back, ref, b->packed);
}

static void back_del(void *arg, const struct field_desc *f, const char *ref)
{
    (void)f;
    struct back_change *b = arg;
    multi_del(&b->s->back, ref, b->packed);
}

/* References outside of relations. Any of a row's fields may hold one and the same reference, so
 * when one of them changed all are taken out and put in again. */
static void reindex_refs(struct snap *s, const struct row *before, const struct row *now)
{
    const struct row *r = now ? now : before;
    struct back_change b = {s, pack(r->cls->num, r->seq)};
    bool same = before && now;
    desc_each_field (f, r->cls)
        if (same && field_has_refs(f) && field_relation(s, f) == REL_NONE)
            same = row_field_equal(before, now, f);
    if (same)
        return;
    desc_each_field (f, r->cls)
        if (before && field_has_refs(f) && field_relation(s, f) == REL_NONE)
            row_field_refs(before, f, back_del, &b);
    desc_each_field (f, r->cls)
        if (now && field_has_refs(f) && field_relation(s, f) == REL_NONE)
            row_field_refs(now, f, back_add, &b);
}

void root_reindex(struct snap *s, const struct row *before, const struct row *now)
{
    reindex_name(s, before, now);
    reindex_refs(s, before, now);
}

void root_log(struct snap *s, struct row *r, uint64_t old)
{
    root_log_remove(s, old);
    r->change = ++s->last_change;
    pmap_set(&s->log, &plain_type, r->change, NULL, pack(r->cls->num, r->seq));
}

void root_log_remove(struct snap *s, uint64_t change)
{
    if (change)
        pmap_del(&s->log, change, NULL);
}

/* --- references inside rows --- */

static void tree_refs(const struct val *v, const struct field_desc *f, ref_fn fn, void *arg)
{
    bool keys = f->type->kind == TYPE_MAP && f->type->key->kind == TYPE_REF;
    bool items = f->type->elem->kind == TYPE_REF;
    for (size_t i = 0; i < val_count(v); i++) {
        if (keys && !ref_is_null(val_key_at(v, i)))
            fn(arg, f, val_key_at(v, i));
        if (items && !ref_is_null(val_str_at(v, i)))
            fn(arg, f, val_str_at(v, i));
    }
}

void row_field_refs(const struct row *r, const struct field_desc *f, ref_fn fn, void *arg)
{
    const void *member = (const char *)r + f->offset;
    if (f->type->kind == TYPE_REF) {
        const char *ref = *(const char *const *)member;
        if (!ref_is_null(ref))
            fn(arg, f, ref);
    } else {
        tree_refs(*(const struct val *const *)member, f, fn, arg);
    }
}

/* --- reading snapshots --- */

struct token snap_token(const struct snap *s)
{
    return s->token;
}

uint64_t snap_generation(const struct snap *s)
{
    return s->token.gen;
}

const struct row *snap_row(const struct snap *s, int cls, const char *ref)
{
    void *seq = pmap_get(s->tables[cls]->by_ref, pmap_hash(ref), ref);
    return seq ? root_row(s, cls, (uintptr_t)seq) : NULL;
}

const struct row *snap_by_uuid(const struct snap *s, int cls, const char *uuid)
{
    void *seq = pmap_get(s->tables[cls]->by_uuid, pmap_hash(uuid), uuid);
    return seq ? root_row(s, cls, (uintptr_t)seq) : NULL;
}

struct val *snap_by_name(const struct snap *s, int cls, const char *name)
{
    struct val *set = val_set();
    const struct pmap *index = s->tables[cls]->by_name;
    void *p = multi_next(index, name, 0);
    for (; p; p = multi_next(index, name, packed_seq(p)))
        val_add(set, val_rstr(root_row(s, cls, packed_seq(p))->ref));
    return set;
}

size_t snap_count(const struct snap *s, int cls)
{
    return pmap_count(s->tables[cls]->rows);
}

const struct class_desc *snap_class(const struct snap *s, int cls)
{
    return s->tables[cls]->cls;
}

unsigned snap_n_classes(const struct snap *s)
{
    return s->n_tables;
}

const struct row *snap_first(const struct snap *s, int cls)
{
    return pmap_ceil(s->tables[cls]->rows, 0, NULL);
}

const struct row *snap_after(const struct snap *s, const struct row *r)
{
    return pmap_ceil(s->tables[r->cls->num]->rows, r->seq + 1, NULL);
}
