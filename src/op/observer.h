/*
 * observer.h: who watches what is called and done, and where that is written; see task/trace.h.
 *
 * Records of class Observer say which parts are watched on which hosts and where their spans go, in
 * Zipkin's JSON: "bugtool" is a folder below the log folder (it comes with a status report), the
 * rest are URLs that take a POST. Messages change the records; what follows from them is settled
 * in their transactions (observer.c). A thread of its own, `trace`, which runs from the first
 * observer that is enabled on, hands the spans on (observer_export.c).
 */
#pragma once

#include "base/lock.h"
#include "base/vec.h"
#include "gen/rec.h"
#include "task/trace.h"

struct ops;
struct txn;

struct observers {
    struct mutex lock;
    VEC(const char *) away; /* under it: refs (rstr) that were unregistered from this host */
    struct observer_export *export; /* likewise: NULL until something is enabled */
};

struct observers *observers_new(void);
/* Ends the thread, which writes what is left. NULL is fine. */
void observers_free(struct observers *o);
/* At a start: those that are enabled go on. */
struct err *observers_begin(struct ops *ops) _must_use_;

/* The parts that an observer watches on this host now: a bit per enum trace_part. Any thread. */
unsigned observer_parts(struct ops *ops, const struct rec_Observer *r);

/* ---- observer_export.c ---- */

/* Starts the thread. */
struct observer_export *observer_export_new(struct ops *ops);
void observer_export_free(struct observer_export *x); /* NULL is fine */
/* Is it "bugtool" or a URL that can be written to? */
bool observer_is_endpoint(const char *text);
