/*
 * call.h: one call under way inside api/.
 *
 * A call belongs to one thread, its home: the loop of the connection it came on, or, for a call in
 * process, the thread that waits in api_call. Work elsewhere (a transaction, a password check, an
 * operation, a watch) ends with call_post(), which runs a function at home; so a call needs no
 * lock. It is answered once, with call_end().
 * When the client leaves, its loop may end before the call does; what is left of the call then runs
 * wherever its work finishes, and frees it.
 *
 * Private to api/.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "api/api.h"
#include "base/err.h"
#include "base/lock.h"
#include "base/val.h"
#include "codec/rpc.h"
#include "state/desc.h"
#include "task/op.h"
#include "task/trace.h"

struct audit;
struct batch;
struct batches;
struct call;
struct encodings;
struct limits;
struct timing;
struct events;
struct lockout;
struct rbac;
struct session;
struct sessions;

struct api {
    struct db *db;
    struct tasks *tasks;
    struct host *host;
    void *world;
    struct auth *auth;
    struct audit *audit; /* may be NULL */
    struct rbac *rbac;
    struct sessions *sessions;
    struct events *events;
    struct lockout *lockout;
    struct encodings *encodings;
    struct batches *batches;
    struct limits *limits;
    struct timing *timing;
    atomic_uint n_calls;         /* under way */
    _Atomic uint64_t n_answered; /* since start */
};

typedef void (*call_fn)(struct call *c);

/* A call in process waits here for what is posted to it. */
struct inbox;

struct call {
    struct api *api;
    atomic_uint refs;
    struct loop *loop;   /* home, or NULL */
    struct inbox *inbox; /* home of a call in process */

    bool trusted;                                         /* facts of the connection */
    const char *address;                                  /* rstr; "" for the local socket */
    char *client;                                         /* "tcp 192.0.2.7", "unix", "internal" */
    char *task_id, *subtask_of, *originator, *user_agent; /* headers, or NULL */
    const struct val *other_config;                       /* for the call's task, or NULL */
    const enum rpc_format *format; /* what the answer is written in; NULL: it is a value */
    bool wants_rows;               /* in process: records are answered as rows (api_call_rows) */

    usec_t began;
    struct trace_id parent; /* of the traceparent header */
    struct trace_span span; /* from the message's name being known on */
    char *name;             /* as called, with "Async." */
    const struct msg_desc *msg;
    bool async;
    void *args;              /* of the message (decode.h) */
    struct val *params;      /* as given, without the session; of asynchronous calls */
    struct session *session; /* NULL for messages without one */
    struct caller caller;    /* points into session and client */

    char *audit;      /* the arguments for the audit log; NULL: the call is not told of there */
    const char *task; /* rstr: what an asynchronous call runs in, once it is known; or NULL */

    struct err *e; /* what other threads found, until it is looked at at home */
    struct val *result;
    struct records
        *records;        /* the result, if it is records for a wire or wants_rows (implicit.h) */
    struct batch *batch; /* the result, if it is that of event.from in `format` */
    call_fn posted;      /* what inbox runs */
    bool dropped;        /* nobody waits for the answer */
    struct mutex lock;
    bool homeless; /* under the lock: the loop may be gone, posts run where they are made */
    uint64_t unless_after, generation; /* of an implicit write (api_start) */
    struct api_together *together;     /* it will be part of that; NULL when it has joined */
    void *native; /* state of the message that is answered here (event.c, session.c) */
    void (*native_drop)(struct call *c); /* it may end early; NULL: it goes on */

    void (*answer)(struct call *c, struct err *e, struct val *result); /* takes both over */
};

/* "tcp 192.0.2.7" or "unix"; the caller frees. */
char *api_client_name(const struct api_peer *peer);

/* The call is the holder's; `answer` gets the result. */
void call_init(struct call *c, struct api *api,
               void (*answer)(struct call *, struct err *, struct val *));
void call_set_peer(struct call *c, const struct api_peer *peer);
/* Nobody waits for the answer any more; the loop may end. At home. */
void call_drop(struct call *c);
struct call *call_ref(struct call *c);
void call_unref(struct call *c); /* any thread; frees with free() */

/* Answers and drops the reference of the one who runs the call. At home. */
void call_end(struct call *c, struct err *e, struct val *result);
/* Has the caller a session, or got one by this call that came to `e`? */
bool call_is_known(const struct call *c, const struct err *e);
/* Notes how the call ended: is it an error that the model promises, what does the audit log say?
 * call_end does so; for an asynchronous call whoever sees its task end. */
void call_note_end(const struct call *c, const struct err *e);
/* Ends its span, the first time it is called. */
void call_trace_end(struct call *c, const struct err *e);
/* The line of the audit log alone. */
void call_audit(const struct call *c, const struct err *e);
/* From any thread: runs fn(c) at home. One at a time. */
void call_post(struct call *c, call_fn fn);

/* Finds the message, checks in the order of the protocol, runs it. Takes the reference over. */
void dispatch(struct call *c, const char *name, const struct val *params);

/* host.list_methods, which is system.listMethods with a session. */
void host_list_methods(struct call *c);

/* Messages that the API layer answers itself; NULL for others. */
call_fn native_find(const struct msg_desc *m);
