/* lock.c: see lock.h. The witness is a per-thread stack of the ranks held. */
#include "base/lock.h"

#include <assert.h>
#include <stdio.h>

#ifndef NDEBUG
static const char *const rank_names[] = {
#define LOCK_RANK_NAME(name) #name,
    LOCK_RANKS(LOCK_RANK_NAME)
#undef LOCK_RANK_NAME
};

#define HELD_MAX 8
static _Thread_local enum lock_rank held[HELD_MAX];
static _Thread_local unsigned n_held;

static void witness_take(enum lock_rank rank)
{
    if (n_held && held[n_held - 1] >= rank) {
        fprintf(stderr, "lock: '%s' taken while holding '%s'\n", rank_names[rank],
                rank_names[held[n_held - 1]]);
        abort();
    }
    assert(n_held < HELD_MAX);
    held[n_held++] = rank;
}

/* Mutexes may be given back in any order. */
static void witness_drop(enum lock_rank rank)
{
    unsigned i = n_held;
    while (i && held[i - 1] != rank)
        i--;
    assert(i);
    n_held--;
    for (; i <= n_held && i < HELD_MAX; i++)
        held[i - 1] = held[i];
}
#else
static void witness_take(enum lock_rank rank)
{
    (void)rank;
}

static void witness_drop(enum lock_rank rank)
{
    (void)rank;
}
#endif

void mutex_init(struct mutex *m, enum lock_rank rank)
{
    pthread_mutex_init(&m->m, NULL);
    m->rank = rank;
}

void mutex_done(struct mutex *m)
{
    pthread_mutex_destroy(&m->m);
}

void mutex_lock(struct mutex *m)
{
    witness_take(m->rank);
    if (pthread_mutex_lock(&m->m) != 0)
        abort();
}

void mutex_unlock(struct mutex *m)
{
    enum lock_rank rank = m->rank; /* who takes it next may free it */
    if (pthread_mutex_unlock(&m->m) != 0)
        abort();
    witness_drop(rank);
}

void cond_wait(pthread_cond_t *cond, struct mutex *m)
{
    if (pthread_cond_wait(cond, &m->m) != 0)
        abort();
}
