/*
 * waitable.h: something an operation can wait for.
 *
 *     struct waitable off = WAITABLE_INIT;            // in the operation
 *     watch_guest(vm, &off);                          // a fact will waitable_fire() it
 *     TRY(op_wait(op, &off, clock_now() + 60 * USEC_PER_SEC, &fired));
 *
 * Fired stays fired until waitable_clear(). Any thread may fire; firing one that nobody waits for
 * is remembered. All waits share one leaf mutex: there are few operations, and waits are long.
 */
#pragma once

#include <stdbool.h>

#include "loop/loop.h"

struct waitable {
    bool fired;
};
#define WAITABLE_INIT ((struct waitable){0})

void waitable_fire(struct waitable *w);
void waitable_clear(struct waitable *w);
bool waitable_is_fired(struct waitable *w);
/* Waits until either is fired (b may be NULL) or the deadline has passed. True if one is. */
bool waitable_wait(struct waitable *a, struct waitable *b, usec_t deadline);

/* For programs with a single thread: called instead of sleeping; it must let the world go on, at
 * most until `until`, and move the fake clock. NULL restores the threads' way. */
typedef void (*waitable_turn_fn)(void *arg, usec_t until);
void waitable_set_turn(waitable_turn_fn turn, void *arg);
