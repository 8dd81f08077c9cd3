/*
 * loop.c: see loop.h.
 *
 * Timers are a binary heap of our own over clock_now(), because libuv's know no fake clock; one
 * uv_timer wakes the loop for the earliest. Posted calls are a list under a mutex; whoever posts
 * while the loop sleeps wakes it through an eventfd (a uv_async is written to by every post, and
 * its loop spins until the writer is back from the kernel). Handles of libuv are freed in their
 * close callback, as it demands.
 */
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#define LOG_MODULE "loop"
#include "base/fd.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/turn.h"
#include "base/vec.h"
#include "loop/loop_impl.h"

#define SLOW_CALLBACK (10 * USEC_PER_MSEC)

struct post {
    struct post *next;
    const char *name;
    loop_fn fn;
    void *arg;
};

struct loop_fd {
    uv_poll_t poll; /* first: libuv hands this pointer back */
    struct loop *loop;
    const char *name;
    loop_fd_fn fn;
    void *arg;
    int fd;
};

struct loop_timer {
    struct loop *loop;
    const char *name;
    loop_fn fn;
    void *arg;
    usec_t deadline;
    size_t at; /* place in the heap + 1, 0: not set */
};

struct loop {
    uv_loop_t uv;
    uv_poll_t wake; /* of wake_fd */
    int wake_fd;
    uv_timer_t alarm;
    usec_t alarm_at; /* what the alarm is set to; USEC_NEVER: not set */
    char name[16];   /* as long as a thread's name may be */
    pthread_t thread;
    bool own_thread;
    atomic_bool stopping;
    _Atomic(pthread_t) runner; /* who runs it */
    atomic_bool running;
    bool ran; /* a callback ran in this step */
    VEC(struct loop_timer *) heap;

    struct mutex lock; /* of the three below */
    struct post *first, **last;
    bool sleeping; /* waits in libuv, and nobody has woken it yet */

    atomic_ulong n_callbacks;
    _Atomic usec_t slowest;
    _Atomic(const char *) slowest_name;
    struct loop *next; /* list of all */
};

static struct mutex all_lock = MUTEX_INIT(LOCK_LOOP);
static struct loop *all;

/* Around every callback: counts it and complains about a slow one. */
static usec_t begin_callback(struct loop *l)
{
    l->ran = true;
    return clock_machine();
}

static void end_callback(struct loop *l, const char *name, usec_t began)
{
    usec_t took = clock_machine() - began;
    l->n_callbacks++;
    if (took > l->slowest) {
        l->slowest = took;
        l->slowest_name = name;
    }
    if (took > SLOW_CALLBACK)
        log_warn("event=slow-callback loop=%s callback=%s ms=%llu", l->name, name,
                 (unsigned long long)(took / USEC_PER_MSEC));
}

static struct post *take_posts(struct loop *l)
{
    mutex_lock(&l->lock);
    struct post *p = l->first;
    l->first = NULL;
    l->last = &l->first;
    mutex_unlock(&l->lock);
    return p;
}

static void run_posts(struct loop *l)
{
    for (struct post *p = take_posts(l), *next; p; p = next) {
        next = p->next;
        usec_t began = begin_callback(l);
        p->fn(p->arg);
        end_callback(l, p->name, began);
        free(p);
    }
}

static bool timer_before(const struct loop *l, size_t a, size_t b)
{
    return l->heap.v[a]->deadline < l->heap.v[b]->deadline;
}

static void heap_swap(struct loop *l, size_t a, size_t b)
{
    struct loop_timer *t = l->heap.v[a];
    l->heap.v[a] = l->heap.v[b];
    l->heap.v[b] = t;
    l->heap.v[a]->at = a + 1;
    l->heap.v[b]->at = b + 1;
}

static void heap_up(struct loop *l, size_t i)
{
    for (; i && timer_before(l, i, (i - 1) / 2); i = (i - 1) / 2)
        heap_swap(l, i, (i - 1) / 2);
}

static void heap_down(struct loop *l, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < l->heap.n && timer_before(l, child, least))
                least = child;
        if (least == i)
            return;
        heap_swap(l, i, least);
        i = least;
    }
}

static void on_alarm(uv_timer_t *h)
{
    struct loop *l = h->data;
    l->alarm_at = USEC_NEVER;
}

/* Sets the alarm for the earliest timer. Under the fake clock clock_advance() wakes us instead. */
static void set_alarm(struct loop *l)
{
    usec_t next = clock_is_fake() ? USEC_NEVER : loop_next_timer(l);
    if (next == l->alarm_at)
        return;
    l->alarm_at = next;
    if (next == USEC_NEVER) {
        uv_timer_stop(&l->alarm);
        return;
    }
    usec_t now = clock_machine();
    usec_t wait = next > now ? next - now : 0;
    uv_update_time(&l->uv);
    uv_timer_start(&l->alarm, on_alarm, (wait + USEC_PER_MSEC - 1) / USEC_PER_MSEC, 0);
}

/* Fires what is due, at most as many as there were, so that a timer that always sets itself to
 * `now` does not keep the loop from its descriptors. */
static void run_timers(struct loop *l)
{
    usec_t now = clock_now();
    for (size_t left = l->heap.n; left && l->heap.n && l->heap.v[0]->deadline <= now; left--) {
        struct loop_timer *t = l->heap.v[0];
        const char *name = t->name;
        loop_timer_stop(t);
        usec_t began = begin_callback(l);
        t->fn(t->arg);
        end_callback(l, name, began);
    }
}

static void wake(struct loop *l)
{
    uint64_t one = 1;
    (void)!write(l->wake_fd, &one, sizeof(one)); /* it fails when it is full: then it wakes, too */
}

static void on_wake(uv_poll_t *h, int status, int events)
{
    struct loop *l = h->data;
    uint64_t n;
    (void)!read(l->wake_fd, &n, sizeof(n));
}

/* False: something was posted, this is no time to sleep. */
static bool fall_asleep(struct loop *l)
{
    mutex_guard(&l->lock);
    l->sleeping = !l->first;
    return l->sleeping;
}

static void wake_up(struct loop *l)
{
    mutex_guard(&l->lock);
    l->sleeping = false;
}

static void wait_for_events(struct loop *l, uv_run_mode mode)
{
    if (mode == UV_RUN_NOWAIT || !fall_asleep(l)) {
        uv_run(&l->uv, UV_RUN_NOWAIT);
        return;
    }
    uv_run(&l->uv, mode);
    wake_up(l);
}

static bool run_round(struct loop *l, uv_run_mode mode)
{
    l->ran = false;
    run_posts(l);
    run_timers(l);
    set_alarm(l);
    bool more = l->heap.n && l->heap.v[0]->deadline <= clock_now();
    if (!l->stopping)
        wait_for_events(l, more ? UV_RUN_NOWAIT : mode);
    return l->ran;
}

static void become_runner(struct loop *l)
{
    l->runner = pthread_self();
    l->running = true;
}

void loop_run(struct loop *l)
{
    become_runner(l);
    while (!l->stopping)
        run_round(l, UV_RUN_ONCE);
    run_posts(l);
}

bool loop_step(struct loop *l)
{
    become_runner(l);
    return run_round(l, UV_RUN_NOWAIT);
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
    wake(l);
}

struct loop *loop_new(const char *name)
{
    struct loop *l = mem_new(struct loop);
    snprintf(l->name, sizeof(l->name), "%s", name);
    l->last = &l->first;
    l->alarm_at = USEC_NEVER;
    mutex_init(&l->lock, LOCK_LOOP);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = l->wake_fd < 0 ? -errno : uv_loop_init(&l->uv);
    if (r == 0)
        r = uv_poll_init(&l->uv, &l->wake, l->wake_fd);
    if (r == 0)
        r = uv_poll_start(&l->wake, UV_READABLE, on_wake);
    if (r == 0)
        r = uv_timer_init(&l->uv, &l->alarm);
    if (r != 0) {
        log_err("event=no-loop reason=%s", uv_strerror(r));
        abort(); /* no descriptors left at start */
    }
    l->wake.data = l->alarm.data = l;
    mutex_lock(&all_lock);
    l->next = all;
    all = l;
    mutex_unlock(&all_lock);
    return l;
}

static void unlist(struct loop *l)
{
    mutex_lock(&all_lock);
    struct loop **at = &all;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    mutex_unlock(&all_lock);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    unlist(l);
    for (struct post *p = take_posts(l), *next; p; p = next) {
        next = p->next;
        free(p);
    }
    assert(l->heap.n == 0);
    vec_done(&l->heap);
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->alarm, NULL);
    while (uv_run(&l->uv, UV_RUN_NOWAIT))
        ;
    int r = uv_loop_close(&l->uv);
    assert(r == 0); /* a watch was left behind */
    fd_close(l->wake_fd);
    mutex_done(&l->lock);
    free(l);
}

static void *run_thread(void *arg)
{
    struct loop *l = arg;
    pthread_setname_np(pthread_self(), l->name);
    turn_shorten();
    loop_run(l);
    return NULL;
}

struct loop *loop_start(const char *name)
{
    struct loop *l = loop_new(name);
    l->own_thread = true;
    if (pthread_create(&l->thread, NULL, run_thread, l) != 0) {
        log_err("event=no-thread loop=%s", name);
        abort(); /* at start, or never */
    }
    return l;
}

void loop_stop_join(struct loop *l)
{
    if (!l)
        return;
    assert(l->own_thread);
    loop_stop(l);
    pthread_join(l->thread, NULL);
    loop_free(l);
}

const char *loop_name(const struct loop *l)
{
    return l->name;
}

bool loop_is_mine(const struct loop *l)
{
    return l->running && pthread_equal(l->runner, pthread_self());
}

void loop_post_named(struct loop *l, const char *name, loop_fn fn, void *arg)
{
    struct post *p = mem_new(struct post);
    *p = (struct post){.name = name, .fn = fn, .arg = arg};
    mutex_lock(&l->lock);
    *l->last = p;
    l->last = &p->next;
    bool asleep = l->sleeping && !loop_is_mine(l);
    l->sleeping = l->sleeping && !asleep;
    mutex_unlock(&l->lock);
    if (asleep)
        wake(l);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct loop_fd *w = (struct loop_fd *)h;
    struct loop *l = w->loop;
    const char *name = w->name;
    unsigned what = status < 0 ? LOOP_READ | LOOP_WRITE
                               : (events & UV_READABLE ? LOOP_READ : 0) |
                                     (events & UV_WRITABLE ? LOOP_WRITE : 0);
    usec_t began = begin_callback(l);
    w->fn(w->arg, w->fd, what);
    end_callback(l, name, began);
}

struct loop_fd *loop_fd_add_named(struct loop *l, const char *name, int fd, unsigned events,
                                  loop_fd_fn fn, void *arg)
{
    struct loop_fd *w = mem_new(struct loop_fd);
    w->loop = l;
    w->name = name;
    w->fn = fn;
    w->arg = arg;
    w->fd = fd;
    int r = uv_poll_init(&l->uv, &w->poll, fd);
    assert(r == 0); /* only something that can be polled, and once, is given to us */
    loop_fd_set(w, events);
    return w;
}

void loop_fd_set(struct loop_fd *w, unsigned events)
{
    int what = (events & LOOP_READ ? UV_READABLE : 0) | (events & LOOP_WRITE ? UV_WRITABLE : 0);
    if (what)
        uv_poll_start(&w->poll, what, on_poll);
    else
        uv_poll_stop(&w->poll);
}

static void on_fd_closed(uv_handle_t *h)
{
    free(h);
}

void loop_fd_del(struct loop_fd *w)
{
    if (w)
        uv_close((uv_handle_t *)&w->poll, on_fd_closed);
}

struct loop_timer *loop_timer_new_named(struct loop *l, const char *name, loop_fn fn, void *arg)
{
    struct loop_timer *t = mem_new(struct loop_timer);
    *t = (struct loop_timer){.loop = l, .name = name, .fn = fn, .arg = arg};
    return t;
}

void loop_timer_set(struct loop_timer *t, usec_t deadline)
{
    struct loop *l = t->loop;
    loop_timer_stop(t);
    if (deadline == USEC_NEVER)
        return;
    t->deadline = deadline;
    vec_push(&l->heap, t);
    t->at = l->heap.n;
    heap_up(l, t->at - 1);
}

void loop_timer_stop(struct loop_timer *t)
{
    if (!t->at)
        return;
    struct loop *l = t->loop;
    size_t i = t->at - 1;
    t->at = 0;
    struct loop_timer *moved = l->heap.v[--l->heap.n];
    if (moved == t)
        return;
    l->heap.v[i] = moved;
    moved->at = i + 1;
    heap_up(l, i);
    heap_down(l, moved->at - 1);
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    loop_timer_stop(t);
    free(t);
}

usec_t loop_next_timer(const struct loop *l)
{
    return l->heap.n ? l->heap.v[0]->deadline : USEC_NEVER;
}

void loop_wake_all(void)
{
    mutex_lock(&all_lock);
    for (struct loop *l = all; l; l = l->next)
        wake(l);
    mutex_unlock(&all_lock);
}

void loop_dump(struct buf *out)
{
    mutex_lock(&all_lock);
    for (struct loop *l = all; l; l = l->next) {
        const char *name = l->slowest_name;
        buf_printf(out, "%-15s callbacks=%lu slowest_us=%llu callback=%s\n", l->name,
                   l->n_callbacks, (unsigned long long)l->slowest, name ? name : "-");
    }
    mutex_unlock(&all_lock);
}
