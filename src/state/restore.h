/*
 * restore.h: putting another database in the place of the store's, whole or not at all.
 *
 *     PATH.staged    being written: rows of the dump, then mended; of no meaning
 *        │ restore_commit: durable, then renamed while the store's writer is held off
 *     PATH.restored  complete; the store at PATH is superseded: its writer is lost from here on
 *        │ restore_switch, before the store is opened again
 *     PATH           the new store
 *
 *     _cleanup_(restore_freep) struct restore *r = NULL;
 *     TRY(restore_begin(&(struct restore_config){.path = path, .db = db}, &r));
 *     while ((n = read(…)) > 0)
 *         TRY(restore_feed(r, p, n));
 *     TRY(restore_finish(r, &counts));
 *     TRY(restore_mend(r, mend, arg));        // transactions on the new database
 *     TRY(restore_commit(r));                 // then begin a new process
 *
 * A death at any moment leaves the old database or the new one, never a mixture: what is staged is
 * thrown away at the next start, what is complete is switched to. The new store's generation and
 * epoch lie beyond the old one's and all its deletions are unknown, so tokens of events from before
 * get EVENTS_LOST. SQLite stores only. Any thread but a loop; one restore at a time.
 */
#pragma once

#include "state/dump.h"

struct restore_config {
    const char *path;    /* of the store, which is open */
    const struct db *db; /* the database on it */
    /* Called before each step that outlives the process; for tests. NULL: nobody. */
    void (*at)(void *arg, const char *step);
    void *arg;
};

struct restore;
/* Throws away what an earlier one staged. */
struct err *restore_begin(const struct restore_config *config, struct restore **ret) _must_use_;
/* A piece of the document of dump.h. */
struct err *restore_feed(struct restore *r, const void *p, size_t size) _must_use_;
/* The document is complete; DB_UNIQUENESS_CONSTRAINT_VIOLATION, RESTORE_INCOMPATIBLE_VERSION. */
struct err *restore_finish(struct restore *r, struct dump_counts *ret) _must_use_;
/* Opens what is staged as a database, without threads, and calls fn on it, once. References to rows
 * that are not there are null already. */
struct err *restore_mend(struct restore *r, struct err *(*fn)(struct db *staged, void *arg),
                         void *arg) _must_use_;
/* After mending. */
struct err *restore_commit(struct restore *r) _must_use_;
/* Without a commit, what was staged is removed. NULL is fine. */
void restore_free(struct restore *r);
static inline void restore_freep(struct restore **r)
{
    restore_free(*r);
    *r = NULL;
}

/* Has a restore been committed that no process has switched to? */
bool restore_is_pending(const char *path);
/* Before the store is opened: finishes a committed restore, removes an uncommitted one. */
struct err *restore_switch(const char *path, bool *ret_switched) _must_use_;
