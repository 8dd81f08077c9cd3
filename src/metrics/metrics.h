/*
 * metrics.h: the measurements of this host, its guests and its repositories.
 *
 *     struct metrics *m = metrics_new("/var/lib/cairn/metrics");
 *     const struct source *s[] = {metrics_source(m, SOURCE_VM_CPU, "0"), …};
 *     metrics_feed(m, OWNER_VM, uuid, now, s, values, 1);         // every 5 s or so
 *     metrics_updates(m, &query, &sink);                          // GET /rrd_updates
 *     metrics_end(m, OWNER_VM, uuid);                             // the guest is gone: to the disk
 *
 * What is fed exists; there is one database (rrd.h) for each owner, found again in the folder when
 * it is fed for the first time. Sources that are standard are recorded as soon as they appear,
 * others when they are asked for. Feeding is one thread's; all else any thread's. Each database
 * has a lock of its own, held for one sample or one piece of a document; files are read and written
 * without any. Functions return 0 or -errno: -ENOENT for an owner or source that is not there.
 */
#pragma once

#include "base/buf.h"
#include "metrics/rrd.h"
#include "metrics/source.h"

struct metrics;

struct metrics *metrics_new(const char *dir); /* folder of the files; NULL: nothing is kept */
void metrics_free(struct metrics *m);         /* does not save; NULL is fine */

/* New databases have minimum and maximum archives, too. */
void metrics_set_min_max(struct metrics *m, bool on);

const struct source *metrics_source(struct metrics *m, enum source_kind_id kind,
                                    const char *device);

/* A sample: n sources with their raw values (NAN: unknown), taken at `now` (seconds since 1970).
 * What was there the last time and is not now counts as unknown. */
void metrics_feed(struct metrics *m, enum metrics_owner owner, const char *uuid, double now,
                  const struct source *const *sources, const double *values, size_t n);

/* Out of memory and into its file. */
void metrics_end(struct metrics *m, enum metrics_owner owner, const char *uuid);
/* Away, the file too. */
void metrics_drop(struct metrics *m, const char *uuid);
/* Writes files: all of them, or the `n` oldest that are older than `age` seconds. An error is the
 * last one met. */
int metrics_save_all(struct metrics *m);
int metrics_save_some(struct metrics *m, double now, double age, unsigned n);
/* Removes the files of those that `lives` does not know. */
void metrics_sweep(struct metrics *m, bool (*lives)(void *arg, const char *uuid), void *arg);
/* A database that somebody brings, as XML: takes the place of the one there is. -EINVAL, -E2BIG. */
int metrics_put_xml(struct metrics *m, enum metrics_owner owner, const char *uuid, struct view text)
    _must_use_;

/* ---- sources ---- */

struct source_state {
    const struct source *source;
    bool live;    /* is measured now */
    bool enabled; /* is recorded */
    double value; /* the latest average of 5 s; NAN if unknown */
};
/* Array is the caller's; sorted by name. */
int metrics_sources(struct metrics *m, enum metrics_owner owner, const char *uuid,
                    struct source_state **ret, size_t *ret_n) _must_use_;
int metrics_record(struct metrics *m, enum metrics_owner owner, const char *uuid, const char *name)
    _must_use_;
int metrics_forget(struct metrics *m, enum metrics_owner owner, const char *uuid, const char *name)
    _must_use_;
/* -ENODATA: is not recorded. */
int metrics_query(struct metrics *m, enum metrics_owner owner, const char *uuid, const char *name,
                  double *ret) _must_use_;
/* Runs fn on the database, if there is one, under its lock: no waiting. */
void metrics_visit(struct metrics *m, enum metrics_owner owner, const char *uuid,
                   void (*fn)(void *arg, const struct rrd *r), void *arg);

/* ---- documents; pieces go out as they come ---- */

/* `put` takes what is in the buffer out of it; an error ends the document. */
struct metrics_sink {
    int (*put)(void *arg, struct buf *b);
    void *arg;
};

/* Also of a guest that is gone, out of its file. */
int metrics_write_rrd(struct metrics *m, enum metrics_owner owner, const char *uuid, bool json,
                      const struct metrics_sink *sink) _must_use_;

struct metrics_query {
    int64_t start;    /* negative: before the latest sample */
    int64_t interval; /* seconds between rows wanted, at least; 0: any */
    bool has_cf;
    enum rrd_cf cf;
    bool host;              /* the host's sources as well */
    const char *const *vms; /* uuids */
    size_t n_vms;
    bool all_vms;
    const char *const *srs;
    size_t n_srs;
    bool all_srs;
    bool json;
};
int metrics_updates(struct metrics *m, const struct metrics_query *q,
                    const struct metrics_sink *sink) _must_use_;

/* What OpenMetrics calls an exposition: live values of everything, with the `# EOF`. `name` tells
 * the name of an owner for the label of that name (NULL: none), to be freed. */
int metrics_openmetrics(struct metrics *m,
                        char *(*name)(void *arg, enum metrics_owner owner, const char *uuid),
                        void *arg, const struct metrics_sink *sink) _must_use_;

/* How many databases, sources and bytes there are, one fact a line. */
void metrics_dump(struct metrics *m, struct buf *out);
