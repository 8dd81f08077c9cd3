/*
 * txn.c: see txn.h and txn_impl.h. Runs on core.
 */
#define LOG_MODULE "state"
#include "state/txn_impl.h"

#include <assert.h>
#include <inttypes.h>

#include "base/log.h"
#include "gen/error.h"

#define HOOK_ROUNDS   4
#define MARKS_AT_ONCE 100
#define SLOW_US       10000

struct db *txn_db(struct txn *t)
{
    return t->db;
}

const struct snap *txn_snap(struct txn *t)
{
    return t->next;
}

const struct row *txn_row(struct txn *t, int cls, const char *ref)
{
    return snap_row(t->next, cls, ref);
}

const struct row *txn_by_uuid(struct txn *t, int cls, const char *uuid)
{
    return snap_by_uuid(t->next, cls, uuid);
}

static bool is_private(const struct row *r)
{
    return r->stamp == 0;
}

struct row *txn_edit(struct txn *t, int cls, const char *ref)
{
    const struct row *old = txn_row(t, cls, ref);
    if (!old)
        return NULL;
    t->touches++;
    if (is_private(old))
        return (struct row *)(uintptr_t)old;
    struct row *r = row_copy(old);
    const char *uuid = row_uuid(old);
    r->stamp = 0;
    r->change = t->edits.n;
    struct edit e = {.cls = cls, .seq = r->seq, .before = row_ref(old), .now = r};
    e.uuid = uuid ? rstr_ref(uuid) : NULL;
    vec_push(&t->edits, e);
    root_put(t->next, r);
    return r;
}

/* The first thing that went wrong stays. */
static void fail(struct txn *t, struct err *e)
{
    t->err = err_first(t->err, e);
}

static const char *uuid_for(struct txn *t, const struct class_desc *c, const char *wanted)
{
    char fresh[UUID_SIZE];
    if (!wanted) {
        str_uuid(fresh);
        wanted = fresh;
    }
    if (*wanted && txn_by_uuid(t, c->num, wanted))
        fail(t, err_DB_UNIQUENESS_CONSTRAINT_VIOLATION(c->name, "uuid", wanted));
    return rstr_new(wanted);
}

struct row *txn_add(struct txn *t, int cls, const char *ref_or_null, const char *uuid_or_null)
{
    const struct class_desc *c = t->next->tables[cls]->cls;
    if (ref_or_null && txn_row(t, cls, ref_or_null)) {
        fail(t, err_DB_UNIQUENESS_CONSTRAINT_VIOLATION(c->name, "_ref", ref_or_null));
        ref_or_null = NULL;
    }
    t->touches++;
    struct row *r = row_new(c, ref_or_null ? rstr_new(ref_or_null) : ref_new());
    r->seq = ++t->next->last_seq;
    r->change = t->edits.n;
    struct edit e = {.cls = cls, .seq = r->seq, .now = r};
    if (c->field_uuid >= 0) {
        _cleanup_(rstr_unrefp) const char *uuid = uuid_for(t, c, uuid_or_null);
        rstr_assign((const char **)(void *)((char *)r + c->fields[c->field_uuid].offset), uuid);
        e.uuid = rstr_ref(uuid);
        root_set_uuid(t->next, cls, r->seq, NULL, uuid);
    }
    vec_push(&t->edits, e);
    root_put(t->next, r);
    return r;
}

void txn_delete(struct txn *t, int cls, const char *ref)
{
    struct row *r = txn_edit(t, cls, ref);
    if (!r)
        return;
    struct edit *e = &t->edits.v[r->change];
    static const struct pmap_type plain = {NULL, NULL};
    pmap_set(&t->deleted, &plain, pmap_hash(r->ref), r->ref, r);
    e->now = NULL;
    e->gone = row_ref(r);
    root_set_uuid(t->next, cls, r->seq, e->uuid, NULL);
    root_remove(t->next, e->gone);
}

void txn_touch(struct txn *t, int cls, const char *ref)
{
    struct row *r = txn_edit(t, cls, ref);
    if (r)
        t->edits.v[r->change].touched = true;
}

bool txn_change(struct txn *t, size_t i, struct txn_change *ret)
{
    if (i >= t->edits.n)
        return false;
    const struct edit *e = &t->edits.v[i];
    const struct row *r = e->now ? e->now : e->gone;
    *ret = (struct txn_change){e->cls, r->ref, e->before, e->now};
    return true;
}

/* --- the end of a transaction --- */

static bool moves_generation(const struct snap *s, const struct field_desc *f)
{
    if (f->flags & FIELD_DERIVED)
        return f->rel_class >= 0 && (s->tables[f->rel_class]->cls->flags & CLASS_PERSIST);
    return !(f->flags & FIELD_VOLATILE);
}

static enum weight weigh(const struct snap *s, const struct edit *e)
{
    enum weight w = e->touched ? WEIGHT_VOLATILE : WEIGHT_NOTHING;
    const struct class_desc *c = s->tables[e->cls]->cls;
    bool kept = c->flags & CLASS_PERSIST;
    if (!e->now || !e->before)
        return !e->now && !e->before ? WEIGHT_NOTHING : kept ? WEIGHT_DURABLE : WEIGHT_VOLATILE;
    desc_each_field (f, c) {
        if (row_field_equal(e->before, e->now, f))
            continue;
        if (kept && moves_generation(s, f))
            return WEIGHT_DURABLE;
        w = WEIGHT_VOLATILE;
    }
    return w;
}

static void seal_deleted(struct txn *t, const struct edit *e, enum weight w, usec_t now,
                         struct txn_result *ret)
{
    struct snap *s = t->next;
    root_log_remove(s, e->before->change);
    root_reindex(s, e->before, NULL);
    struct mark *m = mem_new(struct mark);
    atomic_init(&m->refs, 1);
    m->cls = e->cls;
    m->ref = rstr_ref(e->before->ref);
    m->seq = e->seq;
    m->created = e->before->created;
    m->born = e->before->born;
    m->deleted = s->token.gen;
    m->stamp = root_stamp(s);
    m->at = now;
    m->stored = w == WEIGHT_DURABLE;
    root_add_mark(s, m);
    if (m->stored)
        vec_push(&ret->puts, ((struct put){.mark = mark_ref(m)}));
}

/* A row that comes back under its old reference leaves no mark. */
static void forget_mark(struct txn *t, const struct row *r, struct txn_result *ret)
{
    const struct mark *m = root_mark(t->next, r->ref);
    if (!m)
        return;
    if (m->stored && !(r->cls->flags & CLASS_PERSIST))
        vec_push(&ret->drops, mark_ref(m));
    root_drop_mark(t->next, m);
}

static void seal_row(struct txn *t, const struct edit *e, enum weight w, struct txn_result *ret)
{
    struct snap *s = t->next;
    struct row *r = e->now;
    r->stamp = root_stamp(s);
    if (!e->before) {
        r->created = r->modified = s->token.gen;
        r->born = r->stamp;
        forget_mark(t, r, ret);
    } else if (w == WEIGHT_DURABLE) {
        r->modified = s->token.gen;
    }
    root_log(s, r, e->before ? e->before->change : 0);
    root_reindex(s, e->before, r);
    if (w == WEIGHT_DURABLE)
        vec_push(&ret->puts, ((struct put){.row = row_ref(r)}));
}

/* An edit that changed nothing is undone. */
static void unseal(struct txn *t, const struct edit *e)
{
    if (e->before)
        root_put(t->next, row_ref(e->before));
}

static void expire_mark(struct snap *s, const struct mark *m, struct txn_result *ret)
{
    if (s->tables[m->cls]->cls->flags & CLASS_EVENTS) {
        s->floor = m->stamp > s->floor ? m->stamp : s->floor;
        if (m->stored && m->deleted > s->floor_gen)
            s->floor_gen = m->deleted;
    }
    if (m->stored)
        vec_push(&ret->drops, mark_ref(m));
    root_drop_mark(s, m);
}

/* Old marks go, the oldest first; a few at a time, so that a commit keeps its limits. */
static void expire_marks(struct snap *s, bool stored, usec_t now, struct txn_result *ret)
{
    for (int i = 0; i < MARKS_AT_ONCE; i++) {
        const struct mark *m = pmap_ceil(s->marks[stored], 0, NULL);
        bool many = pmap_count(s->marks[stored]) > MARKS_MAX(stored);
        if (!m || (!many && m->at + MARKS_AGE > now))
            return;
        expire_mark(s, m, ret);
    }
}

static struct err *encode(struct txn *t, struct txn_result *ret)
{
    if (ret->puts.n > TXN_MAX_ROWS)
        return err_internal("transaction '%s' changes %zu rows, the limit is %d", t->name,
                            ret->puts.n, TXN_MAX_ROWS);
    _cleanup_(buf_done) struct buf data;
    buf_init(&data, TXN_MAX_BYTES);
    vec_each (p, &ret->puts) {
        if (!p->row)
            continue;
        size_t from = data.size;
        row_encode(p->row, &data);
        if (!buf_ok(&data))
            return err_internal("transaction '%s' changes more than %u bytes", t->name,
                                TXN_MAX_BYTES);
        p->data_size = data.size - from;
        p->data = mem_dup(data.data + from, p->data_size);
    }
    ret->bytes = data.size;
    return NULL;
}

static enum weight weigh_all(struct txn *t)
{
    enum weight most = WEIGHT_NOTHING;
    vec_each (e, &t->edits) {
        e->weight = weigh(t->next, e);
        most = e->weight > most ? e->weight : most;
    }
    return most;
}

/* What was sealed has the stamp of the root; the rest was no change in the end. */
static void feed(struct txn *t)
{
    struct db_change ch = {.stamp = root_stamp(t->next), .is_first = true};
    vec_each (e, &t->edits) {
        ch.before = e->before;
        ch.after = e->now;
        if (e->weight == WEIGHT_NOTHING)
            continue;
        db_feed(t->db, &ch);
        ch.is_first = false;
    }
}

static struct err *seal(struct txn *t, struct txn_result *ret)
{
    enum weight most = weigh_all(t);
    usec_t now = clock_wall();
    if (most == WEIGHT_NOTHING)
        return NULL;
    if (most == WEIGHT_DURABLE)
        t->next->token.gen++;
    else
        t->next->token.vol++;
    vec_each (e, &t->edits) {
        if (e->weight == WEIGHT_NOTHING)
            unseal(t, e);
        else if (e->now)
            seal_row(t, e, e->weight, ret);
        else
            seal_deleted(t, e, e->weight, now, ret);
    }
    expire_marks(t->next, false, now, ret);
    if (most == WEIGHT_DURABLE)
        expire_marks(t->next, true, now, ret);
    ret->durable = most == WEIGHT_DURABLE;
    TRY(encode(t, ret));
    feed(t);
    ret->root = steal(&t->next);
    return NULL;
}

static struct err *run_hooks(struct txn *t, const struct hook *hooks, size_t n_hooks)
{
    for (int round = 0; round < HOOK_ROUNDS; round++) {
        size_t before = t->edits.n, touches = t->touches;
        for (size_t i = 0; before && i < n_hooks; i++) {
            TRY(hooks[i].fn(t, hooks[i].arg));
            TRY(steal(&t->err));
        }
        if (t->touches == touches)
            return NULL;
        txn_relate(t);
        if (t->edits.n == before)
            return NULL;
    }
    return NULL;
}

static struct err *work(struct txn *t, txn_fn fn, void *arg, const struct hook *hooks,
                        size_t n_hooks, struct txn_result *ret)
{
    TRY(fn(t, arg));
    TRY(steal(&t->err));
    txn_relate(t);
    TRY(run_hooks(t, hooks, n_hooks));
    TRY(txn_check(t));
    return seal(t, ret);
}

static void txn_done(struct txn *t)
{
    if (t->next)
        root_free(t->next);
    vec_each (e, &t->edits) {
        row_unref(e->before);
        row_unref(e->gone);
        rstr_unref(e->uuid);
    }
    vec_done(&t->edits);
    pmap_unref(t->deleted);
    err_free(t->err);
}

struct err *txn_run(struct db *db, const struct snap *head, const char *name, txn_fn fn, void *arg,
                    const struct hook *hooks, size_t n_hooks, struct txn_result *ret)
{
    usec_t start = clock_now();
    _cleanup_(txn_done) struct txn t = {.db = db, .name = name, .base = head};
    t.next = root_copy(head);
    struct err *e = work(&t, fn, arg, hooks, n_hooks, ret);
    usec_t took = clock_now() - start;
    if (took > SLOW_US)
        log_warn("event=slow-transaction name=%s us=%" PRIu64, name, took);
    if (e)
        txn_result_done(ret);
    return e;
}

void txn_result_done(struct txn_result *r)
{
    if (r->root)
        root_free(r->root);
    vec_each (p, &r->puts) {
        row_unref(p->row);
        mark_unref(p->mark);
        free(p->data);
    }
    vec_done(&r->puts);
    vec_each (m, &r->drops)
        mark_unref(*m);
    vec_done(&r->drops);
    *r = (struct txn_result){0};
}
