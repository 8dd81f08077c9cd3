/*
 * http.h: HTTP/1.0 and 1.1 framing, strictly. Pure, any thread, both sides of a connection.
 *
 * Bytes are collected by the caller. Once http_head_end() sees the end of the header block, the
 * block is parsed in one go; what follows it - a body, an early message of a taken-over protocol -
 * stays where it is.
 *
 *     ssize_t n = http_head_end((struct view){in.data, in.size}, &scanned);
 *     if (n < 0)  refuse with status -n
 *     if (n == 0) read more
 *     int status = http_parse_request((struct view){in.data, (size_t)n}, &head);
 *     if (status) refuse with that status
 *
 * Lines end in CR LF. No line folding, no blank before a colon, no control characters, no two
 * different lengths, no length together with a transfer coding: what two readers could take in two
 * ways is refused. The views of a head point into the text that was parsed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/str.h"

#define HTTP_HEAD_MAX    16384
#define HTTP_HEADERS_MAX 100

struct http_header {
    struct view name, value; /* value: without blanks around it */
};

struct http_head {
    struct view method;      /* of a request */
    struct view target;      /* of a request, as sent */
    struct view path, query; /* of the target, still encoded; query without its '?' */
    unsigned status;         /* of a response */
    unsigned minor;          /* HTTP/1.minor */
    bool keep_alive;         /* by version and Connection header */
    bool has_length;
    uint64_t length; /* of the body, if has_length */
    bool chunked;
    bool expect_continue;
    bool upgrade; /* Connection: upgrade */
    unsigned n_headers;
    struct http_header headers[HTTP_HEADERS_MAX];
};

/* Size of the header block at the beginning of `in`, its empty line included; 0 when it has not
 * all arrived; -431 when it is too long, -400 when it cannot become one. *scanned starts as 0 and
 * lets the next call go on where this one stopped. Empty lines in front count as part of it. */
ssize_t http_head_end(struct view in, size_t *scanned);

/* 0, or the status with which to refuse: 400, 431 (too many headers), 501 (a transfer coding that
 * is not `chunked`). */
unsigned http_parse_request(struct view head, struct http_head *ret) _must_use_;
unsigned http_parse_response(struct view head, struct http_head *ret) _must_use_;

/* The first header of that name in any case; an empty view with p NULL if there is none. */
struct view http_find(const struct http_head *h, const char *name);
/* Does a list header ("Connection: a, B") have that token, in any case? */
bool http_has_token(const struct http_head *h, const char *name, const char *token);

/* ---- bodies in chunks ---- */

struct http_chunks {
    int state;
    uint64_t left;   /* of the chunk, or digits and bytes of a line so far */
    unsigned n_line; /* bytes in the current line */
};
/* Appends to `out` what `in` holds of the body. Returns how many bytes of `in` were used: all of
 * them, unless *ret_done; -EINVAL, or -E2BIG when the buffer is full. Trailers are dropped. */
ssize_t http_chunks_feed(struct http_chunks *c, struct view in, struct buf *out, bool *ret_done);

/* ---- what stands inside a head ---- */

/* Percent-decodes; '+' is a blank if `plus`. NULL if it is malformed or holds a NUL. Caller
 * frees. */
char *http_decode(struct view text, bool plus) _must_use_;
/* Percent-encodes everything but letters, digits and -._~ and what is in `keep`. */
void http_put_encoded(struct buf *b, struct view text, const char *keep);
/* The first value of a name in "a=b&c=d", decoded; NULL if there is none. "a" alone is "". */
char *http_query_get(struct view query, const char *name) _must_use_;
/* Takes the first pair off *query; false at the end. Both are the caller's to free. */
bool http_query_next(struct view *query, char **ret_name, char **ret_value);
/* A cookie of the request, decoded; NULL if there is none. "a=b; c=d" or the old "a=b&c=d". */
char *http_cookie_get(const struct http_head *h, const char *name) _must_use_;
/* Authorization: Basic. False if there is none that can be read. Both are the caller's to free. */
bool http_basic_auth(const struct http_head *h, char **ret_user, char **ret_password);

const char *http_reason(unsigned status); /* "OK"; "Error" for a status we do not know */
