/*
 * http.h: the handlers of the HTTP server as data.
 *
 * model/http.model declares them; the generator makes gen/http.h (numbers, prototypes) and
 * gen/http.c (this table). Constant, any thread.
 */
#pragma once

#include "net/net.h"
#include "state/desc.h"

enum http_form {
    HTTP_RPC,    /* net_kind NET_RPC */
    HTTP_SIMPLE, /* NET_SIMPLE */
    HTTP_STREAM, /* NET_TAKEOVER */
    HTTP_FILES   /* served by net/ itself */
};

enum http_flag {
    HTTP_SDK = 1 << 0,           /* part of the published SDKs */
    HTTP_CLIENT_CERT = 1 << 1,   /* open to client certificates */
    HTTP_OWN_CHECK = 1 << 2,     /* looks at session and role itself */
    HTTP_MASTER = 1 << 3,        /* of the pool's coordinator only */
    HTTP_HOUSE = 1 << 4,         /* ours, not one of XenServer's */
    HTTP_UNIMPLEMENTED = 1 << 5, /* answers 501 */
};

struct http_query {
    const char *name, *type;
};

struct http_desc {
    const char *name, *method, *path;
    enum role role;
    unsigned flags; /* HTTP_* */
    const struct key_role
        *subs; /* further permissions http/NAME/KEY; ends with key NULL, or NULL */
    const struct http_query *queries;
    unsigned n_queries;
    const char *task; /* label of the task it always has; NULL: only one that it is given */
    const char *body; /* what flows; NULL or words for the documentation, like the next two */
    const char *needs;
    const char *doc;
    enum http_form form;
    net_call_fn call;
    net_takeover_fn takeover;
};

extern const struct http_desc http_descs[]; /* by enum http_num, HTTP_N of them */
