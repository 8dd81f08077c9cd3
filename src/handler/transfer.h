/*
 * transfer.h: one request of an HTTP handler that streams, from its session to its task's end.
 *
 * A handler of the model (model/http.model) that is no RPC is a function
 *
 *     struct err *http_get_thing(struct transfer *x, struct val **ret)
 *     {
 *         _cleanup_(freep) char *uuid = transfer_arg(x, "uuid");
 *         if (!uuid)
 *             return transfer_missing("uuid");              // 400
 *         ...                                               // errors here: 401, 403, 404, 500 …
 *         TRY(transfer_head(x, "text/plain", NULL, 0));     // 200; errors from here on: the task's
 *         return transfer_write(x, text, strlen(text));
 *     }
 *
 * and is called on a stream thread when the request's session is known and has the permission
 * http/NAME, and its task stands: the pending one of `task_id`, which must be the session's user's,
 * or one of its own if the model says `task`. x->op is the operation: caller, claims (op_claim),
 * steps (op_run_steps), cancel (op_check). What the handler returns ends the task; then the
 * connection is closed, so a client that waits for its end finds the task ended. After an error
 * behind the head a download is reset, so nobody takes half a file for a whole one.
 *
 * An upload gets its 200 before the body is read (transfer_accept); clients depend on it.
 * Waiting for the client ends within a second when the task is cancelled. Everything here blocks
 * and belongs to the handler's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "api/api.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/val.h"
#include "net/net.h"
#include "task/op.h"

struct handlers;
struct http_desc;

/* How the end of the request's body is known. */
enum transfer_body { BODY_UNTIL_END, BODY_LENGTH, BODY_CHUNKED };

struct transfer {
    struct handlers *h;
    const struct http_desc *what;
    const struct net_request *req;
    struct net_stream *stream;
    struct op *op;
    struct api_session session;

    /* private */
    struct err *(*fn)(struct transfer *x, struct val **ret);
    bool answered; /* the head is out */
    bool open_end; /* the length that the client tells is not to be believed */
    enum transfer_body body;
    uint64_t left; /* BODY_LENGTH: still to come */
    struct http_chunks *chunks;
    struct buf spare; /* BODY_CHUNKED: decoded, not read yet from spare_at on */
    size_t spare_at;
    bool ended;
};

typedef struct err *(*transfer_fn)(struct transfer *x, struct val **ret);
/* Serves a request with handler `num` (enum http_num); what gen/http.c calls. */
void transfer_serve(void *handlers, int num, transfer_fn fn, const struct net_request *req,
                    struct net_stream *s);

/* ---- the request ---- */

/* A parameter of the query, decoded; NULL if it is absent. The caller frees. */
char *transfer_arg(const struct transfer *x, const char *name) _must_use_;
/* "true", "1", "yes" and a name alone say yes. */
bool transfer_flag(const struct transfer *x, const char *name, bool absent);
/* Becomes a 400 that names the parameter. */
struct err *transfer_missing(const char *name) _must_use_;
/* RBAC_PERMISSION_DENIED unless the session has the sub-permission http/NAME/key. */
struct err *transfer_check_sub(const struct transfer *x, const char *key) _must_use_;
/* The reference of the object that `ref=` or `uuid=` names (in this order). UUID_INVALID,
 * HANDLE_INVALID, or transfer_missing(). rstr. */
struct err *transfer_object(const struct transfer *x, int cls, const char **ret) _must_use_;

/* ---- the answer ---- */

/* 200 and what belongs to it; the body ends with the connection. */
struct err *transfer_head(struct transfer *x, const char *content_type,
                          const struct net_header *headers, unsigned n_headers) _must_use_;
/* The same with "attachment; filename=…", for downloads that browsers save. */
struct err *transfer_head_file(struct transfer *x, const char *content_type, const char *filename)
    _must_use_;
struct err *transfer_write(struct transfer *x, const void *p, size_t size) _must_use_;
/* A whole answer from memory. */
struct err *transfer_send(struct transfer *x, const char *content_type, const struct buf *body)
    _must_use_;
/* 302 to another host or path. */
struct err *transfer_redirect(struct transfer *x, const char *location) _must_use_;

/* ---- the body of an upload ---- */

/* Is there none, as in the empty PUT by which some clients look for redirections? */
bool transfer_is_empty(const struct transfer *x);
/* Sends the 200 and makes the body readable. */
struct err *transfer_accept(struct transfer *x) _must_use_;
/* Up to `size` bytes, *ret_size 0 at the end. IMPORT_ERROR_PREMATURE_EOF when the connection ends
 * before the announced length. */
struct err *transfer_read(struct transfer *x, void *p, size_t size, size_t *ret_size) _must_use_;
/* The length that the client announces; false if it is not known. */
bool transfer_length(const struct transfer *x, uint64_t *ret);
/* An end before the announced length is an end like another. */
void transfer_allow_short(struct transfer *x);

/* ---- its task ---- */

/* 0 to 1; may be called as often as wanted. */
void transfer_progress(struct transfer *x, double fraction);
