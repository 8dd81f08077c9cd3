/*
 * relate.c: what follows from references (txn_impl.h). On core, in a private root.
 *
 * A one-to-many relation is stored on its "many" side; the set on the other side is derived and
 * kept in the order in which the many were created. A relation of two sets is stored on both sides
 * and a change on one is carried to the other. References outside of relations are found by the
 * root's index `back`.
 */
#include <string.h>

#include "gen/error.h"
#include "state/txn_impl.h"

static const char **ref_member(const struct row *r, const struct field_desc *f)
{
    return (const char **)(void *)((char *)(uintptr_t)r + f->offset);
}

static const struct val **tree_member(const struct row *r, const struct field_desc *f)
{
    return (const struct val **)(void *)((char *)(uintptr_t)r + f->offset);
}

static const struct field_desc *other_side(const struct snap *s, const struct field_desc *f)
{
    return &s->tables[f->rel_class]->cls->fields[f->rel_field];
}

/* --- derived sets --- */

/* That `member` now belongs, or does not belong any more, into a set of `owner`. */
struct belong {
    const char *owner, *member; /* borrowed of rows */
    const struct field_desc *set;
    int owner_cls, member_cls;
    uint64_t seq; /* of the member */
    bool add;
};

struct belongs {
    struct txn *t;
    VEC(struct belong) list;
};

static void note_belong(struct belongs *b, const struct field_desc *f, const struct row *member,
                        const char *owner, bool add)
{
    if (ref_is_null(owner))
        return;
    struct belong x = {.owner = owner,
                       .member = member->ref,
                       .set = other_side(b->t->next, f),
                       .owner_cls = f->rel_class,
                       .member_cls = member->cls->num,
                       .seq = member->seq,
                       .add = add};
    vec_push(&b->list, x);
}

static void relate_many(struct belongs *b, const struct row *before, const struct row *now,
                        const struct field_desc *f)
{
    const char *old = before ? *ref_member(before, f) : REF_NULL;
    const char *new = now ? *ref_member(now, f) : REF_NULL;
    if (strcmp(old, new) == 0)
        return;
    const struct row *me = now ? now : before;
    note_belong(b, f, me, old, false);
    note_belong(b, f, me, new, true);
}

/* By set, and in a set those that leave it before those that come, by order of creation. */
static int by_set(const void *x, const void *y)
{
    const struct belong *a = x, *b = y;
    int d = strcmp(a->owner, b->owner);
    if (d)
        return d;
    if (a->set != b->set)
        return a->set < b->set ? -1 : 1;
    if (a->add != b->add)
        return a->add - b->add;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

static uint64_t seq_of(const struct snap *s, int cls, const char *ref)
{
    const struct row *r = snap_row(s, cls, ref);
    return r ? r->seq : 0;
}

#define FEW_LEAVE 8

/* Who leaves a set: a few are compared with, many are looked up. */
struct leaving {
    const struct belong *b;
    size_t n;
    struct pmap *refs; /* if they are many */
};

static struct leaving leaving_of(const struct belong *b, size_t n)
{
    static const struct pmap_type plain = {NULL, NULL};
    struct leaving l = {.b = b};
    while (l.n < n && !b[l.n].add)
        l.n++;
    for (size_t i = 0; l.n > FEW_LEAVE && i < l.n; i++)
        pmap_set(&l.refs, &plain, pmap_hash(b[i].member), b[i].member, (void *)(uintptr_t)1);
    return l;
}

static bool leaves(const struct leaving *l, const char *ref)
{
    if (l->refs)
        return pmap_get(l->refs, pmap_hash(ref), ref);
    for (size_t i = 0; i < l->n; i++)
        if (l->b[i].member == ref || strcmp(l->b[i].member, ref) == 0)
            return true;
    return false;
}

/* The set without those that leave, of which some are there. */
static struct val *set_without(const struct val *set, const struct leaving *l)
{
    struct val *out = val_set();
    for (size_t i = 0; i < val_count(set); i++)
        if (!leaves(l, val_str_at(set, i)))
            val_add(out, val_ref(val_at(set, i)));
    return out;
}

/* The set with those that come, in order of creation, where one that is in it is younger. */
static struct val *set_merged(const struct snap *s, const struct val *set, const struct belong *b,
                              size_t n)
{
    struct val *out = val_set();
    size_t next = 0;
    for (size_t i = 0; i < val_count(set); i++) {
        uint64_t seq = seq_of(s, b->member_cls, val_str_at(set, i));
        for (; next < n && b[next].seq < seq; next++)
            val_add(out, val_rstr(b[next].member));
        val_add(out, val_ref(val_at(set, i)));
    }
    for (; next < n; next++)
        val_add(out, val_rstr(b[next].member));
    return out;
}

/* The set without those that leave and with those that come, in order of creation. Mostly they are
 * younger than all that is in it, and then the set only grows. */
static struct val *set_after(const struct snap *s, const struct val *set, const struct belong *b,
                             size_t n)
{
    struct leaving l = leaving_of(b, n);
    struct val *out = l.n ? set_without(set, &l) : val_ref(set);
    size_t count = val_count(out);
    b += l.n;
    n -= l.n;
    pmap_unref(l.refs);
    if (n && count && seq_of(s, b->member_cls, val_str_at(out, count - 1)) > b->seq) {
        struct val *merged = set_merged(s, out, b, n);
        val_unref(out);
        return merged;
    }
    for (size_t i = 0; i < n; i++) {
        struct val *more = val_set_grown(out, b[i].member);
        val_unref(out);
        out = more;
    }
    return out;
}

/* Brings the derived sets up to date, each once. */
static void derive(struct belongs *b)
{
    if (b->list.n)
        qsort(b->list.v, b->list.n, sizeof(*b->list.v), by_set);
    for (size_t i = 0, end; i < b->list.n; i = end) {
        const struct belong *x = &b->list.v[i];
        for (end = i + 1; end < b->list.n; end++)
            if (b->list.v[end].set != x->set || strcmp(b->list.v[end].owner, x->owner) != 0)
                break;
        struct row *owner = txn_edit(b->t, x->owner_cls, x->owner);
        if (!owner)
            continue;
        const struct val **set = tree_member(owner, x->set);
        val_assign(set, set_after(b->t->next, *set, x, end - i));
    }
}

/* --- sets on both sides --- */

static void mirror(struct txn *t, const struct field_desc *f, const char *me, const char *other,
                   bool add)
{
    const struct row *r = ref_is_null(other) ? NULL : txn_row(t, f->rel_class, other);
    const struct field_desc *of = other_side(t->next, f);
    if (!r || val_set_has(*tree_member(r, of), me) == add)
        return;
    const struct val **set = tree_member(txn_edit(t, f->rel_class, other), of);
    val_assign(set, add ? val_set_with(*set, me) : val_without(*set, me));
}

static void relate_mirror(struct txn *t, const struct row *before, const struct row *now,
                          const struct field_desc *f)
{
    _cleanup_(val_cunrefp) const struct val *a =
        val_ref(before ? *tree_member(before, f) : val_empty_set());
    _cleanup_(val_cunrefp) const struct val *b =
        val_ref(now ? *tree_member(now, f) : val_empty_set());
    const char *me = (now ? now : before)->ref;
    if (a == b)
        return;
    val_each (ref, a)
        if (!val_set_has(b, ref))
            mirror(t, f, me, ref, false);
    val_each (ref, b)
        if (!val_set_has(a, ref))
            mirror(t, f, me, ref, true);
}

/* --- what was deleted --- */

/* Makes private every row that refers to a deleted one. */
static void edit_referrers(struct txn *t, const struct row *deleted)
{
    desc_each_field (f, deleted->cls) {
        if (field_relation(t->next, f) != REL_ONE)
            continue;
        val_each (ref, *tree_member(deleted, f))
            txn_edit(t, f->rel_class, ref);
    }
    void *p = multi_next(t->base->back, deleted->ref, 0);
    for (; p; p = multi_next(t->base->back, deleted->ref, packed_seq(p))) {
        const struct row *r = root_row(t->next, packed_cls(p), packed_seq(p));
        if (r)
            txn_edit(t, packed_cls(p), r->ref);
    }
}

static bool keeps(struct txn *t, const struct type *type, const char *ref)
{
    return type->kind != TYPE_REF || ref_is_null(ref) ||
           !pmap_get(t->deleted, pmap_hash(ref), ref) ||
           (type->cls >= 0 && txn_row(t, type->cls, ref));
}

static struct val *tree_without_deleted(struct txn *t, const struct val *v, const struct type *type)
{
    bool map = type->kind == TYPE_MAP;
    struct val *out = map ? val_map() : val_set();
    for (size_t i = 0; i < val_count(v); i++) {
        const struct val *item = val_at(v, i);
        if (map && !keeps(t, type->key, val_key_at(v, i)))
            continue;
        if (type->elem->kind == TYPE_REF && !keeps(t, type->elem, val_get_str(item)))
            continue;
        if (map)
            val_put(out, val_key_at(v, i), val_ref(item));
        else
            val_add(out, val_ref(item));
    }
    return out;
}

static void drop_refs_to_deleted(struct txn *t, struct row *r)
{
    desc_each_field (f, r->cls) {
        if (!field_has_refs(f) || field_relation(t->next, f) == REL_ONE)
            continue;
        if (f->type->kind == TYPE_REF) {
            if (!keeps(t, f->type, *ref_member(r, f)))
                rstr_set(ref_member(r, f), REF_NULL);
            continue;
        }
        const struct val **v = tree_member(r, f);
        struct val *rest = tree_without_deleted(t, *v, f->type);
        if (val_count(rest) != val_count(*v))
            val_assign(v, rest);
        else
            val_unref(rest);
    }
}

static void relate_deleted(struct txn *t)
{
    bool any = false;
    for (size_t i = 0; i < t->edits.n; i++) {
        const struct edit *e = &t->edits.v[i];
        if (e->now)
            continue;
        any = true;
        if (e->before)
            edit_referrers(t, e->before);
    }
    for (size_t i = 0; any && i < t->edits.n; i++)
        if (t->edits.v[i].now)
            drop_refs_to_deleted(t, t->edits.v[i].now);
}

/* --- all of it --- */

/* Derived fields start from where they were before the transaction. */
static void reset_derived(struct txn *t, const struct edit *e)
{
    if (!e->now)
        return;
    desc_each_field (f, e->now->cls) {
        if (field_relation(t->next, f) != REL_ONE)
            continue;
        const struct val *was = e->before ? *tree_member(e->before, f) : val_empty_set();
        val_assign(tree_member(e->now, f), val_ref(was));
    }
}

static void relate_edit(struct belongs *b, size_t i)
{
    struct txn *t = b->t;
    const struct row *before = t->edits.v[i].before, *now = t->edits.v[i].now;
    const struct row *r = now ? now : before;
    if (!r)
        return;
    desc_each_field (f, r->cls) {
        enum relation rel = field_relation(t->next, f);
        if (rel == REL_MANY)
            relate_many(b, before, now, f);
        else if (rel == REL_MIRROR)
            relate_mirror(t, before, now, f);
    }
}

void txn_relate(struct txn *t)
{
    struct belongs b = {.t = t};
    relate_deleted(t);
    for (size_t i = 0; i < t->edits.n; i++)
        reset_derived(t, &t->edits.v[i]);
    for (size_t i = 0; i < t->edits.n; i++)
        relate_edit(&b, i);
    derive(&b);
    vec_done(&b.list);
}

/* --- checks --- */

struct check {
    const struct txn *t;
    struct err *err;
};

static void check_one(struct check *c, int cls, const char *ref)
{
    const struct snap *s = c->t->next;
    if (c->err || ref_is_null(ref) || cls < 0)
        return;
    const struct class_desc *d = s->tables[cls]->cls;
    if ((d->flags & CLASS_DB) && !(d->flags & CLASS_CUSTOM_READ) && !snap_row(s, cls, ref))
        c->err = err_HANDLE_INVALID(d->name, ref);
}

static void check_tree(struct check *c, const struct field_desc *f, const struct val *v)
{
    const struct type *t = f->type;
    for (size_t i = 0; i < val_count(v); i++) {
        if (t->kind == TYPE_MAP && t->key->kind == TYPE_REF)
            check_one(c, t->key->cls, val_key_at(v, i));
        if (t->elem->kind == TYPE_REF)
            check_one(c, t->elem->cls, val_str_at(v, i));
    }
}

static struct err *check_refs(const struct txn *t, const struct edit *e)
{
    struct check c = {t, NULL};
    desc_each_field (f, e->now->cls) {
        if (!field_has_refs(f) || field_relation(c.t->next, f) == REL_ONE ||
            (e->before && row_field_equal(e->before, e->now, f)))
            continue; /* derived ones hold what refers to the row */
        if (f->type->kind == TYPE_REF)
            check_one(&c, f->type->cls, *ref_member(e->now, f));
        else
            check_tree(&c, f, *tree_member(e->now, f));
    }
    return c.err;
}

/* A uuid that the work wrote into a row takes its place in the index. */
static struct err *check_uuid(struct txn *t, struct edit *e)
{
    const char *uuid = row_uuid(e->now);
    if (!uuid || str_eq(uuid, e->uuid))
        return NULL;
    const struct row *holder = snap_by_uuid(t->next, e->cls, uuid);
    if (holder && holder != e->now)
        return err_DB_UNIQUENESS_CONSTRAINT_VIOLATION(e->now->cls->name, "uuid", uuid);
    root_set_uuid(t->next, e->cls, e->seq, e->uuid, uuid);
    rstr_assign(&e->uuid, uuid);
    return NULL;
}

struct err *txn_check(struct txn *t)
{
    vec_each (e, &t->edits) {
        if (!e->now)
            continue;
        TRY(check_refs(t, e));
        TRY(check_uuid(t, e));
    }
    return NULL;
}

/* --- loading --- */

static bool load_keeps(const struct snap *s, const struct type *type, const char *ref)
{
    if (type->kind != TYPE_REF || type->cls < 0 || ref_is_null(ref))
        return true;
    const struct class_desc *d = s->tables[type->cls]->cls;
    return !(d->flags & CLASS_DB) || (d->flags & CLASS_CUSTOM_READ) || snap_row(s, type->cls, ref);
}

static void load_clean_tree(const struct snap *s, const struct field_desc *f, const struct val **v)
{
    const struct type *t = f->type;
    bool map = t->kind == TYPE_MAP;
    _cleanup_(val_unrefp) struct val *out = map ? val_map() : val_set();
    for (size_t i = 0; i < val_count(*v); i++) {
        const struct val *item = val_at(*v, i);
        if ((map && !load_keeps(s, t->key, val_key_at(*v, i))) ||
            (t->elem->kind == TYPE_REF && !load_keeps(s, t->elem, val_get_str(item))))
            continue;
        if (map)
            val_put(out, val_key_at(*v, i), val_ref(item));
        else
            val_add(out, val_ref(item));
    }
    if (val_count(out) != val_count(*v))
        val_assign(v, steal(&out));
}

/* Rows that are not kept over a restart (sessions, tasks) may have been referred to. */
static void load_clean(const struct snap *s, struct row *r, const struct field_desc *f)
{
    if (f->type->kind != TYPE_REF)
        load_clean_tree(s, f, tree_member(r, f));
    else if (!load_keeps(s, f->type, *ref_member(r, f)))
        rstr_set(ref_member(r, f), REF_NULL);
}

static void load_derive(const struct snap *s, const struct row *r, const struct field_desc *f)
{
    const char *ref = *ref_member(r, f);
    const struct row *owner = ref_is_null(ref) ? NULL : snap_row(s, f->rel_class, ref);
    if (!owner)
        return;
    const struct val **slot = tree_member(owner, other_side(s, f));
    if (!val_count(*slot))
        val_assign(slot, val_set());
    val_add((struct val *)(uintptr_t)*slot, val_rstr(r->ref));
}

void root_relate(struct snap *s)
{
    for (unsigned i = 0; i < s->n_tables; i++)
        snap_each (r, s, (int)i)
            desc_each_field (f, r->cls) {
                if (field_has_refs(f) && field_relation(s, f) != REL_ONE)
                    load_clean(s, (struct row *)(uintptr_t)r, f);
                if (field_relation(s, f) == REL_MANY)
                    load_derive(s, r, f);
            }
}
