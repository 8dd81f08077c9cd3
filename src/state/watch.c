/*
 * watch.c: see watch.h. Changes are read from the root's list and its marks, newest first. Waiting
 * for them is park.c.
 */
#include "state/watch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "state/db_impl.h"

/* --- sets --- */

void watch_set_init(struct watch_set *set)
{
    *set = (struct watch_set){0};
}

void watch_set_done(struct watch_set *set)
{
    vec_each (o, &set->objects)
        rstr_unref(o->ref);
    vec_done(&set->objects);
}

void watch_set_add_all(struct watch_set *set)
{
    memset(set->classes, 0xff, sizeof(set->classes));
}

void watch_set_add_class(struct watch_set *set, int cls)
{
    assert(cls >= 0 && cls < WATCH_MAX_CLASSES);
    set->classes[cls / 64] |= 1ull << (cls % 64);
}

void watch_set_add_object(struct watch_set *set, int cls, const char *ref)
{
    vec_push(&set->objects, ((struct watch_object){cls, rstr_new(ref)}));
}

bool watch_set_has(const struct watch_set *set, int cls, const char *ref)
{
    if (set->classes[cls / 64] & 1ull << (cls % 64))
        return true;
    for (size_t i = 0; i < set->objects.n; i++)
        if (set->objects.v[i].cls == cls && strcmp(set->objects.v[i].ref, ref) == 0)
            return true;
    return false;
}

void watch_set_copy(struct watch_set *to, const struct watch_set *from)
{
    watch_set_init(to);
    memcpy(to->classes, from->classes, sizeof(to->classes));
    for (size_t i = 0; i < from->objects.n; i++)
        watch_set_add_object(to, from->objects.v[i].cls, from->objects.v[i].ref);
}

/* --- the list of changes, newest first --- */

struct walk {
    const struct snap *s;
    uint64_t at; /* changes up to here are still to come */
};

struct step_found {
    const struct row *row; /* or */
    const struct mark *mark;
};

static bool walk_next(struct walk *w, struct step_found *ret)
{
    uint64_t row_at = 0, mark_at = 0, at = 0;
    void *packed = pmap_floor(w->s->log, w->at, &row_at);
    *ret = (struct step_found){0};
    for (int stored = 0; stored < 2; stored++) {
        const struct mark *mark = pmap_floor(w->s->marks[stored], w->at, &at);
        if (!mark || at < mark_at)
            continue;
        ret->mark = mark;
        mark_at = at;
    }
    if (!packed && !ret->mark)
        return false;
    if (row_at > mark_at) {
        ret->mark = NULL;
        ret->row = root_row(w->s, packed_cls(packed), packed_seq(packed));
    }
    w->at = (row_at > mark_at ? row_at : mark_at) - 1;
    return true;
}

static uint64_t found_stamp(const struct step_found *f)
{
    return f->row ? f->row->stamp : f->mark->stamp;
}

void changes_done(struct changes *c)
{
    vec_done(c);
}

static void push_row(struct changes *c, const struct row *r, bool added)
{
    struct change x = {.cls = r->cls->num,
                       .ref = r->ref,
                       .row = r,
                       .created = r->created,
                       .modified = r->modified,
                       .added = added};
    vec_push(c, x);
}

static void push_mark(struct changes *c, const struct mark *m)
{
    struct change x = {.cls = m->cls, .ref = m->ref, .created = m->created, .modified = m->deleted};
    vec_push(c, x);
}

/* Is the found change one that somebody who knows all up to `since` must hear of? */
static bool concerns(const struct step_found *f, uint64_t since, const struct watch_set *set)
{
    if (f->row)
        return watch_set_has(set, f->row->cls->num, f->row->ref);
    return f->mark->born <= since && watch_set_has(set, f->mark->cls, f->mark->ref);
}

static void changes_since_stamp(const struct snap *s, uint64_t since, const struct watch_set *set,
                                struct changes *ret)
{
    struct walk w = {s, UINT64_MAX};
    struct step_found f;
    while (walk_next(&w, &f) && found_stamp(&f) > since) {
        if (!concerns(&f, since, set))
            continue;
        if (f.row)
            push_row(ret, f.row, f.row->born > since);
        else
            push_mark(ret, f.mark);
    }
}

/* Rows of such a class are told again to whoever comes from another process. */
static bool is_volatile(const struct class_desc *c)
{
    if (!(c->flags & CLASS_PERSIST))
        return true;
    desc_each_field (f, c)
        if ((f->flags & FIELD_VOLATILE) && !(f->flags & FIELD_INTERNAL))
            return true;
    return false;
}

/* For tokens of another process, of which only the generation says something; and for all (0). */
static void changes_since_generation(const struct snap *s, uint64_t since,
                                     const struct watch_set *set, struct changes *ret)
{
    bool again[WATCH_MAX_CLASSES];
    for (unsigned i = 0; i < s->n_tables; i++)
        again[i] = is_volatile(s->tables[i]->cls);
    struct walk w = {s, UINT64_MAX};
    struct step_found f;
    while (walk_next(&w, &f)) {
        if (f.mark) {
            const struct mark *m = f.mark;
            if (m->stored && m->deleted > since && m->created <= since &&
                watch_set_has(set, m->cls, m->ref))
                push_mark(ret, m);
            continue;
        }
        const struct row *r = f.row;
        bool kept = r->cls->flags & CLASS_PERSIST;
        if ((r->modified > since || again[r->cls->num]) && watch_set_has(set, r->cls->num, r->ref))
            push_row(ret, r, !kept || r->created > since);
    }
}

static void reverse(struct changes *c)
{
    for (size_t i = 0, j = c->n; i + 1 < j; i++) {
        struct change x = c->v[i];
        c->v[i] = c->v[--j];
        c->v[j] = x;
    }
}

bool watch_is_ours(const struct snap *s, struct token t)
{
    return t.vol >= s->vol_start && t.vol - s->vol_start < VOL_SPAN;
}

int watch_changes(const struct snap *s, struct token since, const struct watch_set *set,
                  struct changes *ret)
{
    bool all = !since.gen && !since.vol;
    uint64_t stamp = since.gen + since.vol;
    if (watch_is_ours(s, since)) {
        if (stamp < s->floor)
            return -ESTALE;
        changes_since_stamp(s, stamp, set, ret);
    } else {
        if (!all && (since.gen > s->token.gen || since.gen < s->floor_gen))
            return -ESTALE;
        changes_since_generation(s, since.gen, set, ret);
    }
    for (size_t i = 0; all && i < ret->n; i++)
        ret->v[i].added = true;
    reverse(ret);
    return 0;
}

bool watch_has_change(const struct snap *s, uint64_t since, const struct watch_set *set)
{
    struct walk w = {s, UINT64_MAX};
    struct step_found f;
    while (walk_next(&w, &f) && found_stamp(&f) > since)
        if (concerns(&f, since, set))
            return true;
    return false;
}

bool watch_changed(const struct snap *s, struct token since, const struct watch_set *set)
{
    uint64_t stamp = since.gen + since.vol;
    return !watch_is_ours(s, since) || stamp < s->floor || watch_has_change(s, stamp, set);
}

void watch_init(struct watchers *w)
{
    mutex_init(&w->lock, LOCK_WATCH);
    pthread_cond_init(&w->idle, NULL);
}

/* --- followers --- */

uint64_t watch_follow(struct db *db, const struct watch_set *set, watch_follow_fn fn, void *arg)
{
    struct follower *f = mem_new(struct follower);
    watch_set_copy(&f->set, set);
    f->fn = fn;
    f->arg = arg;
    _cleanup_(snap_unrefp) struct snap *s = NULL;
    mutex_guard(&db->watchers.lock);
    s = snap_get(db);
    f->since = s->token;
    f->seen = root_stamp(s);
    f->id = ++db->watchers.last_id;
    vec_push(&db->watchers.followers, f);
    return f->id;
}

static void follower_free(struct follower *f)
{
    watch_set_done(&f->set);
    free(f);
}

void watch_unfollow(struct db *db, uint64_t id)
{
    struct watchers *w = &db->watchers;
    mutex_guard(&w->lock);
    for (size_t i = 0; i < w->followers.n; i++) {
        struct follower *f = w->followers.v[i];
        if (f->id != id)
            continue;
        while (f->running)
            cond_wait(&w->idle, &w->lock);
        for (i = 0; w->followers.v[i] != f; i++)
            ;
        vec_remove(&w->followers, i);
        follower_free(f);
        return;
    }
}

/* Calls one follower if something of its set changed. The lock is held, but not over the call. */
static void call_follower(struct watchers *w, struct follower *f, struct snap *now)
{
    uint64_t seen = f->seen;
    if (f->running || seen >= root_stamp(now))
        return;
    f->seen = root_stamp(now);
    if (!watch_has_change(now, seen, &f->set))
        return;
    struct token from = f->since;
    f->since = now->token;
    f->running = true;
    mutex_unlock(&w->lock);
    f->fn(f->arg, now, from);
    mutex_lock(&w->lock);
    f->running = false;
    pthread_cond_broadcast(&w->idle);
}

void watch_published(struct db *db, struct snap *now)
{
    struct watchers *w = &db->watchers;
    mutex_lock(&w->lock);
    for (size_t i = 0; i < w->followers.n; i++)
        call_follower(w, w->followers.v[i], now);
    mutex_unlock(&w->lock);
    park_published(db, now);
}

void watch_dump_set(const struct snap *s, const struct watch_set *set, struct buf *out)
{
    size_t n = 0;
    for (unsigned i = 0; i < s->n_tables; i++)
        n += set->classes[i / 64] >> (i % 64) & 1;
    buf_printf(out, " classes=%zu objects=%zu", n, set->objects.n);
}

void watch_dump(struct db *db, struct buf *out)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    mutex_guard(&db->watchers.lock);
    park_dump(&db->watchers, s, out);
    vec_each (f, &db->watchers.followers) {
        buf_printf(out, "follower id=%" PRIu64, (*f)->id);
        watch_dump_set(s, &(*f)->set, out);
        buf_putc(out, '\n');
    }
}

void watch_done(struct watchers *w)
{
    park_done(w);
    vec_each (f, &w->followers)
        follower_free(*f);
    vec_done(&w->followers);
    pthread_cond_destroy(&w->idle);
    mutex_done(&w->lock);
}
