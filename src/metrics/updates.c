/*
 * updates.c: the latest rows of many databases as one table, rrdtool's `xport` format. Called for
 * GET /rrd_updates on a stream thread; owns nothing.
 *
 * The columns are settled first; a source that disappears while rows are being written is unknown
 * from there on. All databases have the same step and are asked for rows by time, so that it does
 * not matter which of them got its last sample a moment earlier.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rstr.h"
#include "codec/json.h"
#include "codec/xml.h"
#include "metrics/metrics_impl.h"

struct column {
    struct entry *entry;
    unsigned archive;
    size_t ds; /* where it was; looked for again if it is not there any more */
    const struct source *source;
    enum rrd_cf cf;
};

struct table {
    struct entries entries; /* those that take part */
    VEC(struct column) columns;
    int64_t start, end, first, step; /* seconds; first: of the meta data */
    unsigned rows, max_rows;
    bool json;
};

static void table_done(struct table *t)
{
    entries_done(&t->entries);
    vec_done(&t->columns);
}

static bool is_in(const char *uuid, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(uuid, list[i]))
            return true;
    return false;
}

static bool is_wanted(const struct metrics_query *q, const struct entry *e)
{
    switch (e->owner) {
    case OWNER_HOST:
        return q->host;
    case OWNER_VM:
        return q->all_vms || is_in(e->uuid, q->vms, q->n_vms);
    default:
        return q->all_srs || is_in(e->uuid, q->srs, q->n_srs);
    }
}

static void choose_entries(struct table *t, struct metrics *m, const struct metrics_query *q)
{
    t->entries = entries_get(m);
    size_t n = 0;
    for (size_t i = 0; i < t->entries.n; i++) {
        if (is_wanted(q, t->entries.v[i]))
            t->entries.v[n++] = t->entries.v[i];
        else
            entry_unref(t->entries.v[i]);
    }
    t->entries.n = n;
}

/* The first archive that is coarse enough and reaches back to the start, else the longest one; -1
 * if there is none of that function. */
static int best_archive(const struct rrd *r, const struct metrics_query *q, int64_t start)
{
    int best = -1;
    int64_t last = (int64_t)floor(r->updated / RRD_STEP) * RRD_STEP;
    for (unsigned a = 0; a < r->n_archives; a++) {
        const struct archive *x = &r->archives[a];
        if (q->has_cf && x->cf != q->cf)
            continue;
        int64_t length = (int64_t)x->steps * x->rows * RRD_STEP;
        if ((int64_t)x->steps >= q->interval / RRD_STEP && start > last - length)
            return (int)a;
        if (best < 0 ||
            length >= (int64_t)r->archives[best].steps * r->archives[best].rows * RRD_STEP)
            best = (int)a;
    }
    return best;
}

/* What rows there are: said by the first database. */
static bool choose_rows(struct table *t, const struct metrics_query *q)
{
    t->start = q->start;
    for (size_t i = 0; i < t->entries.n; i++) {
        struct entry *e = t->entries.v[i];
        mutex_guard(&e->lock);
        if (q->start < 0)
            t->start = q->start + (int64_t)e->rrd->updated;
        int a = best_archive(e->rrd, q, t->start);
        if (a < 0)
            continue;
        t->step = (int64_t)e->rrd->archives[a].steps * RRD_STEP;
        t->max_rows = e->rrd->archives[a].rows;
        t->end = rrd_newest(e->rrd, (unsigned)a);
        return true;
    }
    return false;
}

static void add_columns(struct table *t, struct entry *e, const struct metrics_query *q)
{
    mutex_guard(&e->lock);
    for (unsigned a = 0; a < e->rrd->n_archives; a++) {
        const struct archive *x = &e->rrd->archives[a];
        if ((q->has_cf && x->cf != q->cf) || (int64_t)x->steps * RRD_STEP != t->step ||
            x->rows != t->max_rows)
            continue;
        for (size_t d = 0; d < e->rrd->n_ds; d++)
            vec_push(&t->columns, ((struct column){e, a, d, e->rrd->ds[d].source, x->cf}));
    }
}

static int64_t round_down(int64_t t, int64_t step)
{
    return t - ((t % step) + step) % step;
}

static void settle(struct table *t, struct metrics *m, const struct metrics_query *q)
{
    choose_entries(t, m, q);
    t->json = q->json;
    if (!choose_rows(t, q)) {
        t->step = q->interval > 0 ? q->interval : RRD_STEP;
        t->first = t->end = t->start;
        return;
    }
    for (size_t i = 0; i < t->entries.n; i++)
        add_columns(t, t->entries.v[i], q);
    t->first = round_down(t->start, t->step) + t->step;
    if (t->end >= t->start) {
        int64_t rows = (t->end - t->start) / t->step + 1;
        t->rows = rows < t->max_rows ? (unsigned)rows : t->max_rows;
    }
}

/* ---- writing ---- */

static void put_legend(struct buf *b, const struct column *c, bool json)
{
    _cleanup_(freep) char *text =
        mem_printf("%s:%s:%s:%s", cf_name(c->cf), owner_name(c->entry->owner), c->entry->uuid,
                   c->source->name);
    if (json) {
        json_put_str(b, view_of(text));
        return;
    }
    buf_puts(b, "<entry>");
    xml_put_text(b, view_of(text));
    buf_puts(b, "</entry>");
}

/* In JSON every number is a string. */
static void put_head(struct buf *b, const struct table *t)
{
    const char *form =
        t->json ? "{\"meta\":{\"start\":\"%lld\",\"step\":\"%lld\",\"end\":\"%lld\","
                  "\"rows\":\"%u\",\"columns\":\"%zu\",\"legend\":["
                : "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xport><meta><start>%lld</start>"
                  "<step>%lld</step><end>%lld</end><rows>%u</rows><columns>%zu</columns><legend>";
    buf_printf(b, form, (long long)t->first, (long long)t->step, (long long)t->end, t->rows,
               t->columns.n);
}

static size_t where(const struct column *c)
{
    const struct rrd *r = c->entry->rrd;
    if (c->ds < r->n_ds && r->ds[c->ds].source == c->source)
        return c->ds;
    ptrdiff_t at = rrd_find(r, c->source);
    return at < 0 ? SIZE_MAX : (size_t)at;
}

/* The columns of one database, which stand side by side; returns behind the last of them. */
static size_t put_values(struct buf *b, const struct table *t, size_t from, int64_t time)
{
    struct entry *e = t->columns.v[from].entry;
    mutex_guard(&e->lock);
    size_t i = from;
    for (; i < t->columns.n && t->columns.v[i].entry == e; i++) {
        const struct column *c = &t->columns.v[i];
        size_t at = where(c);
        buf_puts(b, !t->json ? "<v>" : i ? ",\"" : "\"");
        rrd_put_number(b, at == SIZE_MAX ? (double)NAN : rrd_at(e->rrd, c->archive, at, time));
        buf_puts(b, t->json ? "\"" : "</v>");
    }
    return i;
}

static int put_row(struct buf *b, const struct table *t, unsigned back,
                   const struct metrics_sink *sink)
{
    int64_t time = t->end - (int64_t)back * t->step;
    buf_printf(b, t->json ? "%s{\"t\":\"%lld\",\"values\":[" : "%s<row><t>%lld</t>",
               t->json && back ? "," : "", (long long)time);
    for (size_t i = 0; i < t->columns.n;) {
        i = put_values(b, t, i, time);
        int r = sink_flush(sink, b, false);
        if (r < 0)
            return r;
    }
    buf_puts(b, t->json ? "]}" : "</row>");
    return 0;
}

int metrics_updates(struct metrics *m, const struct metrics_query *q,
                    const struct metrics_sink *sink)
{
    _cleanup_(table_done) struct table t = {0};
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, SINK_MAX);
    settle(&t, m, q);
    put_head(&b, &t);
    for (size_t i = 0; i < t.columns.n; i++) {
        put_legend(&b, &t.columns.v[i], t.json);
        int r = sink_flush(sink, &b, false);
        if (r < 0)
            return r;
    }
    buf_puts(&b, t.json ? "]},\"data\":[" : "</legend></meta><data>");
    for (unsigned i = 0; i < t.rows; i++) {
        int r = put_row(&b, &t, i, sink);
        if (r < 0)
            return r;
    }
    buf_puts(&b, t.json ? "]}" : "</data></xport>");
    return sink_flush(sink, &b, true);
}
