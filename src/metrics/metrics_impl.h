/* metrics_impl.h: what the files of this folder share of metrics.h. */
#pragma once

#include <stdatomic.h>

#include "base/lock.h"
#include "base/pmap.h"
#include "base/vec.h"
#include "metrics/metrics.h"

/* One owner's measurements. Found in the table, counted; what can change is under its lock. */
struct entry {
    atomic_uint refs;
    enum metrics_owner owner;
    const char *uuid; /* rstr */

    struct mutex lock;
    struct rrd *rrd;
    size_t n_live;
    const struct source **live; /* what the last sample had */
    double *raw;                /* its values */
    int16_t *slot;              /* of each in the database; -1: not recorded */
    double saved;               /* when its file was written, seconds since 1970 */
};

struct entries {
    struct entry **v;
    size_t n;
};

/* A sample in a database's order; of the thread that feeds. */
struct scratch {
    double *v;
    size_t cap;
};

struct metrics {
    char *dir;
    struct scratch scratch;
    struct source_pool *pool;
    struct mutex lock; /* of the rest */
    bool min_max;
    struct pmap *by_uuid[OWNER_N];
    VEC(struct entry *) all; /* in order of appearance */
};

/* With a reference each; in the order host, guests, repositories. */
struct entries entries_get(struct metrics *m);
void entries_done(struct entries *e);
void entry_unref(struct entry *e);
static inline void entry_unrefp(struct entry **e)
{
    entry_unref(*e);
    *e = NULL;
}

#define SINK_PIECE (64u << 10)
#define SINK_MAX   (8u << 20)
/* Lets the buffer out when it has become large, or if `end`. */
int sink_flush(const struct metrics_sink *s, struct buf *b, bool end);
