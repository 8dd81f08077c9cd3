/*
 * api.h: what a call may do, and doing it.
 *
 * Everything that speaks XenAPI - the XML-RPC and JSON-RPC paths, the command line, the HTTP
 * handlers - comes through here. A call is found in the tables of the model (state/desc.h), its
 * session and role are looked up, its arguments are brought into the declared types, and then it is
 * answered: implicit messages from the descriptors, events from state/watch, everything else by a
 * handler that the task layer runs.
 *
 *     struct api *api;
 *     TRY(api_new(&(struct api_config){.db = db, .tasks = tasks, .auth = auth}, &api));
 *
 *     // a body that came over HTTP; loop thread, never blocks
 *     api_rpc(api, &(struct api_request){.format = RPC_XML, .body = body, .peer = peer}, reply,
 * conn);
 *
 *     // in process, from a thread that may wait
 *     _cleanup_(rstr_unrefp) const char *session = NULL;
 *     TRY(api_login(api, &peer, "root", password, "cli", &session));
 *     TRY(api_call(api, session, "VM.get_all", NULL, &result));
 *     TRY(api_call(api, session, "session.logout", NULL, NULL));
 *
 * Threads: api_rpc, api_start and their drops belong to the loop that the request names, and the
 * answer comes on it; api_authenticate never waits; api_call and api_login wait and must not be
 * called on a loop. All may be called from many threads at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/rstr.h"
#include "base/str.h"
#include "base/val.h"
#include "codec/rpc.h"
#include "state/db.h"

struct api;
struct audit;
struct auth;
struct db;
struct host;
struct loop;
struct tasks;

struct api_config {
    struct db *db;
    struct tasks *tasks;
    struct host *host;      /* handed to handlers in struct op; may be NULL */
    void *world;            /* likewise, for handlers that run on a loop */
    struct auth *auth;      /* who may log in (auth.h); NULL: nobody with a password */
    struct audit *audit;    /* what is written down (audit.h); NULL: nothing */
    size_t encodings_bytes; /* for records kept as clients read them; 0: 8 MiB */
};

struct err *api_new(const struct api_config *, struct api **ret);
/* Ends all sessions: whoever waits for events, here or over the wire, gets SESSION_INVALID. */
void api_stop(struct api *); /* NULL is fine */
/* After connections and tasks have ended: no call may be under way any more. NULL is fine. */
void api_free(struct api *);
void api_set_world(struct api *, void *world); /* before the first call */

/* Who is at the other end of a connection. */
struct api_peer {
    bool trusted;        /* the local socket, and its peer is root or the owner of a development
                            run: local superuser without a password */
    const char *address; /* "192.0.2.7"; "" for the local socket */
};

/* ---- calls from the wire ---- */

struct api_request {
    struct loop *loop; /* the calling one */
    enum rpc_format format;
    struct api_peer peer;
    struct view body; /* read before api_rpc returns */
    /* Values of the headers of these names, or NULL. */
    const char *task_id, *subtask_of, *originator, *user_agent;
    const char *traceparent;        /* likewise */
    const struct val *other_config; /* of the call's task; NULL: none */
    bool *ret_known; /* set before the answer if the caller has a session; may be NULL */
};

struct api_rpc; /* a call under way */

/* The answer. Called once, on the request's loop, perhaps before api_rpc returns. `body` may be
 * emptied by buf_take. `status` is 200 but for a body that is no call at all. */
typedef void (*api_reply_fn)(void *arg, unsigned status, const char *content_type,
                             struct buf *body);

/* Returns NULL if the answer was given already, else a handle that lives until the answer. */
struct api_rpc *api_rpc(struct api *, const struct api_request *, api_reply_fn reply, void *arg);
/* Before the answer, when nobody waits for it any more: `reply` will not be called. A parked
 * event.from ends, an operation goes on. */
void api_rpc_drop(struct api_rpc *);

/* ---- calls as values, from a loop ---- */

struct row;
struct snap;

struct api_start {
    struct loop *loop; /* the calling one */
    struct api_peer peer;
    const char *session;      /* NULL: the message takes none */
    const char *name;         /* may begin with "Async." */
    const struct val *params; /* as for api_call */
    const char *user_agent;   /* or NULL */
    /* Not 0: a write of a field, or a destroy, that needs no handler is refused with STALE_RECORD
     * if the object has changed after that generation. */
    uint64_t unless_after;
    struct api_together *together; /* or NULL; taken over */
};

/* For `n` calls by api_start that set fields without a handler, on one loop: all of them are done
 * in one transaction or none. Freed when the last has been started and is done. */
struct api_together;
struct api_together *api_together(unsigned n);

/* What it came to; all borrowed. get_record, get_all_records and get_all_records_where give rows of
 * a snapshot instead of a value. */
struct api_answer {
    const struct err *e;
    const struct val *value; /* NULL: void */
    const struct row *const *rows;
    size_t n_rows;
    struct snap *snap;   /* of rows; else NULL */
    uint64_t generation; /* of a write without a handler; else 0 */
    bool known;          /* the caller has a session, or got one */
};
typedef void (*api_answer_fn)(void *arg, const struct api_answer *answer);

struct api_started; /* a call under way */

/* As api_rpc: NULL if the answer was given already. */
struct api_started *api_start(struct api *, const struct api_start *, api_answer_fn answer,
                              void *arg);
void api_started_drop(struct api_started *);

/* The row of an object as calls see it, those of class role included. NULL if there is none. */
const struct row *api_row(struct api *, const struct snap *, int cls, const char *ref);
const struct row *api_row_by_uuid(struct api *, const struct snap *, int cls, const char *uuid);

/* ---- calls in process ---- */

/* `params` is a set without the session, in order, of values as they come from JSON or as strings;
 * NULL: none. `ret` may be NULL. `name` may begin with "Async." */
struct err *api_call(struct api *, const char *session, const char *name, const struct val *params,
                     struct val **ret) _must_use_;
/* The answer of get_record, get_all_records or get_all_records_where as rows of a snapshot: what
 * looks at some fields of many objects need not make records of them. */
struct api_rows {
    struct snap *snap; /* a reference; the rows are its */
    const struct row **v;
    size_t n;
};
struct err *api_call_rows(struct api *, const char *session, const char *name,
                          const struct val *params, struct api_rows *ret) _must_use_;
static inline void api_rows_done(struct api_rows *r)
{
    free(r->v);
    snap_unref(r->snap);
    *r = (struct api_rows){0};
}
/* As session.login_with_password; a trusted peer needs neither name nor password. */
struct err *api_login(struct api *, const struct api_peer *, const char *user, const char *password,
                      const char *originator, const char **ret_session) _must_use_;

/* ---- who speaks, for the other HTTP handlers ---- */

/* What a session may do: copied facts. */
struct api_session {
    const char *ref;                               /* rstr */
    const char *user_name, *user_sid, *originator; /* rstr */
    bool local;                                    /* over the local socket */
    bool superuser;                                /* not role-checked */
    bool pool;
    uint32_t roles; /* bit 1<<enum role, lower ones included */
};
void api_session_done(struct api_session *);

/* Facts of a live session; SESSION_INVALID. */
struct err *api_authenticate(struct api *, const char *session, struct api_session *ret) _must_use_;
/* RBAC_PERMISSION_DENIED unless the session has `role` or a higher one. `permission` is what the
 * error names, e.g. "http/get_export". */
struct err *api_check_role(const struct api_session *, enum role role, const char *permission)
    _must_use_;

/* Writes into the audit log what a handler did for a session (audit.h), at its end: `action` is
 * "http/get_export", `objects` a map from names of arguments to references or uuids of objects of
 * any class (NULL: none); what names no object is left out. e is borrowed. */
void api_audit(struct api *, const struct api_session *, const struct api_peer *,
               const char *action, const struct val *objects, const struct err *e);
/* The lines of the audit log not older than `since` ("": all), see audit_read in audit.h. Waits;
 * not on a loop. */
struct err *api_audit_read(struct api *, const char *since,
                           int (*put)(void *arg, const void *p, size_t size), void *arg) _must_use_;

/* A result as task.result has it: XML-RPC text, whatever the caller speaks. For tasks_config. */
char *api_render(const struct val *result, const struct type *type);

/* Every 30 s or so, from any thread but a loop: drops sessions that were idle for 24 h. */
void api_expire(struct api *);
/* One line each: sessions, parked calls, calls under way. */
void api_dump(struct api *, struct buf *out);
