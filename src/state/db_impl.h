/*
 * db_impl.h: the database from the inside, for db.c, load.c and watch.c.
 *
 *      db_write ──> queue ──> core: txn_run on `head` ──> batches ──> store: commit
 *                                   │ only volatile, nothing waiting      │
 *                                   └──────────> publish <────────────────┘
 *                                     root, watches, writers' answers
 *
 * core alone touches `head`; what stands in `lock` is shared. Publishing is done by one of the two
 * at a time: by core only while there is no batch. If a commit fails, all batches fail with it and
 * `drops` tells core that its head is void.
 */
#pragma once

#include "base/lock.h"
#include "base/vec.h"
#include "state/store.h"
#include "state/txn_impl.h"
#include "state/watch.h"

struct post; /* a transaction on its way */
struct batch;

struct parked;
struct park_group;

struct follower {
    uint64_t id;
    struct watch_set set;
    watch_follow_fn fn;
    void *arg;
    struct token since; /* of the last call */
    uint64_t seen;      /* stamp: what came up to here was looked at */
    bool running;       /* fn is being called */
};

struct watchers {
    struct mutex lock;
    pthread_cond_t idle; /* no follower is being called any more */
    uint64_t last_id;
    struct park_group *groups;
    struct pmap *by_id;        /* id -> parked */
    VEC(struct parked *) heap; /* those with a deadline; the earliest first */
    VEC(struct follower *) followers;
};

struct db {
    struct db_config config;
    const struct class_desc *const *classes;
    unsigned n_classes;
    VEC(struct hook) hooks;
    /* The feed; core's. */
    void (*feed)(void *arg, const struct db_change *ch);
    void *feed_arg;

    struct snap *head;   /* core's */
    uint64_t seen_drops; /* core's */

    struct mutex root_lock;
    struct snap *root; /* published */

    struct mutex lock;
    pthread_cond_t core_wake, store_wake;
    struct post *queue, **queue_end;
    struct batch *batches; /* the first may be in flight */
    uint64_t drops;
    struct err *dropped_for;    /* why the last drop */
    uint64_t commits, failures; /* of the store */
    bool lost, core_stop, store_stop;
    struct snap *dead; /* roots to be freed by core */
    unsigned n_dead;

    struct watchers watchers;
    pthread_t core, store;
};

/* load.c: a root with everything that the store has. */
struct err *load_root(struct db *db, struct snap **ret) _must_use_;

/* watch.c */
void watch_init(struct watchers *w);
void watch_done(struct watchers *w); /* answers what is parked */
void watch_published(struct db *db, struct snap *now);
usec_t watch_next_deadline(struct db *db);
void db_wake_core(struct db *db);
void watch_set_copy(struct watch_set *to, const struct watch_set *from);
/* Is the token of this process? */
bool watch_is_ours(const struct snap *s, struct token t);
/* Is there a change of the set later than the stamp? */
bool watch_has_change(const struct snap *s, uint64_t since, const struct watch_set *set);
void watch_dump_set(const struct snap *s, const struct watch_set *set, struct buf *out);

/* park.c */
void park_published(struct db *db, const struct snap *now);
void park_done(struct watchers *w); /* answers what is parked */
void park_dump(struct watchers *w, const struct snap *s, struct buf *out); /* under the lock */
