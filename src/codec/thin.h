/*
 * thin.h: the thin protocol between `xe` and the host, as bytes.
 *
 * The client posts its arguments to /cli; from then on the connection carries this protocol. Both
 * sides first send a hello, the server before the client; then each message is a size of four bytes
 * and that many bytes of body. A body is a group (command, response, blob), a tag and its
 * arguments; numbers are 32 bits, little endian, strings a size and bytes. The raw bytes of a chunk
 * follow their message outside the framing.
 *
 *     struct buf b;                                           // what the server writes
 *     thin_put(&b, &(struct thin_msg){THIN_PRINT, .n = 1, .strings = {view_of("hi")}});
 *
 *     struct thin_msg m;                                      // what the client read
 *     if (thin_get(body, &m) == 0 && m.tag == THIN_EXIT) …
 *
 * Pure functions; any thread. Views in a message point into the body.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum thin_tag {
    THIN_PRINT = 0,     /* text; the client adds a newline */
    THIN_LOAD = 1,      /* file name: the client answers OK, chunks, END; or FAILED */
    THIN_PROMPT = 3,    /* the client answers a chunk with a line, END */
    THIN_EXIT = 4,      /* number: the exit status */
    THIN_OK = 5,        /* response */
    THIN_FAILED = 6,    /* response */
    THIN_CHUNK = 7,     /* blob: number of raw bytes behind the message */
    THIN_END = 8,       /* blob */
    THIN_HTTP_GET = 12, /* file name ("" is the standard output), url */
    THIN_HTTP_PUT = 13, /* file name, url */
    THIN_ERROR = 14,    /* code, parameters */
    THIN_DEBUG = 15,    /* text */
    THIN_PRINT_STDERR = 16,
    THIN_HTTP_CONNECT = 17, /* url */
    THIN_WAIT = 18,         /* response: still busy with a transfer */
};

#define THIN_MAJOR      0
#define THIN_MINOR      2
#define THIN_HELLO_SIZE 35
#define THIN_MAX_BODY                                                                              \
    (16u << 20) /* bytes; a record list of a large pool is one message a record                    \
                 */
#define THIN_STRINGS 32
/* Bytes of a message beside its strings, each of which has four of its own. */
#define THIN_HEAD_MAX 24

struct thin_msg {
    enum thin_tag tag;
    uint32_t number;
    unsigned n; /* strings in use */
    struct view strings[THIN_STRINGS];
};

void thin_put_hello(struct buf *b);
/* -EPROTO if it is no hello of a version that we speak. */
int thin_get_hello(const char bytes[THIN_HELLO_SIZE], uint32_t *ret_minor) _must_use_;

/* Appends size and body. */
void thin_put(struct buf *b, const struct thin_msg *m);
/* Size of the body from the first four bytes; -EMSGSIZE beyond THIN_MAX_BODY. */
int thin_get_size(const char bytes[4], uint32_t *ret) _must_use_;
/* -EPROTO if it is not a message or something follows it. */
int thin_get(struct view body, struct thin_msg *ret) _must_use_;
