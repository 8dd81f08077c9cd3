/*
 * mon.c: calls from operation threads into the mon loop.
 *
 * The loop owns monitors, processes and consoles; a verb that wants to touch them asks the loop and
 * waits. What runs there is short, so waiting is too.
 */
#include "host/mon.h"

#include <pthread.h>

struct errand {
    loop_fn fn;
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void run(void *arg)
{
    struct errand *e = arg;
    e->fn(e->arg);
    pthread_mutex_lock(&e->lock);
    e->done = true;
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->lock);
}

void mon_run(struct loop *l, loop_fn fn, void *arg)
{
    if (loop_is_mine(l)) {
        fn(arg);
        return;
    }
    struct errand e = {
        .fn = fn, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    loop_post(l, run, &e);
    pthread_mutex_lock(&e.lock);
    while (!e.done)
        pthread_cond_wait(&e.cond, &e.lock);
    pthread_mutex_unlock(&e.lock);
    pthread_mutex_destroy(&e.lock);
    pthread_cond_destroy(&e.cond);
}
