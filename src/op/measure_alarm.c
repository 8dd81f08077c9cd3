/*
 * measure_alarm.c: what other_config:perfmon of guests, host and repositories watches for. Called
 * by measure.c once a minute; alarms become messages `ALARM`, as XenServer's perfmon writes them.
 */
#include <math.h>
#include <stdlib.h>

#define LOG_MODULE "perfmon"

#include "base/log.h"
#include "op/measure.h"

#define MINUTE 60

struct due {
    enum cls cls;
    const char *uuid; /* rstr */
    int64_t priority;
    char *body;
};

struct round {
    struct ops *ops;
    int64_t minute;
    struct perfmon_usage usage; /* of the object looked at */
    struct watch_meter *watch;
    enum cls cls;
    const char *uuid;
    VEC(struct due) due;
};

void watch_meter_done(struct watch_meter *w)
{
    rstr_unref(w->config);
    perfmon_free(w->perfmon);
    *w = (struct watch_meter){0};
}

/* A config is read again when it has changed; what cannot be read is told once. */
static void take_config(struct watch_meter *w, const struct val *other_config,
                        enum metrics_owner owner, const char *uuid, const char *sr)
{
    const char *config = val_map_str(other_config, "perfmon", "");
    if (str_eq(config, w->config ? w->config : ""))
        return;
    struct perfmon *old = w->perfmon;
    w->perfmon = NULL;
    rstr_set(&w->config, config);
    _cleanup_(freep) char *why = NULL;
    if (*config && perfmon_parse(view_of(config), owner, sr, &w->perfmon, &why) < 0)
        log_warn("event=bad-config class=%s uuid=%s error='%s'", owner_name(owner), uuid, why);
    if (w->perfmon && old)
        perfmon_take_over(w->perfmon, old);
    perfmon_free(old);
}

static void on_alarm(void *arg, int64_t priority, const char *body)
{
    struct round *r = arg;
    vec_push(&r->due, ((struct due){r->cls, rstr_new(r->uuid), priority, mem_strdup(body)}));
}

static void look(void *arg, const struct rrd *rrd)
{
    struct round *r = arg;
    perfmon_minute(r->watch->perfmon, rrd, r->minute, &r->usage, on_alarm, r);
}

static void watch(struct round *r, struct watch_meter *w, enum metrics_owner owner,
                  const char *uuid)
{
    static const enum cls classes[] = {CLS_HOST, CLS_VM, CLS_SR};
    if (!w->perfmon)
        return;
    r->watch = w;
    r->cls = classes[owner];
    r->uuid = uuid;
    metrics_visit(r->ops->metrics, owner, uuid, look, r);
}

static void watch_vms(struct round *r, const struct snap *s)
{
    struct measure *me = r->ops->measure;
    for (size_t i = 0; i < me->vms.n; i++) {
        struct vm_meter *v = me->vms.v[i];
        const struct rec_VM *vm = snap_VM(s, v->ref);
        if (!vm)
            continue;
        take_config(&v->watch, vm->other_config, OWNER_VM, v->uuid, NULL);
        r->usage = (struct perfmon_usage){NAN, NAN, NAN};
        if (vm->is_control_domain)
            r->usage =
                (struct perfmon_usage){me->machine.fs, me->machine.log_fs, me->machine.memory};
        watch(r, &v->watch, OWNER_VM, v->uuid);
    }
    r->usage = (struct perfmon_usage){NAN, NAN, NAN};
}

/* A repository's config may be for itself and for the hosts that use it. */
static void watch_srs(struct round *r, const struct snap *s, const struct rec_host *host)
{
    struct measure *me = r->ops->measure;
    for (size_t i = 0; i < me->srs.n; i++) {
        struct sr_meter *m = me->srs.v[i];
        const struct rec_SR *sr = snap_SR(s, m->ref);
        if (!sr)
            continue;
        take_config(&m->watch, sr->other_config, OWNER_SR, m->uuid, NULL);
        take_config(&m->host_watch, sr->other_config, OWNER_HOST, m->uuid, m->uuid);
        watch(r, &m->watch, OWNER_SR, m->uuid);
        watch(r, &m->host_watch, OWNER_HOST, host->uuid);
    }
}

static struct err *alarm_txn(struct txn *t, void *arg)
{
    const struct round *r = arg;
    for (size_t i = 0; i < r->due.n; i++)
        alert_add(t, "ALARM", r->due.v[i].priority, r->due.v[i].cls, r->due.v[i].uuid,
                  r->due.v[i].body);
    return NULL;
}

static void round_done(struct round *r)
{
    vec_each (d, &r->due) {
        rstr_unref(d->uuid);
        free(d->body);
    }
    vec_done(&r->due);
}

struct err *measure_alarms(struct ops *ops, const struct snap *s, double now)
{
    struct measure *me = ops->measure;
    int64_t minute = (int64_t)now / MINUTE * MINUTE, last = me->minute;
    me->minute = minute;
    const struct rec_host *host = snap_host(s, ops->host_ref);
    if (!last || minute == last || !host)
        return NULL;
    _cleanup_(round_done) struct round r = {.ops = ops, .minute = minute};
    watch_vms(&r, s);
    take_config(&me->host_watch, host->other_config, OWNER_HOST, host->uuid, NULL);
    watch(&r, &me->host_watch, OWNER_HOST, host->uuid);
    watch_srs(&r, s, host);
    return r.due.n ? db_write(ops->cfg.db, "alarms", alarm_txn, &r) : NULL;
}
