/*
 * lock.h: mutexes with a rank, and a witness that watches the order.
 *
 * A mutex here is a leaf: it guards a queue, a list or a counter inside one module and is held for
 * a handful of lines, never over a call out of the module. Where two can be held at once, the one
 * with the lower rank is taken first. Ranks stand in one list below; a thread that takes a mutex
 * whose rank is not above all it holds is stopped with abort() and the names (unless NDEBUG).
 *
 *     static struct mutex lock = MUTEX_INIT(LOCK_LOG);
 *
 *     mutex_guard(&q->lock);               // until the end of the block
 *     while (!q->n)
 *         cond_wait(&q->cond, &q->lock);
 */
#pragma once

#include <pthread.h>

#include "base/mem.h"

/* From the outermost to the innermost. */
#define LOCK_RANKS(X)                                                                              \
    X(LOCK_STORE)   /* state/store_*: the store's own connection and followers */                  \
    X(LOCK_DB)      /* state/db: queue of transactions and batches */                              \
    X(LOCK_WATCH)   /* state/watch: parked continuations */                                        \
    X(LOCK_ROOT)    /* state/db: the published root */                                             \
    X(LOCK_RECLAIM) /* state/db: dead roots */                                                     \
    X(LOCK_NET)     /* net: listeners, streams, counts of peers */                                 \
    X(LOCK_THREAD)  /* net: whether a net thread still takes posts */                              \
    X(LOCK_LEAF)    /* any mutex under which nothing else of its kind is taken */                  \
    X(LOCK_LOOP)    /* loop: posted calls, the list of loops; one may post under a leaf */         \
    X(LOCK_CLOCK)   /* loop/clock: who waits by the fake clock, under a mutex of his own */

enum lock_rank {
#define LOCK_RANK_ENUM(name) name,
    LOCK_RANKS(LOCK_RANK_ENUM)
#undef LOCK_RANK_ENUM
        LOCK_RANK_N,
};

struct mutex {
    pthread_mutex_t m;
    enum lock_rank rank;
};

#define MUTEX_INIT(r)                                                                              \
    {                                                                                              \
        .m = PTHREAD_MUTEX_INITIALIZER, .rank = (r)                                                \
    }

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_done(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);

static inline void mutex_unlockp(struct mutex **m)
{
    if (*m)
        mutex_unlock(*m);
}

#define LOCK_NAME_2(line) lock_guard_##line
#define LOCK_NAME_1(line) LOCK_NAME_2(line)
/* Holds the mutex until the end of the enclosing block. */
#define mutex_guard(m)                                                                             \
    _cleanup_(mutex_unlockp) _unused_ struct mutex *LOCK_NAME_1(__LINE__) = (mutex_lock(m), (m))

/* Waits until signalled; wake-ups without cause happen. Waits with a deadline: loop/clock_wait. */
void cond_wait(pthread_cond_t *cond, struct mutex *m);
