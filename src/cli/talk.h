/*
 * talk.h: the conversation with one client over the thin protocol.
 *
 * What is said is collected and goes out when there is enough of it, before anything is read, when
 * talk_flush() is called (cmd.h does before a call that may take long) and at the end; so a list of
 * a thousand objects is a handful of writes. A write holds whole messages and fits into one TLS
 * record where it can, since a known client cannot put pieces together. The client's hello is read
 * with the first thing that is read of it: who only prints need not wait for it.
 *
 * A connection that broke makes all further talk fail with CLI_EXIT: there is nobody left to tell.
 * One thread at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "codec/thin.h"

struct talk {
    struct cli_stream stream;
    struct buf out; /* said, but not sent */
    bool greeted;   /* the client's hello has come */
    bool broken;
};

/* Begins with our hello. */
void talk_open(struct talk *t, const struct cli_stream *s);
void talk_done(struct talk *t); /* what was not sent is dropped; the stream stays */
/* Reads the client's hello, if that has not been done: for what should not begin before somebody
 * who speaks the protocol is there. */
struct err *talk_greet(struct talk *t) _must_use_;
/* Sends what was said; t->broken tells whether the client has gone. */
void talk_flush(struct talk *t);

void talk_print(struct talk *t, const char *text);    /* standard output, a newline follows */
void talk_stderr(struct talk *t, const char *text);   /* as it is */
void talk_debug(struct talk *t, const char *text);    /* shown with --debug alone */
void talk_error(struct talk *t, const struct err *e); /* a code without a sentence */
void talk_exit(struct talk *t, unsigned status);      /* the last word; sent at once */

/* A file of the client's, up to 32 MiB; CLI_FAILURE if it cannot be read. */
struct err *talk_load(struct talk *t, const char *file, struct buf *ret) _must_use_;
/* A line of the client's standard input. */
struct err *talk_prompt(struct talk *t, struct buf *ret) _must_use_;
/* The client opens its own connection to `url` for the file (or terminal) and reports when done.
 * *ret_ok: whether it succeeded. */
struct err *talk_transfer(struct talk *t, enum thin_tag how, const char *file, const char *url,
                          bool *ret_ok) _must_use_;
