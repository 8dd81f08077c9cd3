/*
 * tidy.c: what is to be tidied next, and when; see tidy.h.
 *
 * ops_tidy is called every second or so, on one thread, and does nothing while no disk and no
 * repository changes.
 * A repository is left alone for a while (other-config:gc-delay, seconds) after something has
 * become untidy: who deletes one snapshot often deletes more. A piece of work that comes up again
 * at once has failed: it is tried again ever more slowly.
 */
#include "op/tidy.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/vec.h"
#include "host/disk_format.h"
#include "op/local_cache.h"
#include "op/tidy_work.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "state/watch.h"

#define DELAY_S   30
#define PAUSE_MAX (60 * USEC_PER_SEC)
#define STOP_TIME (60 * USEC_PER_SEC)
#define POLL      (20 * USEC_PER_MSEC)

/* ---- what is next ---- */

/* The uuids of what the VDIs of a repository are built on, sorted: how often one stands there is
 * how many are built on it. */
struct parents {
    const char **v;
    size_t n, cap;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void collect(const struct snap *s, const struct rec_SR *sr, struct parents *ret)
{
    val_each (ref, sr->VDIs) {
        const struct rec_VDI *vdi = snap_VDI(s, ref);
        const char *below = vdi ? val_map_str(vdi->sm_config, CHAIN_PARENT, "") : "";
        if (*below)
            vec_push(ret, below);
    }
    if (ret->n)
        qsort(ret->v, ret->n, sizeof(*ret->v), by_text);
}

static size_t children(const struct parents *p, const char *uuid)
{
    const char **found = p->n ? bsearch(&uuid, p->v, p->n, sizeof(*p->v), by_text) : NULL;
    if (!found)
        return 0;
    const char **from = found, **to = found;
    while (from > p->v && str_eq(from[-1], uuid))
        from--;
    while (to + 1 < p->v + p->n && str_eq(to[1], uuid))
        to++;
    return (size_t)(to - from) + 1;
}

static bool is_off(const struct val *other_config, const char *key)
{
    return str_eq(val_map_str(other_config, key, ""), "false");
}

/* Why a disk stays on its base copy; NULL: it does not. */
static const char *why_apart(const struct rec_SR *sr, const struct rec_VDI *vdi)
{
    if (is_off(sr->other_config, "leaf-coalesce") || is_off(vdi->other_config, "leaf-coalesce"))
        return "leaf-coalesce=false";
    if (vdi->on_boot == ON_BOOT_RESET)
        return "the disk is reset at each start";
    return vdi->allow_caching ? "the disk may be cached" : NULL;
}

static enum tidy_action action_of(const struct snap *s, const struct rec_VDI *vdi,
                                  const struct parents *p)
{
    size_t n = children(p, vdi->uuid);
    const struct rec_VDI *below = chain_parent(s, vdi);
    bool alone = below && !below->managed && !below->missing && children(p, below->uuid) == 1;
    if (vdi->missing)
        return TIDY_NOTHING;
    if (!vdi->managed && n == 0)
        return TIDY_DELETE;
    if (!vdi->managed)
        return alone ? TIDY_COALESCE : TIDY_NOTHING;
    return alone && n == 0 ? TIDY_JOIN : TIDY_NOTHING;
}

/* A raw volume of XenServer's can be built upon; it keeps what it has. */
static bool is_raw(const struct rec_VDI *vdi)
{
    const char *format = disk_format_of(vdi->location);
    format = format ? format : disk_format_of_volume(vdi->location);
    return format && !disk_has_chain(format);
}

static const char *why_waits(const struct rec_SR *sr, const struct rec_VDI *vdi,
                             const struct rec_VDI *below, enum tidy_action a)
{
    if (is_off(sr->other_config, "gc") || is_off(vdi->other_config, "gc"))
        return "gc=false";
    if (a == TIDY_DELETE)
        return NULL;
    if (is_off(sr->other_config, "coalesce") || is_off(vdi->other_config, "coalesce"))
        return "coalesce=false";
    if (below && is_raw(below))
        return "nothing is merged into a raw volume";
    return a == TIDY_JOIN ? why_apart(sr, vdi) : NULL;
}

/* Deleting goes before coalescing, that before joining; what can be done before what waits. */
static bool is_better(const struct tidy_step *a, const struct tidy_step *b)
{
    if (b->action == TIDY_NOTHING || !a->why != !b->why)
        return b->action == TIDY_NOTHING || !a->why;
    return a->action < b->action;
}

void tidy_next(const struct snap *s, const struct rec_SR *sr, struct tidy_step *ret)
{
    struct parents p = {0};
    *ret = (struct tidy_step){0};
    if (!sr_kind(sr->type) || !sr_kind(sr->type)->location_of)
        return;
    collect(s, sr, &p);
    val_each (ref, sr->VDIs) {
        const struct rec_VDI *vdi = snap_VDI(s, ref);
        struct tidy_step one = {vdi ? action_of(s, vdi, &p) : TIDY_NOTHING, vdi, NULL};
        if (one.action == TIDY_NOTHING)
            continue;
        one.why = why_waits(sr, vdi, chain_parent(s, vdi), one.action);
        if (is_better(&one, ret))
            *ret = one;
    }
    free(p.v);
}

const char *tidy_action_name(enum tidy_action a)
{
    static const char *const names[] = {"nothing", "delete", "coalesce", "join"};
    return names[a];
}

/* ---- when ---- */

struct lately {
    const char *sr;  /* rstr */
    const char *vdi; /* rstr: what was begun last */
    enum tidy_action action;
    usec_t not_before, pause;
    usec_t noticed; /* when it was seen that there is something to do; 0: nothing was */
    unsigned stops; /* how many want it quiet */
    char *failed;   /* why that failed, the last time; NULL: it did not */
};

struct tidy {
    pthread_mutex_t lock;
    VEC(struct lately) srs;
    /* Of the chores' thread: when there was nothing to do, and what may change that. */
    struct token idle_at; /* {0, 0}: there was something */
    struct watch_set stirs;
};

struct tidy *tidy_new(void)
{
    struct tidy *t = mem_new(struct tidy);
    pthread_mutex_init(&t->lock, NULL);
    watch_set_init(&t->stirs);
    watch_set_add_class(&t->stirs, CLASS_VDI);
    watch_set_add_class(&t->stirs, CLASS_SR);
    watch_set_add_class(&t->stirs, CLASS_PBD);
    return t;
}

void tidy_free(struct tidy *t)
{
    if (!t)
        return;
    vec_each (l, &t->srs) {
        rstr_unref(l->sr);
        rstr_unref(l->vdi);
        free(l->failed);
    }
    vec_done(&t->srs);
    watch_set_done(&t->stirs);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static struct lately *lately_of(struct tidy *t, const char *sr)
{
    vec_each (l, &t->srs)
        if (str_eq(l->sr, sr))
            return l;
    struct lately l = {.sr = rstr_new(sr), .vdi = rstr_new("")};
    vec_push(&t->srs, l);
    return &t->srs.v[t->srs.n - 1];
}

bool tidy_is_stopped(struct ops *ops, const char *sr)
{
    struct tidy *t = ops->tidy;
    pthread_mutex_lock(&t->lock);
    bool stopped = lately_of(t, sr)->stops > 0;
    pthread_mutex_unlock(&t->lock);
    return stopped;
}

static usec_t delay_of(const struct rec_SR *sr)
{
    uint64_t s;
    const char *text = val_map_str(sr->other_config, "gc-delay", "");
    return (str_u64(view_of(text), 0, 86400, &s) == 0 ? s : DELAY_S) * USEC_PER_SEC;
}

static bool is_again(const struct lately *l, const struct tidy_step *step)
{
    return str_eq(l->vdi, step->vdi->row.ref) && l->action == step->action;
}

/* When it may begin. */
static usec_t due(const struct lately *l, const struct rec_SR *sr, const struct tidy_step *step)
{
    usec_t quiet = l->noticed + delay_of(sr);
    return is_again(l, step) && l->not_before > quiet ? l->not_before : quiet;
}

int64_t tidy_wait_s(struct ops *ops, const struct rec_SR *sr, const struct tidy_step *step)
{
    struct tidy *t = ops->tidy;
    usec_t now = clock_now();
    pthread_mutex_lock(&t->lock);
    const struct lately *l = lately_of(t, sr->row.ref);
    usec_t at = l->noticed ? due(l, sr, step) : now + delay_of(sr);
    pthread_mutex_unlock(&t->lock);
    return at > now ? (int64_t)((at - now) / USEC_PER_SEC) : 0;
}

void tidy_note_failure(struct ops *ops, const char *sr, const char *vdi, const struct err *e)
{
    struct tidy *t = ops->tidy;
    pthread_mutex_lock(&t->lock);
    struct lately *l = lately_of(t, sr);
    if (str_eq(l->vdi, vdi)) {
        free(l->failed);
        l->failed = e ? err_text(e) : NULL;
    }
    pthread_mutex_unlock(&t->lock);
}

char *tidy_failure(struct ops *ops, const struct rec_SR *sr, const struct tidy_step *step)
{
    struct tidy *t = ops->tidy;
    pthread_mutex_lock(&t->lock);
    const struct lately *l = lately_of(t, sr->row.ref);
    char *text = l->failed && is_again(l, step) ? mem_strdup(l->failed) : NULL;
    pthread_mutex_unlock(&t->lock);
    return text;
}

/* Is it time for this? Notes it as begun, if so. */
static bool may_begin(struct tidy *t, const struct rec_SR *sr, const struct tidy_step *step)
{
    usec_t now = clock_now();
    pthread_mutex_lock(&t->lock);
    struct lately *l = lately_of(t, sr->row.ref);
    l->noticed = l->noticed ? l->noticed : now;
    bool may = !l->stops && now >= due(l, sr, step);
    if (may) {
        usec_t longer = l->pause ? 2 * l->pause : USEC_PER_SEC;
        l->pause = !is_again(l, step) ? USEC_PER_SEC : longer < PAUSE_MAX ? longer : PAUSE_MAX;
        l->not_before = now + l->pause;
        if (!is_again(l, step))
            freep(&l->failed);
        l->action = step->action;
        rstr_set(&l->vdi, step->vdi->row.ref);
    }
    pthread_mutex_unlock(&t->lock);
    return may;
}

static void all_is_tidy(struct tidy *t, const char *sr)
{
    pthread_mutex_lock(&t->lock);
    lately_of(t, sr)->noticed = 0;
    pthread_mutex_unlock(&t->lock);
}

static bool is_attached(const struct snap *s, const struct rec_SR *sr)
{
    struct sr_ref ref;
    struct err *e = sr_ref_of(s, sr, true, &ref);
    err_free(e);
    return !e;
}

static const char *kind_of(enum tidy_action a)
{
    return a == TIDY_DELETE     ? kind_tidy_delete.name
           : a == TIDY_COALESCE ? kind_tidy_coalesce.name
                                : kind_tidy_join.name;
}

/* Whether there is something to be done, now or later. */
static bool look_at(struct ops *ops, const struct snap *s, const struct rec_SR *sr)
{
    struct tidy_step step;
    if (tidy_is_busy(s, sr->row.ref, NULL))
        return true;
    tidy_next(s, sr, &step);
    if (step.action == TIDY_NOTHING || step.why || !is_attached(s, sr)) {
        all_is_tidy(ops->tidy, sr->row.ref);
        return false;
    }
    if (may_begin(ops->tidy, sr, &step))
        tasks_run_internal(ops->cfg.tasks, kind_of(step.action), CLASS_VDI, step.vdi->row.ref,
                           VDI_OPERATIONS_BLOCKED, NULL);
    return true;
}

struct err *ops_tidy(struct ops *ops)
{
    struct tidy *t = ops->tidy;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    bool more = false;
    if (t->idle_at.gen && !watch_changed(s, t->idle_at, &t->stirs)) {
        t->idle_at = snap_token(s); /* the next look begins here */
        return NULL;
    }
    local_cache_tidy(ops, s);
    snap_each (row, s, CLASS_SR)
        more = look_at(ops, s, rec_SR(row)) || more;
    t->idle_at = more ? (struct token){0} : snap_token(s);
    return NULL;
}

/* ---- quiet ---- */

static bool is_busy_now(struct op *op, const char *sr)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return tidy_is_busy(s, sr, NULL);
}

struct err *tidy_stop(struct op *op, const char *sr)
{
    struct tidy *t = ops_of(op)->tidy;
    usec_t end = clock_now() + STOP_TIME;
    pthread_mutex_lock(&t->lock);
    lately_of(t, sr)->stops++;
    pthread_mutex_unlock(&t->lock);
    while (is_busy_now(op, sr) && clock_now() < end) {
        struct err *e = op_sleep(op, POLL);
        if (e) {
            tidy_allow(op, sr);
            return e;
        }
    }
    return NULL;
}

void tidy_allow(struct op *op, const char *sr)
{
    struct tidy *t = ops_of(op)->tidy;
    pthread_mutex_lock(&t->lock);
    struct lately *l = lately_of(t, sr);
    l->stops -= l->stops > 0;
    pthread_mutex_unlock(&t->lock);
}
