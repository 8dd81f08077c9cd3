/*
 * loop.h: waiting for descriptors, times and messages, one loop a thread; and the clock.
 *
 * A thin face over libuv, so that nobody else sees it. A loop belongs to the thread that runs it:
 * everything but loop_post, loop_stop and loop_name is called from that thread alone (or before it
 * runs). Callbacks never block; one that takes longer than 10 ms is logged with its name.
 *
 *     struct loop *l = loop_start("net0");             // a thread that runs it
 *     loop_post(l, add_listener, fd);                  // from anywhere: runs there, in order
 *     ...
 *     static void add_listener(void *arg)
 *     {
 *         w->fd = loop_fd_add(l, fd, LOOP_READ, on_ready, w);
 *         w->timer = loop_timer_new(l, on_idle, w);
 *         loop_timer_set(w->timer, clock_now() + 10 * USEC_PER_SEC);
 *     }
 *     loop_stop_join(l);                               // ends the thread, frees the loop
 *
 * Time is a usec_t. clock_now() counts from an arbitrary start and never jumps back; clock_wall()
 * is since 1970. Tests and the simulator call clock_fake(), after which both stand still until
 * clock_advance(); timers and clock_wait() then follow the fake time.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

typedef uint64_t usec_t;
#define USEC_PER_MSEC ((usec_t)1000)
#define USEC_PER_SEC  ((usec_t)1000000)
#define USEC_NEVER    UINT64_MAX

usec_t clock_now(void);
usec_t clock_wall(void);
/* From now on time is `now` (both clocks) and moves by clock_advance alone. */
void clock_fake(usec_t now);
void clock_advance(usec_t by);
void clock_real(void);
/* pthread_cond_timedwait by clock_now(); false at the deadline. The condition may be any; wake-ups
 * without cause happen. */
bool clock_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, usec_t deadline);

struct loop;
struct loop_fd;
struct loop_timer;

typedef void (*loop_fn)(void *arg);
typedef void (*loop_fd_fn)(void *arg, int fd, unsigned events);

struct loop *loop_new(const char *name); /* the name is copied */
/* Runs until loop_stop(). */
void loop_run(struct loop *l);
/* Runs what is ready now and does not wait; true if anything ran. For single-threaded tests. */
bool loop_step(struct loop *l);
void loop_stop(struct loop *l); /* any thread */
/* Drops posted calls that did not run. Descriptors and timers must have been removed before. */
void loop_free(struct loop *l);

/* A new loop on a new thread that bears its name. */
struct loop *loop_start(const char *name);
/* Stops the loop of loop_start(), after what was posted before has run; waits; frees. */
void loop_stop_join(struct loop *l);

const char *loop_name(const struct loop *l);
bool loop_is_mine(const struct loop *l); /* does the calling thread run it? */

/* Calls fn(arg) on the loop's thread. Any thread; calls from one thread keep their order. */
#define loop_post(l, fn, arg) loop_post_named((l), #fn, (fn), (arg))
void loop_post_named(struct loop *l, const char *name, loop_fn fn, void *arg);

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
/* Watches a descriptor (made non-blocking; stays the caller's). Errors and hang-ups count as
 * readable and writable. The watch must be deleted before the descriptor is closed. */
#define loop_fd_add(l, fd, events, fn, arg) loop_fd_add_named((l), #fn, (fd), (events), (fn), (arg))
struct loop_fd *loop_fd_add_named(struct loop *l, const char *name, int fd, unsigned events,
                                  loop_fd_fn fn, void *arg);
void loop_fd_set(struct loop_fd *w, unsigned events); /* 0: pause */
void loop_fd_del(struct loop_fd *w);                  /* NULL is fine; also inside its callback */

/* A timer fires once for each loop_timer_set(). */
#define loop_timer_new(l, fn, arg) loop_timer_new_named((l), #fn, (fn), (arg))
struct loop_timer *loop_timer_new_named(struct loop *l, const char *name, loop_fn fn, void *arg);
void loop_timer_set(struct loop_timer *t, usec_t deadline); /* by clock_now(); past: at once */
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);   /* NULL is fine; also inside its callback */
usec_t loop_next_timer(const struct loop *l); /* the earliest deadline, or USEC_NEVER */

/* One line a loop: name, callbacks run, the slowest one and its name. Any thread. */
void loop_dump(struct buf *out);
