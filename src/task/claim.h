/*
 * claim.h: who may do what to which object now.
 *
 * An operation's right to an object is its entry in the object's current_operations. Whether it may
 * have one is decided by the op rules of the model (desc.h, struct op_desc) and a few named rules
 * in C (claim_rules.c); allowed_operations is computed by asking the same function for every
 * operation of the class, so what is listed is accepted and what is not is refused.
 *
 *     TRY(claim_check(&(struct claim_view){.txn = t}, row, VM_OPERATIONS_START));
 *
 * The order in which rules are tried, and so which error a caller sees, is that of xapi: blocked
 * operations, power state, concurrency, template, snapshot, then the named rule.
 *
 * claim_take and claim_drop run inside a transaction (thread core). claim_check also works on a
 * snapshot, on any thread.
 */
#pragma once

#include "base/err.h"
#include "state/desc.h"

struct db;
struct row;
struct snap;
struct txn;

/* Where to look: one of the two. */
struct claim_view {
    struct txn *txn;
    const struct snap *snap;
    const char *holder; /* who asks: what it has claimed already is not in its way; may be NULL */
};
const struct row *claim_view_row(const struct claim_view *v, int cls, const char *ref);

/* NULL if `operation` (a value of the class's operation enum) may start on the object now. */
struct err *claim_check(const struct claim_view *v, const struct row *row, int operation)
    _must_use_;
/* The rule of an operation, NULL if the model has none for it. */
const struct op_desc *claim_rule(const struct class_desc *c, int operation);

/* One object to be claimed. */
struct claim {
    int cls;
    const char *ref; /* rstr, owned by the claim */
    int operation;
};

/* All that an operation of `msg` on `ref` needs: the object itself and what the rule adds. The
 * array and its refs are the caller's (claim_list_free). */
struct err *claim_list(const struct claim_view *v, const struct msg_desc *msg, const char *ref,
                       struct claim **ret, unsigned *ret_n) _must_use_;
/* The same for an operation by its class and number. */
struct err *claim_list_op(const struct claim_view *v, int cls, const char *ref, int operation,
                          struct claim **ret, unsigned *ret_n) _must_use_;
void claim_list_free(struct claim *claims, unsigned n);

/* Checks all, then enters all under `holder` (a task ref): all or nothing. */
struct err *claim_take(struct txn *t, const struct claim *claims, unsigned n, const char *holder)
    _must_use_;
/* Takes the holder's entries away; rows that are gone are skipped. */
void claim_drop(struct txn *t, const struct claim *claims, unsigned n, const char *holder);

/* Enters them without asking: after a start, for what the journal says is held. */
void claim_restore(struct txn *t, const struct claim *claims, unsigned n, const char *holder);

/* Keeps allowed_operations true: recomputes it, in the same transaction, on every object that the
 * transaction touched or whose rules look at one that it touched. Once, before db writes begin. */
void claim_hook(struct db *db);
/* After the store was loaded: the field is kept in memory only. */
struct err *claim_refresh_all(struct db *db) _must_use_;
