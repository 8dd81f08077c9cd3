/*
 * handler.h: what the paths of the HTTP server mean.
 *
 * model/http.model says which there are; each is a function http_NAME in a file of this folder
 * (gen/http.h has the prototypes, a missing one is a link error). Those that stream are called by
 * transfer.c, which knows session, permission and task; what the others share (whose session is
 * this) is in handler_auth.c.
 *
 *     static struct handlers h = {.api = api, .db = db, .tasks = tasks, .host = host};
 *     unsigned n;
 *     const struct net_route *routes = handler_routes(&n);
 *     net_new(&(struct net_config){.routes = routes, .n_routes = n, .arg = &h}, &net);
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "api/api.h"
#include "net/net.h"
#include "rest/rest.h"

struct db;
struct host;
struct rec_console;
struct snap;
struct ops;
struct tasks;

/* Given to every handler; outlives the net. Everything is borrowed. */
struct handlers {
    struct api *api;
    struct db *db;
    struct tasks *tasks;
    struct host *host;
    struct rest rest;
    struct ops *ops;
    const char *users_file; /* of a development run; NULL: the accounts are the machine's */
    bool development;       /* the owner of the daemon is trusted on the local socket too */
    uid_t owner;
};

const struct net_route *handler_routes(unsigned *ret_n);

/* --- for the handlers themselves --- */

#define HANDLER_CLI_MAX 204800 /* bytes of a command, as upstream's */

struct api_peer handler_peer(const struct handlers *h, const struct net_request *req);

/* A session for a request outside RPC, in the order of clients: the local socket's trust, a
 * session_id (query, cookie), Basic credentials. `owned` sessions were made for this request and
 * are ended by handler_session_done. */
struct handler_session {
    struct api_session session;
    const char *ref; /* rstr */
    bool owned;
};
/* On a stream thread. SESSION_AUTHENTICATION_FAILED or SESSION_INVALID: answer 401. */
struct err *handler_authenticate(struct handlers *h, const struct net_request *req,
                                 struct handler_session *ret) _must_use_;
void handler_session_done(struct handlers *h, struct handler_session *s);
/* The console that `uuid` or `ref` names, its own or its VM's; of a VM the graphical one first. */
struct err *handler_console_find(const struct snap *s, const struct net_request *req,
                                 const struct rec_console **ret) _must_use_;
/* A connection to the RFB server of a running VM. */
struct err *handler_console_open_rfb(struct handlers *h, const char *vm_uuid, int *ret_fd)
    _must_use_;
/* Answers on a stream what an error means in HTTP: 401, 403, 404 or 500. Frees the error. */
void handler_refuse(struct net_stream *s, struct err *e);
