/*
 * txn_impl.h: a transaction from the inside, for txn.c, relate.c and db.c.
 *
 * A transaction is a private root made from the head, and a list of the rows it touched. A private
 * row is recognised by stamp 0; its `change` is then its place in the list. While the work runs,
 * rows, references and uuids are indexed at once; the other indexes, derived sets and the list of
 * changes are brought up to date at the end.
 */
#pragma once

#include "base/vec.h"
#include "state/root.h"
#include "state/txn.h"

struct edit {
    int cls;
    uint64_t seq;
    const struct row *before; /* counted; NULL: added */
    struct row *now;          /* the root's; NULL: deleted */
    const struct row *gone;   /* counted: a private row that was deleted again */
    const char *uuid;         /* rstr: as it stands in the index, NULL if the class has none */
    bool touched;             /* counts as changed in any case */
    enum weight {
        WEIGHT_NOTHING,
        WEIGHT_VOLATILE,
        WEIGHT_DURABLE,
    } weight; /* what it amounts to, once it is sealed */
};

struct txn {
    struct db *db;
    const char *name;
    const struct snap *base; /* borrowed: the head */
    struct snap *next;
    VEC(struct edit) edits;
    size_t touches;       /* grows with each row that is asked for to be changed */
    struct pmap *deleted; /* references of rows deleted in it (they may have come back) */
    struct err *err;      /* of a call that cannot return one */
};

/* What a finished transaction asks of the store. */
struct put {
    const struct row *row;   /* counted, or NULL: */
    const struct mark *mark; /* counted */
    char *data;              /* encoded; NULL for marks */
    size_t data_size;
};

struct txn_result {
    struct snap *root; /* NULL if nothing changed; counted */
    bool durable;      /* otherwise nothing is to be stored */
    VEC(struct put) puts;
    VEC(const struct mark *) drops; /* counted */
    size_t bytes;
};

/* Runs fn and the hooks on top of `head`. On an error *ret is untouched. */
struct hook {
    txn_fn fn;
    void *arg;
};
struct err *txn_run(struct db *db, const struct snap *head, const char *name, txn_fn fn, void *arg,
                    const struct hook *hooks, size_t n_hooks, struct txn_result *ret) _must_use_;
void txn_result_done(struct txn_result *r);

/* db.c: hands a change to the feed, if there is one. On core. */
void db_feed(struct db *db, const struct db_change *ch);

/* relate.c: derived and mirrored fields follow, references to what was deleted go. May be called
 * again after further edits. */
void txn_relate(struct txn *t);
/* References and uuids written are good. */
struct err *txn_check(struct txn *t) _must_use_;
/* While loading: the same for a whole private root whose rows are all private. */
void root_relate(struct snap *s);
