/*
 * pace.h: a backend in front of another one that keeps a disk's data in flight within its share of
 * a budget, so that all who read and write one device get the same of it.
 *
 *     engine ──io──> pace ──(in flight + size <= share, or nothing in flight)──> backend
 *                      └──> queue, first come, first served ──(another ended)──┘
 *
 * A request that its file wants split is split here, and its parts are paced. Metadata, syncs and
 * what only touches memory pass. Loop's thread; lives as long as the engine that uses it.
 */
#pragma once

#include "disk/backend/backend.h"
#include "disk/budget.h"

struct pace;
/* Takes the budget over. `now_us`: the loop's clock. */
struct pace *pace_new(struct backend *next, struct budget *budget, uint64_t (*now_us)(void *arg),
                      void *arg);
void pace_free(struct pace *p); /* nothing may be in flight */
struct backend *pace_backend(struct pace *p);

struct pace_stats {
    uint64_t in_flight, share; /* bytes */
    unsigned queued, users;
};
struct pace_stats pace_get_stats(const struct pace *p);
