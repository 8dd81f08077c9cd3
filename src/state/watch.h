/*
 * watch.h: what changed since, and waiting for it without a thread.
 *
 *     struct watch_set set;
 *     watch_set_init(&set);
 *     watch_set_add_class(&set, CLASS_VM);
 *
 *     struct changes c = {0};
 *     _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
 *     if (watch_changes(s, token, &set, &c) == 0 && !c.n)
 *         id = watch_park(db, snap_token(s), &set, deadline, on_change, conn);   // 0: look again
 *
 * Changes come from a list kept in order of change inside the snapshot, so the cost is that of the
 * changes, not of the tables. Deleted rows are remembered for 24 hours, at most 65536 of them (and
 * 8192 of rows that are not stored).
 */
#pragma once

#include "base/vec.h"
#include "loop/loop.h"
#include "state/db.h"

#define WATCH_MAX_CLASSES 256

/* What somebody wants to hear of: whole classes and single objects. */
struct watch_set {
    uint64_t classes[WATCH_MAX_CLASSES / 64];
    VEC(struct watch_object) objects;
};
struct watch_object {
    int cls;
    const char *ref; /* rstr */
};

void watch_set_init(struct watch_set *set);
void watch_set_done(struct watch_set *set);
void watch_set_add_all(struct watch_set *set);
void watch_set_add_class(struct watch_set *set, int cls);
void watch_set_add_object(struct watch_set *set, int cls, const char *ref);
bool watch_set_has(const struct watch_set *set, int cls, const char *ref);

struct change {
    int cls;
    const char *ref;       /* borrowed from the snapshot */
    const struct row *row; /* NULL: deleted */
    uint64_t created;      /* generations */
    uint64_t modified;     /* of the last change; of the deletion */
    bool added;            /* did not exist at the token */
};

struct changes {
    struct change *v; /* oldest change first; freed with changes_done */
    size_t n, cap;
};
void changes_done(struct changes *c);

/* One entry for each row of the set that changed after `since`, in order of their last change. A
 * row that came and went in between is not reported. {0, 0}: every live row, as added. A token of
 * another process counts by its `gen`; volatile state is then reported again. -ESTALE: deletions
 * since then are forgotten (or the token is from the future); start again from {0, 0}. */
int watch_changes(const struct snap *s, struct token since, const struct watch_set *set,
                  struct changes *ret) _must_use_;

/* Whether watch_changes would find any; true where it would not know. A read of the list of changes
 * only, and of all of them where none is of the set. */
bool watch_changed(const struct snap *s, struct token since, const struct watch_set *set);

enum watch_why { WATCH_CHANGED, WATCH_TIMEOUT, WATCH_CLOSED };
/* Called once, on core or store, holding nothing: hand it to a loop and return. */
typedef void (*watch_fn)(void *arg, enum watch_why why);

/* Waits for a change of the set after `since`. Returns an id; 0 if there is such a change already
 * (fn is not called then). The set is copied. The deadline is by clock_now(). Any thread. */
uint64_t watch_park(struct db *db, struct token since, const struct watch_set *set, usec_t deadline,
                    watch_fn fn, void *arg);
/* True: fn will not be called. False: it was, or is being called now. */
bool watch_cancel(struct db *db, uint64_t id);
/* Calls what is due; for single mode, where no thread watches the clock. */
void watch_run_due(struct db *db);

/* A permanent follower inside the process: called after each publication that changed something of
 * the set, in order, on core or store; must not block. `since` is where the last call left off. */
typedef void (*watch_follow_fn)(void *arg, const struct snap *s, struct token since);
uint64_t watch_follow(struct db *db, const struct watch_set *set, watch_follow_fn fn, void *arg);
void watch_unfollow(struct db *db, uint64_t id); /* when it returns, fn does not run any more */

/* One line for each that waits or follows. Any thread. */
void watch_dump(struct db *db, struct buf *out);
