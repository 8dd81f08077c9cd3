/* clock.c: the two clocks of loop.h and their fake. */
#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "base/lock.h"
#include "loop/loop_impl.h"

static atomic_bool fake;
static _Atomic usec_t fake_now;

/* A thread in clock_wait() under the fake clock. */
struct sleeper {
    pthread_cond_t *cond;
    struct sleeper *next;
};
static struct mutex sleepers_lock = MUTEX_INIT(LOCK_CLOCK);
static struct sleeper *sleepers;

static usec_t read_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

usec_t clock_machine(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

bool clock_is_fake(void)
{
    return fake;
}

usec_t clock_now(void)
{
    return fake ? fake_now : clock_machine();
}

usec_t clock_wall(void)
{
    return fake ? fake_now : read_clock(CLOCK_REALTIME);
}

static void wake_sleepers(void)
{
    mutex_lock(&sleepers_lock);
    for (struct sleeper *s = sleepers; s; s = s->next)
        pthread_cond_broadcast(s->cond);
    mutex_unlock(&sleepers_lock);
    loop_wake_all();
}

void clock_fake(usec_t now)
{
    fake_now = now;
    fake = true;
    wake_sleepers();
}

void clock_advance(usec_t by)
{
    fake_now += by;
    wake_sleepers();
}

void clock_real(void)
{
    fake = false;
    wake_sleepers();
}

/* The longest a faked wait sleeps before it looks again: the time may be advanced between the look
 * at it and the wait, where no broadcast can reach the thread. */
#define FAKE_SLICE_NS (20 * 1000 * 1000)

static void wait_fake(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    struct sleeper me = {.cond = cond};
    mutex_lock(&sleepers_lock);
    me.next = sleepers;
    sleepers = &me;
    mutex_unlock(&sleepers_lock);

    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += FAKE_SLICE_NS;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &ts);

    mutex_lock(&sleepers_lock);
    struct sleeper **at = &sleepers;
    while (*at != &me)
        at = &(*at)->next;
    *at = me.next;
    mutex_unlock(&sleepers_lock);
}

bool clock_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, usec_t deadline)
{
    if (clock_now() >= deadline)
        return false;
    if (fake) {
        wait_fake(cond, mutex);
        return true;
    }
    if (deadline == USEC_NEVER) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    struct timespec ts = {.tv_sec = (time_t)(deadline / USEC_PER_SEC),
                          .tv_nsec = (long)(deadline % USEC_PER_SEC) * 1000};
    return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &ts) != ETIMEDOUT;
}
