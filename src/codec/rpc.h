/*
 * rpc.h: the envelopes of a call and its answer, in XML-RPC and JSON-RPC 1.0 and 2.0, and one face
 * for writing values in either. Pure; any thread.
 *
 *     _cleanup_(rpc_request_done) struct rpc_request req = {0};
 *     if (rpc_parse(RPC_XML, body, &req) < 0)
 *         ...                                        // HTTP 500: it is no call at all
 *     struct rpc_out o = rpc_begin_success(&req, &b);
 *     rpc_put_val(&o, result);
 *     rpc_end_success(&req, &o);
 *
 * or rpc_put_failure(&req, &b, "HANDLE_INVALID", 2, params). What lies between begin and end is one
 * value, written by the rpc_put functions in pieces or copied from an encoding made earlier with
 * them in the same format.
 *
 * A value that was read has the type its text said, or is a string; rpc_to_* bring it into the
 * type that the model declares.
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "base/val.h"

enum rpc_format { RPC_XML, RPC_JSON };

struct rpc_request {
    enum rpc_format format;
    unsigned version;   /* of JSON-RPC: 1 or 2 */
    char *id;           /* of JSON-RPC, as its JSON text; NULL in XML */
    char *method;       /* as it was sent */
    struct val *params; /* a set, in order */
    /* The body is not UTF-8: bad bytes have become '?' and the call has to be refused. */
    bool invalid_utf8;
};

/* 0, -EINVAL or -E2BIG, *ret untouched then. The body's size is the caller's to bound. */
int rpc_parse(enum rpc_format format, struct view body, struct rpc_request *ret) _must_use_;
void rpc_request_done(struct rpc_request *req);

/* "text/xml" or "application/json", exactly: clients compare it. */
const char *rpc_content_type(enum rpc_format format);

/* ---- answers ---- */

struct rpc_out {
    struct buf *b;
    enum rpc_format format;
    bool i4; /* XML: integers as <i4>, as the values of valid_ref_counts are sent */
};

struct rpc_out rpc_begin_success(const struct rpc_request *req, struct buf *b);
void rpc_end_success(const struct rpc_request *req, struct rpc_out *o);
/* The answer of system.listMethods: over XML the value stands without Status and Value. */
struct rpc_out rpc_begin_bare(const struct rpc_request *req, struct buf *b);
void rpc_end_bare(const struct rpc_request *req, struct rpc_out *o);
void rpc_put_failure(const struct rpc_request *req, struct buf *b, const char *code, unsigned n,
                     const char *const *params);

/* ---- a call to others: what a host plugin is given ---- */

void rpc_put_call(struct buf *b, const char *method, const struct val *params);

/* ---- values ---- */

void rpc_put_val(struct rpc_out *o, const struct val *v);
void rpc_put_str(struct rpc_out *o, const char *s);
void rpc_put_str_n(struct rpc_out *o, const char *s, size_t size);
void rpc_put_int(struct rpc_out *o, int64_t i);
void rpc_put_bool(struct rpc_out *o, bool v);
void rpc_put_float(struct rpc_out *o, double d);
void rpc_put_datetime(struct rpc_out *o, int64_t seconds);
void rpc_put_void(struct rpc_out *o);
void rpc_begin_set(struct rpc_out *o);
void rpc_end_set(struct rpc_out *o);
void rpc_begin_map(struct rpc_out *o);
void rpc_put_key(struct rpc_out *o, const char *key); /* then one value */
void rpc_end_map(struct rpc_out *o);

/* ---- from what was sent to what is declared; 0 or -EINVAL ---- */

int rpc_to_int(const struct val *v, int64_t *ret) _must_use_;      /* or a decimal string */
int rpc_to_float(const struct val *v, double *ret) _must_use_;     /* or an integer, or a string */
int rpc_to_bool(const struct val *v, bool *ret) _must_use_;        /* a string is refused */
int rpc_to_datetime(const struct val *v, int64_t *ret) _must_use_; /* or a string */
/* Strings, references, enums: borrowed, an rstr. */
int rpc_to_str(const struct val *v, const char **ret) _must_use_;
