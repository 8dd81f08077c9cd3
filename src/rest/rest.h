/*
 * rest.h: XenAPI as resources: /rest/v1/vms, /rest/v1/vms/{uuid}, /rest/v1/vms/{uuid}/start.
 *
 * The same objects and messages as over RPC, through the same dispatch (api_start): this layer
 * knows paths, methods, JSON and HTTP's conditions, and nothing of what a message does. Which path
 * means what is generated from the model (table.h). docs/rest.md tells it to users.
 *
 *     struct rest rest = {.api = api, .db = db};
 *     struct rest_call *c = rest_serve(&rest, &request, &sink, conn);   // NULL: answered already
 *     ...
 *     rest_drop(c);                                                     // the client has left
 *
 * A call belongs to the loop that the request names: it is served, answered and dropped there, and
 * holds no thread while it waits. Server-sent events are an answer without an end, said in pieces.
 */
#pragma once

#include <stdbool.h>

#include "api/api.h"
#include "base/buf.h"
#include "http/http.h"

struct db;

struct rest { /* all borrowed */
    struct api *api;
    struct db *db;
};

struct rest_request {
    struct loop *loop;
    struct api_peer peer;
    bool tls;
    const char *method;
    const char *path; /* decoded, behind /rest/v1 */
    struct view query, body;
    const struct http_head *head; /* all of it is read before rest_serve returns */
    bool *ret_known; /* set before the answer if the caller has a session; may be NULL */
};

struct rest_header {
    const char *name, *value;
};

/* Where the answer goes: send, or begin, more …, end. */
struct rest_sink {
    /* The body's bytes are taken over. */
    void (*send)(void *arg, unsigned status, const char *content_type,
                 const struct rest_header *headers, unsigned n_headers, struct buf *body);
    void (*begin)(void *arg, const char *content_type);
    void (*more)(void *arg, const void *p, size_t size);
    bool (*is_drained)(void *arg); /* else rest_drained() is called later */
    void (*end)(void *arg);
};

struct rest_call;

/* The handle is valid until send or end was called. */
struct rest_call *rest_serve(const struct rest *rest, const struct rest_request *,
                             const struct rest_sink *, void *sink_arg);
void rest_drained(struct rest_call *);
/* Nobody waits for the answer any more; the sink is not used again. */
void rest_drop(struct rest_call *);
