/*
 * session.c: the table of sessions, and their rows. See session.h.
 */
#define LOG_MODULE "api"
#include "api/session.h"

#include <string.h>

#include "api/auth.h"
#include "api/event.h"
#include "api/rbac.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "state/txn.h"

#define BUCKETS        1024
#define IDLE_MAX_US    (24 * 3600 * USEC_PER_SEC)
#define WRITE_EVERY_US (600 * USEC_PER_SEC) /* how often last_active goes into the row */
#define MAX_ANONYMOUS  400                  /* superusers without an originator */
#define MAX_ORIGINATOR 500                  /* superusers with the same one */
#define MAX_USER       500
#define MAX_POOL       400

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
    const struct row *host = snap_first(txn_snap(t), CLASS_host);
    if (host)
        rstr_assign(&r->this_host, host->ref);
    r->last_active = r->validation_time = (int64_t)(clock_wall() / USEC_PER_SEC);
    r->pool = s->pool;
    r->is_local_superuser = s->superuser;
    rstr_assign(&r->auth_user_name, s->user_name);
    rstr_assign(&r->auth_user_sid, s->user_sid);
    rstr_assign(&r->originator, s->originator);
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

static void put_in(struct sessions *t, struct session *s)
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

typedef bool (*session_match)(const struct session *s, const void *arg);

static void close_matching(struct sessions *t, session_match match, const void *arg)
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
    close_matching(t, is_idle, NULL);
}

static bool is_any(const struct session *s, const void *arg)
{
    return true;
}

void sessions_close_all(struct sessions *t)
{
    close_matching(t, is_any, NULL);
}

/* ---- messages ---- */

static struct session *session_new(const struct auth_facts *facts, const char *user,
                                   const char *originator)
{
    struct session *s = mem_new(struct session);
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    *s = (struct session){
        .ref = ref_new(),
        .uuid = rstr_new(uuid),
        .superuser = facts->superuser,
        .roles = facts->roles,
        .user_name = rstr_new(user),
        .user_sid = facts->superuser ? rstr_new("") : rstr_printf("local:%s", user),
        .originator = rstr_new(originator),
    };
    atomic_init(&s->refs, 1);
    return s;
}

static void login_end(struct call *c)
{
    struct session *s = steal(&c->native);
    if (c->e) {
        session_unref(s);
        call_end(c, steal(&c->e), NULL);
        return;
    }
    _cleanup_(rstr_unrefp) const char *ref = rstr_ref(s->ref);
    put_in(c->api->sessions, s);
    if (c->dropped)
        session_close(c->api->sessions, ref);
    call_end(c, NULL, val_rstr(ref));
}

static void row_added(void *arg, struct err *e)
{
    struct call *c = arg;
    c->e = e;
    call_post(c, login_end);
}

static void login_as(struct call *c, const struct auth_facts *facts, const char *user)
{
    const struct args_session_login_with_password *a = c->args;
    struct session *s = session_new(facts, user, a->originator);
    s->local = c->trusted;
    c->native = s;
    write_row(c->api->sessions, s, "session start", add_row, row_added, c);
}

/* What an auth thread found waits in c->e and c->native. */
static void password_checked(struct call *c)
{
    const struct args_session_login_with_password *a = c->args;
    struct auth_facts *facts = steal(&c->native);
    if (c->e)
        call_end(c, steal(&c->e), NULL);
    else
        login_as(c, facts, a->uname);
    free(facts);
}

static void on_checked(void *arg, struct err *e, const struct auth_facts *facts)
{
    struct call *c = arg;
    c->e = e;
    c->native = e ? NULL : mem_dup(facts, sizeof(*facts));
    call_post(c, password_checked);
}

void session_login(struct call *c)
{
    static const struct auth_facts all = {.superuser = true, .roles = (1u << ROLE_N) - 1};
    const struct args_session_login_with_password *a = c->args;
    if (c->trusted)
        login_as(c, &all, *a->uname ? a->uname : "root");
    else if (c->api->auth)
        auth_check_async(c->api->auth, a->uname, a->pwd, on_checked, c);
    else
        call_end(c, auth_refused(a->uname), NULL);
}

void session_logout(struct call *c)
{
    session_close(c->api->sessions, c->session->ref);
    call_end(c, NULL, NULL);
}

static void password_changed(struct call *c)
{
    call_end(c, steal(&c->e), NULL);
}

static void on_changed(void *arg, struct err *e, const struct auth_facts *facts)
{
    struct call *c = arg;
    c->e = e;
    call_post(c, password_changed);
}

/* Over the local socket nobody was asked for the old password, so it is not asked for here. */
void session_change_password(struct call *c)
{
    const struct args_session_change_password *a = c->args;
    const struct session *s = c->session;
    if (c->api->auth)
        auth_change_async(c->api->auth, s->user_name, s->local ? NULL : a->old_pwd, a->new_pwd,
                          on_changed, c);
    else
        call_end(c, err_CHANGE_PASSWORD_REJECTED("this host knows no passwords"), NULL);
}

void session_get_all_subject_identifiers(struct call *c)
{
    struct sessions *t = c->api->sessions;
    struct val *set = val_set();
    mutex_lock(&t->mutex);
    for (unsigned i = 0; i < BUCKETS; i++)
        for (const struct session *s = t->buckets[i]; s; s = s->next)
            if (!s->superuser && !s->pool && !val_set_has(set, s->user_sid))
                val_add_str(set, s->user_sid);
    mutex_unlock(&t->mutex);
    call_end(c, NULL, set);
}

static bool is_of_subject(const struct session *s, const void *sid)
{
    return !s->superuser && !s->pool && str_eq(s->user_sid, sid);
}

void session_logout_subject_identifier(struct call *c)
{
    const struct args_session_logout_subject_identifier *a = c->args;
    close_matching(c->api->sessions, is_of_subject, a->subject_identifier);
    call_end(c, NULL, NULL);
}
