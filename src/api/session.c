/*
 * session.c: the table of sessions, and their rows. See session.h.
 */
#define LOG_MODULE "api"
#include "api/session.h"

#include <string.h>

#include "api/event.h"
#include "api/rbac.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "state/txn.h"
#include "task/task.h"

#define BUCKETS        1024
#define IDLE_MAX_US    (24 * 3600 * USEC_PER_SEC)
#define WRITE_EVERY_US (600 * USEC_PER_SEC) /* how often last_active goes into the row */
#define MAX_ANONYMOUS  400                  /* superusers without an originator */
#define MAX_ORIGINATOR 500                  /* superusers with the same one */
#define MAX_USER       500
#define MAX_POOL       400
#define SID_PREFIX     "local:" /* the accounts of this host among all subjects */

struct sessions {
    struct api *api;
    struct mutex mutex;
    struct session *buckets[BUCKETS];
    size_t count;
    uint64_t last_number;
};

struct sessions *sessions_new(struct api *api)
{
    struct sessions *t = mem_new(struct sessions);
    t->api = api;
    mutex_init(&t->mutex, LOCK_LEAF);
    return t;
}

void sessions_free(struct sessions *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct session *s = t->buckets[i], *next; s; s = next) {
            next = s->next;
            session_unref(s);
        }
    mutex_done(&t->mutex);
    free(t);
}

void session_unref(struct session *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    rstr_unref(s->ref);
    rstr_unref(s->uuid);
    rstr_unref(s->user_name);
    rstr_unref(s->user_sid);
    rstr_unref(s->originator);
    rstr_unref(s->client);
    rstr_unref(s->subject);
    free(s);
}

/* References are random; any fixed mixing of their bytes spreads them. */
static unsigned bucket_of(const char *ref)
{
    unsigned h = 0;
    for (const char *c = ref; *c; c++)
        h = h * 31 + (unsigned char)*c;
    return h % BUCKETS;
}

static struct session **find_slot(struct sessions *t, const char *ref)
{
    struct session **slot = &t->buckets[bucket_of(ref)];
    while (*slot && !str_eq((*slot)->ref, ref))
        slot = &(*slot)->next;
    return slot;
}

/* ---- rows ---- */

struct row_change {
    struct api *api;
    struct session *session;
    void (*done)(void *arg, struct err *e);
    void *arg;
};

static void row_written(void *arg, struct err *e, uint64_t generation)
{
    struct row_change *w = arg;
    if (w->done)
        w->done(w->arg, e);
    else
        err_free(e);
    session_unref(w->session);
    free(w);
}

static void write_row(struct sessions *t, struct session *s, const char *name, txn_fn fn,
                      void (*done)(void *arg, struct err *e), void *arg)
{
    if (s->no_row) {
        if (done)
            done(arg, NULL);
        return;
    }
    struct row_change *w = mem_new(struct row_change);
    atomic_fetch_add(&s->refs, 1);
    *w = (struct row_change){.api = t->api, .session = s, .done = done, .arg = arg};
    db_write_async(t->api->db, name, fn, w, row_written);
}

static struct err *add_row(struct txn *t, void *arg)
{
    const struct row_change *w = arg;
    const struct session *s = w->session;
    struct rec_session *r = (struct rec_session *)txn_add(t, CLASS_session, s->ref, s->uuid);
    if (txn_row(t, CLASS_host, tasks_host_ref(w->api->tasks)))
        rstr_set(&r->this_host, tasks_host_ref(w->api->tasks));
    r->last_active = r->validation_time = (int64_t)(clock_wall() / USEC_PER_SEC);
    r->pool = s->pool;
    r->is_local_superuser = s->superuser;
    rstr_assign(&r->auth_user_name, s->user_name);
    rstr_assign(&r->auth_user_sid, s->user_sid);
    rstr_assign(&r->originator, s->originator);
    if (txn_row(t, CLASS_subject, s->subject))
        rstr_assign(&r->subject, s->subject);
    if (!s->superuser)
        val_assign(&r->rbac_permissions, val_ref(rbac_permissions(w->api->rbac, s->roles)));
    return NULL;
}

static struct err *touch_row(struct txn *t, void *arg)
{
    const struct row_change *w = arg;
    struct rec_session *r = (struct rec_session *)txn_edit(t, CLASS_session, w->session->ref);
    if (r)
        r->last_active = (int64_t)(clock_wall() / USEC_PER_SEC);
    return NULL;
}

static struct err *revise_row(struct txn *t, void *arg)
{
    const struct row_change *w = arg;
    struct rec_session *r = (struct rec_session *)txn_edit(t, CLASS_session, w->session->ref);
    if (r)
        val_assign(&r->rbac_permissions,
                   val_ref(rbac_permissions(w->api->rbac, w->session->roles)));
    return NULL;
}

static struct err *delete_row(struct txn *t, void *arg)
{
    const struct row_change *w = arg;
    txn_delete(t, CLASS_session, w->session->ref);
    return NULL;
}

/* ---- the table ---- */

struct err *session_find(struct sessions *t, const char *ref, struct session **ret)
{
    usec_t now = clock_now();
    bool write = false;
    mutex_lock(&t->mutex);
    struct session *s = *find_slot(t, ref);
    if (s) {
        atomic_fetch_add(&s->refs, 1);
        s->last_active = now;
        write = now - s->last_written >= WRITE_EVERY_US;
        if (write)
            s->last_written = now;
    }
    mutex_unlock(&t->mutex);
    if (!s)
        return err_SESSION_INVALID(ref);
    if (write)
        write_row(t, s, "session activity", touch_row, NULL, NULL);
    *ret = s;
    return NULL;
}

bool session_is_live(struct sessions *t, const char *ref)
{
    mutex_lock(&t->mutex);
    bool found = *find_slot(t, ref);
    mutex_unlock(&t->mutex);
    return found;
}

size_t sessions_count(struct sessions *t)
{
    mutex_lock(&t->mutex);
    size_t n = t->count;
    mutex_unlock(&t->mutex);
    return n;
}

/* Takes a session out of the table; NULL if it is not there (any more). */
static struct session *take_out(struct sessions *t, const char *ref)
{
    mutex_lock(&t->mutex);
    struct session **slot = find_slot(t, ref), *s = *slot;
    if (s) {
        *slot = s->next;
        s->next = NULL;
        t->count--;
    }
    mutex_unlock(&t->mutex);
    return s;
}

void session_close(struct sessions *t, const char *ref)
{
    _cleanup_(session_unrefp) struct session *s = take_out(t, ref);
    if (!s)
        return;
    log_debug("event=session-closed user=%s", s->user_name);
    write_row(t, s, "session end", delete_row, NULL, NULL);
    event_session_ended(t->api->events, ref);
}

/* How many sessions of its kind may exist. */
static unsigned group_max(const struct session *s)
{
    if (s->pool)
        return MAX_POOL;
    if (!s->superuser)
        return MAX_USER;
    return *s->originator ? MAX_ORIGINATOR : MAX_ANONYMOUS;
}

static bool same_group(const struct session *a, const struct session *b)
{
    if (a->pool || b->pool || a->superuser != b->superuser)
        return a->pool && b->pool;
    return a->superuser ? str_eq(a->originator, b->originator) : str_eq(a->user_sid, b->user_sid);
}

/* The least recently active of a group that is full; its ref as a new reference. */
static const char *surplus(struct sessions *t, const struct session *fresh)
{
    const struct session *oldest = NULL;
    unsigned n = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (const struct session *s = t->buckets[i]; s; s = s->next) {
            if (!same_group(s, fresh))
                continue;
            n++;
            if (!oldest || s->last_active < oldest->last_active ||
                (s->last_active == oldest->last_active && s->number < oldest->number))
                oldest = s;
        }
    return n >= group_max(fresh) ? rstr_ref(oldest->ref) : NULL;
}

void session_enter(struct sessions *t, struct session *s)
{
    _cleanup_(rstr_unrefp) const char *old = NULL;
    mutex_lock(&t->mutex);
    old = surplus(t, s);
    struct session **slot = &t->buckets[bucket_of(s->ref)];
    s->next = *slot;
    *slot = s;
    s->last_active = s->last_written = clock_now();
    s->number = ++t->last_number;
    t->count++;
    mutex_unlock(&t->mutex);
    if (old)
        session_close(t, old);
}

void sessions_close_matching(struct sessions *t, session_match match, const void *arg)
{
    VEC(const char *) refs = {0};
    mutex_lock(&t->mutex);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (const struct session *s = t->buckets[i]; s; s = s->next)
            if (match(s, arg))
                vec_push(&refs, rstr_ref(s->ref));
    mutex_unlock(&t->mutex);
    vec_each (ref, &refs) {
        session_close(t, *ref);
        rstr_unref(*ref);
    }
    vec_done(&refs);
}

static bool is_idle(const struct session *s, const void *arg)
{
    return clock_now() - s->last_active >= IDLE_MAX_US;
}

void sessions_expire(struct sessions *t)
{
    sessions_close_matching(t, is_idle, NULL);
}

static bool is_any(const struct session *s, const void *arg)
{
    return true;
}

void sessions_close_all(struct sessions *t)
{
    sessions_close_matching(t, is_any, NULL);
}

/* ---- logging in ---- */

struct session *session_new(const struct session_facts *f)
{
    struct session *s = mem_new(struct session);
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    *s = (struct session){
        .ref = ref_new(),
        .uuid = rstr_new(uuid),
        .superuser = f->superuser,
        .local = f->local,
        .no_row = f->no_row,
        .user_name = rstr_new(f->user),
        .user_sid = f->superuser ? rstr_new("") : rstr_printf(SID_PREFIX "%s", f->user),
        .subject = rstr_new(f->subject ? f->subject : REF_NULL),
        .originator = rstr_new(f->originator),
        .client = rstr_new(f->client),
    };
    atomic_init(&s->roles, f->roles);
    atomic_init(&s->refs, 1);
    return s;
}

void session_write(struct sessions *t, struct session *s, void (*done)(void *arg, struct err *e),
                   void *arg)
{
    write_row(t, s, "session start", add_row, done, arg);
}

/* ---- subjects ---- */

struct val *sessions_subjects(struct sessions *t)
{
    struct val *set = val_set();
    mutex_lock(&t->mutex);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (const struct session *s = t->buckets[i]; s; s = s->next)
            if (!s->superuser && !s->pool && !val_set_has(set, s->user_sid))
                val_add_str(set, s->user_sid);
    mutex_unlock(&t->mutex);
    return set;
}

static bool has_lost_subject(const struct session *s, const void *snap)
{
    return !ref_is_null(s->subject) && !snap_row(snap, CLASS_subject, s->subject);
}

/* Gives a session its subject's roles of now; false if it has them already. */
static bool take_roles(struct session *s, const struct snap *snap)
{
    const struct rec_subject *subject = rec_subject(snap_row(snap, CLASS_subject, s->subject));
    if (!subject)
        return false;
    uint32_t now = rbac_roles(subject->roles);
    return atomic_exchange(&s->roles, now) != now;
}

void sessions_revise(struct sessions *t)
{
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(t->api->db);
    VEC(struct session *) changed = {0};
    sessions_close_matching(t, has_lost_subject, snap);
    mutex_lock(&t->mutex);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct session *s = t->buckets[i]; s; s = s->next)
            if (take_roles(s, snap)) {
                atomic_fetch_add(&s->refs, 1);
                vec_push(&changed, s);
            }
    mutex_unlock(&t->mutex);
    vec_each (s, &changed) {
        write_row(t, *s, "session roles", revise_row, NULL, NULL);
        session_unref(*s);
    }
    vec_done(&changed);
}
