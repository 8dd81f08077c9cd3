/*
 * rest_impl.h: what the files of this folder share. Private to it.
 *
 *   rest.c     a call from its request to its answer: credentials, target, method, end
 *   path.c     which collection, object and action a path names
 *   list.c     GET of a collection: filter, fields, pages
 *   object.c   GET, DELETE of an object, POST to a collection
 *   patch.c    PATCH of an object
 *   action.c   actions: every other message
 *   events.c   server-sent events
 *   login.c    /session
 *   show.c     records and values as JSON            take.c     JSON as values of the model's types
 *   filter.c   the filter of a collection            problem.c  errors as application/problem+json
 */
#pragma once

#include "rest/rest.h"
#include "rest/table.h"
#include "state/db.h"
#include "state/desc.h"
#include "state/row.h"

#define REST_ROOT     "/rest/v1"
#define REST_BODY_MAX (256u << 20) /* of an answer */

/* ---- path.c ---- */

enum rest_kind {
    REST_NOTHING,
    REST_INDEX,      /* / */
    REST_SESSION,    /* /session */
    REST_EVENTS,     /* /events */
    REST_COLLECTION, /* /vms */
    REST_OBJECT,     /* /vms/{id} */
    REST_ACTION,     /* /vms/{action}, /vms/{id}/{action} */
};

struct rest_target {
    enum rest_kind kind;
    const struct rest_class *cls;
    const struct rest_action *action;
    struct view id; /* of the path: a uuid or a reference; empty if it names no object */
};

/* Total; REST_NOTHING for what is no path of ours. */
struct rest_target rest_parse_path(const char *path);
bool rest_is_id(struct view v);
const struct rest_class *rest_class_by_path(struct view path);
const struct rest_class *rest_class_by_num(int cls); /* NULL if the class is no collection */

/* ---- show.c ---- */

/* For one answer: what references are looked up in. */
struct rest_show {
    struct buf *b;
    struct api *api;
    const struct snap *snap;
};

void rest_show_val(struct rest_show *s, const struct type *t, const struct val *v);
/* The object with the fields in `wanted` (by number; NULL: all). */
void rest_show_row(struct rest_show *s, const struct row *r, const bool *wanted);
/* The same of a record given as a value; `ref` names it. */
void rest_show_record(struct rest_show *s, const struct class_desc *cls, const char *ref,
                      const struct val *record);
/* "/rest/v1/vms/<id>"; what it names may be gone. */
void rest_put_link(struct rest_show *s, int cls, const char *ref);
/* The same without quotes, for headers. */
void rest_put_path(struct buf *b, const struct rest_class *c, const struct row *r, const char *ref);
void rest_put_datetime(struct buf *b, int64_t seconds);
#define REST_ETAG_SIZE 48
void rest_etag(const struct row *r, char out[REST_ETAG_SIZE]);

/* ---- take.c: errors are INVALID_VALUE and UUID_INVALID ---- */

struct rest_take {
    struct api *api;
    const struct snap *snap;
};

struct err *rest_take_val(const struct rest_take *s, const struct type *t, const char *what,
                          const struct val *in, struct val **ret) _must_use_;
/* The same from the text of a query: sets and maps as JSON, all else bare. */
struct err *rest_take_text(const struct rest_take *s, const struct type *t, const char *what,
                           const char *text, struct val **ret) _must_use_;
/* The parameters of a message from number `first` on, by name, in order. Names that the message
 * does not have are refused. */
struct err *rest_take_params(const struct rest_take *s, const struct msg_desc *m, unsigned first,
                             const struct val *named, struct val *params) _must_use_;

/* The value of a parameter that the client leaves out; INVALID_VALUE if it may not. */
struct err *rest_take_nothing(const struct param_desc *p, struct val **ret) _must_use_;

/* ---- filter.c ---- */

struct rest_filter;
/* name_label=web, power_state!=Halted, name_label~data, memory_target>1000, tags=x,
 * other_config.folder=/a; several are all to be true. INVALID_VALUE. */
struct err *rest_filter_parse(const struct class_desc *cls, const char *text,
                              struct rest_filter **ret) _must_use_;
bool rest_filter_match(const struct rest_filter *f, struct rest_show *s, const struct row *r);
void rest_filter_free(struct rest_filter *f); /* NULL is fine */
static inline void rest_filter_freep(struct rest_filter **f)
{
    rest_filter_free(*f);
    *f = NULL;
}

/* ---- problem.c ---- */

unsigned rest_status(const struct err *e);
void rest_put_problem(struct buf *b, unsigned status, const struct err *e);

/* ---- rest.c ---- */

struct rest_stream; /* events.c */
struct rest_patch;  /* patch.c */

struct rest_call {
    unsigned refs;
    const struct rest *rest;
    struct loop *loop;
    struct api_peer peer;
    char *address;
    bool tls;
    const struct rest_sink *sink;
    void *sink_arg;
    bool *ret_known; /* of the request; may be NULL */

    char *method, *path, *query;
    char *user, *password, *user_agent;
    char *if_match, *if_none_match, *last_event_id;
    bool quiet; /* a page asks: no WWW-Authenticate, browsers would ask the user */
    struct rest_target t;
    struct val *body; /* NULL: none */
    bool respond_async;

    const char *session; /* rstr */
    bool owned;          /* made for this request, ended with it */
    const char *ref;     /* rstr: of the object in the path */

    struct api_started *asked;
    void (*then)(struct rest_call *c, const struct api_answer *a);
    bool done;

    struct rest_patch *patch; /* of a PATCH: how far it is */
    uint64_t unless_after;    /* see api_start */
    struct rest_stream *stream;
};

struct rest_call *rest_ref(struct rest_call *c);
void rest_unref(struct rest_call *c);

/* Sends a message with the call's session; `params` is taken over. then(c, answer) may run before
 * this returns, and may end the call. */
void rest_ask(struct rest_call *c, const char *name, struct val *params,
              void (*then)(struct rest_call *c, const struct api_answer *a));

/* api_start with the call's session, for answers that rest_ask does not take. */
struct api_started *rest_start(const struct rest_call *c, const char *name,
                               const struct val *params, struct api_together *together,
                               api_answer_fn answer, void *arg);

/* The session is live: the caller is no stranger. */
void rest_is_known(struct rest_call *c);
/* Answers; the call is over. */
void rest_answer(struct rest_call *c, unsigned status, const struct rest_header *headers,
                 unsigned n_headers, struct buf *body);
void rest_answer_error(struct rest_call *c, unsigned status, const struct err *e);
/* The same with a status of its own and no error of XenAPI. */
void rest_refuse(struct rest_call *c, unsigned status, const char *fmt, ...) _printf_(3, 4);
/* 0 takes the status from the error; frees it. */
void rest_fail(struct rest_call *c, unsigned status, struct err *e);
/* The end of an answer in pieces. */
void rest_end(struct rest_call *c);

/* A parameter of the query; the caller frees. */
char *rest_query(const struct rest_call *c, const char *name) _must_use_;
/* Does the client wait for the end of the operation? */
bool rest_waits(const struct rest_call *c, bool otherwise);
/* c->ref, from the path; 404 (false: the call is over). */
bool rest_find_object(struct rest_call *c, const struct snap *s);
/* 202: the reply is a task. */
void rest_answer_task(struct rest_call *c, const struct val *task);
/* 428-like conditions: If-Match; 412 (false: the call is over). Sets unless_after. */
bool rest_check_match(struct rest_call *c, const struct row *r);

/* ---- object.c, patch.c ---- */

/* With the object as it is now. */
void rest_answer_latest(struct rest_call *c, unsigned status);
void rest_patch_free(struct rest_patch *p); /* NULL is fine */
/* Nobody waits for its calls any more. */
void rest_patch_drop(struct rest_patch *p);

/* ---- the methods ---- */

void rest_get_index(struct rest_call *c);
void rest_login(struct rest_call *c);
void rest_get_session(struct rest_call *c);
void rest_logout(struct rest_call *c);
void rest_get_events(struct rest_call *c);
void rest_events_drained(struct rest_call *c);
void rest_stream_free(struct rest_stream *s);
void rest_get_list(struct rest_call *c);
void rest_create(struct rest_call *c);
void rest_get_object(struct rest_call *c);
void rest_patch(struct rest_call *c);
void rest_delete(struct rest_call *c);
void rest_do_action(struct rest_call *c);
