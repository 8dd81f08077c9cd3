/*
 * rrd_read.c: databases out of XML that others wrote: rrdtool dump, XenServer, ourselves. Called
 * for PUT /rrd. Total: depth, sizes and counts are bounded, document types with contents refused.
 */
#include <errno.h>
#include <expat.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "metrics/rrd.h"

#define TEXT_SIZE_MAX (64u << 20)
#define LEAF_MAX      256 /* of what stands between two tags */

/* Where in the document we are; leaves are told by their names. */
enum place { AT_TOP, AT_RRD, AT_DS, AT_RRA, AT_PARAMS, AT_CDP, AT_CDP_DS, AT_DATABASE, AT_ROW };

static const struct {
    enum place in;
    const char *name;
    enum place to;
} folders[] = {
    {AT_TOP, "rrd", AT_RRD},           {AT_RRD, "ds", AT_DS},        {AT_RRD, "rra", AT_RRA},
    {AT_RRA, "params", AT_PARAMS},     {AT_RRA, "cdp_prep", AT_CDP}, {AT_CDP, "ds", AT_CDP_DS},
    {AT_RRA, "database", AT_DATABASE}, {AT_DATABASE, "row", AT_ROW},
};

struct reader {
    XML_Parser expat;
    int error;
    enum place place;
    bool leaf; /* inside an element that holds text */
    char text[LEAF_MAX + 1];
    size_t size;

    struct source_pool *pool;
    enum metrics_owner owner;
    struct rrd *rrd;
    int64_t step;

    /* the source being read */
    char *name;
    enum source_type type;
    double min, max, acc, unknown_s;
    VEC(ptrdiff_t) columns; /* of the document, in the database; -1: a repeated one, dropped */

    /* the archive being read; its rows one after the other */
    struct archive archive;
    size_t cdp, column;
    unsigned n_rows;
};

static void reader_done(struct reader *r)
{
    if (r->expat)
        XML_ParserFree(r->expat);
    rrd_free(r->rrd);
    free(r->name);
    vec_done(&r->columns);
}

static void fail(struct reader *r, int error)
{
    if (r->error)
        return;
    r->error = error;
    (void)XML_StopParser(r->expat, XML_FALSE);
}

/* ---- leaves ---- */

static double number(struct reader *r)
{
    double v = 0;
    struct view text = view_trim((struct view){r->text, r->size});
    if (view_eq(text, "U"))
        return (double)NAN;
    if (str_double(text, &v) < 0)
        fail(r, -EINVAL);
    return v;
}

static uint64_t whole(struct reader *r, uint64_t max)
{
    double v = number(r);
    if (r->error || !(v >= 0 && v <= (double)max)) {
        fail(r, -EINVAL);
        return 0;
    }
    return (uint64_t)v;
}

static void leaf_rrd(struct reader *r, const char *tag)
{
    if (strcmp(tag, "step") == 0 && whole(r, 1000000) != RRD_STEP)
        fail(r, -EINVAL);
    else if (strcmp(tag, "lastupdate") == 0)
        r->rrd->updated = (double)whole(r, UINT64_C(10000000000));
}

static enum source_type type_of(struct reader *r)
{
    for (int t = SOURCE_GAUGE; t <= SOURCE_ABSOLUTE; t++)
        if (view_eq(view_trim((struct view){r->text, r->size}), source_type_name(t)))
            return (enum source_type)t;
    fail(r, -EINVAL);
    return SOURCE_GAUGE;
}

static void leaf_ds(struct reader *r, const char *tag)
{
    if (strcmp(tag, "name") == 0) {
        free(r->name);
        r->name = view_dup(view_trim((struct view){r->text, r->size}));
    } else if (strcmp(tag, "type") == 0) {
        r->type = type_of(r);
    } else if (strcmp(tag, "min") == 0) {
        r->min = number(r);
    } else if (strcmp(tag, "max") == 0) {
        r->max = number(r);
    } else if (strcmp(tag, "value") == 0) {
        r->acc = number(r);
    } else if (strcmp(tag, "unknown_sec") == 0) {
        r->unknown_s = number(r);
    }
}

static void leaf_rra(struct reader *r, const char *tag)
{
    if (strcmp(tag, "cf") == 0) {
        if (!cf_parse(view_trim((struct view){r->text, r->size}), &r->archive.cf))
            fail(r, -EINVAL);
    } else if (strcmp(tag, "pdp_per_row") == 0) {
        r->archive.steps = (unsigned)whole(r, RRD_STEPS_MAX);
        if (!r->archive.steps)
            fail(r, -EINVAL);
    }
}

/* The ring that the document's column i has in the archive being read; NULL: dropped. */
static struct ring *column(struct reader *r, size_t i)
{
    if (i >= r->columns.n || r->rrd->n_archives >= RRD_RRA_MAX) {
        fail(r, -EINVAL);
        return NULL;
    }
    ptrdiff_t at = r->columns.v[i];
    return at < 0 ? NULL : rrd_ring(r->rrd, (size_t)at, r->rrd->n_archives);
}

static void leaf_cdp(struct reader *r, const char *tag)
{
    struct ring *g = column(r, r->cdp);
    if (!g)
        return;
    if (strcmp(tag, "value") == 0)
        g->cdp = number(r);
    else if (strcmp(tag, "unknown_datapoints") == 0)
        g->unknown = (uint16_t)whole(r, r->archive.steps ? r->archive.steps : 1);
}

static void leaf_row(struct reader *r, const char *tag)
{
    if (strcmp(tag, "v") != 0)
        return;
    struct ring *g = column(r, r->column++);
    if (g)
        ring_push(g, RRD_ROWS_MAX, (float)number(r), 1);
}

static void leaf_end(struct reader *r, const char *tag)
{
    switch (r->place) {
    case AT_RRD:
        leaf_rrd(r, tag);
        break;
    case AT_DS:
        leaf_ds(r, tag);
        break;
    case AT_RRA:
        leaf_rra(r, tag);
        break;
    case AT_PARAMS:
        if (strcmp(tag, "xff") == 0)
            r->archive.xff = number(r);
        break;
    case AT_CDP_DS:
        leaf_cdp(r, tag);
        break;
    case AT_ROW:
        leaf_row(r, tag);
        break;
    default:
        break;
    }
}

/* ---- folders ---- */

static void ds_end(struct reader *r)
{
    if (!r->name || !*r->name || strlen(r->name) > RRD_NAME_MAX || r->columns.n >= RRD_DS_MAX ||
        r->rrd->n_archives) {
        fail(r, -EINVAL);
        return;
    }
    const struct source *s =
        source_by_name(r->pool, r->owner, r->name, r->type, isnan(r->min) ? -INFINITY : r->min,
                       isnan(r->max) ? INFINITY : r->max);
    ptrdiff_t at = -1;
    if (rrd_find(r->rrd, s) < 0) {
        at = (ptrdiff_t)rrd_add(r->rrd, s);
        r->rrd->ds[at].acc = isfinite(r->acc) ? r->acc : 0;
        r->rrd->ds[at].unknown_s =
            r->unknown_s >= 0 && r->unknown_s <= RRD_STEP ? (float)r->unknown_s : 0;
    }
    vec_push(&r->columns, at);
}

static void rra_begin(struct reader *r)
{
    r->archive = (struct archive){.xff = 1};
    r->cdp = 0;
    r->n_rows = 0;
    if (r->rrd->n_archives >= RRD_RRA_MAX)
        fail(r, -E2BIG);
}

/* An unknown value of the current row must not poison what is added to it. */
static void rra_end(struct reader *r)
{
    if (!r->archive.steps || !r->n_rows || !(r->archive.xff >= 0 && r->archive.xff <= 1)) {
        fail(r, -EINVAL);
        return;
    }
    r->archive.rows = r->n_rows;
    unsigned a = r->rrd->n_archives++;
    r->rrd->archives[a] = r->archive;
    for (size_t i = 0; i < r->rrd->n_ds; i++) {
        struct ring *g = rrd_ring(r->rrd, i, a);
        if (isnan(g->cdp))
            g->cdp = cdp_start(r->archive.cf);
        int64_t position = (int64_t)(r->rrd->updated / RRD_STEP) % r->archive.steps;
        g->unknown = g->unknown < position ? g->unknown : (uint16_t)position;
    }
}

static void folder_begin(struct reader *r, enum place to)
{
    r->place = to;
    if (to == AT_DS) {
        free(r->name);
        r->name = NULL;
        r->type = SOURCE_GAUGE;
        r->min = r->max = (double)NAN;
        r->acc = r->unknown_s = 0;
    } else if (to == AT_RRA) {
        rra_begin(r);
    } else if (to == AT_ROW) {
        r->column = 0;
        if (r->n_rows++ >= RRD_ROWS_MAX)
            fail(r, -E2BIG);
    }
}

static void folder_end(struct reader *r)
{
    enum place was = r->place;
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        if (folders[i].to == was)
            r->place = folders[i].in;
    if (was == AT_DS)
        ds_end(r);
    else if (was == AT_RRA)
        rra_end(r);
    else if (was == AT_CDP_DS)
        r->cdp++;
    else if (was == AT_ROW && r->column != r->columns.n)
        fail(r, -EINVAL);
}

/* ---- the parser's events ---- */

static void XMLCALL on_start(void *arg, const char *tag, const char **attributes)
{
    struct reader *r = arg;
    if (r->error)
        return;
    if (r->leaf) {
        fail(r, -EINVAL);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        if (folders[i].in == r->place && strcmp(folders[i].name, tag) == 0) {
            folder_begin(r, folders[i].to);
            return;
        }
    r->leaf = true;
    r->size = 0;
}

static void XMLCALL on_end(void *arg, const char *tag)
{
    struct reader *r = arg;
    if (r->error)
        return;
    if (!r->leaf) {
        folder_end(r);
        return;
    }
    r->text[r->size] = '\0';
    r->leaf = false;
    leaf_end(r, tag);
}

static void XMLCALL on_text(void *arg, const char *s, int size)
{
    struct reader *r = arg;
    if (!r->leaf || r->error)
        return;
    if ((size_t)size > LEAF_MAX - r->size) {
        fail(r, -E2BIG);
        return;
    }
    memcpy(r->text + r->size, s, (size_t)size);
    r->size += (size_t)size;
}

static void XMLCALL on_doctype(void *arg, const char *name, const char *system, const char *public,
                               int has_subset)
{
    if (has_subset)
        fail(arg, -EINVAL);
}

int rrd_read_xml(struct view text, struct source_pool *pool, enum metrics_owner owner,
                 struct rrd **ret)
{
    if (text.size > TEXT_SIZE_MAX)
        return -E2BIG;
    _cleanup_(reader_done) struct reader r = {.pool = pool,
                                              .owner = owner,
                                              .rrd = rrd_empty(RRD_RRA_MAX),
                                              .expat = XML_ParserCreate(NULL)};
    if (!r.expat)
        return -ENOMEM;
    XML_SetUserData(r.expat, &r);
    XML_SetElementHandler(r.expat, on_start, on_end);
    XML_SetCharacterDataHandler(r.expat, on_text);
    XML_SetStartDoctypeDeclHandler(r.expat, on_doctype);
    enum XML_Status status = XML_Parse(r.expat, text.p, (int)text.size, 1);
    if (r.error)
        return r.error;
    if (status != XML_STATUS_OK || !r.rrd->n_archives || !r.rrd->n_ds)
        return -EINVAL;
    *ret = steal(&r.rrd);
    return 0;
}
