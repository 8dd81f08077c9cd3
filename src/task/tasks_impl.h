/*
 * tasks_impl.h: the registry of what runs; private to task/.
 */
#pragma once

#include <pthread.h>

#include "task/runner.h"
#include "task/task.h"

struct op_run;
struct queued; /* internal work that waits for its object */

struct tasks {
    struct tasks_config cfg;
    const char *host_ref;   /* rstr */
    struct runner *pool;    /* ordinary operations */
    struct runner *enders;  /* those that end something */
    pthread_mutex_t lock;   /* leaf: the two lists and the counts */
    pthread_cond_t quiet;   /* n_running went to 0 */
    struct op_run *running; /* linked by next */
    unsigned n_running;
    struct queued *waiting, **waiting_last;
    uint64_t n_drops; /* how often claims were dropped */
    bool stopping;
    bool recovered; /* before that, internal work only queues up */
};

/* internal.c: gives internal work another try, after claims were dropped. */
void internal_kick(struct tasks *ts);
/* Is some of it about to begin? Called with the lock held. */
bool internal_is_trying(const struct tasks *ts);
void internal_free(struct tasks *ts);

/* task.c */
void tasks_enlist(struct tasks *ts, struct op_run *r);
void tasks_delist(struct tasks *ts, struct op_run *r);
/* The last transaction: drops claims, ends the task, deletes the journal row. Then `done`. */
void tasks_end_run(struct op_run *r);
