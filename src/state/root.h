/*
 * root.h: the inside of a snapshot, for state/ alone.
 *
 * A root is one version of everything: a table per class, the list of changes, the deletion marks.
 * All of it hangs in persistent maps, so a new version shares what did not change. A private root
 * (of a transaction, or while loading) is changed by the root_… functions; once it is published it
 * never changes. Rows are named by their `seq`, the number of their creation, unique in all
 * classes; the indexes hold that number, so an edited row is exchanged in one place.
 */
#pragma once

#include "base/pmap.h"
#include "loop/loop.h"
#include "state/db.h"

struct table {
    atomic_uint refs;
    const struct class_desc *cls;
    struct pmap *rows;    /* seq -> row */
    struct pmap *by_ref;  /* ref -> seq */
    struct pmap *by_uuid; /* uuid -> seq */
    struct pmap *by_name; /* name_label -> rows (multi) */
};

/* What is left of a deleted row. */
struct mark {
    atomic_uint refs;
    int cls;
    const char *ref;                /* rstr */
    uint64_t seq, created, deleted; /* generations */
    uint64_t born, stamp, change;   /* as in struct row; the stamp is that of the deletion */
    usec_t at;                      /* wall clock */
    bool stored;
};

struct snap {
    atomic_uint refs;
    struct snap *next_dead; /* list of roots to be freed */
    struct db *db;
    struct token token;
    uint64_t vol_start; /* where the tokens of this process begin; see VOL_SPAN */
    uint64_t last_seq, last_change;
    uint64_t floor;            /* deletions up to this stamp may be forgotten */
    uint64_t floor_gen;        /* the same as a generation, stored */
    struct pmap *log;          /* change -> packed row: each live row once, at its last change */
    struct pmap *marks[2];     /* change -> mark; those that are not stored, and those that are */
    struct pmap *marks_by_ref; /* ref -> change */
    struct pmap *back;         /* ref -> rows (multi) that refer to it outside of any relation */
    unsigned n_tables;
    struct table *tables[];
};

/* Each writer's epoch has a stretch of the volatile count of its own, so that tokens tell which
 * process they are from, whatever clocks say. */
#define VOL_SPAN (1ull << 40)

/* How long deletions are remembered. The volatile ones (tasks, sessions) come and go by the
 * thousand and are soon of no use. */
#define MARKS_MAX(stored) ((stored) ? 65536u : 8192u)
#define MARKS_AGE         (24 * 3600 * USEC_PER_SEC)

static inline uint64_t root_stamp(const struct snap *s)
{
    return s->token.gen + s->token.vol;
}

/* A row's class and seq in one non-zero word. */
static inline void *pack(int cls, uint64_t seq)
{
    return (void *)(uintptr_t)(((uint64_t)(unsigned)cls << 48 | seq) << 1 | 1);
}

static inline int packed_cls(const void *p)
{
    return (int)((uintptr_t)p >> 49);
}

static inline uint64_t packed_seq(const void *p)
{
    return (uintptr_t)p >> 1 & 0xffffffffffffu;
}

/* An index that gives several rows for a text: a packed word, or a map seq -> packed word. */
void multi_add(struct pmap **index, const char *key, void *packed);
void multi_del(struct pmap **index, const char *key, void *packed);
/* The packed row after seq `after` (0: the first); NULL at the end. */
void *multi_next(const struct pmap *index, const char *key, uint64_t after);

struct snap *root_new(struct db *db, uint64_t vol_start, const struct class_desc *const *classes,
                      unsigned n);
struct snap *root_copy(const struct snap *s); /* a private root, equal so far */
void root_free(struct snap *s);               /* when the last reference is gone */

const struct row *root_row(const struct snap *s, int cls, uint64_t seq);
/* The row of a class with that seq is now r (reference taken over); its reference is indexed. */
void root_put(struct snap *s, struct row *r);
void root_remove(struct snap *s, const struct row *r);
void root_set_uuid(struct snap *s, int cls, uint64_t seq, const char *old, const char *now);
/* Moves a row's entries by name and by what it refers to; either may be NULL. */
void root_reindex(struct snap *s, const struct row *before, const struct row *now);
/* Gives r its place at the end of the list of changes, out of the place `old` (0: none). */
void root_log(struct snap *s, struct row *r, uint64_t old);
void root_log_remove(struct snap *s, uint64_t change);
void root_add_mark(struct snap *s, struct mark *m); /* reference taken over; last in the list */
void root_drop_mark(struct snap *s, const struct mark *m);
const struct mark *root_mark(const struct snap *s, const char *ref);
struct mark *mark_ref(const struct mark *m);
void mark_unref(const struct mark *m);

/* The uuid of a row, NULL if its class has none. */
const char *row_uuid(const struct row *r);

/* Calls fn for each non-null reference that a field of r holds, also inside sets and maps. */
typedef void (*ref_fn)(void *arg, const struct field_desc *f, const char *ref);
static inline bool field_has_refs(const struct field_desc *f)
{
    const struct type *t = f->type;
    if (t->kind == TYPE_REF)
        return true;
    if (t->kind != TYPE_SET && t->kind != TYPE_MAP)
        return false;
    return t->elem->kind == TYPE_REF || (t->kind == TYPE_MAP && t->key->kind == TYPE_REF);
}
void row_field_refs(const struct row *r, const struct field_desc *f, ref_fn fn, void *arg);

enum relation {
    REL_NONE,   /* no references, or such that nothing else follows */
    REL_MANY,   /* ref: the other side is derived from it */
    REL_ONE,    /* the derived set(ref) */
    REL_MIRROR, /* set(ref) stored on both sides */
};
static inline enum relation field_relation(const struct snap *s, const struct field_desc *f)
{
    if (f->rel_field < 0 || f->rel_class < 0)
        return REL_NONE;
    if (f->flags & FIELD_DERIVED)
        return REL_ONE;
    const struct field_desc *other = &s->tables[f->rel_class]->cls->fields[f->rel_field];
    if (other == f)
        return REL_NONE;
    if (f->type->kind == TYPE_REF)
        return other->flags & FIELD_DERIVED ? REL_MANY : REL_NONE;
    return f->type->kind == TYPE_SET && other->type->kind == TYPE_SET ? REL_MIRROR : REL_NONE;
}
