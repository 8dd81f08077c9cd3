/* rrd.c: samples to steps to rows; see rrd.h. */
#include "metrics/rrd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    uint16_t steps, rows;
} usual[] = {{1, 120}, {12, 120}, {720, 168}, {17280, 366}};

const char *cf_name(enum rrd_cf cf)
{
    static const char *const names[] = {"AVERAGE", "MIN", "MAX", "LAST"};
    return names[cf];
}

bool cf_parse(struct view text, enum rrd_cf *ret)
{
    for (int i = 0; i < CF_N; i++) {
        if (!view_eq(text, cf_name((enum rrd_cf)i)))
            continue;
        *ret = (enum rrd_cf)i;
        return true;
    }
    return false;
}

struct rrd *rrd_empty(unsigned archives)
{
    struct rrd *r = mem_new(struct rrd);
    r->ring_cap = archives;
    r->archives = mem_new_n(struct archive, archives + 1);
    return r;
}

static void add_archives(struct rrd *r, enum rrd_cf cf)
{
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        r->archives[r->n_archives++] =
            (struct archive){.cf = cf, .steps = usual[i].steps, .rows = usual[i].rows, .xff = 1};
}

struct rrd *rrd_new(bool min_max, double now)
{
    struct rrd *r = rrd_empty((unsigned)ARRAY_LEN(usual) * (min_max ? 3 : 1));
    r->updated = now;
    add_archives(r, CF_AVERAGE);
    if (min_max) {
        add_archives(r, CF_MIN);
        add_archives(r, CF_MAX);
    }
    return r;
}

/* A ring that holds one value only is that value, and has nothing to free. */
static void ring_done(struct ring *g)
{
    if (g->cap)
        free(g->v);
}

static void ds_done(struct rrd *r, size_t i)
{
    for (unsigned a = 0; a < r->ring_cap; a++)
        ring_done(rrd_ring(r, i, a));
}

void rrd_free(struct rrd *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_ds; i++)
        ds_done(r, i);
    free(r->ds);
    free(r->rings);
    free(r->archives);
    free(r);
}

ptrdiff_t rrd_find(const struct rrd *r, const struct source *s)
{
    for (size_t i = 0; i < r->n_ds; i++)
        if (r->ds[i].source == s)
            return (ptrdiff_t)i;
    return -1;
}

ptrdiff_t rrd_find_name(const struct rrd *r, const char *name)
{
    for (size_t i = 0; i < r->n_ds; i++)
        if (strcmp(r->ds[i].source->name, name) == 0)
            return (ptrdiff_t)i;
    return -1;
}

double cdp_start(enum rrd_cf cf)
{
    switch (cf) {
    case CF_MIN:
        return INFINITY;
    case CF_MAX:
        return -INFINITY;
    case CF_LAST:
        return NAN;
    default:
        return 0;
    }
}

/* The number of the step that a time lies in; a step ends where the next one begins. */
static int64_t step_of(double t)
{
    return (int64_t)floor(t / RRD_STEP);
}

void rrd_reserve(struct rrd *r, size_t n)
{
    if (r->n_ds + n <= r->ds_cap)
        return;
    r->ds_cap = r->n_ds + n;
    r->ds = mem_realloc(r->ds, r->ds_cap, sizeof(*r->ds));
    r->rings = mem_realloc(r->rings, r->ds_cap * r->ring_cap + 1, sizeof(*r->rings));
}

size_t rrd_add(struct rrd *r, const struct source *s)
{
    size_t n = r->n_ds, cap = r->ring_cap;
    if (n == r->ds_cap)
        rrd_reserve(r, 4);
    memset(&r->rings[n * cap], 0, cap * sizeof(*r->rings));
    for (unsigned a = 0; a < r->n_archives; a++) {
        struct ring *g = rrd_ring(r, n, a);
        g->cdp = cdp_start(r->archives[a].cf);
        g->unknown = (uint16_t)(step_of(r->updated) % r->archives[a].steps);
    }
    float unknown_s = (float)(r->updated - (double)step_of(r->updated) * RRD_STEP);
    r->ds[n] = (struct ds){.source = s, .last = NAN, .unknown_s = unknown_s};
    return r->n_ds++;
}

void rrd_remove(struct rrd *r, size_t i)
{
    size_t behind = r->n_ds - i - 1, cap = r->ring_cap;
    ds_done(r, i);
    memmove(&r->ds[i], &r->ds[i + 1], behind * sizeof(*r->ds));
    memmove(&r->rings[i * cap], &r->rings[(i + 1) * cap], behind * cap * sizeof(*r->rings));
    r->n_ds--;
}

/* ---- rings ---- */

static bool same_bits(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* Makes place for one row beyond those that are equal, or for more than there is room for. */
static void ring_unfold(struct ring *g, unsigned max_rows)
{
    unsigned cap = g->cap ? g->cap * 2u : 8u;
    while (cap <= g->n)
        cap *= 2;
    cap = cap < max_rows ? cap : max_rows;
    float *v = mem_new_n(float, cap);
    for (unsigned i = 0; i < g->n; i++)
        v[i] = (float)ring_peek(g, g->n - 1u - i);
    ring_done(g);
    g->v = v;
    g->cap = (uint16_t)cap;
    g->head = g->n ? (uint16_t)(g->n - 1u) : (uint16_t)(cap - 1);
}

static void push_one(struct ring *g, unsigned max_rows, float v)
{
    if (!g->n && !g->cap)
        g->same = v;
    if (!g->cap && same_bits(g->same, v)) {
        g->n = (uint16_t)(g->n < max_rows ? g->n + 1u : max_rows);
        return;
    }
    if (!g->cap || (g->n == g->cap && g->cap < max_rows))
        ring_unfold(g, max_rows);
    g->head = (uint16_t)((g->head + 1u) % g->cap);
    g->v[g->head] = v;
    g->n = (uint16_t)(g->n < g->cap && g->n < max_rows ? g->n + 1u : g->n);
}

void ring_push(struct ring *g, unsigned max_rows, float v, unsigned times)
{
    if (times >= max_rows) {
        ring_done(g);
        g->n = g->cap = g->head = 0;
        times = max_rows;
    }
    for (unsigned i = 0; i < times; i++)
        push_one(g, max_rows, v);
}

double ring_peek(const struct ring *g, unsigned back)
{
    if (back >= g->n)
        return (double)NAN;
    if (!g->cap)
        return (double)g->same;
    return (double)g->v[(g->head + g->cap - back) % g->cap];
}

/* ---- from steps to rows ---- */

static void cdp_add(struct ring *g, enum rrd_cf cf, double pdp, unsigned steps)
{
    if (!steps)
        return;
    if (isnan(pdp)) {
        g->unknown = (uint16_t)(g->unknown + steps);
        return;
    }
    switch (cf) {
    case CF_MIN:
        g->cdp = fmin(g->cdp, pdp);
        break;
    case CF_MAX:
        g->cdp = fmax(g->cdp, pdp);
        break;
    case CF_LAST:
        g->cdp = pdp;
        break;
    default:
        g->cdp += pdp * steps;
    }
}

static double cdp_result(const struct ring *g, const struct archive *a)
{
    if (g->unknown >= a->steps || g->unknown > a->xff * a->steps)
        return (double)NAN;
    return a->cf == CF_AVERAGE ? g->cdp / (a->steps - g->unknown) : g->cdp;
}

/* `count` further steps of the same value, the first of which has the number `first`. */
static void ring_steps(struct ring *g, const struct archive *a, int64_t first, int64_t count,
                       double pdp)
{
    int64_t missing = a->steps - first % a->steps;
    if (count < missing) {
        cdp_add(g, a->cf, pdp, (unsigned)count);
        return;
    }
    cdp_add(g, a->cf, pdp, (unsigned)missing);
    ring_push(g, a->rows, (float)cdp_result(g, a), 1);
    int64_t whole = (count - missing) / a->steps;
    if (whole)
        ring_push(g, a->rows, (float)pdp, (unsigned)(whole < a->rows ? whole : a->rows));
    g->cdp = cdp_start(a->cf);
    g->unknown = 0;
    cdp_add(g, a->cf, pdp, (unsigned)((count - missing) % a->steps));
}

/* ---- from samples to steps ---- */

/* What the time since the last sample contributes: value times seconds. */
static double amount(struct ds *d, double value, double interval)
{
    double last = d->last;
    d->last = value;
    if (interval > RRD_HEARTBEAT)
        return (double)NAN;
    switch (d->source->type) {
    case SOURCE_DERIVE:
        return value - last;
    case SOURCE_ABSOLUTE:
        return value;
    default:
        return value * interval;
    }
}

/* Clocks of threads and of the sampler differ a little: a bit more than the whole is the whole. */
#define OVERSHOOT 1.1

static double in_range(const struct source *s, double v)
{
    if (v > s->max && v <= s->max * OVERSHOOT)
        return s->max;
    return v < s->min || v > s->max ? (double)NAN : v;
}

static void rings_steps(struct rrd *r, size_t ds, int64_t first, int64_t count, double pdp)
{
    if (count <= 0)
        return;
    pdp = in_range(r->ds[ds].source, pdp);
    for (unsigned a = 0; a < r->n_archives; a++)
        ring_steps(rrd_ring(r, ds, a), &r->archives[a], first, count, pdp);
}

/* `time` seconds of the current step, at so much a second. */
static void step_add(struct ds *d, double rate, double time)
{
    if (isnan(rate))
        d->unknown_s += (float)time;
    else
        d->acc += rate * time;
}

/* The sample speaks for the time since the last one: it ends the step that was begun, fills whole
 * ones, and begins another. */
static void ds_update(struct rrd *r, size_t i, double value, double now, double interval)
{
    struct ds *d = &r->ds[i];
    int64_t first = step_of(r->updated), occupied = step_of(now);
    double rate = amount(d, value, interval) / interval;
    if (occupied == first) {
        step_add(d, rate, interval);
        return;
    }
    step_add(d, rate, (double)(first + 1) * RRD_STEP - r->updated);
    double known = RRD_STEP - (double)d->unknown_s;
    rings_steps(r, i, first, 1, known > 1e-4 ? d->acc / known : (double)NAN);
    rings_steps(r, i, first + 1, occupied - first - 1, rate);
    d->acc = d->unknown_s = 0;
    step_add(d, rate, now - (double)occupied * RRD_STEP);
}

/* Nothing can be said of the time since the last sample. */
static void rrd_rebase(struct rrd *r, double now, const double *values)
{
    for (size_t i = 0; i < r->n_ds; i++)
        r->ds[i].last = values[i];
    r->updated = now;
}

void rrd_update(struct rrd *r, double now, const double *values)
{
    double interval = now - r->updated;
    if (interval <= 0) {
        rrd_rebase(r, now, values);
        return;
    }
    for (size_t i = 0; i < r->n_ds; i++)
        ds_update(r, i, values[i], now, interval);
    r->updated = now;
}

/* ---- reading ---- */

int64_t rrd_newest(const struct rrd *r, unsigned archive)
{
    int64_t steps = r->archives[archive].steps;
    return step_of(r->updated) / steps * steps * RRD_STEP;
}

double rrd_at(const struct rrd *r, unsigned archive, size_t ds, int64_t t)
{
    int64_t length = (int64_t)r->archives[archive].steps * RRD_STEP;
    int64_t back = (rrd_newest(r, archive) - t) / length;
    if (back < 0 || back >= r->archives[archive].rows)
        return (double)NAN;
    return ring_peek(rrd_ring(r, ds, archive), (unsigned)back);
}

double rrd_latest(const struct rrd *r, size_t ds)
{
    for (unsigned a = 0; a < r->n_archives; a++)
        if (r->archives[a].cf == CF_AVERAGE)
            return ring_peek(rrd_ring(r, ds, a), 0);
    return (double)NAN;
}
