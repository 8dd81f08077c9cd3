/*
 * feed.h: every change, one by one, for event.next.
 *
 * event.from tells the newest state of each object; event.next, the older form, tells each change:
 * two changes of an object are two events, and one that came and went is an `add` and a `del`. So
 * changes are kept here as transactions make them (db_set_feed), as long as somebody is registered,
 * up to FEED_BYTES; who falls behind that has lost events.
 *
 * A change is handed out once a published snapshot shows it: entries carry the stamp of their
 * transaction, and what was never published is taken back by the next one.
 *
 * Any thread; one leaf mutex. Private to api/.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/val.h"
#include "state/db.h"
#include "state/watch.h"

#define FEED_BYTES (10u << 20)

struct feed;

struct feed *feed_new(struct db *db);
void feed_free(struct feed *); /* NULL is fine; waits until no transaction is told of any more */

/* From now on changes are kept; the place of the next one. One feed_unlisten for each. */
uint64_t feed_listen(struct feed *);
void feed_unlisten(struct feed *);
/* The number of the last change. */
uint64_t feed_last(struct feed *);

/* The events of the set from place *cursor on that snapshot s shows, as the values that clients
 * get; NULL if some are lost. *cursor moves behind them. */
struct val *feed_collect(struct feed *, const struct snap *s, const struct watch_set *set,
                         uint64_t *cursor);
/* Tells of a row that has not changed. */
void feed_repeat(struct feed *, const struct row *r);
