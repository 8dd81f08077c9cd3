/*
 * ops.h: what operations mean - the public face of src/op.
 *
 *     struct ops *ops;
 *     ops_register();                                     // step tables, before anything runs
 *     ops_rules(db);                                      // hooks, before anything is written
 *     TRY(ops_new(&(struct ops_config){.db = db, .tasks = tasks, .host = host, …}, &ops));
 *     TRY(first_start(ops));                              // objects of a new installation
 *     TRY(ops_recover(ops));                              // journal, then guests
 *     host_start(host);                                   // facts flow into ops_fact() from here
 *
 * Handlers (msg_VM_start and so on, prototypes in gen/msg.h) live in the files of this folder, one
 * subject each; they reach the world through `struct op` alone. Everything with an effect outside
 * is a step table, see task/op.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct buf;
struct db;
struct host;
struct host_fact;
struct ops;
struct snap;
struct tasks;
struct val;

struct ops_config {
    struct db *db;
    struct tasks *tasks;
    struct host *host;
    const char *hostname;
    const char *address;         /* where clients reach the host, for console locations */
    const char *sr_dir;          /* of `Local storage`; NULL: none is made */
    const char *iso_dir;         /* of `ISO library`; NULL: none */
    const char *templates_dir;   /* data/templates */
    const char *state_dir;       /* blobs/, backup/ and other lasting files below it; NULL: none */
    const char *log_dir;         /* of the daemon's and the guests' logs; NULL: none */
    const char *crash_dir;       /* where dumps of the machine's crashes are left; NULL: nowhere */
    const char *store_path;      /* the file that db lives in; NULL: it lives elsewhere */
    const char *version;         /* our own, "0.1.0" */
    const char *product_brand;   /* what clients are told we are; NULL: "Cairn" */
    const char *product_version; /* and which version they may take us for; NULL: the default */
    uint64_t shutdown_wait_s;    /* for a guest to obey; 0: 60 */
    /* What the daemon does at the moment, for status reports; NULL: nobody tells. Any thread. */
    void (*dump)(void *arg, struct buf *out);
    void *dump_arg;
    /* Ends this process in good order and begins a new one in its place; returns at once. NULL:
     * nobody can. Any thread. */
    void (*restart)(void *arg);
    void (*stop)(void *arg); /* the same without a new one */
    void *restart_arg;       /* for all of these */
    /* Only HTTPS is wanted, or not. OPERATION_NOT_ALLOWED if there is none. NULL: nobody cares. */
    struct err *(*https_only)(void *arg, bool on);
    /* Adds a row (method, path, requests) for each handler of HTTP that fits; "" fits all. NULL:
     * there are none. Any thread. */
    void (*network_stats)(void *arg, const char *method, const char *path, struct val *rows);
    /* Adds a line to the audit log. NULL: there is none. Any thread. */
    void (*audit_line)(void *arg, const char *line);
    /* The host's certificates are others now: the listening sockets take them. NULL: nobody does.
     */
    struct err *(*reload_tls)(void *arg);
};

void ops_register(void);
void ops_rules(struct db *db);
struct err *ops_new(const struct ops_config *cfg, struct ops **ret) _must_use_;
void ops_free(struct ops *ops); /* NULL is fine; operations must have ended */

/* Makes what every installation has and is not there yet: pool, host, control domain, storage
 * repositories, networks, templates; refreshes what describes the machine. At every start. */
struct err *first_start(struct ops *ops) _must_use_;

/* After a start: ends the journal's operations, then compares guests with records - what runs and
 * is recorded is taken over, what does not run is Halted, what nobody knows is taken away. */
struct err *ops_recover(struct ops *ops) _must_use_;

/* The host's certificates: made if they are missing, records and alerts about them as they are. */
struct err *certificates_begin(struct ops *ops) _must_use_;

/* As set by host.set_https_only. */
bool host_wants_https_only(struct ops *ops);

/* Where clients read disks over NBD; 0: nowhere. */
void ops_nbd_at(struct ops *ops, unsigned port);
/* Whether they may, by the purposes of the networks. */
enum nbd_mode { NBD_OFF, NBD_WITH_TLS, NBD_PLAIN };
enum nbd_mode ops_nbd_mode(const struct snap *s);
/* Where clients reach the daemon, once it listens: console locations have the port. */
struct err *ops_listens_at(struct ops *ops, bool tls, unsigned port) _must_use_;

/* What holds while the daemon is there and what holds when it is not, such as automatic ssh: after
 * recovery, and before an end that is meant to last. */
void host_settings_begin(struct ops *ops);
void host_settings_end(struct ops *ops); /* NULL is fine */

/* For host_config.fact; any thread, does not block. `arg` is a struct ops **: facts may come before
 * ops_new has returned and are then dropped. */
void ops_fact(void *arg, const struct host_fact *fact);

/* Asks for a new process in place of this one, as soon as what is under way has ended or unwound;
 * guests and their disks run on. Any thread; returns at once. */
struct err *ops_restart(struct ops *ops) _must_use_;

/* Every now and then: a copy of the database below state_dir, for the machine's own backup, and
 * away with files of nobody. */
struct err *ops_backup(struct ops *ops) _must_use_;

/* Every 5 s or so, always on the same thread: measures the host, its guests and its repositories,
 * and raises the alarms they ask for. The databases may be asked for on any thread, and written
 * into their files at the end (metrics_save_all). */
struct err *ops_measure(struct ops *ops) _must_use_;
/* Every second or so, always on the same thread: has chains of disks kept short. */
struct err *ops_tidy(struct ops *ops) _must_use_;
/* Every minute or so, always on the same thread, which may have to wait for storage: how full the
 * repositories of files are, and an alert before they are. */
struct err *ops_space(struct ops *ops) _must_use_;
/* The tree of a repository's disks for people: who is built on what, who uses it, what is tidied
 * next and why it waits. UUID_INVALID. Any thread. */
struct err *ops_sr_tree(struct ops *ops, const char *sr_uuid, struct buf *out) _must_use_;
/* Of `cairnctl sr profile`: the folder in which a repository's device can be measured, a line; and
 * keeping what was found, bytes in decimal. Any thread but core. */
struct err *ops_sr_place(struct ops *ops, const char *sr_uuid, struct buf *out) _must_use_;
struct err *ops_sr_tune(struct ops *ops, const char *sr_uuid, const char *split, const char *budget,
                        struct buf *out) _must_use_;

struct metrics;
struct metrics *ops_metrics(struct ops *ops);

/* Every 5 s or so: host metrics, memory of guests, ages. */
struct err *ops_tick(struct ops *ops) _must_use_;
