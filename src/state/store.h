/*
 * store.h: what a store must do, for those who write one.
 *
 * A store keeps rows as text and knows no model: a row is named by class and reference and holds
 * the fields that differ from their defaults, by column name, so a changed model reads old stores.
 * A deleted row stays as a mark (deleted_at set, no data) until it is dropped. Commits are atomic,
 * durable when they return, and guarded by the epoch that the store took when it was opened for
 * writing: a later writer's epoch makes them fail as lost.
 *
 * commit, load and compact are called by one thread at a time (`store`); follow by another, with a
 * store of its own. One conformance test (tests/unit/store_conformance.c) is run on every kind.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

struct store_row {
    const char *cls, *ref;
    const char *uuid;    /* "" if the class has none */
    uint64_t seq;        /* order of creation, unique, ascending */
    uint64_t created;    /* generation */
    uint64_t modified;   /* generation of the last change, or of the deletion */
    uint64_t deleted_at; /* wall clock in µs; 0: alive */
    struct view data;    /* (('column' 'text') …), see row.h; empty when deleted */
};

struct store_key {
    const char *cls, *ref;
};

/* What a store knows beside rows. */
struct store_head {
    uint64_t generation; /* of the last commit */
    uint64_t floor;      /* deletions up to this generation may have no mark any more */
};

struct store_batch {
    uint64_t from;          /* generation before it; a store that is elsewhere is lost */
    struct store_head head; /* after it */
    const struct store_row *puts;
    size_t n_puts;
    const struct store_key *drops; /* rows and marks to forget; disjoint from puts */
    size_t n_drops;
};

typedef struct err *(*store_row_fn)(void *arg, const struct store_row *row);

struct store;
struct store_ops {
    const char *name;
    /* All rows and marks in order of seq, and the head. An error of fn ends it. */
    struct err *(*load)(struct store *s, store_row_fn fn, void *arg, struct store_head *ret);
    /* *ret_lost: another writer has come, or the store is not at `from` (it did an earlier commit
     * whose answer never came): nothing was written, and nothing will be before a new load. An
     * error may mean either; what was written then shows at the next commit. */
    struct err *(*commit)(struct store *s, const struct store_batch *b, bool *ret_lost);
    /* Rows and marks changed after generation `since`, in generations' order, and the generation
     * they lead to; waits for some until the deadline (then: none, *ret_generation == since). */
    struct err *(*follow)(struct store *s, uint64_t since, usec_t deadline, store_row_fn fn,
                          void *arg, uint64_t *ret_generation);
    /* Gives back the space of what was overwritten and dropped. */
    struct err *(*compact)(struct store *s);
    void (*close)(struct store *s);
};

/* The head of every store's own struct. */
struct store {
    const struct store_ops *ops;
    uint64_t epoch;   /* taken when opened for writing; 0: opened to follow */
    size_t max_rows;  /* of one commit, puts and drops together; at least 2 * TXN_MAX_ROWS */
    size_t max_bytes; /* of one commit's data; at least 2 * TXN_MAX_BYTES */
};

enum store_mode { STORE_WRITE, STORE_FOLLOW };

/* One file, one host. The folder must exist. */
struct err *store_sqlite_open(const char *path, enum store_mode mode, struct store **ret)
    _must_use_;

/* The same for writing a new file whose epochs go on behind `epoch`: it shall replace another. */
struct err *store_sqlite_open_after(const char *path, uint64_t epoch, struct store **ret)
    _must_use_;
/* Makes whoever writes the store at `path` lost. fn is called while nobody can write to it; if it
 * fails, nothing has happened. */
struct err *store_sqlite_supersede(const char *path, struct err *(*fn)(void *arg), void *arg)
    _must_use_;

/* A pool's etcd, over its JSON gateway. */
struct store_etcd_config {
    const char *endpoint; /* "http://127.0.0.1:2379", or several with commas */
    const char *prefix;   /* of all keys, e.g. "/cairn/" */
    const char *ca_file, *cert_file, *key_file; /* TLS; NULL: plain */
    unsigned timeout_ms; /* of a call, and how long it is repeated; 0: 10 s */
};
struct err *store_etcd_open(const struct store_etcd_config *config, enum store_mode mode,
                            struct store **ret) _must_use_;

/* In memory, for tests. What is "durable" lives in a struct store_disk that
 * outlives the store opened on it, so that a restart can be played; it can be told to fail. */
struct store_disk;
struct store_disk *store_disk_new(void);
void store_disk_free(struct store_disk *d); /* after the stores on it are closed */
struct err *store_memory_open(struct store_disk *d, enum store_mode mode, struct store **ret)
    _must_use_;
/* The commit after `skip` good ones fails, and the `times`-1 after it. */
void store_disk_fail(struct store_disk *d, unsigned skip, unsigned times);
/* Commits wait while held; for tests of what others see meanwhile. */
void store_disk_hold(struct store_disk *d, bool held);
unsigned store_disk_commits(struct store_disk *d); /* good ones so far */

static inline void store_close(struct store *s)
{
    if (s)
        s->ops->close(s);
}
static inline void store_closep(struct store **s)
{
    store_close(*s);
    *s = NULL;
}
