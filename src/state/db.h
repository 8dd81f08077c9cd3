/*
 * db.h: what is true - the records, their snapshots, and the one way to change them.
 *
 * One thread (`core`) changes a private head, transaction by transaction; another (`store`) makes
 * batches of them durable in order; only then a root is published and the writers are answered.
 * Everybody else reads published roots:
 *
 *     _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
 *     const struct row *vm = snap_by_uuid(s, CLASS_VM, uuid);
 *     snap_each (r, s, CLASS_VBD)
 *         …
 *
 * gen/typed.h has the same functions per class with the right types. A snapshot never changes and
 * costs nothing to hold for seconds; keeping one for ever keeps its memory. Rows got from it are
 * borrowed and live as long as it does.
 *
 * What a transaction may count on is said in txn.h, how to wait for changes in watch.h, what a
 * store must do in store.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "state/row.h"

struct db;
struct snap;
struct txn;
struct store;

struct db_config {
    struct store *store; /* taken over, also on failure; NULL: nothing outlives the process */
    /* The model; NULL: desc_classes. For tests. */
    const struct class_desc *const *classes;
    unsigned n_classes;
    bool single; /* no threads: db_write and the rest run where they are called, one at a time */
    /* The store has gone on without us: the head is gone and every write fails from now on. On
     * the store thread; NULL if nobody cares. */
    void (*lost)(void *arg);
    void *lost_arg;
};

/* Loads the store and starts the threads. */
struct err *db_open(const struct db_config *config, struct db **ret) _must_use_;
/* Finishes what was posted, answers parked watches with WATCH_CLOSED, joins, closes the store.
 * Snapshots must have been given back. */
void db_close(struct db *db);
static inline void db_closep(struct db **db)
{
    db_close(*db);
    *db = NULL;
}

/* A transaction's work: pure memory, no waiting, under 1 ms; an error undoes it whole. */
typedef struct err *(*txn_fn)(struct txn *t, void *arg);

/* Runs fn on core and returns when its effect is durable and published, or with the error of fn,
 * of the checks at commit (txn.h) or of the store; then nobody saw anything of it. Any thread but
 * loops, core and store. `name` is constant text for logs. */
struct err *db_write(struct db *db, const char *name, txn_fn fn, void *arg) _must_use_;

/* The same without waiting, for loops: done(arg, error, generation) runs after publication on core
 * or store and must not block nor call db_write; the error is its to free. */
typedef void (*db_done_fn)(void *arg, struct err *e, uint64_t generation);
void db_write_async(struct db *db, const char *name, txn_fn fn, void *arg, db_done_fn done);

/* A rule that runs inside each transaction after its work, on core: it looks at what changed
 * (txn_change) and may change more, or refuse the transaction. Hooks run in the order of their
 * registration, and again (four times at most) while they touch rows that were not touched before.
 * Register before writing starts. */
void db_add_hook(struct db *db, txn_fn hook, void *arg);

/* One change of a transaction, as a feed gets it. */
struct db_change {
    const struct row *before, *after; /* NULL: added, deleted; borrowed, never both NULL */
    uint64_t stamp;                   /* gen + vol of the token that first shows it */
    bool is_first;                    /* of its transaction */
};
/* Tells `fn` of every change, in order, none merged with another: on core, at the end of each
 * transaction, before anybody sees it - and of some that nobody will ever see, because they could
 * not be made durable; their stamps come again. `fn` must not wait. One feed; NULL ends it and
 * waits until it is called no more. */
void db_set_feed(struct db *db, void (*fn)(void *arg, const struct db_change *ch), void *arg);

/* Grows by one each time somebody takes over the store as its writer; 1 without a store. */
uint64_t db_epoch(const struct db *db);
/* What it is doing and how much it holds, one fact a line. Any thread. */
void db_dump(struct db *db, struct buf *out);
const struct class_desc *db_class(const struct db *db, int cls);
unsigned db_n_classes(const struct db *db);

/* --- snapshots: any thread --- */

/* Where a snapshot stands in the history; the two numbers of an event token. `gen` counts durable
 * transactions, is stored, and is the same on every member; `vol` counts, in this process, those
 * that changed volatile fields alone, from a start that no earlier process used. */
struct token {
    uint64_t gen, vol;
};

struct snap *snap_get(struct db *db); /* the latest published root */
struct snap *snap_ref(const struct snap *s);
void snap_unref(struct snap *s); /* NULL is fine; freeing is left to core */
static inline void snap_unrefp(struct snap **s)
{
    snap_unref(*s);
    *s = NULL;
}
struct token snap_token(const struct snap *s);
uint64_t snap_generation(const struct snap *s);

/* Borrowed, NULL if there is none. */
const struct row *snap_row(const struct snap *s, int cls, const char *ref);
const struct row *snap_by_uuid(const struct snap *s, int cls, const char *uuid);
/* References of the rows with that name_label, in order of creation, as a new set. */
struct val *snap_by_name(const struct snap *s, int cls, const char *name);
size_t snap_count(const struct snap *s, int cls);
const struct class_desc *snap_class(const struct snap *s, int cls);
unsigned snap_n_classes(const struct snap *s);

/* Walking a class in order of creation. */
const struct row *snap_first(const struct snap *s, int cls);
const struct row *snap_after(const struct snap *s, const struct row *r);
#define snap_each(r, s, cls)                                                                       \
    for (const struct row *r = snap_first((s), (cls)); r; r = snap_after((s), r))
