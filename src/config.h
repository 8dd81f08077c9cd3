/*
 * config.h: what cairnd is told before it starts.
 *
 * Settings come from three places, later ones winning: the defaults (of an installed host, or of a
 * development run under a folder), the configuration file, the command line. The file is lines of
 * `key = value`; '#' starts a comment. An unknown key, a value out of range or a path that cannot
 * be is an error that names the file and the line.
 *
 *     struct config c;
 *     config_init(&c);
 *     TRY(config_development(&c, "var"));
 *     TRY(config_read(&c, "/etc/cairn/cairn.conf"));
 *     …
 *     config_done(&c);
 *
 * One thread, at start.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct config {
    bool development;     /* everything under one folder, users from a file, no root needed */
    char *state_dir;      /* the store, keys, boot records: survives a reboot of the machine */
    char *run_dir;        /* sockets, pid files of this boot */
    char *log_dir;        /* logs of guests and helpers */
    char *sr_dir;         /* folder of the first local storage repository */
    char *iso_dir;        /* folder of the ISO library */
    char *listen_http;    /* address:port, "" for none */
    char *listen_https;   /* address:port, "" for none */
    char *listen_nbd;     /* address:port where networks of that purpose are served; "" for none */
    char *local_socket;   /* trusted by peer credentials */
    char *control_socket; /* cairnctl */
    char *users_file;     /* development: user:yescrypt-hash lines */
    char *store;          /* "sqlite:PATH" or "etcd:URL" */
    char *hypervisor;     /* "qemu" or "sim" */
    char *accel;          /* "auto", "kvm" or "tcg" */
    char *qemu;           /* program */
    char *diskd;          /* program */
    char *privd_socket;   /* "" where none runs; as root the daemon then starts one of its own */
    char *plugins_dir;
    char *extensions_dir;
    char *templates_dir;   /* data of the guest templates */
    char *web_dir;         /* static files of GET / */
    char *hostname;        /* of the host record; the machine's own by default */
    char *product_brand;   /* what clients are told this is */
    char *product_version; /* and which version they may take it for */
    char *log_level;
    uint64_t memory_mib;         /* offered to guests; 0: what the machine has less a reserve */
    uint64_t encoding_cache_mib; /* of records kept as clients read them; 0: none are kept */
    uint64_t shutdown_wait_s;    /* how long a clean shutdown waits for the guest */
    uint64_t stop_wait_s;        /* how long the daemon's end waits for operations */
    uint64_t sim_speed;          /* how much faster time passes for what is simulated */
};

void config_init(struct config *c); /* the defaults of an installed host */
void config_done(struct config *c);
/* The defaults of a development run: everything under `dir`, which becomes absolute. */
struct err *config_development(struct config *c, const char *dir) _must_use_;
/* A missing file is no error when `optional`. */
struct err *config_read(struct config *c, const char *path, bool optional) _must_use_;
/* One "key=value", as -o on the command line gives it. */
struct err *config_set(struct config *c, const char *assignment) _must_use_;
/* Checks what can be checked before anything is started. */
struct err *config_check(const struct config *c) _must_use_;
/* The settings in force, one per line, on stdout. */
void config_print(const struct config *c);
