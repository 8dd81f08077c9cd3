/* metrics.c: the table of databases, feeding, sources. See metrics.h; files are metrics_file.c. */
#include "metrics/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rstr.h"
#include "metrics/metrics_impl.h"
#include "metrics/metrics_file.h"

static const struct pmap_type plain = {0};

struct metrics *metrics_new(const char *dir)
{
    struct metrics *m = mem_new(struct metrics);
    m->dir = dir ? mem_strdup(dir) : NULL;
    m->pool = source_pool_new();
    mutex_init(&m->lock, LOCK_LEAF);
    return m;
}

static void entry_free(struct entry *e)
{
    rstr_unref(e->uuid);
    rrd_free(e->rrd);
    free(e->live);
    free(e->raw);
    free(e->slot);
    mutex_done(&e->lock);
    free(e);
}

void entry_unref(struct entry *e)
{
    if (e && atomic_fetch_sub(&e->refs, 1) == 1)
        entry_free(e);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    vec_each (e, &m->all)
        entry_unref(*e);
    vec_done(&m->all);
    for (int i = 0; i < OWNER_N; i++)
        pmap_unref(m->by_uuid[i]);
    source_pool_free(m->pool);
    mutex_done(&m->lock);
    free(m->scratch.v);
    free(m->dir);
    free(m);
}

void metrics_set_min_max(struct metrics *m, bool on)
{
    mutex_guard(&m->lock);
    m->min_max = on;
}

const struct source *metrics_source(struct metrics *m, enum source_kind_id kind, const char *device)
{
    return source_get(m->pool, kind, device);
}

struct entry *entry_find(struct metrics *m, enum metrics_owner owner, const char *uuid)
{
    mutex_guard(&m->lock);
    struct entry *e = pmap_get(m->by_uuid[owner], pmap_hash(uuid), uuid);
    if (e)
        atomic_fetch_add(&e->refs, 1);
    return e;
}

struct entry *entry_add(struct metrics *m, enum metrics_owner owner, const char *uuid,
                        struct rrd *rrd)
{
    struct entry *e = mem_new(struct entry);
    atomic_init(&e->refs, 2);
    e->owner = owner;
    e->uuid = rstr_new(uuid);
    e->rrd = rrd;
    e->saved = rrd->updated;
    mutex_init(&e->lock, LOCK_LEAF);
    mutex_guard(&m->lock);
    pmap_set(&m->by_uuid[owner], &plain, pmap_hash(uuid), e->uuid, e);
    vec_push(&m->all, e);
    return e;
}

void entry_remove(struct metrics *m, struct entry *e)
{
    mutex_guard(&m->lock);
    if (!pmap_del(&m->by_uuid[e->owner], pmap_hash(e->uuid), e->uuid))
        return;
    for (size_t i = 0; i < m->all.n; i++) {
        if (m->all.v[i] != e)
            continue;
        vec_remove(&m->all, i);
        break;
    }
    entry_unref(e); /* the table's; the caller has one of its own */
}

struct entries entries_get(struct metrics *m)
{
    mutex_guard(&m->lock);
    struct entries list = {mem_new_n(struct entry *, m->all.n + 1), 0};
    for (int owner = 0; owner < OWNER_N; owner++)
        for (size_t i = 0; i < m->all.n; i++) {
            if ((int)m->all.v[i]->owner != owner)
                continue;
            atomic_fetch_add(&m->all.v[i]->refs, 1);
            list.v[list.n++] = m->all.v[i];
        }
    return list;
}

void entries_done(struct entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        entry_unref(e->v[i]);
    free(e->v);
}

/* ---- feeding ---- */

static bool was_live(const struct entry *e, const struct source *s)
{
    for (size_t i = 0; i < e->n_live; i++)
        if (e->live[i] == s)
            return true;
    return false;
}

static void find_slots(struct entry *e)
{
    for (size_t i = 0; i < e->n_live; i++)
        e->slot[i] = (int16_t)rrd_find(e->rrd, e->live[i]);
}

static bool is_same(const struct entry *e, const struct source *const *sources, size_t n)
{
    return e->n_live == n && (!n || memcmp(e->live, sources, n * sizeof(*sources)) == 0);
}

static bool is_wanted(const struct entry *e, const struct source *s)
{
    return s->kind && s->kind->standard && !was_live(e, s) && rrd_find(e->rrd, s) < 0;
}

/* What has just appeared and is standard is recorded from now on; what was there already is as
 * somebody may have wanted it. */
static void take_sources(struct entry *e, const struct source *const *sources, size_t n)
{
    size_t wanted = 0;
    for (size_t i = 0; i < n; i++)
        wanted += is_wanted(e, sources[i]);
    rrd_reserve(e->rrd, wanted);
    for (size_t i = 0; i < n; i++)
        if (is_wanted(e, sources[i]) && e->rrd->n_ds < RRD_DS_MAX)
            (void)rrd_add(e->rrd, sources[i]);
    e->live = mem_realloc(e->live, n + 1, sizeof(*e->live));
    e->raw = mem_realloc(e->raw, n + 1, sizeof(*e->raw));
    e->slot = mem_realloc(e->slot, n + 1, sizeof(*e->slot));
    memcpy(e->live, sources, n * sizeof(*sources));
    e->n_live = n;
    find_slots(e);
}

static void entry_feed(struct entry *e, double now, const double *values, struct scratch *room)
{
    size_t n = e->rrd->n_ds;
    if (n > room->cap) {
        room->v = mem_realloc(room->v, n, sizeof(*room->v));
        room->cap = n;
    }
    for (size_t i = 0; i < n; i++)
        room->v[i] = (double)NAN;
    for (size_t i = 0; i < e->n_live; i++) {
        e->raw[i] = values[i];
        if (e->slot[i] >= 0)
            room->v[e->slot[i]] = values[i];
    }
    rrd_update(e->rrd, now, room->v);
}

/* The database is looked for in the folder first. */
static struct entry *entry_open(struct metrics *m, enum metrics_owner owner, const char *uuid,
                                double now)
{
    struct entry *e = entry_find(m, owner, uuid);
    if (e)
        return e;
    struct rrd *rrd = NULL;
    if (file_load(m, owner, uuid, &rrd) < 0)
        rrd = rrd_new(m->min_max, now);
    return entry_add(m, owner, uuid, rrd);
}

void metrics_feed(struct metrics *m, enum metrics_owner owner, const char *uuid, double now,
                  const struct source *const *sources, const double *values, size_t n)
{
    _cleanup_(entry_unrefp) struct entry *e = entry_open(m, owner, uuid, now);
    mutex_guard(&e->lock);
    if (!is_same(e, sources, n))
        take_sources(e, sources, n);
    entry_feed(e, now, values, &m->scratch);
}

/* ---- sources ---- */

static int by_name(const void *a, const void *b)
{
    const struct source_state *x = a, *y = b;
    return strcmp(x->source->name, y->source->name);
}

int metrics_sources(struct metrics *m, enum metrics_owner owner, const char *uuid,
                    struct source_state **ret, size_t *ret_n)
{
    _cleanup_(entry_unrefp) struct entry *e = entry_find(m, owner, uuid);
    if (!e)
        return -ENOENT;
    mutex_guard(&e->lock);
    struct source_state *list = mem_new_n(struct source_state, e->n_live + e->rrd->n_ds + 1);
    size_t n = 0;
    for (size_t i = 0; i < e->n_live; i++) {
        double value = e->slot[i] >= 0 ? rrd_latest(e->rrd, (size_t)e->slot[i]) : (double)NAN;
        list[n++] = (struct source_state){e->live[i], true, e->slot[i] >= 0, value};
    }
    for (size_t i = 0; i < e->rrd->n_ds; i++)
        if (!was_live(e, e->rrd->ds[i].source))
            list[n++] = (struct source_state){e->rrd->ds[i].source, false, false, (double)NAN};
    qsort(list, n, sizeof(*list), by_name);
    *ret = list;
    *ret_n = n;
    return 0;
}

int metrics_record(struct metrics *m, enum metrics_owner owner, const char *uuid, const char *name)
{
    _cleanup_(entry_unrefp) struct entry *e = entry_find(m, owner, uuid);
    if (!e)
        return -ENOENT;
    mutex_guard(&e->lock);
    for (size_t i = 0; i < e->n_live; i++) {
        if (strcmp(e->live[i]->name, name) != 0)
            continue;
        if (e->slot[i] < 0 && e->rrd->n_ds < RRD_DS_MAX)
            e->slot[i] = (int16_t)rrd_add(e->rrd, e->live[i]);
        return 0;
    }
    return -ENOENT;
}

int metrics_forget(struct metrics *m, enum metrics_owner owner, const char *uuid, const char *name)
{
    _cleanup_(entry_unrefp) struct entry *e = entry_find(m, owner, uuid);
    if (!e)
        return -ENOENT;
    mutex_guard(&e->lock);
    ptrdiff_t at = rrd_find_name(e->rrd, name);
    if (at < 0)
        return -ENOENT;
    rrd_remove(e->rrd, (size_t)at);
    find_slots(e);
    return 0;
}

static bool is_live_name(const struct entry *e, const char *name)
{
    for (size_t i = 0; i < e->n_live; i++)
        if (strcmp(e->live[i]->name, name) == 0)
            return true;
    return false;
}

int metrics_query(struct metrics *m, enum metrics_owner owner, const char *uuid, const char *name,
                  double *ret)
{
    _cleanup_(entry_unrefp) struct entry *e = entry_find(m, owner, uuid);
    if (!e)
        return -ENOENT;
    mutex_guard(&e->lock);
    ptrdiff_t at = rrd_find_name(e->rrd, name);
    if (at < 0)
        return is_live_name(e, name) ? -ENODATA : -ENOENT;
    *ret = rrd_latest(e->rrd, (size_t)at);
    return 0;
}

void metrics_visit(struct metrics *m, enum metrics_owner owner, const char *uuid,
                   void (*fn)(void *arg, const struct rrd *r), void *arg)
{
    _cleanup_(entry_unrefp) struct entry *e = entry_find(m, owner, uuid);
    if (!e)
        return;
    mutex_guard(&e->lock);
    fn(arg, e->rrd);
}

void metrics_dump(struct metrics *m, struct buf *out)
{
    struct entries list = entries_get(m);
    size_t sources = 0, rows = 0;
    for (size_t i = 0; i < list.n; i++) {
        mutex_guard(&list.v[i]->lock);
        const struct rrd *r = list.v[i]->rrd;
        sources += r->n_ds;
        for (size_t d = 0; d < r->n_ds; d++)
            for (unsigned a = 0; a < r->n_archives; a++)
                rows += rrd_ring(r, d, a)->cap;
    }
    buf_printf(out, "databases %zu\nsources %zu\nrow-bytes %zu\n", list.n, sources,
               rows * sizeof(float));
    entries_done(&list);
}
