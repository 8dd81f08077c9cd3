/*
 * options.h: whom to speak to, as who, and which words to pass on.
 *
 * Settings come from ~/.xe (lines key=value), XE_EXTRA_ARGS (words divided by commas, \, being a
 * comma) and the command line; the later win. What is no setting is passed on to the server.
 * One thread.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/vec.h"

#define XE_LOCAL_SOCKET "/run/cairn/xapi"

struct options {
    char *server;              /* name or address, or the path of a unix socket; NULL: this host */
    char *port;                /* NULL: by kind of connection */
    char *username, *password; /* NULL: not given */
    bool plain;                /* no TLS */
    bool debug;
    bool help, version; /* -help, -version */
    VEC(char *) words;  /* for the server */
};

/* 0, or -EINVAL after saying on standard error what is wrong. */
int options_read(int argc, char **argv, struct options *ret);
void options_done(struct options *o);
