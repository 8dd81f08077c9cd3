/*
 * task.h: runs calls and keeps their tasks.
 *
 *     struct tasks *ts;
 *     TRY(tasks_new(&(struct tasks_config){.db = db, .host = host}, &ts));
 *     tasks_run(ts, &(struct run_request){.msg = m, .fn = fn, .args = args, …}, started, done, c);
 *
 * One transaction makes the task, takes the claims and writes the journal row; `started` is called
 * when that is durable (or refused), then the handler runs on a thread of the pool, then a last
 * transaction drops the claims and ends the task, then `done` is called on that thread.
 * Calls beyond the pool's size wait as pending tasks. Eight threads of their own serve the messages
 * that end something (shutdown, cancel, detach), so a full pool can always be emptied.
 *
 * In a single-threaded run (config.single) tasks_run does all of it before it returns.
 * Any thread may call; `started` comes on the thread that made the transaction durable or on the
 * caller's, so it must not block.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/val.h"
#include "loop/loop.h"
#include "task/op.h"
#include "task/trace.h"

struct tasks;

typedef struct err *(*msg_fn)(struct op *op, const void *args, struct val **ret);

struct tasks_config {
    struct db *db;
    struct host *host;    /* given to every op */
    void *world;          /* likewise */
    bool single;          /* no threads: run inside tasks_run */
    const char *host_ref; /* resident_on of new tasks; NULL: null */
    unsigned max_ops;     /* 0: 64 */
    unsigned max_end_ops; /* 0: 8 */
    /* Writes a task's result as the text clients read in task.result. */
    char *(*render)(const struct val *result, const struct type *type);
};

struct err *tasks_new(const struct tasks_config *cfg, struct tasks **ret) _must_use_;
/* Cancels what runs, starts nothing more, and waits until all has unwound; false at the deadline.
 * Who waits for an operation is answered. */
bool tasks_wind_down(struct tasks *ts, usec_t deadline);
/* Waits until nothing runs, nor can anything that is queued begin; false at the deadline. What is
 * queued then waits for claims of nobody who runs. For tests, which would have to guess. */
bool tasks_settle(struct tasks *ts, usec_t deadline);
/* Does so, and frees; nobody may hold or start a task any more. False at the deadline: nothing was
 * freed, and what still runs may use all that the tasks were given. */
bool tasks_stop(struct tasks *ts, usec_t deadline);
/* Set once the objects exist (a first start makes the host after the tasks). */
void tasks_set_host_ref(struct tasks *ts, const char *ref);
/* This host's own record among those of the pool; the null ref before it is set. */
const char *tasks_host_ref(const struct tasks *ts);
/* HANDLE_INVALID for what is no host, HOST_OFFLINE for one that is not this. */
struct err *tasks_need_own_host(const struct tasks *ts, struct db *db, const char *ref) _must_use_;
void tasks_set_world(struct tasks *ts, void *world);

struct run_request {
    const struct msg_desc *msg;
    msg_fn fn;
    void *args;                     /* decoded arguments, taken over */
    void (*free_args)(void *);      /* NULL: free() */
    const char *self;               /* ref of the main object; NULL: none */
    struct caller caller;           /* copied */
    bool async;                     /* task keeps existing after the end */
    const char *task;               /* run inside this task (task-id); NULL: a new one */
    const char *subtask_of;         /* NULL: none */
    const struct val *other_config; /* of the new task; NULL: empty. A reference is taken. */
    const char *label; /* the method's name as called; NULL: "VM.start" or "Async.VM.start" */
    const struct trace_id *trace; /* the call's span; NULL: none */
};

typedef void (*tasks_started_fn)(void *arg, struct err *e, const char *task_ref);
/* Takes e and result over. */
typedef void (*tasks_done_fn)(void *arg, struct err *e, struct val *result);
/* `started` is called exactly once, `done` exactly once and after it, except that after a
 * `started` with an error there is no `done`. started may be NULL: then done gets that error. */
void tasks_run(struct tasks *ts, const struct run_request *rq, tasks_started_fn started,
               tasks_done_fn done, void *arg);
/* The same and waits for the end. Never on a loop. */
struct err *tasks_call(struct tasks *ts, const struct run_request *rq, struct val **ret) _must_use_;
/* A transfer: like a call, but of no message (rq->msg is NULL, rq->label says what it is), and run
 * on the calling thread, which belongs to a connection; it takes no place of the pool. With
 * rq->task it takes that pending task over and ends it, else rq->async makes one of its own, which
 * is kept; with neither there is none. The task can be cancelled from the start; rq->args are not
 * freed. */
struct err *tasks_transfer(struct tasks *ts, const struct run_request *rq, struct val **ret)
    _must_use_;

/* Work of the house itself on an object: queued per object in order of arrival, waits for claims
 * instead of failing. `kind` is a registered step table; `ctx` its first context (a map of strings,
 * taken over, may be NULL; without one, work that is queued already is not queued twice). */
void tasks_run_internal(struct tasks *ts, const char *kind, int cls, const char *ref, int operation,
                        struct val *ctx);

/* OPERATION_NOT_ALLOWED if it cannot be cancelled (any more). */
struct err *tasks_cancel(struct tasks *ts, const char *task_ref, const char *by_task) _must_use_;

/* Tasks without a call of their own: uploads and downloads, task.create. */
struct err *tasks_create(struct tasks *ts, const struct caller *c, const char *label,
                         const char *description, const char **ret_ref) _must_use_;
struct err *tasks_set_progress(struct tasks *ts, const char *task_ref, double progress) _must_use_;
/* Ends a pending task with a result or an error (borrowed); a finished one stays as it is. */
struct err *tasks_finish(struct tasks *ts, const char *task_ref, const struct val *result,
                         const struct type *type, const struct err *e) _must_use_;

/* Drops what is older than the retention rules allow; called every 30 s. */
struct err *tasks_gc(struct tasks *ts) _must_use_;

/* After a start, before the first call (internal work queues up until then): looks at the journal
 * of the dead process, undoes or rolls forward each operation on its kind's steps, ends its task,
 * drops its claims. */
struct err *tasks_recover(struct tasks *ts) _must_use_;

/* One line per running operation: task, message, object, step, since. */
struct buf;
void tasks_dump(struct tasks *ts, struct buf *out);
