/*
 * rrd.h: the history of one host, guest or repository, in rings of fixed length.
 *
 * What rrdtool calls a round-robin database, in memory. Samples come at any time, about every 5 s;
 * they are turned into one value for each whole step of 5 s since 1970 (a part of a step counts by
 * its length), and those are consolidated into the rows of the archives:
 *
 *     step  5 s x 120 rows (10 min)    1 min x 120 (2 h)    1 h x 168 (a week)    1 day x 366
 *
 * each as an average; on demand as minimum and maximum, too. A row is known when one of its steps
 * is. Rows are single-precision numbers (7 digits) and take room only once they exist, and not
 * before they differ from each other: an idle disk costs next to nothing.
 *
 * Pure but for memory; a database belongs to one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "metrics/source.h"

#define RRD_STEP      5
#define RRD_HEARTBEAT 300.0 /* seconds without a sample after which a rate is unknown */
#define RRD_DS_MAX    4096
#define RRD_RRA_MAX   16
#define RRD_STEPS_MAX 60000 /* in a row */
#define RRD_ROWS_MAX  2000
#define RRD_NAME_MAX  200 /* bytes of a source's name */

enum rrd_cf { CF_AVERAGE, CF_MIN, CF_MAX, CF_LAST, CF_N };
const char *cf_name(enum rrd_cf cf); /* "AVERAGE" … */
bool cf_parse(struct view text, enum rrd_cf *ret);

struct archive {
    enum rrd_cf cf;
    unsigned steps; /* of 5 s, in one row */
    unsigned rows;
    double xff; /* as it is shown; what share of unknown steps leaves a row unknown */
};

/* One source in one archive. */
struct ring {
    union {
        float *v;   /* cap > 0 */
        float same; /* cap 0: what all n rows are */
    };
    double cdp;       /* of the steps so far in the current row: sum, minimum, maximum or last */
    uint16_t n;       /* rows that exist, at most archive.rows; older ones are unknown */
    uint16_t head;    /* index of the newest */
    uint16_t cap;     /* of v */
    uint16_t unknown; /* steps of the current row that are unknown */
};

struct ds {
    const struct source *source;
    double last;     /* raw, NAN if unknown */
    double acc;      /* of the current step: value times seconds */
    float unknown_s; /* of the current step */
};

struct rrd {
    double updated; /* seconds since 1970; 0: never */
    unsigned n_archives;
    struct archive *archives;
    size_t n_ds, ds_cap;
    struct ds *ds;
    struct ring *rings; /* those of the first source, of the second …; see rrd_ring() */
    unsigned ring_cap;  /* rings that each source has room for */
};

static inline struct ring *rrd_ring(const struct rrd *r, size_t ds, unsigned archive)
{
    return &r->rings[ds * r->ring_cap + archive];
}

/* With the usual archives, without sources; now is its beginning. */
struct rrd *rrd_new(bool min_max, double now);
void rrd_free(struct rrd *r); /* NULL is fine */
static inline void rrd_freep(struct rrd **r)
{
    rrd_free(*r);
    *r = NULL;
}

/* Where the source stands, or -1. */
ptrdiff_t rrd_find(const struct rrd *r, const struct source *s);
ptrdiff_t rrd_find_name(const struct rrd *r, const char *name);
/* Makes room for n more; without it there is room for a few at a time. */
void rrd_reserve(struct rrd *r, size_t n);
/* Adds it with an unknown past; where it is. It must not be there. */
size_t rrd_add(struct rrd *r, const struct source *s);
void rrd_remove(struct rrd *r, size_t i);

/* A sample of everything: n_ds raw values, NAN for unknown ones. A clock that went back moves the
 * whole history with it. */
void rrd_update(struct rrd *r, double now, const double *values);

/* The end of the newest row of an archive, seconds since 1970; rows lie steps * RRD_STEP apart. */
int64_t rrd_newest(const struct rrd *r, unsigned archive);
/* The row that ends at t; NAN if there is none. */
double rrd_at(const struct rrd *r, unsigned archive, size_t ds, int64_t t);
/* The latest 5 s average. */
double rrd_latest(const struct rrd *r, size_t ds);

/* A new archive's ring, for those who fill databases from files: rows from the oldest on. */
void ring_push(struct ring *g, unsigned max_rows, float v, unsigned times);
double ring_peek(const struct ring *g, unsigned back);
/* An empty database to fill, with room for so many archives. Sources that are added get rings. */
struct rrd *rrd_empty(unsigned archives);
/* The value of a fresh `cdp`. */
double cdp_start(enum rrd_cf cf);

/* ---- rrd_text.c: for clients; any buffer ---- */

/* A number as XenServer writes it: 0.0, NaN, Infinity, -Infinity, else the shortest way to say a
 * row (7 digits; whole numbers whole). */
void rrd_put_number(struct buf *b, double v);
/* More digits, for counters. */
void rrd_put_exact(struct buf *b, double v);

/* Writers work piece by piece, so that what they write can leave in between: `part` counts from 0;
 * false when there was no such part any more. A part is some 100 KB at most. */
bool rrd_put_xml(struct buf *b, const struct rrd *r, unsigned part);
bool rrd_put_json(struct buf *b, const struct rrd *r, unsigned part);

/* ---- rrd_read.c: out of the XML that the above or rrdtool dump writes ---- */

/* -EINVAL, -E2BIG; *ret is the caller's. Sources are looked up in the pool. */
int rrd_read_xml(struct view text, struct source_pool *pool, enum metrics_owner owner,
                 struct rrd **ret) _must_use_;

/* ---- rrd_file.c: as bytes, for keeping ---- */

void rrd_save(const struct rrd *r, struct buf *b);
/* -EINVAL when it is damaged. */
int rrd_load(struct view bytes, struct source_pool *pool, enum metrics_owner owner,
             struct rrd **ret) _must_use_;
