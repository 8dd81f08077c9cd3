/*
 * openmetrics.c: what is live now as an OpenMetrics exposition. Called for GET /metrics on a stream
 * thread; owns nothing.
 *
 * A family is a kind of source (the read bytes of guests' disks); its samples are told apart by
 * labels: the owner's uuid and name, the device. Counters are what was sampled, gauges too: a
 * scraper makes rates of its own. All samples of a family stand together, as the format demands, so
 * the databases are walked once a family.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rstr.h"
#include "metrics/metrics_impl.h"

struct exposition {
    struct entries entries;
    char **names; /* of the entries, may be NULL */
    struct buf b;
    const struct metrics_sink *sink;
};

static void exposition_done(struct exposition *x)
{
    for (size_t i = 0; i < x->entries.n; i++)
        free(x->names[i]);
    free(x->names);
    entries_done(&x->entries);
    buf_done(&x->b);
}

static void put_label(struct buf *b, const char *sep, const char *label, const char *value)
{
    buf_printf(b, "%s%s=\"", sep, label);
    for (const char *p = value; *p; p++) {
        if (*p == '\\' || *p == '"')
            buf_putc(b, '\\');
        if (*p == '\n')
            buf_puts(b, "\\n");
        else
            buf_putc(b, *p);
    }
    buf_putc(b, '"');
}

static const char *unit_of(const struct source_kind *k)
{
    static const char *const units[] = {"bytes", "seconds", "ratio"};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_ends(k->family, units[i]))
            return units[i];
    return NULL;
}

/* The description up to its device, without the unit that XenServer's rates are said in. */
static void put_help(struct buf *b, const struct source_kind *k)
{
    buf_printf(b, "# HELP %s ", k->family);
    for (const char *p = k->description; *p; p++) {
        if (p[0] == '%' && p[1] == 's') {
            buf_puts(b, k->label);
            p++;
        } else if (*p == '\\' || *p == '"') {
            buf_printf(b, "\\%c", *p);
        } else {
            buf_putc(b, *p);
        }
    }
    buf_puts(b, k->om == OM_COUNTER ? " (counted)\n" : "\n");
}

static void put_family_head(struct buf *b, const struct source_kind *k)
{
    buf_printf(b, "# TYPE %s %s\n", k->family, k->om == OM_COUNTER ? "counter" : "gauge");
    if (unit_of(k))
        buf_printf(b, "# UNIT %s %s\n", k->family, unit_of(k));
    put_help(b, k);
}

static void put_sample(struct buf *b, const struct entry *e, const char *name,
                       const struct source *s, double value)
{
    const struct source_kind *k = s->kind;
    buf_puts(b, k->family);
    buf_puts(b, k->om == OM_COUNTER ? "_total{" : "{");
    put_label(b, "", owner_name(e->owner), e->uuid);
    if (name)
        put_label(b, ",", "name", name);
    if (*k->label)
        put_label(b, ",", k->label, s->device);
    buf_puts(b, "} ");
    rrd_put_exact(b, value * k->factor);
    buf_putc(b, '\n');
}

static void put_entry(struct exposition *x, size_t i, const struct source_kind *k, bool *begun)
{
    struct entry *e = x->entries.v[i];
    if (e->owner != k->owner)
        return;
    mutex_guard(&e->lock);
    for (size_t s = 0; s < e->n_live; s++) {
        if (e->live[s]->kind != k || isnan(e->raw[s]))
            continue;
        if (!*begun)
            put_family_head(&x->b, k);
        *begun = true;
        put_sample(&x->b, e, x->names[i], e->live[s], e->raw[s]);
    }
}

static int put_family(struct exposition *x, const struct source_kind *k)
{
    bool begun = false;
    for (size_t i = 0; i < x->entries.n; i++) {
        put_entry(x, i, k, &begun);
        int r = sink_flush(x->sink, &x->b, false);
        if (r < 0)
            return r;
    }
    return 0;
}

int metrics_openmetrics(struct metrics *m,
                        char *(*name)(void *arg, enum metrics_owner owner, const char *uuid),
                        void *arg, const struct metrics_sink *sink)
{
    _cleanup_(exposition_done) struct exposition x = {.entries = entries_get(m), .sink = sink};
    buf_init(&x.b, SINK_MAX);
    x.names = mem_new_n(char *, x.entries.n + 1);
    for (size_t i = 0; i < x.entries.n && name; i++)
        x.names[i] = name(arg, x.entries.v[i]->owner, x.entries.v[i]->uuid);
    for (int k = 0; k < SOURCE_N; k++) {
        int r = *source_kinds[k].family ? put_family(&x, &source_kinds[k]) : 0;
        if (r < 0)
            return r;
    }
    buf_puts(&x.b, "# EOF\n");
    return sink_flush(sink, &x.b, true);
}
