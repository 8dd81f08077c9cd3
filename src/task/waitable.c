/*
 * waitable.c: one mutex and one condition for all waits of operations.
 */
#include "task/waitable.h"

#include <pthread.h>
#include <stddef.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static waitable_turn_fn turn_fn;
static void *turn_arg;

static void set(struct waitable *w, bool fired)
{
    pthread_mutex_lock(&lock);
    w->fired = fired;
    if (fired)
        pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void waitable_fire(struct waitable *w)
{
    set(w, true);
}

void waitable_clear(struct waitable *w)
{
    set(w, false);
}

bool waitable_is_fired(struct waitable *w)
{
    pthread_mutex_lock(&lock);
    bool fired = w->fired;
    pthread_mutex_unlock(&lock);
    return fired;
}

static bool either(struct waitable *a, struct waitable *b)
{
    return (a && waitable_is_fired(a)) || (b && waitable_is_fired(b));
}

static bool wait_by_turns(struct waitable *a, struct waitable *b, usec_t deadline)
{
    while (!either(a, b) && clock_now() < deadline)
        turn_fn(turn_arg, deadline);
    return either(a, b);
}

bool waitable_wait(struct waitable *a, struct waitable *b, usec_t deadline)
{
    if (turn_fn)
        return wait_by_turns(a, b, deadline);
    pthread_mutex_lock(&lock);
    while (!(a && a->fired) && !(b && b->fired)) {
        if (!clock_wait(&changed, &lock, deadline))
            break;
    }
    bool fired = (a && a->fired) || (b && b->fired);
    pthread_mutex_unlock(&lock);
    return fired;
}

void waitable_set_turn(waitable_turn_fn turn, void *arg)
{
    turn_fn = turn;
    turn_arg = arg;
}
