/*
 * schedule.h: when a snapshot schedule falls due; private to src/op. Pure functions, but the last.
 *
 * A schedule is a frequency and a map: "min" (0, 15, 30 or 45), "hour" (0 to 23) and "days" (names
 * with commas), the hour for daily and weekly ones, the days for weekly ones. Times are those of
 * the wall clock in a zone. A time that the clock skips in spring is kept as much later as the
 * clock jumps; a time that comes twice in autumn is kept the first time. An hourly schedule goes by
 * hours that pass, so it is kept in both of them.
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "gen/rec.h"

/* INVALID_VALUE naming the key, for keys that no schedule has and values that are none of theirs.
 */
struct err *schedule_check(const struct val *schedule) _must_use_;
/* The keys that the frequency has, those missing at their defaults, no others; the caller's. */
struct val *schedule_complete(enum vmss_frequency frequency, const struct val *schedule);

/* The first time after `after` (seconds since 1970) at which it falls due. The schedule is one that
 * was completed. `offset` gives seconds east of UTC at a moment. */
typedef int64_t (*schedule_offset_fn)(const char *zone, int64_t at);
int64_t schedule_next(enum vmss_frequency frequency, const struct val *schedule, const char *zone,
                      schedule_offset_fn offset, int64_t after);

struct ops;

/* vmss.c: does what fell due after `from` and up to `to` (seconds since 1970). */
struct err *vmss_due(struct ops *ops, int64_t from, int64_t to) _must_use_;
