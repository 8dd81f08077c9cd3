/*
 * event.c: see event.h.
 *
 * A waiting call is in one of two states: at home and looking (again, look), or parked, in the list
 * and known to state/watch by its id. Whoever cancels the watch, or the watch itself, posts
 * `again`; there is exactly one such post for each parking.
 */
#include "api/event.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/batch.h"
#include "api/feed.h"
#include "api/session.h"
#include "base/lock.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "state/txn.h"
#include "state/watch.h"

#define TIMEOUT_MAX_S     (24 * 3600.0)
#define SUBSCRIPTIONS_MAX 4096

/* event.from and event.next while they look or wait: call.native. */
struct waiting {
    struct call *c;
    struct waiting *prev, *next; /* in events.parked; under its mutex, like id and poked */
    uint64_t id;                 /* of the watch; 0: not parked (yet) */
    bool poked;                  /* look again instead of parking */
    struct watch_set set;
    struct token since;
    uint64_t cursor; /* of event.next */
    usec_t deadline;
};

/* What a session asked event.next for. */
struct registration {
    struct registration *next;
    const char *session; /* rstr */
    struct val *classes; /* subscriptions, as given */
    uint64_t cursor;     /* in the feed */
};

struct events {
    struct api *api;
    struct mutex mutex;
    struct waiting *parked;
    struct registration *registrations;
    struct feed *feed;
};

struct events *events_new(struct api *api)
{
    struct events *ev = mem_new(struct events);
    ev->api = api;
    ev->feed = feed_new(api->db);
    mutex_init(&ev->mutex, LOCK_LEAF);
    return ev;
}

static void registration_free(struct events *ev, struct registration *r)
{
    if (!r)
        return;
    feed_unlisten(ev->feed);
    rstr_unref(r->session);
    val_unref(r->classes);
    free(r);
}

void events_free(struct events *ev)
{
    if (!ev)
        return;
    for (struct registration *r = ev->registrations, *next; r; r = next) {
        next = r->next;
        registration_free(ev, r);
    }
    feed_free(ev->feed);
    mutex_done(&ev->mutex);
    free(ev);
}

size_t events_parked(struct events *ev)
{
    size_t n = 0;
    mutex_lock(&ev->mutex);
    for (const struct waiting *w = ev->parked; w; w = w->next)
        n++;
    mutex_unlock(&ev->mutex);
    return n;
}

/* ---- what a client asks for ---- */

static bool has_events(const struct class_desc *cls)
{
    return cls->flags & CLASS_EVENTS && !(cls->flags & CLASS_INTERNAL);
}

/* "*", "vm" or "vm/OpaqueRef:…"; a class that does not exist matches nothing. */
static struct err *subscribe(struct watch_set *set, const char *text)
{
    struct view rest = view_of(text), name;
    bool has_ref = view_split(&rest, '/', &name);
    if (has_ref && memchr(rest.p, '/', rest.size))
        return err_EVENT_SUBSCRIPTION_PARSE_FAILURE(text);
    if (view_eq(name, "*") && !has_ref) {
        for (unsigned i = 0; i < desc_n_classes; i++)
            if (has_events(desc_classes[i]))
                watch_set_add_class(set, (int)i);
        return NULL;
    }
    _cleanup_(freep) char *lname = view_dup(name);
    const struct class_desc *cls = desc_class_by_lname(lname);
    if (!cls || !has_events(cls))
        return NULL;
    if (!has_ref) {
        watch_set_add_class(set, cls->num);
        return NULL;
    }
    _cleanup_(freep) char *ref = view_dup(rest);
    watch_set_add_object(set, cls->num, ref);
    return NULL;
}

static struct err *subscribe_all(struct watch_set *set, const struct val *classes)
{
    if (val_count(classes) > SUBSCRIPTIONS_MAX)
        return err_INVALID_VALUE("classes", "more than 4096 subscriptions");
    for (size_t i = 0; i < val_count(classes); i++)
        TRY(subscribe(set, val_str_at(classes, i)));
    return NULL;
}

static struct err *parse_token(const char *text, struct token *ret)
{
    struct view rest = view_of(text), first;
    *ret = (struct token){0};
    if (!*text)
        return NULL;
    if (!view_split(&rest, ',', &first) || str_u64(first, 0, UINT64_MAX, &ret->gen) < 0 ||
        str_u64(rest, 0, UINT64_MAX, &ret->vol) < 0)
        return err_EVENT_FROM_TOKEN_PARSE_FAILURE(text);
    return NULL;
}

static usec_t deadline_after(double seconds)
{
    if (!isfinite(seconds) || seconds > TIMEOUT_MAX_S)
        seconds = TIMEOUT_MAX_S;
    if (seconds < 0)
        seconds = 0;
    return clock_now() + (usec_t)(seconds * (double)USEC_PER_SEC);
}

static bool is_from(const struct msg_desc *m)
{
    return m->cls == CLASS_event && str_eq(m->name, "from");
}

/* ---- waiting ---- */

static void look(struct call *c);

static void finish(struct call *c, struct err *e, struct val *result)
{
    struct waiting *w = steal(&c->native);
    c->native_drop = NULL;
    watch_set_done(&w->set);
    free(w);
    call_end(c, e, result);
}

static void enlist(struct events *ev, struct waiting *w)
{
    mutex_lock(&ev->mutex);
    w->id = 0;
    w->poked = false;
    w->prev = NULL;
    w->next = ev->parked;
    if (w->next)
        w->next->prev = w;
    ev->parked = w;
    mutex_unlock(&ev->mutex);
}

static void delist(struct events *ev, struct waiting *w)
{
    mutex_lock(&ev->mutex);
    if (w->prev)
        w->prev->next = w->next;
    else
        ev->parked = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->id = 0;
    mutex_unlock(&ev->mutex);
}

static void again(struct call *c)
{
    struct waiting *w = c->native;
    delist(c->api->events, w);
    look(c);
}

static void on_watch(void *arg, enum watch_why why)
{
    call_post(arg, again);
}

/* False: something has changed already, look again. */
static bool park(struct call *c, struct waiting *w)
{
    struct events *ev = c->api->events;
    enlist(ev, w);
    uint64_t id = watch_park(ev->api->db, w->since, &w->set, w->deadline, on_watch, c);
    mutex_lock(&ev->mutex);
    w->id = id;
    bool poked = w->poked;
    mutex_unlock(&ev->mutex);
    if (id && !(poked && watch_cancel(ev->api->db, id)))
        return true;
    delist(ev, w);
    return false;
}

static void drop_waiting(struct call *c)
{
    struct waiting *w = c->native;
    if (watch_cancel(c->api->db, w->id)) {
        delist(c->api->events, w);
        finish(c, NULL, NULL);
    }
}

/* Makes all calls that wait on a session look again; NULL: all calls of event.next. */
static void poke(struct events *ev, const char *session)
{
    VEC(struct waiting) hit = {0}; /* copies: id and call */
    mutex_lock(&ev->mutex);
    for (struct waiting *w = ev->parked; w; w = w->next) {
        if (session ? !str_eq(w->c->caller.session, session) : is_from(w->c->msg))
            continue;
        w->poked = true;
        if (w->id) {
            call_ref(w->c);
            vec_push(&hit, *w);
        }
    }
    mutex_unlock(&ev->mutex);
    vec_each (w, &hit) {
        if (watch_cancel(ev->api->db, w->id))
            call_post(w->c, again);
        call_unref(w->c);
    }
    vec_done(&hit);
}

static struct waiting *waiting_new(struct call *c)
{
    struct waiting *w = mem_new(struct waiting);
    w->c = c;
    watch_set_init(&w->set);
    c->native = w;
    c->native_drop = drop_waiting;
    return w;
}

/* ---- registrations ---- */

/* The session's, or NULL; under the mutex. */
static struct registration **find_registration(struct events *ev, const char *session)
{
    struct registration **slot = &ev->registrations;
    while (*slot && !str_eq((*slot)->session, session))
        slot = &(*slot)->next;
    return slot;
}

void event_session_ended(struct events *ev, const char *session)
{
    mutex_lock(&ev->mutex);
    struct registration **slot = find_registration(ev, session), *r = *slot;
    if (r)
        *slot = r->next;
    mutex_unlock(&ev->mutex);
    registration_free(ev, r);
    poke(ev, session);
}

/* Fills the wait of event.next anew: classes may have come or gone since it began. */
static struct err *load_registration(struct call *c, struct waiting *w)
{
    struct events *ev = c->api->events;
    _cleanup_(val_unrefp) struct val *classes = NULL;
    mutex_lock(&ev->mutex);
    const struct registration *r = *find_registration(ev, c->caller.session);
    if (r) {
        classes = val_ref(r->classes);
        w->cursor = r->cursor;
    }
    mutex_unlock(&ev->mutex);
    if (!classes || !val_count(classes))
        return err_SESSION_NOT_REGISTERED(c->caller.session);
    watch_set_done(&w->set);
    watch_set_init(&w->set);
    return subscribe_all(&w->set, classes);
}

static void advance_registration(struct events *ev, const char *session, uint64_t to)
{
    mutex_lock(&ev->mutex);
    struct registration *r = *find_registration(ev, session);
    if (r)
        r->cursor = to > r->cursor ? to : r->cursor;
    mutex_unlock(&ev->mutex);
}

static void change_registration(struct call *c, const struct val *classes, bool add)
{
    struct events *ev = c->api->events;
    const char *session = c->caller.session;
    uint64_t cursor = feed_listen(ev->feed);
    mutex_lock(&ev->mutex);
    struct registration **slot = find_registration(ev, session);
    bool fresh = !*slot && add;
    if (fresh) {
        *slot = mem_new(struct registration);
        **slot = (struct registration){
            .session = rstr_ref(session), .classes = val_set(), .cursor = cursor};
    }
    for (size_t i = 0; *slot && i < val_count(classes); i++) {
        struct val *old = (*slot)->classes;
        const char *name = val_str_at(classes, i);
        if (add && val_count(old) >= SUBSCRIPTIONS_MAX)
            break;
        (*slot)->classes = add ? val_set_with(old, name) : val_without(old, name);
        val_unref(old);
    }
    mutex_unlock(&ev->mutex);
    if (!fresh)
        feed_unlisten(ev->feed);
    poke(ev, session);
}

/* ---- looking ---- */

/* On a wire the answer goes out as bytes that others may be given as well. */
static void tell(struct call *c, const struct batch_key *key, const struct changes *changes)
{
    if (!c->format) {
        finish(c, NULL, batch_val(key->snap, changes));
        return;
    }
    c->batch = batches_make(c->api->batches, key, changes);
    finish(c, c->batch ? NULL : err_internal("the answer is too large"), NULL);
}

/* False: there is nothing to tell yet. */
static bool answer_from(struct call *c, const struct waiting *w, const struct snap *s)
{
    struct batch_key key = {s, w->since, &w->set, c->format ? *c->format : RPC_XML};
    c->batch = c->format ? batches_find(c->api->batches, &key) : NULL;
    if (c->batch) {
        finish(c, NULL, NULL);
        return true;
    }
    _cleanup_(changes_done) struct changes changes = {0};
    if (watch_changes(s, w->since, &w->set, &changes) < 0)
        finish(c, err_EVENTS_LOST(), NULL);
    else if (changes.n || clock_now() >= w->deadline)
        tell(c, &key, &changes);
    else
        return false;
    return true;
}

static bool answer_next(struct call *c, struct waiting *w, const struct snap *s)
{
    struct events *ev = c->api->events;
    _cleanup_(val_unrefp) struct val *events = feed_collect(ev->feed, s, &w->set, &w->cursor);
    advance_registration(ev, c->caller.session, w->cursor);
    if (!events)
        finish(c, err_EVENTS_LOST(), NULL);
    else if (val_count(events))
        finish(c, NULL, steal(&events));
    else
        return false;
    return true;
}

/* What keeps a call from going on: nobody waits, the session or the registration is gone. */
static struct err *check_waiting(struct call *c, struct waiting *w)
{
    if (!session_is_live(c->api->sessions, c->caller.session))
        return err_SESSION_INVALID(c->caller.session);
    return is_from(c->msg) ? NULL : load_registration(c, w);
}

/* One look at the latest snapshot: true if the call is answered or parked. */
static bool look_once(struct call *c, struct waiting *w)
{
    struct err *e = check_waiting(c, w);
    if (e || c->dropped) {
        finish(c, e, NULL);
        return true;
    }
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    bool answered = is_from(c->msg) ? answer_from(c, w, s) : answer_next(c, w, s);
    if (answered)
        return true;
    w->since = snap_token(s);
    return park(c, w);
}

static void look(struct call *c)
{
    struct waiting *w = c->native;
    while (!look_once(c, w))
        ;
}

/* Who waits by event.next for long hears of the pool now and then, so that nothing between takes
 * the connection for dead. */
void event_keep_alive(struct events *ev)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ev->api->db);
    const struct row *pool = snap_first(s, CLASS_pool);
    if (!pool)
        return;
    feed_repeat(ev->feed, pool);
    poke(ev, NULL);
}

/* ---- messages ---- */

void event_from(struct call *c)
{
    const struct args_event_from *a = c->args;
    struct waiting *w = waiting_new(c);
    struct err *e = subscribe_all(&w->set, a->classes);
    if (!e)
        e = parse_token(a->token, &w->since);
    w->deadline = deadline_after(a->timeout);
    if (e)
        finish(c, e, NULL);
    else
        look(c);
}

void event_next(struct call *c)
{
    struct waiting *w = waiting_new(c);
    w->deadline = USEC_NEVER;
    look(c);
}

static void registered(struct call *c)
{
    call_end(c, steal(&c->e), NULL);
}

static void on_all_before_published(void *arg, struct err *e, uint64_t generation)
{
    struct call *c = arg;
    c->e = e;
    call_post(c, registered);
}

static struct err *nothing(struct txn *t, void *arg)
{
    return NULL;
}

/* The answer waits for transactions under way: what they change is not told of, so a client that
 * reads after this has to see it. */
void event_register(struct call *c)
{
    const struct args_event_register *a = c->args;
    struct watch_set set;
    watch_set_init(&set);
    struct err *e = subscribe_all(&set, a->classes);
    watch_set_done(&set);
    if (e) {
        call_end(c, e, NULL);
        return;
    }
    change_registration(c, a->classes, true);
    db_write_async(c->api->db, "event.register", nothing, c, on_all_before_published);
}

void event_unregister(struct call *c)
{
    const struct args_event_unregister *a = c->args;
    change_registration(c, a->classes, false);
    call_end(c, NULL, NULL);
}

void event_get_current_id(struct call *c)
{
    call_end(c, NULL, val_int((int64_t)feed_last(c->api->events->feed)));
}

/* The token from before the touch is the one that shows it. */
static void injected(struct call *c)
{
    struct token *before = steal(&c->native);
    struct val *token = c->e ? NULL : token_val(*before);
    free(before);
    call_end(c, steal(&c->e), token);
}

static void on_touched(void *arg, struct err *e, uint64_t generation)
{
    struct call *c = arg;
    c->e = e;
    call_post(c, injected);
}

static struct err *touch(struct txn *t, void *arg)
{
    const struct call *c = arg;
    const struct args_event_inject *a = c->args;
    const struct class_desc *cls = desc_class_by_name(a->class);
    if (!cls || !txn_row(t, cls->num, a->ref))
        return err_HANDLE_INVALID(a->class, a->ref);
    txn_touch(t, cls->num, a->ref);
    return NULL;
}

void event_inject(struct call *c)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    struct token now = snap_token(s);
    c->native = mem_dup(&now, sizeof(now));
    db_write_async(c->api->db, "event.inject", touch, c, on_touched);
}
