/*
 * chores.h: a thread for what is due every so often and may wait for the store.
 *
 *     static const struct chore chores[] = {{"tick", tick, 5 * USEC_PER_SEC}};
 *     struct chores *c = chores_start(chores, ARRAY_LEN(chores), daemon);
 *     …
 *     chores_stop(c);      // waits for the one under way
 *
 * A chore that fails is logged and tried again when it is due. Not for loops: they never block.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "loop/loop.h"

struct chore {
    const char *name;
    struct err *(*run)(void *arg);
    usec_t every;
};

struct chores;
struct chores *chores_start(const struct chore *list, size_t n, void *arg); /* list is kept */
void chores_stop(struct chores *c);                                         /* NULL is fine */
