/*
 * job.c: the job threads and their two queues. Posted to and answered on the loop's thread; the
 * mutex guards the queues alone.
 */
#include "disk/job.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define THREADS 3

struct queue {
    struct job *head, **end;
};

struct jobs {
    struct ring *ring;
    struct ring_op poll;
    int event;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct queue todo, finished; /* under lock */
    bool is_ending;              /* under lock */
    pthread_t thread[THREADS];
};

static void *job_thread(void *arg);
static void on_finished(struct ring_op *op, int res);

static void put(struct queue *q, struct job *j)
{
    j->next = NULL;
    *q->end = j;
    q->end = &j->next;
}

static struct job *take(struct queue *q)
{
    struct job *j = q->head;
    if (!j)
        return NULL;
    q->head = j->next;
    if (!q->head)
        q->end = &q->head;
    return j;
}

int jobs_new(struct ring *ring, struct jobs **ret)
{
    struct jobs *s = mem_new(struct jobs);
    s->ring = ring;
    s->todo.end = &s->todo.head;
    s->finished.end = &s->finished.head;
    s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->event < 0) {
        free(s);
        return -errno;
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->more, NULL);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&s->thread[i], NULL, job_thread, s))
            abort();
    s->poll.done = on_finished;
    ring_poll(ring, &s->poll, s->event);
    *ret = s;
    return 0;
}

void jobs_stop(struct jobs *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_ending = true;
    pthread_cond_broadcast(&s->more);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < THREADS; i++)
        pthread_join(s->thread[i], NULL);
}

void jobs_free(struct jobs *s)
{
    if (!s)
        return;
    fd_close(s->event);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void jobs_post(struct jobs *s, struct job *j)
{
    pthread_mutex_lock(&s->lock);
    put(&s->todo, j);
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
}

static void *job_thread(void *arg)
{
    struct jobs *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->is_ending) {
        struct job *j = take(&s->todo);
        if (!j) {
            pthread_cond_wait(&s->more, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        j->work(j);
        pthread_mutex_lock(&s->lock);
        put(&s->finished, j);
        (void)eventfd_write(s->event, 1);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void on_finished(struct ring_op *op, int res)
{
    struct jobs *s = (struct jobs *)((char *)op - offsetof(struct jobs, poll));
    eventfd_t n;
    (void)eventfd_read(s->event, &n);
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct job *j = take(&s->finished);
        pthread_mutex_unlock(&s->lock);
        if (!j)
            break;
        j->done(j);
    }
    ring_poll(s->ring, &s->poll, s->event);
}
