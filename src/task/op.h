/*
 * op.h: one running call, as its handler sees it.
 *
 * A handler gets a `struct op` and its decoded arguments. A short one reads a snapshot, writes one
 * transaction and returns. An operation that touches the world outside walks a table of steps:
 *
 *     static const struct step vm_start_steps[] = {
 *         {"choose host", choose_host, NULL, .weight = 1},
 *         {"attach disks", attach_disks, detach_disks, .weight = 3},
 *         {"mark running", mark_running, NULL, .weight = 1, .commit = true},
 *     };
 *
 *     struct err *msg_VM_start(struct op *op, const struct args_VM_start *a, struct val **ret)
 *     {
 *         op_put_bool(op, "paused", a->start_paused);
 *         return op_run_steps(op, "vm_start");
 *     }
 *
 * Steps of one operation speak to each other, and to the recovery after a crash, only through the
 * operation's context (op_get, op_put): strings that are durable before the next step begins.
 * While it runs, the operation owns what it has claimed (claim.h); it never holds a mutex.
 *
 * A `struct op` belongs to the thread that runs the handler; only tasks_cancel() reaches in from
 * outside. Strings in it live as long as it does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/val.h"
#include "loop/loop.h"
#include "state/desc.h"

struct db;
struct snap;
struct txn;
struct tasks;
struct host;
struct op_run;
struct waitable;

/* Who calls: the facts of the session. Strings are never NULL. */
struct caller {
    const char *session; /* ref; "" for the house itself */
    bool superuser;      /* everything is allowed, local-root messages too */
    bool local;          /* came over the local socket */
    bool pool;           /* another member of the pool */
    uint32_t roles;      /* bit per enum role, the role and all below it */
    const char *user_name, *user_sid, *originator;
    const char *client; /* "tcp 127.0.0.1", "unix", "internal" */
};

/* A copy with its own strings; drop with caller_done(). */
struct caller caller_copy(const struct caller *c);
void caller_done(struct caller *c);
extern const struct caller caller_internal;

struct op {
    struct db *db;
    struct tasks *tasks;
    struct host *host;          /* the hands of this host (host/) */
    void *world;                /* what layer op keeps for its handlers (tasks_config.world) */
    const struct msg_desc *msg; /* NULL for internal operations */
    const char *self;           /* ref of the main object, "" if none */
    const char *task;           /* ref of the task, "" for calls without one */
    struct caller caller;
    struct op_run *run; /* private to task/ */
};

/* One step. Steps with an effect outside must be repeatable: after a crash `run` of a step behind
 * the commit, or `undo` of one before it, is called again; undo is also called for the step that
 * failed, so it must cope with half of its work done or none. */
struct step {
    const char *name;
    struct err *(*run)(struct op *op);
    struct err *(*undo)(struct op *op); /* NULL: nothing to undo */
    unsigned weight;                    /* share of the progress bar */
    bool commit; /* from here on roll forward; its one effect is op_commit()'s transaction */
};

/* A step table under the name it has in the journal. */
struct op_kind {
    const char *name;
    const struct step *steps;
    unsigned n_steps;
    /* Internal work only, may be NULL: whether what it was queued for has been overtaken. Asked in
     * the transaction that would claim, so that a caller is not refused for nothing. */
    bool (*is_moot)(struct txn *t, struct op *op);
};
#define OP_KIND(kind, table) ((struct op_kind){(kind), (table), ARRAY_LEN(table), NULL})

/* Makes a table known; once each, at start, before anything runs. */
void op_kind_register(const struct op_kind *kind);
const struct op_kind *op_kind_find(const char *name); /* NULL if none */
/* The registered kinds, for torture and --plan. */
const struct op_kind *const *op_kinds(unsigned *ret_n);

/* Runs the registered table `kind`: journal, run, progress; on failure or cancel undoes what has
 * run, in reverse, and returns the first error. An operation runs one table. */
struct err *op_run_steps(struct op *op, const char *kind) _must_use_;

/* The operation's context. The key "result" is what a task of a dead process answers when its
 * operation was past the commit. op_get gives "" for an absent key; the string is valid until that
 * key is put again. op_save makes the context durable now, in the middle of a step. */
const char *op_get(struct op *op, const char *key);
int64_t op_get_int(struct op *op, const char *key); /* 0 if absent */
bool op_get_bool(struct op *op, const char *key);
void op_put(struct op *op, const char *key, const char *value);
void op_put_int(struct op *op, const char *key, int64_t value);
void op_put_bool(struct op *op, const char *key, bool value);
struct err *op_save(struct op *op) _must_use_;

/* HANDLE_INVALID for what is no host, HOST_OFFLINE for one that is not this: what is asked of a
 * machine has to be asked there. */
struct err *need_own_host(struct op *op, const char *ref) _must_use_;

/* A transaction in the operation's name (db_write). */
struct err *op_write(struct op *op, const char *name, struct err *(*fn)(struct txn *t, void *arg),
                     void *arg) _must_use_;
/* The same, and marks the operation as committed in the same transaction. Only in a commit step. */
struct err *op_commit(struct op *op, const char *name, struct err *(*fn)(struct txn *t, void *arg),
                      void *arg) _must_use_;

/* The durable identity of the operation (uuid), for host verbs, and the number of the next verb:
 * distinct for every verb of every step, the same again when a step is repeated. */
const char *op_id(const struct op *op);
unsigned op_step(const struct op *op); /* undo of a step has another number than its run */
unsigned op_next_verb(struct op *op);

/* The decoded arguments (struct args_CLASS_MESSAGE), for steps before the commit; NULL in undo and
 * in steps behind the commit when they run in another process than the one that was called. */
const void *op_args(const struct op *op);

/* Something of the calling process that steps before the commit work with, such as an open
 * connection: lent by the handler for the run, NULL for undo in another process. */
void op_lend(struct op *op, void *thing);
void *op_lent(const struct op *op);

/* Inside a step: 0 to 1 of it. A transfer without steps: of the whole. */
void op_progress(struct op *op, double fraction);
/* TASK_CANCELLED if somebody asked for it and the operation may still turn back. */
struct err *op_check(struct op *op) _must_use_;
bool op_is_cancelled(const struct op *op);
/* From here on its task may be cancelled: of a handler without steps that waits and then looks. */
struct err *op_allow_cancel(struct op *op) _must_use_;
/* Waits until w is fired (*ret_fired) or the deadline has passed; an error only for a cancel. */
struct err *op_wait(struct op *op, struct waitable *w, usec_t deadline, bool *ret_fired) _must_use_;
/* Waits for a time. */
struct err *op_sleep(struct op *op, usec_t duration) _must_use_;

/* Claims a further object for the rest of the operation, e.g. the VDI that a handler has just
 * made, or an SR found in another record. Refused at once, unless the house has it for a moment:
 * that is waited for, so what a snapshot said before may have changed. */
struct err *op_claim(struct op *op, int cls, const char *ref, int operation) _must_use_;
