/* chores.c: see chores.h. */
#define LOG_MODULE "chores"
#include "chores.h"

#include <pthread.h>

#include "base/log.h"

struct chores {
    const struct chore *list;
    size_t n;
    void *arg;
    usec_t *due;
    pthread_t thread;
    pthread_mutex_t lock; /* guards ending; never held while a chore runs */
    pthread_cond_t wake;
    bool ending;
};

static void run_one(struct chores *c, size_t i)
{
    struct err *e = c->list[i].run(c->arg);
    c->due[i] = clock_now() + c->list[i].every;
    if (!e)
        return;
    _cleanup_(freep) char *text = err_text(e);
    log_warn("event=chore-failed chore=%s error='%s'", c->list[i].name, text);
    err_free(e);
}

static usec_t next_due(const struct chores *c)
{
    usec_t next = USEC_NEVER;
    for (size_t i = 0; i < c->n; i++)
        next = c->due[i] < next ? c->due[i] : next;
    return next;
}

/* False when it is time to end. */
static bool wait_until_due(struct chores *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->ending && clock_now() < next_due(c))
        clock_wait(&c->wake, &c->lock, next_due(c));
    bool go_on = !c->ending;
    pthread_mutex_unlock(&c->lock);
    return go_on;
}

static void *chores_main(void *arg)
{
    struct chores *c = arg;
    pthread_setname_np(pthread_self(), "chores");
    while (wait_until_due(c))
        for (size_t i = 0; i < c->n; i++)
            if (clock_now() >= c->due[i])
                run_one(c, i);
    return NULL;
}

struct chores *chores_start(const struct chore *list, size_t n, void *arg)
{
    struct chores *c = mem_new(struct chores);
    c->list = list;
    c->n = n;
    c->arg = arg;
    c->due = mem_new_n(usec_t, n);
    for (size_t i = 0; i < n; i++)
        c->due[i] = clock_now() + list[i].every;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    if (pthread_create(&c->thread, NULL, chores_main, c) != 0)
        abort();
    return c;
}

void chores_stop(struct chores *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c->due);
    free(c);
}
