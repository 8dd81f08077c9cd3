/*
 * runner.c: a queue and up to so many threads behind it. The mutex guards the queue and the counts
 * and is never held while work runs.
 */
#include "task/runner.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/mem.h"
#include "loop/loop.h"

#define STACK_BYTES (1 << 20)
#define IDLE_US     (30 * USEC_PER_SEC)

struct job {
    struct job *next;
    void (*fn)(void *arg);
    void *arg;
};

struct runner {
    char name[16];
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job came, or stop */
    pthread_cond_t gone; /* a thread ended */
    struct job *first, **last;
    size_t queued;
    unsigned threads, idle, max;
    bool stop;
};

struct runner *runner_new(const char *name, unsigned max_threads)
{
    struct runner *r = mem_new(struct runner);
    snprintf(r->name, sizeof(r->name), "%s", name);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->gone, NULL);
    r->last = &r->first;
    r->max = max_threads;
    return r;
}

static struct job *take(struct runner *r)
{
    struct job *j = r->first;
    if (!j)
        return NULL;
    r->first = j->next;
    if (!r->first)
        r->last = &r->first;
    r->queued--;
    return j;
}

/* The next job, waiting for one; NULL when the thread should end. Called and left locked. */
static struct job *await(struct runner *r)
{
    usec_t until = clock_now() + IDLE_US;
    struct job *j = take(r);
    while (!j && !r->stop) {
        r->idle++;
        bool in_time = clock_wait(&r->work, &r->lock, until);
        r->idle--;
        j = take(r);
        if (!in_time)
            break;
    }
    return j;
}

static void *thread_main(void *arg)
{
    struct runner *r = arg;
    pthread_mutex_lock(&r->lock);
    for (struct job *j = await(r); j; j = await(r)) {
        pthread_mutex_unlock(&r->lock);
        j->fn(j->arg);
        free(j);
        pthread_mutex_lock(&r->lock);
    }
    r->threads--;
    pthread_cond_broadcast(&r->gone);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void add_thread(struct runner *r)
{
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&t, &attr, thread_main, r);
    pthread_attr_destroy(&attr);
    /* Without a new thread the job waits for one of the others; there must be one. */
    assert(rc == 0 || r->threads > 0);
    if (rc == 0) {
        r->threads++;
        pthread_setname_np(t, r->name);
    }
}

void runner_submit(struct runner *r, void (*fn)(void *arg), void *arg)
{
    struct job *j = mem_new(struct job);
    *j = (struct job){.fn = fn, .arg = arg};
    pthread_mutex_lock(&r->lock);
    *r->last = j;
    r->last = &j->next;
    r->queued++;
    if (r->queued > r->idle && r->threads < r->max)
        add_thread(r);
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
}

size_t runner_queued(struct runner *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->queued;
    pthread_mutex_unlock(&r->lock);
    return n;
}

void runner_free(struct runner *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->work);
    while (r->threads > 0)
        pthread_cond_wait(&r->gone, &r->lock);
    pthread_mutex_unlock(&r->lock);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->gone);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
