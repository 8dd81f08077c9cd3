/*
 * place.h: where the verbs may act, as the command line says, and who asks.
 *
 * Made once at start; the workers inherit it and change nothing. Folders are opened and then
 * checked that only root can change them, so a name is resolved in the folder that was checked. The
 * plugin folder may come and go; it is checked when a plugin is asked for.
 */
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"

#define PLACE_PORTS_MAX 8

struct place {
    char *socket;                    /* of our arguments; NULL: it was handed over */
    const char *mount_dir;           /* mount points are made in it; NULL: nothing is mounted */
    const char *plugins_dir;         /* NULL: no plugins */
    const char *extensions_dir;      /* NULL: no extensions */
    const char *pam_service;         /* NULL: nobody is authenticated */
    const char *pam_confdir;         /* NULL: the machine's own */
    const char *etc_dir;             /* settings of the machine go there; NULL: it has none */
    const char *tools_dir;           /* of the machine's own tools for them; NULL: /usr/bin */
    uid_t peer_uid;                  /* the only one that is answered */
    unsigned seconds;                /* no verb takes longer; 0: each has its own deadline */
    uint16_t ports[PLACE_PORTS_MAX]; /* that may be listened on */
    unsigned n_ports;
    int mount_fd;
    struct ucred caller; /* of the request that a worker serves */
};

/* Opens the mount folder; makes it if it is missing. It must belong to root and be writable by root
 * alone. The folders above it may be the caller's: it can move the folder, but never put another of
 * root's in its place. */
struct err *place_open(struct place *p) _must_use_;
/* Opens the plugin folder, which must be root's alone with all folders above it. */
struct err *place_open_plugins(const struct place *p, int *ret_fd) _must_use_;
/* The same of the folder of extensions. */
struct err *place_open_extensions(const struct place *p, int *ret_fd) _must_use_;
void place_close(struct place *p);

/* An error if the open folder or file can be changed by anybody but root. */
struct err *place_check_owner(int fd, const char *name) _must_use_;
