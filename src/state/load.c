/*
 * load.c: the first root, from what the store has kept. Called by db_open, alone.
 *
 * Fields that the model does not have any more, and text that does not fit their type now, are left
 * out with a warning; rows of classes that are gone stay in the store, unseen.
 */
#define LOG_MODULE "state"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "state/db_impl.h"

/* A row or a mark, to be put in order of its last change. */
struct entry {
    uint64_t modified, seq;
    struct row *row;   /* the root's, or NULL: */
    struct mark *mark; /* counted */
};

struct loader {
    struct snap *root;
    const struct row **last; /* of each class; borrowed from root */
    VEC(struct entry) entries;
    size_t unknown, skipped;
};

static const struct class_desc *find_class(const struct snap *s, const char *name)
{
    for (unsigned i = 0; i < s->n_tables; i++)
        if (strcmp(s->tables[i]->cls->name, name) == 0)
            return s->tables[i]->cls;
    return NULL;
}

static void load_mark(struct loader *l, const struct class_desc *c, const struct store_row *sr)
{
    struct mark *m = mem_new(struct mark);
    atomic_init(&m->refs, 1);
    m->cls = c->num;
    m->ref = rstr_new(sr->ref);
    m->seq = sr->seq;
    m->created = sr->created;
    m->deleted = sr->modified;
    m->born = sr->created + l->root->vol_start;
    m->stamp = sr->modified + l->root->vol_start;
    m->at = sr->deleted_at;
    m->stored = true;
    vec_push(&l->entries, ((struct entry){.modified = m->deleted, .seq = m->seq, .mark = m}));
}

static struct err *load_live(struct loader *l, const struct class_desc *c,
                             const struct store_row *sr)
{
    struct row *r = row_new(c, rstr_new(sr->ref));
    unsigned skipped = 0;
    if (row_decode(r, sr->data, &skipped) < 0) {
        row_unref(r);
        return err_internal("the store's row %s '%s' cannot be read", sr->cls, sr->ref);
    }
    l->skipped += skipped;
    if (l->last[c->num])
        row_share(r, l->last[c->num]); /* clones are alike */
    l->last[c->num] = r;
    r->seq = sr->seq;
    r->created = sr->created;
    r->modified = sr->modified;
    r->born = sr->created + l->root->vol_start;
    r->stamp = sr->modified + l->root->vol_start;
    root_put(l->root, r);
    root_set_uuid(l->root, c->num, r->seq, NULL, row_uuid(r));
    vec_push(&l->entries, ((struct entry){.modified = r->modified, .seq = r->seq, .row = r}));
    return NULL;
}

static struct err *load_row(void *arg, const struct store_row *sr)
{
    struct loader *l = arg;
    const struct class_desc *c = find_class(l->root, sr->cls);
    if (sr->seq > l->root->last_seq)
        l->root->last_seq = sr->seq;
    if (!c || !(c->flags & CLASS_PERSIST)) {
        l->unknown++;
        return NULL;
    }
    if (!sr->deleted_at)
        return load_live(l, c, sr);
    load_mark(l, c, sr);
    return NULL;
}

static int by_change(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    if (a->modified != b->modified)
        return a->modified < b->modified ? -1 : 1;
    return a->seq < b->seq ? -1 : a->seq > b->seq;
}

/* What needs all rows: relations, indexes, the list of changes. */
static void complete(struct loader *l)
{
    root_relate(l->root);
    if (l->entries.n)
        qsort(l->entries.v, l->entries.n, sizeof(*l->entries.v), by_change);
    vec_each (e, &l->entries) {
        if (e->mark) {
            root_add_mark(l->root, steal(&e->mark));
            continue;
        }
        root_reindex(l->root, NULL, e->row);
        root_log(l->root, e->row, 0);
    }
}

static void loader_done(struct loader *l)
{
    vec_each (e, &l->entries)
        mark_unref(e->mark);
    vec_done(&l->entries);
    free(l->last);
    if (l->root)
        root_free(l->root);
}

/* Without an epoch nothing is kept, and the clock is good enough. */
static uint64_t vol_start(const struct store *store)
{
    return store && store->epoch ? store->epoch * VOL_SPAN : clock_wall();
}

struct err *load_root(struct db *db, struct snap **ret)
{
    struct store *store = db->config.store;
    struct store_head head = {0};
    _cleanup_(loader_done) struct loader l = {
        .root = root_new(db, vol_start(store), db->classes, db->n_classes),
        .last = mem_new_n(const struct row *, db->n_classes)};
    if (store)
        TRY(store->ops->load(store, load_row, &l, &head));
    l.root->token.gen = head.generation;
    l.root->floor_gen = head.floor;
    l.root->floor = head.floor + l.root->vol_start;
    complete(&l);
    if (l.unknown || l.skipped)
        log_warn("event=old-store ignoring rows=%zu columns=%zu", l.unknown, l.skipped);
    log_info("event=loaded rows=%zu generation=%" PRIu64, l.entries.n, head.generation);
    *ret = steal(&l.root);
    return NULL;
}
