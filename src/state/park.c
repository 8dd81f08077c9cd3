/*
 * park.c: waiting for a change without a thread (watch.h).
 *
 * Those who wait for the same classes form a group; a publication is compared with each group, not
 * with each waiter. Whoever is in a group knows what had been published when he came, so what a
 * group was compared with once is never looked at again. A heap by deadline says who is next to be
 * told that his time is up.
 */
#include <inttypes.h>
#include <string.h>

#include "state/db_impl.h"

/* Waiters in order of arrival. A set with single objects is shared by nobody. */
struct park_group {
    struct park_group *next, **at;
    struct watch_set set;
    uint64_t since; /* stamp: compared with what came up to here */
    struct parked *first, **last;
};

struct parked {
    uint64_t id;
    uint64_t since; /* stamp: what he knew when he came */
    struct park_group *group;
    struct parked *next, **at; /* in the group */
    usec_t deadline;
    size_t place; /* in the heap, plus one; 0: he waits for ever */
    watch_fn fn;
    void *arg;
};

typedef VEC(struct parked *) parked_vec;

/* --- by deadline --- */

static void heap_put(struct watchers *w, size_t i, struct parked *p)
{
    w->heap.v[i] = p;
    p->place = i + 1;
}

static void heap_up(struct watchers *w, size_t i, struct parked *p)
{
    for (; i && p->deadline < w->heap.v[(i - 1) / 2]->deadline; i = (i - 1) / 2)
        heap_put(w, i, w->heap.v[(i - 1) / 2]);
    heap_put(w, i, p);
}

static void heap_down(struct watchers *w, size_t i, struct parked *p)
{
    for (size_t child; (child = 2 * i + 1) < w->heap.n; i = child) {
        if (child + 1 < w->heap.n && w->heap.v[child + 1]->deadline < w->heap.v[child]->deadline)
            child++;
        if (p->deadline <= w->heap.v[child]->deadline)
            break;
        heap_put(w, i, w->heap.v[child]);
    }
    heap_put(w, i, p);
}

static void heap_add(struct watchers *w, struct parked *p)
{
    if (p->deadline == USEC_NEVER)
        return;
    vec_push(&w->heap, p);
    heap_up(w, w->heap.n - 1, p);
}

static void heap_remove(struct watchers *w, struct parked *p)
{
    if (!p->place)
        return;
    size_t i = p->place - 1;
    struct parked *last = w->heap.v[--w->heap.n];
    if (last == p)
        return;
    if (i && last->deadline < w->heap.v[(i - 1) / 2]->deadline)
        heap_up(w, i, last);
    else
        heap_down(w, i, last);
}

/* --- groups --- */

static struct park_group *group_for(struct watchers *w, const struct watch_set *set, uint64_t stamp)
{
    struct park_group *g = set->objects.n ? NULL : w->groups;
    while (g &&
           (g->set.objects.n || memcmp(g->set.classes, set->classes, sizeof(set->classes)) != 0))
        g = g->next;
    if (g)
        return g;
    g = mem_new(struct park_group);
    watch_set_copy(&g->set, set);
    g->since = stamp;
    g->last = &g->first;
    g->next = w->groups;
    g->at = &w->groups;
    if (g->next)
        g->next->at = &g->next;
    w->groups = g;
    return g;
}

static void group_drop(struct park_group *g)
{
    *g->at = g->next;
    if (g->next)
        g->next->at = g->at;
    watch_set_done(&g->set);
    free(g);
}

static void enter(struct watchers *w, struct parked *p, const struct watch_set *set)
{
    static const struct pmap_type plain = {NULL, NULL};
    struct park_group *g = group_for(w, set, p->since);
    p->group = g;
    p->at = g->last;
    *g->last = p;
    g->last = &p->next;
    heap_add(w, p);
    pmap_set(&w->by_id, &plain, p->id, NULL, p);
}

static void leave(struct watchers *w, struct parked *p)
{
    struct park_group *g = p->group;
    *p->at = p->next;
    if (p->next)
        p->next->at = p->at;
    else
        g->last = p->at;
    if (!g->first)
        group_drop(g);
    heap_remove(w, p);
    pmap_del(&w->by_id, p->id, NULL);
}

/* --- waking --- */

/* Holding nothing. */
static void call_all(parked_vec *list, enum watch_why why)
{
    vec_each (p, list) {
        (*p)->fn((*p)->arg, why);
        free(*p);
    }
    vec_done(list);
}

/* Those of a group who do not know the published stamp yet. */
static void take_ignorant(struct watchers *w, struct park_group *g, uint64_t stamp, parked_vec *ret)
{
    for (struct parked *p = g->first, *next; p; p = next) {
        next = p->next;
        if (p->since >= stamp)
            continue;
        leave(w, p); /* with the last of them goes the group */
        vec_push(ret, p);
    }
}

void park_published(struct db *db, const struct snap *now)
{
    struct watchers *w = &db->watchers;
    uint64_t stamp = root_stamp(now);
    parked_vec list = {0};
    mutex_lock(&w->lock);
    for (struct park_group *g = w->groups, *next; g; g = next) {
        next = g->next;
        uint64_t since = g->since;
        if (since >= stamp)
            continue;
        g->since = stamp;
        if (watch_has_change(now, since, &g->set))
            take_ignorant(w, g, stamp, &list);
    }
    mutex_unlock(&w->lock);
    call_all(&list, WATCH_CHANGED);
}

void watch_run_due(struct db *db)
{
    struct watchers *w = &db->watchers;
    usec_t now = clock_now();
    parked_vec list = {0};
    mutex_lock(&w->lock);
    while (w->heap.n && w->heap.v[0]->deadline <= now) {
        struct parked *p = w->heap.v[0];
        leave(w, p);
        vec_push(&list, p);
    }
    mutex_unlock(&w->lock);
    call_all(&list, WATCH_TIMEOUT);
}

usec_t watch_next_deadline(struct db *db)
{
    struct watchers *w = &db->watchers;
    mutex_guard(&w->lock);
    return w->heap.n ? w->heap.v[0]->deadline : USEC_NEVER;
}

void park_done(struct watchers *w)
{
    parked_vec list = {0};
    mutex_lock(&w->lock);
    for (struct parked *p; (p = pmap_ceil(w->by_id, 0, NULL));) {
        leave(w, p);
        vec_push(&list, p);
    }
    mutex_unlock(&w->lock);
    call_all(&list, WATCH_CLOSED);
    vec_done(&w->heap);
}

/* --- waiting --- */

uint64_t watch_park(struct db *db, struct token since, const struct watch_set *set, usec_t deadline,
                    watch_fn fn, void *arg)
{
    struct watchers *w = &db->watchers;
    mutex_lock(&w->lock);
    /* Publication sets the root before it looks at what is parked, so either it or we see it. */
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    if (!watch_is_ours(s, since) || watch_has_change(s, since.gen + since.vol, set)) {
        mutex_unlock(&w->lock);
        return 0;
    }
    struct parked *p = mem_new(struct parked);
    uint64_t id = ++w->last_id;
    *p = (struct parked){
        .id = id, .since = root_stamp(s), .deadline = deadline, .fn = fn, .arg = arg};
    enter(w, p, set);
    bool first = p->place == 1;
    mutex_unlock(&w->lock);
    if (first && !db->config.single)
        db_wake_core(db);
    return id;
}

bool watch_cancel(struct db *db, uint64_t id)
{
    struct watchers *w = &db->watchers;
    mutex_guard(&w->lock);
    struct parked *p = id ? pmap_get(w->by_id, id, NULL) : NULL;
    if (!p)
        return false;
    leave(w, p);
    free(p);
    return true;
}

void park_dump(struct watchers *w, const struct snap *s, struct buf *out)
{
    usec_t now = clock_now();
    uint64_t id = 0;
    for (const struct parked *p; (p = pmap_ceil(w->by_id, id, NULL)); id = p->id + 1) {
        buf_printf(out, "parked id=%" PRIu64, p->id);
        watch_dump_set(s, &p->group->set, out);
        if (p->deadline != USEC_NEVER)
            buf_printf(out, " left_ms=%" PRIu64,
                       p->deadline > now ? (p->deadline - now) / USEC_PER_MSEC : 0);
        buf_putc(out, '\n');
    }
}
