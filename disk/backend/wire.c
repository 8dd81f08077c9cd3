/*
 * wire.c: see wire.h. Used by the modules of network storage, each of which has its own copy. The
 * mutex guards the list of wires that are to be left; who leaves waits for the loop's thread.
 */
#include "disk/backend/wire.h"

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define TICK_MS 100

static struct ring *ring;
static int event;
static struct ring_op on_event;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_left = PTHREAD_COND_INITIALIZER;
static struct wire *leaving; /* under lock */

static void on_poll(struct ring_op *op, int res);
static void on_tick(struct ring_op *op, int res);

static void arm(struct wire *w)
{
    int fd = w->ops->fd(w->arg);
    short events = w->ops->events(w->arg);
    bool is_same = fd == w->fd && events == w->events;
    if (w->is_polling && !is_same && !w->is_changing) {
        w->is_changing = true;
        ring_cancel(ring, &w->poll);
    }
    if (w->is_polling || fd < 0)
        return;
    w->fd = fd;
    w->events = events;
    w->is_polling = true;
    w->is_changing = false;
    w->poll.done = on_poll;
    ring_poll_events(ring, &w->poll, fd, events);
}

static void tell_left(struct wire *w)
{
    if (w->is_polling || w->is_ticking)
        return;
    pthread_mutex_lock(&lock);
    w->is_used = w->is_leaving = false;
    pthread_cond_broadcast(&is_left);
    pthread_mutex_unlock(&lock);
}

/* After whatever happened: wait for more, or for nothing. */
static void go_on(struct wire *w)
{
    if (w->is_leaving) {
        tell_left(w);
        return;
    }
    if (!w->is_resting)
        arm(w);
    if (w->is_ticking || (w->ops->is_idle(w->arg) && !w->is_resting))
        return;
    w->is_ticking = true;
    w->tick.done = on_tick;
    ring_timer(ring, &w->tick, TICK_MS);
}

static void on_poll(struct ring_op *op, int res)
{
    struct wire *w = (struct wire *)((char *)op - offsetof(struct wire, poll));
    w->is_polling = false;
    /* A broken connection is polled again after a while: it would come back at once. */
    w->is_resting = res > 0 && res & (POLLHUP | POLLERR | POLLNVAL);
    if (res > 0 && !w->is_leaving)
        w->ops->service(w->arg, (short)res);
    go_on(w);
}

static void on_tick(struct ring_op *op, int res)
{
    struct wire *w = (struct wire *)((char *)op - offsetof(struct wire, tick));
    w->is_ticking = false;
    w->is_resting = false;
    if (!w->is_leaving)
        w->ops->service(w->arg, 0);
    go_on(w);
}

static void leave(struct wire *w)
{
    w->is_leaving = true;
    if (w->is_polling)
        ring_cancel(ring, &w->poll);
    if (w->is_ticking)
        ring_cancel(ring, &w->tick);
    tell_left(w);
}

static void on_leaving(struct ring_op *op, int res)
{
    eventfd_t n;
    (void)res;
    (void)eventfd_read(event, &n);
    pthread_mutex_lock(&lock);
    struct wire *w = leaving;
    leaving = NULL;
    pthread_mutex_unlock(&lock);
    while (w) {
        struct wire *next = w->next;
        leave(w);
        w = next;
    }
    ring_poll(ring, op, event);
}

void wire_start(struct ring *r)
{
    ring = r;
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        abort();
    on_event.done = on_leaving;
    ring_poll(ring, &on_event, event);
}

void wire_use(struct wire *w)
{
    w->is_used = true;
    go_on(w);
}

void wire_leave(struct wire *w)
{
    if (!w->is_used)
        return;
    pthread_mutex_lock(&lock);
    w->next = leaving;
    leaving = w;
    (void)eventfd_write(event, 1);
    while (w->is_used)
        pthread_cond_wait(&is_left, &lock);
    pthread_mutex_unlock(&lock);
}
