/*
 * transfer.h: what the server asks the client to do with files and with the terminal.
 *
 * The client opens a connection of its own for each. It touches only files that its command line
 * names, and never writes over one that exists. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/str.h"
#include "xe/link.h"
#include "xe/options.h"

struct client {
    const struct options *options;
    struct place place;
    struct link *link; /* the conversation */
    FILE *out;         /* where the server's text goes */
    bool greeted;      /* the server has said its hello */
};

/* Whether a word of the command line names this file. */
bool transfer_may_touch(const struct client *c, const char *file);
/* Sends the file as chunks, or FAILED. -errno if the conversation broke. */
int transfer_load(struct client *c, const char *file);
/* A line of the standard input as a chunk; nothing if that is no terminal. */
int transfer_prompt(struct client *c);
/* Each answers OK or FAILED. */
int transfer_get(struct client *c, const char *file, const char *url);
int transfer_put(struct client *c, const char *file, const char *url);
int console_connect(struct client *c, const char *url);

/* The connection that a URL asks for: "https://host[:port]/path", or a path on the same server.
 * *ret_path points into the url. NULL after saying why. */
struct link *transfer_open(struct client *c, const char *url, const char **ret_path);
/* One message without text to the server. */
int transfer_answer(struct client *c, unsigned tag);
