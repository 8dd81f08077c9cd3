/*
 * wire.h: a library's socket on the ring.
 *
 * Libraries that speak to storage tell a descriptor and the events they wait for, and want to be
 * called when one comes, and every now and then for their deadlines and reconnections. A wire does
 * that on the loop, without a thread. While nothing is under way it only waits for the server to
 * say something.
 *
 *     wire_start(ring);                      // once
 *     struct wire w = {.ops = &ops, .arg = conn, .fd = -1};
 *     wire_use(&w);                          // loop's thread: a request was given to the library
 *     …                                      // loop's thread: ops.service() is called
 *     wire_leave(&w);                        // another thread, with nothing under way: from now on
 *                                            // the connection is the caller's alone
 */
#pragma once

#include <stdbool.h>

#include "disk/ring.h"

struct wire_ops {
    int (*fd)(void *arg);                     /* -1: none at the moment */
    short (*events)(void *arg);               /* poll(2)'s */
    void (*service)(void *arg, short events); /* 0: time has passed */
    bool (*is_idle)(void *arg);               /* nothing is under way */
};

struct wire {
    const struct wire_ops *ops;
    void *arg;
    bool is_used; /* the loop has it */
    struct ring_op poll, tick;
    bool is_polling, is_ticking, is_changing, is_resting, is_leaving;
    short events; /* that are waited for */
    int fd;
    struct wire *next; /* of those that are being left */
};

void wire_start(struct ring *ring);
void wire_use(struct wire *w);
void wire_leave(struct wire *w);
