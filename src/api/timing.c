/* timing.c: see timing.h. */
#include "api/timing.h"

#include <math.h>
#include <stdio.h>

#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "task/task.h"

struct counter {
    _Atomic uint64_t n, us, square; /* sum of times, of their squares in ms */
};

struct timing {
    struct counter *v; /* by number of the message */
};

struct timing *timing_new(void)
{
    struct timing *t = mem_new(struct timing);
    t->v = mem_new_n(struct counter, desc_n_msgs);
    return t;
}

void timing_free(struct timing *t)
{
    if (!t)
        return;
    free(t->v);
    free(t);
}

void timing_add(struct timing *t, const struct msg_desc *m, usec_t took)
{
    struct counter *c = &t->v[m->num];
    uint64_t ms = took / 1000;
    atomic_fetch_add_explicit(&c->n, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->us, took, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->square, ms * ms, memory_order_relaxed);
}

/* Seconds: the mean and how far calls are from it. */
static void put_counter(struct val *all, const struct msg_desc *m, struct counter *c, bool counts)
{
    uint64_t n = atomic_load(&c->n);
    if (!n)
        return;
    double mean = (double)atomic_load(&c->us) / (double)n / 1e6;
    double square = (double)atomic_load(&c->square) / (double)n / 1e6;
    double spread = square > mean * mean ? sqrt(square - mean * mean) : 0;
    _cleanup_(freep) char *name = mem_printf("%s.%s", desc_classes[m->cls]->name, m->name);
    char text[96];
    snprintf(text, sizeof(text), "%.6f [sd = %.6f]", mean, spread);
    if (counts)
        snprintf(text, sizeof(text), "%.6f [sd = %.6f] [n = %llu]", mean, spread,
                 (unsigned long long)n);
    val_put_str(all, name, text);
}

void host_get_diagnostic_timing_stats(struct call *c)
{
    const struct args_host_get_diagnostic_timing_stats *a = c->args;
    struct err *e = tasks_need_own_host(c->api->tasks, c->api->db, a->host);
    if (e) {
        call_end(c, e, NULL);
        return;
    }
    struct val *all = val_map();
    for (unsigned i = 0; i < desc_n_msgs; i++)
        put_counter(all, desc_msgs[i], &c->api->timing->v[desc_msgs[i]->num], a->counts);
    call_end(c, NULL, all);
}
