/*
 * sample.c: the host as /proc shows it, and the way to the back ends' samples. Called every few
 * seconds on the thread of chores; keeps nothing. Parsers take any text.
 */
#include "host/sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/host_impl.h"
#include "host/sample_impl.h"

#define PROC_MAX   (1u << 20)
#define GO_ON_TIME (2 * USEC_PER_SEC)

/* ---- words of a line ---- */

/* The next word, behind blanks; empty at the end of the line. */
static struct view next_word(struct view *line)
{
    while (line->size && (*line->p == ' ' || *line->p == '\t'))
        *line = view_cut(*line, 1);
    size_t n = 0;
    while (n < line->size && line->p[n] != ' ' && line->p[n] != '\t')
        n++;
    struct view word = {line->p, n};
    *line = view_cut(*line, n);
    return word;
}

static double next_number(struct view *line)
{
    double v = 0;
    return str_double(next_word(line), &v) < 0 || !isfinite(v) || v < 0 ? (double)NAN : v;
}

static bool next_line(struct view *text, struct view *line)
{
    if (!text->size)
        return false;
    (void)view_split(text, '\n', line);
    return true;
}

/* ---- parsers ---- */

/* user nice system idle iowait irq softirq steal; guests' time is in the first two. */
static double busy_ticks(struct view line)
{
    double busy = 0;
    for (int i = 0; i < 8; i++) {
        double v = next_number(&line);
        if (i != 3 && i != 4)
            busy += v;
    }
    return busy;
}

size_t sample_parse_stat(const char *text, double ticks_per_s, double *ret_s, size_t max)
{
    struct view rest = view_of(text), line;
    size_t n = 0;
    while (n < max && next_line(&rest, &line)) {
        struct view word = next_word(&line);
        uint64_t number;
        if (!view_starts(word, "cpu") || str_u64(view_cut(word, 3), 0, UINT32_MAX, &number) < 0)
            continue;
        ret_s[n++] = busy_ticks(line) / ticks_per_s;
    }
    return n;
}

static bool is_of_the_host(struct view name)
{
    static const char *const others[] = {"tap", "vif", "vnet", "ifb", "dummy", "docker", "veth"};
    if (view_eq(name, "lo") || !name.size ||
        name.size >= sizeof(((struct host_nic_sample *)0)->name))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (view_starts(name, others[i]))
            return false;
    return true;
}

static uint64_t next_count(struct view *line)
{
    double v = next_number(line);
    return v < 9e15 ? (uint64_t)v : 0;
}

size_t sample_parse_net_dev(const char *text, struct host_nic_sample *ret, size_t max)
{
    struct view rest = view_of(text), line;
    size_t n = 0;
    while (n < max && next_line(&rest, &line)) {
        struct view name;
        if (!view_split(&line, ':', &name))
            continue;
        name = view_trim(name);
        if (!is_of_the_host(name))
            continue;
        struct host_nic_sample *s = &ret[n++];
        *s = (struct host_nic_sample){0};
        memcpy(s->name, name.p, name.size);
        for (int i = 0; i < 16; i++) {
            uint64_t v = next_count(&line);
            s->rx_bytes = i == 0 ? v : s->rx_bytes;
            s->rx_errors = i == 2 ? v : s->rx_errors;
            s->tx_bytes = i == 8 ? v : s->tx_bytes;
            s->tx_errors = i == 10 ? v : s->tx_errors;
        }
    }
    return n;
}

double sample_parse_task_stat(const char *text, double ticks_per_s)
{
    const char *end = strrchr(text, ')'); /* of the name, which may hold anything */
    if (!end)
        return (double)NAN;
    struct view line = view_of(end + 1);
    for (int i = 0; i < 11; i++)
        (void)next_word(&line);
    double user = next_number(&line), kernel = next_number(&line);
    return (user + kernel) / ticks_per_s;
}

double sample_parse_meminfo(const char *text, const char *name)
{
    struct view rest = view_of(text), line, head;
    while (next_line(&rest, &line))
        if (view_split(&line, ':', &head) && view_eq(head, name))
            return next_number(&line);
    return (double)NAN;
}

/* ---- reading ---- */

/* "" when it cannot be read. */
static char *slurp(const char *path)
{
    struct buf b;
    buf_init(&b, PROC_MAX);
    int r = fd_read_file(path, PROC_MAX, &b);
    char *text = r < 0 ? mem_strdup("") : buf_take(&b);
    buf_done(&b);
    return text ? text : mem_strdup("");
}

double sample_thread(int pid, int tid)
{
    char path[80];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", pid, tid);
    _cleanup_(freep) char *exact = slurp(path);
    struct view line = view_of(exact);
    double ns = next_number(&line);
    if (!isnan(ns))
        return ns / 1e9;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
    _cleanup_(freep) char *coarse = slurp(path);
    return sample_parse_task_stat(coarse, (double)sysconf(_SC_CLK_TCK));
}

static double share_of_fs(const char *path)
{
    struct statvfs st;
    if (statvfs(path, &st) < 0 || !st.f_blocks)
        return (double)NAN;
    double used = (double)(st.f_blocks - st.f_bfree);
    return used / (used + (double)st.f_bavail); /* as df says it */
}

static double share_of_logs(const struct host *h)
{
    struct stat root, logs;
    if (stat("/", &root) < 0 || stat(h->log_dir, &logs) < 0 || root.st_dev == logs.st_dev)
        return (double)NAN;
    return share_of_fs(h->log_dir);
}

static double share_of_memory(const char *text)
{
    double total = sample_parse_meminfo(text, "MemTotal");
    double used = total - sample_parse_meminfo(text, "MemFree") -
                  sample_parse_meminfo(text, "Buffers") - sample_parse_meminfo(text, "Cached");
    double swap = sample_parse_meminfo(text, "SwapTotal") - sample_parse_meminfo(text, "SwapFree");
    return (used + swap) / total;
}

#define SIM_EPOCH 1750000000.0

double sample_clock(const struct host *h)
{
    double now = (double)clock_wall() / 1e6;
    return h->sim_speed < 2 || h->mon ? now : SIM_EPOCH + (now - SIM_EPOCH) * h->sim_speed;
}

static void sample_machine(struct host *h, struct host_sample *s)
{
    _cleanup_(freep) char *stat_text = slurp("/proc/stat");
    s->time = sample_clock(h);
    s->n_cpus =
        sample_parse_stat(stat_text, (double)sysconf(_SC_CLK_TCK), s->cpu_s, SAMPLE_CPUS_MAX);
    _cleanup_(freep) char *net = slurp("/proc/net/dev");
    s->n_nics = sample_parse_net_dev(net, s->nics, SAMPLE_NICS_MAX);
    _cleanup_(freep) char *load = slurp("/proc/loadavg");
    struct view line = view_of(load);
    s->loadavg = next_number(&line);
    _cleanup_(freep) char *memory = slurp("/proc/meminfo");
    s->available_kib = sample_parse_meminfo(memory, "MemAvailable");
    s->memory = share_of_memory(memory);
    s->fs = share_of_fs("/");
    s->log_fs = share_of_logs(h);
}

/* The simulated machine: everything grows evenly with the clock, so that whoever knows the time
 * knows the numbers. CPU i is busy for (i + 1) / 8 of it. */
static void sample_simulated(struct host *h, struct host_sample *s)
{
    s->time = sample_clock(h);
    s->n_cpus = h->caps.cpus < SAMPLE_CPUS_MAX ? h->caps.cpus : SAMPLE_CPUS_MAX;
    for (size_t i = 0; i < s->n_cpus; i++)
        s->cpu_s[i] = s->time * (double)(i % 8 + 1) / 8;
    s->n_nics = 1;
    s->nics[0] = (struct host_nic_sample){.name = "eth0",
                                          .rx_bytes = (uint64_t)(s->time * 2000),
                                          .tx_bytes = (uint64_t)(s->time * 1000)};
    s->loadavg = 0.5;
    s->available_kib = 1 << 20;
    s->fs = 0.25;
    s->log_fs = (double)NAN;
    s->memory = 0.5;
}

void host_sample_self(struct host *h, struct host_sample *s)
{
    if (h->mon)
        sample_machine(h, s);
    else
        sample_simulated(h, s);
}

void host_sample_guest(struct host *h, const char *vm, struct guest_sample *s)
{
    for (size_t i = 0; i < s->n_cpus; i++)
        s->cpu_s[i] = (double)NAN;
    for (size_t i = 0; i < s->n_disks; i++)
        s->disks[i] = (struct disk_sample){.device = s->disks[i].device};
    for (size_t i = 0; i < s->n_nics; i++)
        s->nics[i] = (struct nic_sample){.device = s->nics[i].device};
    s->free_kib = (double)NAN;
    s->time = sample_clock(h);
    h->hv->sample(h->hv_data, vm, s);
    if (s->n_disks)
        h->disks->sample(h->disks_data, vm, s->disks, s->n_disks);
    struct verb v = {.deadline = clock_now() + GO_ON_TIME};
    err_free(host_vm_go_on(h, &v, vm)); /* the next time, then */
}
