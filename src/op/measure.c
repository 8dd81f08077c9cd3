/*
 * measure.c: every five seconds what the host, its guests and its repositories do becomes readings,
 * and those go into their databases (metrics/). On the thread of chores; the claims of operations
 * do not concern it, since it looks only.
 *
 * Which devices a guest has says the snapshot; what they did say host/sample.h's counters. Rates
 * are made in the databases, but for what XenServer defines as "since the last sample" (requests,
 * MiB, latencies), for which the last counters are kept here.
 */
#include "op/measure.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "measure"

#include "base/log.h"
#include "base/pmap.h"
#include "host/disk_copy.h"
#include "op/local_cache.h"
#include "op/ops.h"

#define MIB_F     1048576.0
#define SAVE_AGE  1800.0 /* seconds after which a database is written to its file again */
#define SAVE_N    8      /* files a round */
#define SWEEP_AGE 3600.0

static const struct pmap_type plain = {0};

struct measure *measure_new(void)
{
    return mem_new(struct measure);
}

static void readings_done(struct readings *r)
{
    vec_done(&r->sources);
    vec_done(&r->values);
}

static void disks_clear(struct vm_meter *m)
{
    vec_each (d, &m->disks)
        rstr_unref(d->sr);
    m->disks.n = 0;
}

static void vm_meter_free(struct vm_meter *m)
{
    disks_clear(m);
    vec_done(&m->disks);
    rstr_unref(m->uuid);
    rstr_unref(m->ref);
    free(m->sample.cpu_s);
    free(m->sample.disks);
    free(m->sample.nics);
    free(m->last_cpu_s);
    readings_done(&m->readings);
    watch_meter_done(&m->watch);
    free(m);
}

static void sr_meter_free(struct sr_meter *m)
{
    rstr_unref(m->uuid);
    rstr_unref(m->ref);
    watch_meter_done(&m->watch);
    watch_meter_done(&m->host_watch);
    free(m);
}

void measure_free(struct measure *m)
{
    if (!m)
        return;
    vec_each (v, &m->vms)
        vm_meter_free(*v);
    vec_done(&m->vms);
    pmap_unref(m->vm_by_uuid);
    vec_each (s, &m->srs)
        sr_meter_free(*s);
    vec_done(&m->srs);
    readings_done(&m->host);
    free(m->host_signature);
    watch_meter_done(&m->host_watch);
    free(m);
}

void readings_add(struct readings *r, const struct source *s, double value)
{
    vec_push(&r->sources, s);
    vec_push(&r->values, value);
}

void readings_clear(struct readings *r)
{
    r->sources.n = r->values.n = 0;
}

/* There are thousands of these, which seldom change. */
static void readings_shrink(struct readings *r)
{
    r->sources.v = mem_realloc(r->sources.v, r->sources.n, sizeof(*r->sources.v));
    r->values.v = mem_realloc(r->values.v, r->values.n, sizeof(*r->values.v));
    r->sources.cap = r->values.cap = r->values.n;
}

/* ---- disks ---- */

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* Nothing is known of a time in which nothing was read. */
static double hits(const struct io_counters *now, const struct io_counters *last)
{
    double hit = now->hit_bytes - last->hit_bytes, miss = now->miss_bytes - last->miss_bytes;
    return hit + miss > 0 ? hit / (hit + miss) : (double)NAN;
}

/* In the order of SOURCE_DISK. `v` has room for them. */
static void io_values(const struct io_counters *now, const struct io_counters *last, double *v)
{
    double reads = now->read_ops - last->read_ops, writes = now->write_ops - last->write_ops;
    double read_us = now->read_us - last->read_us, write_us = now->write_us - last->write_us;
    double read_mib = (now->read_bytes - last->read_bytes) / MIB_F;
    double write_mib = (now->write_bytes - last->write_bytes) / MIB_F;
    const double values[] = {
        now->read_bytes,
        now->write_bytes,
        ratio(read_us, reads),
        ratio(write_us, writes),
        read_mib,
        write_mib,
        read_mib + write_mib,
        reads,
        writes,
        reads + writes,
        (read_us + write_us) / 1e6,
        now->inflight,
        ratio(read_us + write_us, reads + writes),
        ratio((read_us + write_us) / 1e6, now->time - last->time),
        hits(now, last),
    };
    memcpy(v, values, sizeof(values));
}

#define IO_KINDS (SOURCE_VM_VBD_CACHE_HITS - SOURCE_VM_VBD_READ + 1)

/* Counters that went back were begun anew: nothing is known of the time between. */
static bool is_later(const struct io_counters *now, const struct io_counters *last)
{
    return last->known && now->known && now->read_ops >= last->read_ops &&
           now->write_ops >= last->write_ops && now->hit_bytes >= last->hit_bytes &&
           now->miss_bytes >= last->miss_bytes && now->time > last->time;
}

static void io_now(const struct io_counters *now, const struct io_counters *last, double *v)
{
    for (int i = 0; i < IO_KINDS; i++)
        v[i] = (double)NAN;
    if (is_later(now, last)) {
        io_values(now, last, v);
    } else if (now->known) {
        v[0] = now->read_bytes;
        v[1] = now->write_bytes;
    }
}

static struct io_counters counters_of(const struct disk_sample *d, double time)
{
    return (struct io_counters){d->known,
                                time,
                                (double)d->read_bytes,
                                (double)d->write_bytes,
                                (double)d->read_ops,
                                (double)d->write_ops,
                                (double)d->read_us,
                                (double)d->write_us,
                                (double)d->inflight,
                                (double)d->hit_bytes,
                                (double)d->miss_bytes,
                                (double)d->copy_hit_bytes,
                                (double)d->copy_miss_bytes};
}

/* What a disk has done since the last round counts for its repository, and for the host's copies.
 */
static void add_to_sr(struct measure *me, const char *sr, const struct io_counters *now,
                      const struct io_counters *last)
{
    if (is_later(now, last)) {
        me->copy_hit_bytes += fmax(now->copy_hit_bytes - last->copy_hit_bytes, 0);
        me->copy_miss_bytes += fmax(now->copy_miss_bytes - last->copy_miss_bytes, 0);
    }
    for (size_t i = 0; i < me->srs.n; i++) {
        struct io_counters *t = &me->srs.v[i]->total;
        if (!str_eq(me->srs.v[i]->ref, sr) || !is_later(now, last))
            continue;
        t->read_bytes += now->read_bytes - last->read_bytes;
        t->write_bytes += now->write_bytes - last->write_bytes;
        t->read_ops += now->read_ops - last->read_ops;
        t->write_ops += now->write_ops - last->write_ops;
        t->read_us += now->read_us - last->read_us;
        t->write_us += now->write_us - last->write_us;
        t->inflight += now->inflight;
        t->hit_bytes += now->hit_bytes - last->hit_bytes;
        t->miss_bytes += now->miss_bytes - last->miss_bytes;
    }
}

/* ---- guests: which devices, and so which sources ---- */

struct disk_here {
    unsigned device;
    const char *sr; /* borrowed from the snapshot */
};

/* What a guest has, as the snapshot says it. */
struct shape {
    size_t n_cpus;
    VEC(struct disk_here) disks;
    VEC(unsigned) nics;
};

static void shape_done(struct shape *s)
{
    vec_done(&s->disks);
    vec_done(&s->nics);
}

static void shape_of(const struct snap *s, const struct rec_VM *vm, struct shape *ret)
{
    const struct rec_VM_metrics *m = snap_VM_metrics(s, vm->metrics);
    int64_t cpus = m && m->VCPUs_number > 0 ? m->VCPUs_number : vm->VCPUs_at_startup;
    ret->n_cpus = cpus < 1 ? 1 : cpus > SAMPLE_CPUS_MAX ? SAMPLE_CPUS_MAX : (size_t)cpus;
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        unsigned device;
        if (!vbd || !vbd->currently_attached || !device_number(vbd->userdevice, &device))
            continue;
        const struct rec_VDI *vdi = snap_VDI(s, vbd->VDI);
        vec_push(&ret->disks, ((struct disk_here){device, vdi ? vdi->SR : ""}));
    }
    val_each (nic, vm->VIFs) {
        const struct rec_VIF *vif = snap_VIF(s, nic);
        uint64_t device;
        if (vif && vif->currently_attached &&
            str_u64(view_of(vif->device), 0, UINT32_MAX, &device) == 0)
            vec_push(&ret->nics, (unsigned)device);
    }
}

static bool is_shape(const struct vm_meter *m, const struct shape *s)
{
    if (m->sample.n_cpus != s->n_cpus || m->disks.n != s->disks.n ||
        m->sample.n_nics != s->nics.n || !m->readings.sources.n)
        return false;
    for (size_t i = 0; i < s->disks.n; i++)
        if (m->sample.disks[i].device != s->disks.v[i].device ||
            !str_eq(m->disks.v[i].sr, s->disks.v[i].sr))
            return false;
    for (size_t i = 0; i < s->nics.n; i++)
        if (m->sample.nics[i].device != s->nics.v[i])
            return false;
    return true;
}

static void add_named(struct metrics *m, struct readings *r, enum source_kind_id kind,
                      unsigned number)
{
    char text[12];
    snprintf(text, sizeof(text), "%u", number);
    readings_add(r, metrics_source(m, kind, text), (double)NAN);
}

static void add_io(struct metrics *m, struct readings *r, enum source_kind_id first,
                   const char *device)
{
    for (int i = 0; i < IO_KINDS; i++)
        readings_add(r, metrics_source(m, (enum source_kind_id)(first + i), device), (double)NAN);
}

static void make_sources(struct metrics *m, struct vm_meter *v)
{
    struct readings *r = &v->readings;
    readings_clear(r);
    for (unsigned i = 0; i < v->sample.n_cpus; i++)
        add_named(m, r, SOURCE_VM_CPU, i);
    readings_add(r, metrics_source(m, SOURCE_VM_CPU_USAGE, ""), (double)NAN);
    readings_add(r, metrics_source(m, SOURCE_VM_MEMORY, ""), (double)NAN);
    readings_add(r, metrics_source(m, SOURCE_VM_MEMORY_TARGET, ""), (double)NAN);
    for (size_t i = 0; i < v->disks.n; i++)
        add_io(m, r, SOURCE_VM_VBD_READ, v->disks.v[i].name);
    for (size_t i = 0; i < v->sample.n_nics; i++)
        for (int k = SOURCE_VM_VIF_RX; k <= SOURCE_VM_VIF_TX_ERRORS; k++)
            add_named(m, r, (enum source_kind_id)k, v->sample.nics[i].device);
    if (v->reports)
        readings_add(r, metrics_source(m, SOURCE_VM_MEMORY_INTERNAL_FREE, ""), (double)NAN);
    readings_shrink(r);
}

/* The guest has been given or has lost a device: counters of disks that stay go on. */
static void take_shape(struct metrics *m, struct vm_meter *v, const struct shape *s)
{
    struct guest_sample *g = &v->sample;
    g->n_cpus = s->n_cpus;
    g->cpu_s = mem_realloc(g->cpu_s, s->n_cpus, sizeof(*g->cpu_s));
    v->last_cpu_s = mem_realloc(v->last_cpu_s, s->n_cpus, sizeof(*v->last_cpu_s));
    for (size_t i = 0; i < s->n_cpus; i++)
        v->last_cpu_s[i] = (double)NAN;
    disks_clear(v);
    g->n_disks = s->disks.n;
    g->disks = mem_realloc(g->disks, s->disks.n + 1, sizeof(*g->disks));
    for (size_t i = 0; i < s->disks.n; i++) {
        g->disks[i] = (struct disk_sample){.device = s->disks.v[i].device};
        struct disk_meter d = {.sr = rstr_new(s->disks.v[i].sr)};
        device_name(s->disks.v[i].device, d.name, sizeof(d.name));
        vec_push(&v->disks, d);
    }
    g->n_nics = s->nics.n;
    g->nics = mem_realloc(g->nics, s->nics.n + 1, sizeof(*g->nics));
    for (size_t i = 0; i < s->nics.n; i++)
        g->nics[i] = (struct nic_sample){.device = s->nics.v[i]};
    make_sources(m, v);
}

/* ---- guests: values ---- */

/* The CPUs' own counters, and their mean. */
static double *put_cpus(struct measure *me, struct vm_meter *v, double *out)
{
    double sum = 0, ran = 0;
    for (size_t i = 0; i < v->sample.n_cpus; i++) {
        double now = v->sample.cpu_s[i];
        *out++ = now;
        sum += now;
        if (now >= v->last_cpu_s[i])
            ran += now - v->last_cpu_s[i];
        v->last_cpu_s[i] = now;
    }
    *out++ = sum / (double)v->sample.n_cpus;
    if (v->last_time > 0 && v->sample.time > v->last_time)
        me->running_cpus += ran / (v->sample.time - v->last_time);
    v->last_time = v->sample.time;
    return out;
}

static double *put_disks(struct measure *me, struct vm_meter *v, double *out)
{
    for (size_t i = 0; i < v->disks.n; i++) {
        struct disk_meter *d = &v->disks.v[i];
        struct io_counters now = counters_of(&v->sample.disks[i], v->sample.time);
        io_now(&now, &d->last, out);
        add_to_sr(me, d->sr, &now, &d->last);
        d->last = now;
        out += IO_KINDS;
    }
    return out;
}

static double *put_nics(const struct vm_meter *v, double *out)
{
    for (size_t i = 0; i < v->sample.n_nics; i++) {
        const struct nic_sample *n = &v->sample.nics[i];
        const uint64_t counts[] = {n->rx_bytes, n->tx_bytes, n->rx_errors, n->tx_errors};
        for (size_t k = 0; k < ARRAY_LEN(counts); k++)
            *out++ = n->known ? (double)counts[k] : (double)NAN;
    }
    return out;
}

static struct vm_meter *vm_meter(struct measure *me, const struct rec_VM *vm)
{
    struct vm_meter *v = pmap_get(me->vm_by_uuid, pmap_hash(vm->uuid), vm->uuid);
    if (!v) {
        v = mem_new(struct vm_meter);
        v->uuid = rstr_ref(vm->uuid);
        v->ref = rstr_new(vm->row.ref);
        vec_push(&me->vms, v);
        pmap_set(&me->vm_by_uuid, &plain, pmap_hash(v->uuid), v->uuid, v);
    }
    v->seen = true;
    return v;
}

static void measure_vm(struct ops *ops, const struct snap *s, const struct rec_VM *vm)
{
    struct measure *me = ops->measure;
    struct vm_meter *v = vm_meter(me, vm);
    _cleanup_(shape_done) struct shape shape = {0};
    shape_of(s, vm, &shape);
    if (!is_shape(v, &shape))
        take_shape(ops->metrics, v, &shape);
    host_sample_guest(ops->cfg.host, v->uuid, &v->sample);
    if (!v->reports && !isnan(v->sample.free_kib)) {
        v->reports = true;
        make_sources(ops->metrics, v);
    }
    const struct rec_VM_metrics *m = snap_VM_metrics(s, vm->metrics);
    double *out = put_cpus(me, v, v->readings.values.v);
    *out++ = m ? (double)m->memory_actual : (double)NAN;
    *out++ = (double)vm->memory_target;
    out = put_nics(v, put_disks(me, v, out));
    if (v->reports)
        *out = v->sample.free_kib;
    metrics_feed(ops->metrics, OWNER_VM, v->uuid, v->sample.time, v->readings.sources.v,
                 v->readings.values.v, v->readings.sources.n);
    me->running_vms += vm->power_state == VM_POWER_STATE_RUNNING;
}

/* The control domain is the machine itself, less its guests' memory. */
static void measure_control_domain(struct ops *ops, const struct snap *s, const struct rec_VM *vm)
{
    const struct host_sample *h = &ops->measure->machine;
    struct vm_meter *v = vm_meter(ops->measure, vm);
    struct readings *r = &v->readings;
    const struct rec_VM_metrics *m = snap_VM_metrics(s, vm->metrics);
    double memory =
        m && m->memory_actual > 0 ? (double)m->memory_actual : (double)vm->memory_target;
    double sum = 0;
    readings_clear(r);
    for (size_t i = 0; i < h->n_cpus; i++) {
        add_named(ops->metrics, r, SOURCE_VM_CPU, (unsigned)i);
        r->values.v[i] = h->cpu_s[i];
        sum += h->cpu_s[i];
    }
    readings_add(r, metrics_source(ops->metrics, SOURCE_VM_CPU_USAGE, ""),
                 h->n_cpus ? sum / (double)h->n_cpus : (double)NAN);
    readings_add(r, metrics_source(ops->metrics, SOURCE_VM_MEMORY, ""), memory);
    readings_add(r, metrics_source(ops->metrics, SOURCE_VM_MEMORY_TARGET, ""),
                 (double)vm->memory_target);
    readings_add(r, metrics_source(ops->metrics, SOURCE_VM_MEMORY_INTERNAL_FREE, ""),
                 h->available_kib);
    metrics_feed(ops->metrics, OWNER_VM, v->uuid, h->time, r->sources.v, r->values.v, r->sources.n);
    ops->measure->running_vms++;
}

static bool runs_here(const struct ops *ops, const struct rec_VM *vm)
{
    return !vm->is_a_template && str_eq(vm->resident_on, ops->host_ref) &&
           (vm->power_state == VM_POWER_STATE_RUNNING || vm->power_state == VM_POWER_STATE_PAUSED);
}

static void forget_unseen_vms(struct ops *ops)
{
    struct measure *me = ops->measure;
    for (size_t i = me->vms.n; i-- > 0;) {
        struct vm_meter *v = me->vms.v[i];
        if (v->seen)
            continue;
        metrics_end(ops->metrics, OWNER_VM, v->uuid);
        pmap_del(&me->vm_by_uuid, pmap_hash(v->uuid), v->uuid);
        vec_remove(&me->vms, i);
        vm_meter_free(v);
    }
}

static void measure_vms(struct ops *ops, const struct snap *s)
{
    vec_each (v, &ops->measure->vms)
        (*v)->seen = false;
    snap_each (row, s, CLASS_VM) {
        const struct rec_VM *vm = rec_VM(row);
        if (!runs_here(ops, vm))
            continue;
        if (vm->is_control_domain)
            measure_control_domain(ops, s, vm);
        else
            measure_vm(ops, s, vm);
    }
    forget_unseen_vms(ops);
}

/* ---- repositories ---- */

static bool is_attached_here(const struct ops *ops, const struct snap *s, const struct rec_SR *sr)
{
    val_each (ref, sr->PBDs) {
        const struct rec_PBD *pbd = snap_PBD(s, ref);
        if (pbd && pbd->currently_attached && str_eq(pbd->host, ops->host_ref))
            return true;
    }
    return false;
}

static struct sr_meter *sr_meter(struct measure *me, const struct rec_SR *sr)
{
    for (size_t i = 0; i < me->srs.n; i++)
        if (str_eq(me->srs.v[i]->uuid, sr->uuid))
            return me->srs.v[i];
    struct sr_meter *m = mem_new(struct sr_meter);
    m->uuid = rstr_ref(sr->uuid);
    m->ref = rstr_new(sr->row.ref);
    snprintf(m->name, sizeof(m->name), "%.8s", sr->uuid);
    vec_push(&me->srs, m);
    return m;
}

/* Before the guests are measured, whose disks add to the totals. */
static void begin_srs(struct ops *ops, const struct snap *s)
{
    struct measure *me = ops->measure;
    vec_each (m, &me->srs)
        (*m)->seen = false;
    snap_each (row, s, CLASS_SR) {
        if (!is_attached_here(ops, s, rec_SR(row)))
            continue;
        struct sr_meter *m = sr_meter(me, rec_SR(row));
        m->seen = true;
        m->last = m->total;
        m->total.known = true;
        m->total.inflight = 0;
        m->total.time = ops->measure->machine.time;
    }
    for (size_t i = me->srs.n; i-- > 0;) {
        struct sr_meter *m = me->srs.v[i];
        if (m->seen)
            continue;
        metrics_end(ops->metrics, OWNER_SR, m->uuid);
        vec_remove(&me->srs, i);
        sr_meter_free(m);
    }
}

static void measure_srs(struct ops *ops, const struct snap *s)
{
    const struct source *sources[] = {metrics_source(ops->metrics, SOURCE_SR_SIZE, ""),
                                      metrics_source(ops->metrics, SOURCE_SR_UTILISATION, "")};
    vec_each (m, &ops->measure->srs) {
        const struct rec_SR *sr = snap_SR(s, (*m)->ref);
        if (!sr)
            continue;
        const double values[] = {(double)sr->physical_size, (double)sr->physical_utilisation};
        metrics_feed(ops->metrics, OWNER_SR, (*m)->uuid, ops->measure->machine.time, sources,
                     values, ARRAY_LEN(sources));
    }
}

/* ---- the host ---- */

/* What the list of the host's sources depends on. */
static char *signature_of(const struct measure *me, const char *cache)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "%zu", me->machine.n_cpus);
    for (size_t i = 0; i < me->machine.n_nics; i++)
        buf_printf(&b, " %s", me->machine.nics[i].name);
    for (size_t i = 0; i < me->srs.n; i++)
        buf_printf(&b, " /%s", me->srs.v[i]->name);
    buf_printf(&b, " =%s", cache);
    return buf_take(&b);
}

static void make_host_sources(struct metrics *m, struct measure *me, const char *cache)
{
    struct readings *r = &me->host;
    readings_clear(r);
    for (unsigned i = 0; i < me->machine.n_cpus; i++)
        add_named(m, r, SOURCE_HOST_CPU, i);
    for (int k = SOURCE_HOST_CPU_AVG; k <= SOURCE_HOST_MEMORY_FREE; k++)
        readings_add(r, metrics_source(m, (enum source_kind_id)k, ""), (double)NAN);
    for (size_t i = 0; i < me->machine.n_nics; i++)
        for (int k = SOURCE_HOST_PIF_RX; k <= SOURCE_HOST_PIF_TX_ERRORS; k++)
            readings_add(r, metrics_source(m, (enum source_kind_id)k, me->machine.nics[i].name),
                         (double)NAN);
    for (int k = SOURCE_HOST_PIF_AGGR_RX; k <= SOURCE_HOST_PIF_AGGR_TX; k++)
        readings_add(r, metrics_source(m, (enum source_kind_id)k, ""), (double)NAN);
    for (size_t i = 0; i < me->srs.n; i++)
        add_io(m, r, SOURCE_HOST_SR_READ, me->srs.v[i]->name);
    for (int k = SOURCE_HOST_CACHE_SIZE; *cache && k <= SOURCE_HOST_CACHE_MISSES; k++)
        readings_add(r, metrics_source(m, (enum source_kind_id)k, cache), (double)NAN);
}

static double *put_machine(const struct ops *ops, const struct snap *s, double *out)
{
    const struct measure *me = ops->measure;
    const struct host_sample *h = &me->machine;
    double sum = 0;
    for (size_t i = 0; i < h->n_cpus; i++)
        sum += *out++ = h->cpu_s[i];
    uint64_t all = host_caps(ops->cfg.host)->memory_bytes;
    uint64_t taken = place_memory_taken(s, ops->host_ref, "");
    *out++ = h->n_cpus ? sum / (double)h->n_cpus : (double)NAN;
    *out++ = h->loadavg;
    *out++ = h->n_cpus ? me->running_cpus / (double)h->n_cpus : (double)NAN;
    *out++ = me->running_cpus;
    *out++ = me->running_vms;
    *out++ = (double)(all / KIB);
    *out++ = taken < all ? (double)((all - taken) / KIB) : 0;
    return out;
}

static double *put_host_nics(const struct host_sample *h, double *out)
{
    double rx = 0, tx = 0;
    for (size_t i = 0; i < h->n_nics; i++) {
        const struct host_nic_sample *n = &h->nics[i];
        rx += (double)n->rx_bytes;
        tx += (double)n->tx_bytes;
        *out++ = (double)n->rx_bytes;
        *out++ = (double)n->tx_bytes;
        *out++ = (double)n->rx_errors;
        *out++ = (double)n->tx_errors;
    }
    *out++ = rx;
    *out++ = tx;
    return out;
}

static void measure_host(struct ops *ops, const struct snap *s)
{
    struct measure *me = ops->measure;
    const struct rec_host *host = snap_host(s, ops->host_ref);
    const char *cache; /* uuid */
    _cleanup_(freep) char *folder = local_cache_folder(ops, s, &cache);
    char *signature = signature_of(me, cache);
    if (!me->host_signature || !str_eq(signature, me->host_signature))
        make_host_sources(ops->metrics, me, cache);
    free(me->host_signature);
    me->host_signature = signature;
    double *out = put_host_nics(&me->machine, put_machine(ops, s, me->host.values.v));
    vec_each (m, &me->srs) {
        io_now(&(*m)->total, &(*m)->last, out);
        out += IO_KINDS;
    }
    if (folder) {
        *out++ = (double)disk_copies_size(folder);
        *out++ = me->copy_hit_bytes;
        *out++ = me->copy_miss_bytes;
    }
    if (host)
        metrics_feed(ops->metrics, OWNER_HOST, host->uuid, me->machine.time, me->host.sources.v,
                     me->host.values.v, me->host.sources.n);
}

/* ---- a round ---- */

static bool lives(void *arg, const char *uuid)
{
    const struct snap *s = arg;
    return snap_by_uuid(s, CLASS_VM, uuid) || snap_by_uuid(s, CLASS_host, uuid) ||
           snap_by_uuid(s, CLASS_SR, uuid);
}

static void keep_files(struct ops *ops, struct snap *s, double now)
{
    struct measure *me = ops->measure;
    int r = metrics_save_some(ops->metrics, now, SAVE_AGE, SAVE_N);
    if (ops->save_metrics_at && clock_now() >= ops->save_metrics_at) {
        ops->save_metrics_at = 0;
        r = metrics_save_all(ops->metrics);
    }
    if (r < 0)
        log_warn("event=metrics-not-saved error=%d", -r);
    if (now - me->swept > SWEEP_AGE || now < me->swept) {
        metrics_sweep(ops->metrics, lives, s);
        me->swept = now;
    }
}

struct err *ops_measure(struct ops *ops)
{
    struct measure *me = ops->measure;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_pool *pool = snap_pool(s, ops->pool_ref);
    if (pool)
        metrics_set_min_max(
            ops->metrics,
            str_eq(val_map_str(pool->other_config, "create_min_max_in_new_VM_RRDs", ""), "true"));
    host_sample_self(ops->cfg.host, &me->machine);
    double now = me->machine.time;
    me->running_cpus = 0;
    me->running_vms = 0;
    begin_srs(ops, s);
    measure_vms(ops, s);
    measure_srs(ops, s);
    measure_host(ops, s);
    keep_files(ops, s, now);
    return measure_alarms(ops, s, now);
}
