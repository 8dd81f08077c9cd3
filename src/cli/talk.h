/*
 * talk.h: the conversation with one client over the thin protocol.
 *
 * Every message goes out with one write, since a known client cannot put pieces together. A
 * connection that broke makes all further talk fail with CLI_EXIT: there is nobody left to tell.
 * One thread at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "codec/thin.h"

struct talk {
    struct cli_stream stream;
    bool broken;
};

/* Sends our hello and reads the client's. */
struct err *talk_open(struct talk *t, const struct cli_stream *s) _must_use_;

void talk_print(struct talk *t, const char *text);    /* standard output, a newline follows */
void talk_stderr(struct talk *t, const char *text);   /* as it is */
void talk_debug(struct talk *t, const char *text);    /* shown with --debug alone */
void talk_error(struct talk *t, const struct err *e); /* a code without a sentence */
void talk_exit(struct talk *t, unsigned status);

/* A file of the client's, up to 32 MiB; CLI_FAILURE if it cannot be read. */
struct err *talk_load(struct talk *t, const char *file, struct buf *ret) _must_use_;
/* A line of the client's standard input. */
struct err *talk_prompt(struct talk *t, struct buf *ret) _must_use_;
/* The client opens its own connection to `url` for the file (or terminal) and reports when done.
 * *ret_ok: whether it succeeded. */
struct err *talk_transfer(struct talk *t, enum thin_tag how, const char *file, const char *url,
                          bool *ret_ok) _must_use_;
