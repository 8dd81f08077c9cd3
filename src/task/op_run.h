/*
 * op_run.h: what task/ knows of a running call; private to this folder and its tests.
 *
 * Made by tasks_run() (or from a journal row by recovery), owned by the thread that runs it, freed
 * after `done`. Only `cancel` and `cancelled` are touched by other threads.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "task/claim.h"
#include "task/op.h"
#include "task/task.h"
#include "task/trace.h"
#include "task/waitable.h"

struct runner;

struct op_run {
    struct op op;
    struct op_run *next; /* in the list of the running (tasks.lock) */

    /* what to do and whom to tell */
    msg_fn fn;
    void *args;
    void (*free_args)(void *);
    void *lent; /* op_lend() */
    tasks_started_fn started;
    tasks_done_fn done;
    void *done_arg;
    const char *label;              /* rstr: the method as called */
    const char *subtask_of;         /* rstr or NULL */
    const struct val *other_config; /* of the task, or NULL */
    struct trace_id trace;          /* below which its steps are traced */
    bool async;
    bool make_task;  /* the call makes its task ... */
    bool keep_task;  /* ... and leaves it behind at its end */
    bool given_task; /* runs inside a task of the caller's */
    bool transfer;   /* on the caller's thread; ends a given task, too */

    /* claims and journal */
    const char *op_ref;  /* rstr: ref of the journal row */
    const char *op_uuid; /* rstr */
    const char *holder;  /* borrowed: task ref, or op_ref without a task */
    struct claim *claims;
    unsigned n_claims;
    bool
        is_patient; /* waits for claims of what the house does to disks, instead of being refused */
    bool is_held_up; /* was refused because of such ones */
    bool journaled;  /* the row exists */
    struct val *ctx;
    bool ctx_dirty;

    /* the step table; written by the running thread, read by whoever asks what goes on */
    const struct op_kind *_Atomic kind; /* NULL until op_run_steps */
    atomic_uint step;
    atomic_bool undoing, committed;
    unsigned verb; /* verbs issued in this step */
    usec_t began, last_progress;
    double progress;

    /* internal work (tasks_run_internal) */
    const char *kind_name; /* rstr or NULL */
    int internal_cls, internal_op;

    struct waitable cancel;
    atomic_bool cancelled;
    struct err *failed; /* outcome handed to the last transaction */
    struct val *result;
};

/* Who is held up tries again every HELD_UP_TRY, for HELD_UP_MAX. */
#define HELD_UP_MAX (60 * USEC_PER_SEC)
#define HELD_UP_TRY (50 * USEC_PER_MSEC)

/* Was the claim refused because of what the house does to a chain of disks by itself? That holds
 * each of them for a moment only. */
bool is_held_by_house(struct txn *t, const struct err *refused);

struct op_run *op_run_new(struct tasks *ts);
void op_run_free(struct op_run *r);

/* ---- journal.c: the row `op` ---- */

/* Writes the row; in the claiming transaction or, for calls without claims, before the first step.
 */
struct err *journal_add(struct txn *t, struct op_run *r) _must_use_;
/* Step index, phase and context as they are in r. */
struct err *journal_update(struct txn *t, struct op_run *r) _must_use_;
void journal_del(struct txn *t, struct op_run *r);
/* The same as a transaction of its own; makes the row if there is none yet. */
struct err *journal_write(struct op_run *r, const char *why) _must_use_;
/* An op_run from a row. */
struct rec_op;
struct op_run *journal_read(struct tasks *ts, const struct rec_op *row);

/* ---- step.c ---- */

/* Walks r->kind from r->step on. */
struct err *step_run(struct op_run *r) _must_use_;
/* Undo from r->step down to the first. `why` is the first error, handed back (taken over). */
struct err *step_undo(struct op_run *r, struct err *why) _must_use_;

/* ---- task_row.c ---- */

/* The task's row at the start and at the end. */
struct err *task_row_add(struct txn *t, struct op_run *r) _must_use_;
void task_row_end(struct txn *t, struct op_run *r);
/* The task of a dead process, as its journal row remembers it. */
void task_row_revive(struct txn *t, struct tasks *ts, const struct rec_op *op);
void task_row_progress(struct txn *t, const char *ref, double progress);
/* A transfer begins in it: it can be cancelled and has come nowhere yet. */
void task_row_taken_over(struct txn *t, const char *ref);
/* `cancel` in or out of allowed_operations. */
void task_row_cancellable(struct txn *t, const char *ref, bool can);
