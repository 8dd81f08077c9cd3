/* limit.c: see limit.h. */
#include "api/limit.h"

#include <stdio.h>
#include <string.h>

#include "base/vec.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "state/txn.h"
#include "task/task.h"

#define ACCESS_EVERY (60 * USEC_PER_SEC)
#define AGENTS_MAX   64

struct usage {
    const char *caller; /* rstr: ref */
    uint64_t calls;
    double tokens;
    usec_t written; /* when last_access was */
};

struct bucket {
    const char *limit; /* rstr: ref */
    double tokens;     /* negative: so many calls wait */
    usec_t filled;
};

struct agent {
    char *name, *version;
};

struct limits {
    struct mutex mutex; /* guards all below */
    VEC(struct usage) usages;
    VEC(struct bucket) buckets;
    VEC(struct agent) agents;
};

struct limits *limits_new(void)
{
    struct limits *l = mem_new(struct limits);
    mutex_init(&l->mutex, LOCK_LEAF);
    return l;
}

void limits_free(struct limits *l)
{
    if (!l)
        return;
    vec_each (u, &l->usages)
        rstr_unref(u->caller);
    vec_each (b, &l->buckets)
        rstr_unref(b->limit);
    vec_each (a, &l->agents) {
        free(a->name);
        free(a->version);
    }
    vec_done(&l->usages);
    vec_done(&l->buckets);
    vec_done(&l->agents);
    mutex_done(&l->mutex);
    free(l);
}

/* ---- whose call is it ---- */

/* 0: it is not that caller's; else how closely it is described. */
static unsigned fit(const struct rec_Caller *r, const char *agent, const char *address)
{
    if ((*r->user_agent && !str_eq(r->user_agent, agent)) ||
        (*r->client_ip && !str_eq(r->client_ip, address)))
        return 0;
    return 1 + (*r->user_agent ? 2 : 0) + (*r->client_ip ? 1 : 0);
}

static const struct rec_Caller *caller_of(const struct snap *s, const struct call *c)
{
    const struct rec_Caller *best = NULL;
    unsigned best_fit = 0;
    snap_each (row, s, CLASS_Caller) {
        unsigned n = fit(rec_Caller(row), c->user_agent ? c->user_agent : "", c->address);
        if (n > best_fit) {
            best = rec_Caller(row);
            best_fit = n;
        }
    }
    return best;
}

/* ---- counting; under the mutex ---- */

static struct usage *usage_of(struct limits *l, const char *caller)
{
    vec_each (u, &l->usages)
        if (str_eq(u->caller, caller))
            return u;
    vec_push(&l->usages, ((struct usage){.caller = rstr_new(caller)}));
    return &l->usages.v[l->usages.n - 1];
}

static struct bucket *bucket_of(struct limits *l, const struct rec_Rate_limit *r)
{
    vec_each (b, &l->buckets)
        if (str_eq(b->limit, r->row.ref))
            return b;
    vec_push(&l->buckets,
             ((struct bucket){
                 .limit = rstr_ref(r->row.ref), .tokens = r->burst_size, .filled = clock_now()}));
    return &l->buckets.v[l->buckets.n - 1];
}

usec_t limits_wait(double missing, double fill_rate)
{
    if (missing <= 0)
        return 0;
    double seconds = fill_rate > 0 ? missing / fill_rate : 3600;
    return (usec_t)((seconds < 3600 ? seconds : 3600) * (double)USEC_PER_SEC);
}

/* Takes a token, one that is still to come if need be: so those who wait are served in turn. */
static usec_t take_token(struct limits *l, const struct rec_Rate_limit *r)
{
    struct bucket *b = bucket_of(l, r);
    usec_t now = clock_now();
    double fresh = (double)(now - b->filled) / (double)USEC_PER_SEC * r->fill_rate;
    b->tokens = b->tokens + fresh < r->burst_size ? b->tokens + fresh : r->burst_size;
    b->filled = now;
    b->tokens -= 1;
    return limits_wait(-b->tokens, r->fill_rate);
}

/* ---- last_access ---- */

static struct err *access_txn(struct txn *t, void *ref)
{
    struct rec_Caller *r = txn_edit_Caller(t, ref);
    if (r)
        r->last_access = (int64_t)(clock_wall() / USEC_PER_SEC);
    return NULL;
}

static void access_written(void *ref, struct err *e, uint64_t generation)
{
    (void)generation;
    err_free(e);
    rstr_unref(ref);
}

/* How long the call has to wait. */
static usec_t count(struct call *c)
{
    struct limits *l = c->api->limits;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    const struct rec_Caller *who = snap_count(s, CLASS_Caller) ? caller_of(s, c) : NULL;
    if (!who)
        return 0;
    const struct rec_Rate_limit *r = snap_Rate_limit(s, who->rate_limit);
    mutex_lock(&l->mutex);
    struct usage *u = usage_of(l, who->row.ref);
    usec_t now = clock_now(), wait = r ? take_token(l, r) : 0;
    bool write = !u->written || now - u->written >= ACCESS_EVERY;
    u->calls++;
    u->tokens += r ? 1 : 0;
    if (write)
        u->written = now;
    mutex_unlock(&l->mutex);
    if (write)
        db_write_async(c->api->db, "caller access", access_txn,
                       (void *)(uintptr_t)rstr_ref(who->row.ref), access_written);
    return wait;
}

/* ---- programs that log in ---- */

/* "XenCenter/8.2.3 (…)": a name and a version. */
static void note_agent(struct limits *l, const char *text)
{
    struct view rest = view_of(text), word, name;
    view_split(&rest, ' ', &word);
    view_split(&word, '/', &name);
    if (!name.size || !str_is_utf8(view_of(text)))
        return;
    mutex_lock(&l->mutex);
    struct agent *found = NULL;
    vec_each (a, &l->agents)
        if (view_eq(name, a->name))
            found = a;
    if (!found && l->agents.n < AGENTS_MAX) {
        vec_push(&l->agents, ((struct agent){.name = view_dup(name)}));
        found = &l->agents.v[l->agents.n - 1];
    }
    if (found) {
        free(found->version);
        found->version = view_dup(word);
    }
    mutex_unlock(&l->mutex);
}

void host_get_tracked_user_agents(struct call *c)
{
    const struct args_host_get_tracked_user_agents *a = c->args;
    struct limits *l = c->api->limits;
    struct err *e = tasks_need_own_host(c->api->tasks, c->api->db, a->self);
    if (e) {
        call_end(c, e, NULL);
        return;
    }
    struct val *all = val_map();
    mutex_lock(&l->mutex);
    vec_each (agent, &l->agents)
        val_put_str(all, agent->name, agent->version);
    mutex_unlock(&l->mutex);
    call_end(c, NULL, all);
}

/* ---- beginning a call ---- */

struct delayed {
    char *name;
    struct val *params;
    struct loop_timer *timer;
};

static void delayed_free(struct delayed *d)
{
    loop_timer_free(d->timer);
    free(d->name);
    val_unref(d->params);
    free(d);
}

static void on_due(void *arg)
{
    struct call *c = arg;
    struct delayed *d = steal(&c->native);
    c->native_drop = NULL;
    dispatch(c, d->name, d->params);
    delayed_free(d);
}

static void drop_delayed(struct call *c)
{
    c->native_drop = NULL;
    delayed_free(steal(&c->native));
    call_end(c, err_TASK_CANCELLED(""), NULL);
}

void limits_begin(struct call *c, const char *name, const struct val *params)
{
    usec_t wait = c->trusted || !c->loop ? 0 : count(c);
    if (c->user_agent && str_eq(name, "session.login_with_password"))
        note_agent(c->api->limits, c->user_agent);
    if (!wait) {
        dispatch(c, name, params);
        return;
    }
    struct delayed *d = mem_new(struct delayed);
    *d = (struct delayed){.name = mem_strdup(name), .params = val_ref(params)};
    d->timer = loop_timer_new(c->loop, on_due, c);
    c->native = d;
    c->native_drop = drop_delayed;
    loop_timer_set(d->timer, clock_now() + wait);
}

/* ---- questions ---- */

static struct usage look_up(struct limits *l, const char *ref)
{
    struct usage found = {0};
    mutex_lock(&l->mutex);
    vec_each (u, &l->usages)
        if (str_eq(u->caller, ref))
            found = *u;
    mutex_unlock(&l->mutex);
    return found;
}

static struct err *of_caller(struct call *c, const char *ref, struct usage *ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    if (!snap_Caller(s, ref))
        return err_HANDLE_INVALID("Caller", ref);
    *ret = look_up(c->api->limits, ref);
    return NULL;
}

static struct usage of_group(struct call *c, const char *group)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    struct usage all = {0};
    snap_each (row, s, CLASS_Caller) {
        if (!val_set_has(rec_Caller(row)->groups, group))
            continue;
        struct usage one = look_up(c->api->limits, row->ref);
        all.calls += one.calls;
        all.tokens += one.tokens;
    }
    return all;
}

void caller_query_token_usage(struct call *c)
{
    const struct args_Caller_query_token_usage *a = c->args;
    struct usage u;
    struct err *e = of_caller(c, a->self, &u);
    call_end(c, e, e ? NULL : val_float(u.tokens));
}

void caller_query_call_count(struct call *c)
{
    const struct args_Caller_query_call_count *a = c->args;
    struct usage u;
    struct err *e = of_caller(c, a->self, &u);
    call_end(c, e, e ? NULL : val_int((int64_t)u.calls));
}

void caller_query_group_token_usage(struct call *c)
{
    const struct args_Caller_query_group_token_usage *a = c->args;
    call_end(c, NULL, val_float(of_group(c, a->group).tokens));
}

void caller_query_group_call_count(struct call *c)
{
    const struct args_Caller_query_group_call_count *a = c->args;
    call_end(c, NULL, val_int((int64_t)of_group(c, a->group).calls));
}

/* Of each caller: uuid, name, program, address, calls, tokens. */
void caller_query_all_usage(struct call *c)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    struct val *all = val_set();
    snap_each (row, s, CLASS_Caller) {
        const struct rec_Caller *r = rec_Caller(row);
        struct usage u = look_up(c->api->limits, row->ref);
        struct val *line = val_set();
        char number[32];
        val_add_str(line, r->uuid);
        val_add_str(line, r->name_label);
        val_add_str(line, r->user_agent);
        val_add_str(line, r->client_ip);
        snprintf(number, sizeof(number), "%llu", (unsigned long long)u.calls);
        val_add_str(line, number);
        snprintf(number, sizeof(number), "%.0f", u.tokens);
        val_add_str(line, number);
        val_add(all, line);
    }
    call_end(c, NULL, all);
}
