/*
 * control_int.h: what control.c (connections, answers) and verbs.c (what is asked) share. Private
 * to them.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/vec.h"
#include "disk/control.h"
#include "disk/create.h"
#include "disk/disk.h"

struct conn {
    struct control *ctl; /* NULL: control_line() */
    int fd;
    struct ring_op recv, send;
    bool is_sending, is_receiving, is_closed, quits_after_send;
    unsigned n_waiters;
    struct buf in, out, on_the_way;
    struct iovec iov;
    struct msghdr msg;
    struct conn *next;
};

/* Somebody who waits for an answer. */
struct waiter {
    struct control *ctl;
    struct conn *conn;
    json_t *seq; /* or NULL */
    struct ring_op timer;
    bool is_timing, is_answered, is_ended;
    struct waiter *next;
};

/* A disk as the control connection knows it. */
struct entry {
    struct control *ctl;
    struct disk *d;
    json_t *attach, *activate; /* the arguments, to recognise a repetition */
    struct waiter *waiters;
    bool detach_after;
};

/* One of tasks.c: a create, modify, resize or info, running or the last of its path. */
struct task;

struct control {
    struct ring *ring;
    struct jobs *jobs;
    struct backend *backend;
    int listen_fd;
    struct ring_op accept;
    struct conn *conns;
    VEC(struct entry *) entries;
    VEC(struct task *) tasks;
    struct waiter *room_waiters; /* of `wants` */
    unsigned n_growing;          /* jobs of `grow` */
    bool is_ending, has_hung_up;
};

struct failure {
    int err; /* -errno */
    char text[700];
    const char *path; /* or NULL; of the arguments */
};

/* One request while it is looked at. */
struct call {
    struct control *ctl;
    struct conn *conn;
    json_t *seq;  /* borrowed */
    json_t *args; /* without op and seq; borrowed */
    struct failure fail;
    bool is_deferred; /* a waiter was made */
};

/* For verbs. `fail` returns NULL. */
json_t *fail(struct call *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* json_unpack with all members known; false after a failure. */
bool unpack(struct call *c, const char *fmt, ...);
bool check_path(struct call *c, const char *path, size_t max);
/* A chain as requests name it: path and format, then the parents; 0 or a failure. */
int read_chain(struct call *c, const char *path, const char *format, json_t *parents,
               struct chain_item *items, unsigned *ret_n);

struct entry *entry_find(struct control *ctl, const char *id); /* NULL */

/* verbs_room.c */
json_t *verb_grow(struct call *c);
json_t *verb_wants(struct call *c);
json_t *verb_refuse(struct call *c);
/* For the activation that begins: fewer bytes left of its volume than that make the disk want room;
 * 0: never. */
void control_asks_room(struct entry *e, uint64_t low);
/* Answers all who wait for a disk to want room. */
void control_end_wants(struct control *ctl);

/* tasks.c */
json_t *verb_create(struct call *c);
json_t *verb_modify(struct call *c);
json_t *verb_resize(struct call *c);
json_t *verb_info(struct call *c);
json_t *verb_coalesce(struct call *c);
json_t *verb_mirror(struct call *c);
json_t *verb_complete(struct call *c);
json_t *verb_job(struct call *c);
json_t *verb_cancel(struct call *c);
/* What is under way, for `query`. */
json_t *tasks_report(const struct control *ctl);
/* The image of a coalesce or mirror under way, or NULL; and their end, which control_go_on_ending()
 * awaits.
 */
const char *tasks_running(const struct control *ctl);
void tasks_cancel(struct control *ctl);

/* The verb's result (a new object), or NULL with call->fail set or call->is_deferred. */
json_t *verb_run(struct call *call, const char *op);

/* Answers the call later: puts a waiter on the list, which says "pending" after a second. */
void waiter_add(struct call *call, struct waiter **list);
/* Answers everybody on the list. `result` is borrowed. */
void waiters_end(struct waiter **list, json_t *result, const struct failure *fail);
/* Forgets those who were told "pending", for lists on which nobody may ever be answered. */
void waiters_prune(struct waiter **list);

void entry_free(struct entry *e);
void task_free(struct task *t);
/* Begins or goes on with the end of the program; stops the ring when no disk is open. */
void control_go_on_ending(struct control *ctl);
