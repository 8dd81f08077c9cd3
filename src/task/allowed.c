/*
 * allowed.c: allowed_operations, kept true (claim.h).
 *
 * The field lists the operations of its class that claim_check lets in. It is computed again in the
 * transaction that changes what the rules look at, on the object changed and on those whose rules
 * look at it, each once; a change of anything else (a name, a description, other_config) costs a
 * comparison of a few fields.
 *
 * Thousands of objects allow the same: their lists are one shared value.
 */
#include <string.h>

#include "base/lock.h"
#include "base/pmap.h"
#include "base/vec.h"
#include "gen/rec.h"
#include "state/db.h"
#include "state/row.h"
#include "state/txn.h"
#include "task/claim.h"
#include "task/claim_class.h"

#define WORDS (CLAIM_OPS_MAX / 64)

/* ---- lists that are shared ---- */

#define LISTS_MAX 1024 /* beyond that each object gets a list of its own */
#define TRIES     8

struct list {
    const struct class_desc *cls;
    uint64_t bits[WORDS];
    struct val *val;
};

static struct mutex lists_lock = MUTEX_INIT(LOCK_LEAF); /* of the table; lists are never freed */
static struct list lists[LISTS_MAX];

static struct val *make_list(const struct class_desc *c, const uint64_t *bits)
{
    const struct enum_desc *e = c->fields[c->field_allowed].type->elem->enm;
    struct val *set = val_set();
    for (unsigned op = 0; op < c->n_ops; op++)
        if (bits[op / 64] >> (op % 64) & 1)
            val_add_str(set, e->values[op]);
    return set;
}

static bool is_list(const struct list *l, const struct class_desc *c, const uint64_t *bits)
{
    return l->cls == c && memcmp(l->bits, bits, sizeof(l->bits)) == 0;
}

/* A reference to the list of these operations. */
static struct val *list_of(const struct class_desc *c, const uint64_t *bits)
{
    uint64_t h = (bits[0] ^ bits[1] * 31 ^ (uint64_t)c->num << 32) * 0x9e3779b97f4a7c15u;
    mutex_guard(&lists_lock);
    for (unsigned i = 0; i < TRIES; i++) {
        struct list *l = &lists[((h >> 40) + i) % LISTS_MAX];
        if (l->val && !is_list(l, c, bits))
            continue;
        if (!l->val) {
            *l = (struct list){.cls = c, .val = make_list(c, bits)};
            memcpy(l->bits, bits, sizeof(l->bits));
        }
        return val_ref(l->val);
    }
    return make_list(c, bits);
}

/* ---- one object ---- */

static struct val *allowed(const struct claim_view *v, const struct row *row)
{
    const struct claim_class *t = claim_class(row->cls);
    uint64_t bits[WORDS] = {0};
    for (unsigned op = 0; op < row->cls->n_ops; op++) {
        /* What the state rules out need not be asked about any further. */
        bool asked =
            t->offered[op / 64] >> (op % 64) & 1 && claim_state_fits(row, row->cls->ops[op]);
        struct err *refused = asked ? claim_check(v, row, (int)op) : NULL;
        if (asked && !refused)
            bits[op / 64] |= 1ull << (op % 64);
        err_free(refused);
    }
    return list_of(row->cls, bits);
}

static const struct val **allowed_member(const struct row *row)
{
    size_t offset = row->cls->fields[row->cls->field_allowed].offset;
    return (const struct val **)(void *)((char *)(uintptr_t)row + offset);
}

static void refresh(struct txn *t, int cls, const char *ref)
{
    const struct row *row = txn_row(t, cls, ref);
    struct claim_view v = {.txn = t};
    _cleanup_(val_unrefp) struct val *now = row ? allowed(&v, row) : NULL;
    if (!row || val_equal(now, *allowed_member(row)))
        return;
    val_assign(allowed_member(txn_edit(t, cls, ref)), val_ref(now));
}

/* ---- what a transaction touches ---- */

/* Objects to be looked at, each once. */
struct todo {
    struct txn *t;
    VEC(const struct row *) rows; /* as they are before anything is done here */
    struct pmap *known;           /* their seq */
};

static void add_row(struct todo *d, const struct row *row)
{
    static const struct pmap_type plain = {NULL, NULL};
    if (!row || !claim_class(row->cls)->has_rules || pmap_get(d->known, row->seq, NULL))
        return;
    pmap_set(&d->known, &plain, row->seq, NULL, d);
    vec_push(&d->rows, row);
}

static void add_ref(struct todo *d, int cls, const char *ref)
{
    if (!ref_is_null(ref))
        add_row(d, txn_row(d->t, cls, ref));
}

/* Those whose rules look at `row`. */
static void add_around(struct todo *d, const struct row *row)
{
    const struct claim_class *c = claim_class(row->cls);
    for (unsigned i = 0; i < c->n_followers; i++) {
        const struct field_desc *f = c->followers[i];
        const void *at = (const char *)row + f->offset;
        if (f->type->kind == TYPE_REF) {
            add_ref(d, f->type->cls, *(const char *const *)at);
            continue;
        }
        val_each (ref, *(const struct val *const *)at)
            add_ref(d, f->type->elem->cls, ref);
    }
}

static bool matters(const struct txn_change *c)
{
    const struct claim_class *t = claim_class((c->after ? c->after : c->before)->cls);
    if (!t->n_inputs)
        return false;
    if (!c->before || !c->after)
        return true;
    for (unsigned i = 0; i < t->n_inputs; i++)
        if (!row_field_equal(c->before, c->after, t->inputs[i]))
            return true;
    return false;
}

static struct err *keep_allowed(struct txn *t, void *arg)
{
    struct todo d = {.t = t};
    struct txn_change c;
    for (size_t i = 0; txn_change(t, i, &c); i++) {
        if ((!c.before && !c.after) || !matters(&c))
            continue;
        add_row(&d, c.after);
        if (c.after)
            add_around(&d, c.after);
        if (c.before)
            add_around(&d, c.before);
    }
    vec_each (row, &d.rows)
        refresh(t, (*row)->cls->num, (*row)->ref);
    vec_done(&d.rows);
    pmap_unref(d.known);
    return NULL;
}

void claim_hook(struct db *db)
{
    db_add_hook(db, keep_allowed, NULL);
}

/* ---- all objects ---- */

struct refresh_batch {
    int cls;
    const struct row *next; /* of snap */
    const struct snap *snap;
};

#define BATCH_ROWS 200

static struct err *refresh_some(struct txn *t, void *arg)
{
    struct refresh_batch *b = arg;
    for (unsigned n = 0; b->next && n < BATCH_ROWS; n++, b->next = snap_after(b->snap, b->next))
        refresh(t, b->cls, b->next->ref);
    return NULL;
}

struct err *claim_refresh_all(struct db *db)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    for (unsigned cls = 0; cls < db_n_classes(db); cls++) {
        if (!claim_class(db_class(db, (int)cls))->has_rules)
            continue;
        struct refresh_batch b = {.cls = (int)cls, .next = snap_first(s, (int)cls), .snap = s};
        while (b.next)
            TRY(db_write(db, "allowed operations", refresh_some, &b));
    }
    return NULL;
}
