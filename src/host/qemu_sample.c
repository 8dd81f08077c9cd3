/*
 * qemu_sample.c: what a guest's process has used. Part of the QEMU back end; called on the thread
 * of chores.
 *
 * A virtual CPU is a thread of QEMU, whose time the kernel counts; which one QEMU says once for
 * each number of CPUs. What a guest calls free comes from its balloon driver, which is asked to
 * report by itself every few seconds. A monitor that does not answer within a second is not waited
 * for; it is tried again after a minute.
 */
#include <math.h>
#include <stdlib.h>

#include "host/qemu_vm.h"
#include "host/sample_impl.h"

#define ANSWER_TIME USEC_PER_SEC
#define RETRY_TIME  (60 * USEC_PER_SEC)
#define MEET_AGAIN  (20 * USEC_PER_SEC)
#define REPORT_S    5
#define BALLOON     "/machine/peripheral/balloon"

static struct err *ask(struct guest *g, const char *command, struct val *args, struct val **ret)
{
    struct verb v = {.id = {.op = ""}, .deadline = clock_now() + ANSWER_TIME};
    return guest_qmp(g, &v, command, args, ret);
}

/* ---- virtual CPUs ---- */

/* query-cpus-fast: one map a CPU with cpu-index and thread-id. */
static size_t take_threads(struct guest *g, const struct val *cpus)
{
    size_t n = val_kind(cpus) == VAL_SET ? val_count(cpus) : 0;
    n = n < SAMPLE_CPUS_MAX ? n : SAMPLE_CPUS_MAX;
    int *threads = mem_new_n(int, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct val *cpu = val_at(cpus, i);
        if (val_kind(cpu) != VAL_MAP)
            continue;
        const struct val *index = val_map_get(cpu, "cpu-index");
        const struct val *thread = val_map_get(cpu, "thread-id");
        if (index && val_kind(index) == VAL_INT && thread && val_kind(thread) == VAL_INT &&
            val_get_int(index) >= 0 && (size_t)val_get_int(index) < n)
            threads[val_get_int(index)] = (int)val_get_int(thread);
    }
    free(g->sampling.threads);
    g->sampling.threads = threads;
    g->sampling.n_threads = n;
    return n;
}

static bool know_threads(struct guest *g, size_t wanted)
{
    if (g->sampling.n_threads >= wanted)
        return true;
    if (clock_now() < g->sampling.next_try)
        return false;
    _cleanup_(val_unrefp) struct val *cpus = NULL;
    _cleanup_(err_freep) struct err *e = ask(g, "query-cpus-fast", NULL, &cpus);
    if (!e && take_threads(g, cpus) >= wanted)
        return true;
    g->sampling.next_try = clock_now() + RETRY_TIME;
    return false;
}

static void sample_cpus(struct guest *g, pid_t pid, struct guest_sample *s)
{
    if (!pid || !know_threads(g, s->n_cpus))
        return;
    for (size_t i = 0; i < s->n_cpus; i++)
        s->cpu_s[i] = sample_thread(pid, g->sampling.threads[i]);
    s->time = (double)clock_wall() / 1e6;
}

/* ---- the guest's own word on its memory ---- */

static struct val *property(const char *name)
{
    struct val *args = val_map();
    val_put_str(args, "path", BALLOON);
    val_put_str(args, "property", name);
    return args;
}

static bool turn_reports_on(struct guest *g)
{
    struct val *args = property("guest-stats-polling-interval");
    val_put_int(args, "value", REPORT_S);
    _cleanup_(err_freep) struct err *e = ask(g, "qom-set", args, NULL);
    g->sampling.reports = !e;
    return !e;
}

/* -1, or what a driver has not told: as an unsigned number that is too large. */
static double free_bytes(const struct val *answer)
{
    const struct val *stats = val_kind(answer) == VAL_MAP ? val_map_get(answer, "stats") : NULL;
    const struct val *v =
        stats && val_kind(stats) == VAL_MAP ? val_map_get(stats, "stat-free-memory") : NULL;
    if (!v || val_kind(v) != VAL_INT || val_get_int(v) < 0)
        return (double)NAN;
    return (double)val_get_int(v);
}

static void sample_memory(struct guest *g, struct guest_sample *s)
{
    if (!g->boot->balloon || clock_now() < g->sampling.next_try)
        return;
    if (!g->sampling.reports && !turn_reports_on(g)) {
        g->sampling.next_try = clock_now() + RETRY_TIME;
        return;
    }
    _cleanup_(val_unrefp) struct val *answer = NULL;
    _cleanup_(err_freep) struct err *e = ask(g, "qom-get", property("guest-stats"), &answer);
    if (!e)
        s->free_kib = free_bytes(answer) / 1024;
    else
        g->sampling.next_try = clock_now() + RETRY_TIME;
}

/* One that did not answer when the daemon started: its events are not heard until it does. */
static void ask_again(struct guest *g)
{
    if (clock_now() < g->sampling.next_meeting)
        return;
    err_free(guest_meet(g));
    g->sampling.next_meeting = clock_now() + MEET_AGAIN;
}

void qemu_sample(void *hv, const char *vm, struct guest_sample *s)
{
    struct qemu *q = hv;
    _cleanup_(guest_unrefp) struct guest *g = guest_find(q, vm);
    if (!g)
        return;
    pthread_mutex_lock(&q->lock);
    pid_t pid = g->gone ? 0 : g->pid;
    bool answers = g->met && (g->state == GUEST_RUNNING || g->state == GUEST_PAUSED);
    bool is_silent = !g->met && !g->meeting && !g->gone;
    pthread_mutex_unlock(&q->lock);
    if (is_silent)
        ask_again(g);
    if (!answers)
        return;
    for (size_t i = 0; i < s->n_nics; i++)
        s->nics[i].known = true; /* without a link nothing has come or gone */
    sample_cpus(g, pid, s);
    sample_memory(g, s);
}
