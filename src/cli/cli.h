/*
 * cli.h: the commands of `xe`, run in the server.
 *
 * A client posts its words to /cli and then talks the thin protocol (codec/thin.h): what to print,
 * which file to send, when to end. The commands themselves call the API in process, with the
 * caller's own session, so they can do nothing that the caller could not do with a script.
 *
 *     struct cli_backend backend = cli_backend_api(api);
 *     // on a stream thread, once the body of POST /cli has been read:
 *     cli_serve(&backend, &(struct cli_conn){.peer = peer, .body = body, .stream = stream});
 *
 * Adding a command: one that only hands its parameters to one message is a line in model/xe.table;
 * one that does more is a function and an entry in the table of its family (cmd_*.c).
 *
 * cli_serve blocks as long as the command runs; it belongs on a stream thread, never on a loop.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "api/api.h"
#include "base/err.h"
#include "base/str.h"
#include "base/val.h"

/* What the commands call; in tests a fake. */
struct cli_backend {
    void *arg;
    /* params: a set without the session. */
    struct err *(*call)(void *arg, const char *session, const char *message,
                        const struct val *params, struct val **ret);
    /* The same for get_all_records_where, as rows. May be NULL: then records are asked for. */
    struct err *(*rows)(void *arg, const char *session, const char *message,
                        const struct val *params, struct api_rows *ret);
    /* user "": the peer's own right, if it has one (local superuser). Returns an rstr. */
    struct err *(*login)(void *arg, const struct api_peer *peer, const char *user,
                         const char *password, const char **ret_session);
    void (*logout)(void *arg, const char *session);
    /* SESSION_INVALID if there is none of that name; NULL: all are taken for live. */
    struct err *(*check)(void *arg, const char *session);
    /* Whether the HTTP handler of that name is there; NULL: all are. */
    bool (*serves)(const char *handler);
};
struct cli_backend cli_backend_api(struct api *api);

/* The connection to the client. Both block; read returns 0 at the end, both -errno. */
struct cli_stream {
    void *arg;
    ssize_t (*read)(void *arg, void *p, size_t size);
    int (*write)(void *arg, const void *p, size_t size); /* all of it */
    /* The client has a session: from now on reads may wait for a human or a transfer. Until then a
     * stranger must not hold the thread. May be NULL. */
    void (*be_patient)(void *arg);
};

struct cli_conn {
    struct api_peer peer;
    struct view body; /* of the POST: one word a line */
    struct cli_stream stream;
};

/* Serves one command to its end, from our hello to Exit. The stream stays the caller's. */
void cli_serve(const struct cli_backend *backend, const struct cli_conn *conn);
