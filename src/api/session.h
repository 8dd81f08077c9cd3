/*
 * session.h: who is logged in.
 *
 * What decides about a call is held here in memory, found by reference: sessions do not outlive the
 * process. Each has a row of class session beside it, so that clients can read it. A session ends
 * by logout, after 24 hours without a call, or when its group has too many; the event calls that
 * wait on it end with it.
 *
 * Any thread; one leaf mutex. A session got from here stays readable until session_unref, even if
 * it has ended meanwhile. Private to api/.
 */
#pragma once

#include "api/call.h"
#include "base/buf.h"

struct session {
    atomic_uint refs;
    const char *ref, *uuid; /* rstr, secret */
    bool superuser, pool;
    bool local;             /* over the local socket */
    bool no_row;            /* session.slave_local_login_with_password: known here only */
    _Atomic uint32_t roles; /* bit per enum role; a subject's may change */
    const char *subject;    /* rstr: ref of the subject that gave the roles, or the null ref */
    const char *user_name, *user_sid, *originator;
    const char *client;   /* from where it was opened: "tcp 192.0.2.7" or "unix" */
    struct session *next; /* in its bucket; under the table's mutex, like what follows */
    usec_t last_active, last_written;
    uint64_t number; /* order of creation */
};

struct sessions;

struct sessions *sessions_new(struct api *api);
void sessions_free(struct sessions *);

/* A new reference to a live session, which counts as active now. SESSION_INVALID. */
struct err *session_find(struct sessions *, const char *ref, struct session **ret) _must_use_;
bool session_is_live(struct sessions *, const char *ref);
void session_unref(struct session *); /* NULL is fine */
static inline void session_unrefp(struct session **s)
{
    session_unref(*s);
    *s = NULL;
}

/* Ends a session and what waits on it; its row goes a little later. Unknown ones are fine. */
void session_close(struct sessions *, const char *ref);
/* Drops those that were idle too long. */
void sessions_expire(struct sessions *);
void sessions_close_all(struct sessions *);
size_t sessions_count(struct sessions *);

/* ---- logging in ---- */

struct session_facts {
    bool superuser, local, no_row;
    uint32_t roles;
    const char *user, *subject, *originator, *client; /* subject may be NULL */
};
struct session *session_new(const struct session_facts *); /* not live yet */
/* Writes its row and then calls done, on core; without a row at once. */
void session_write(struct sessions *, struct session *, void (*done)(void *arg, struct err *e),
                   void *arg);
/* Makes it live and takes the reference over. The oldest of a full group goes. */
void session_enter(struct sessions *, struct session *);

/* ---- many sessions ---- */

typedef bool (*session_match)(const struct session *s, const void *arg);
void sessions_close_matching(struct sessions *, session_match match, const void *arg);
/* The subjects that are logged in, as a new set. */
struct val *sessions_subjects(struct sessions *);
/* Subjects have changed: sessions of those that are gone end, others get their new roles. */
void sessions_revise(struct sessions *);

/* The messages of class session that are answered here (session_msg.c). */
void session_login(struct call *c);
void session_logout(struct call *c);
void session_local_login(struct call *c);
void session_local_logout(struct call *c);
void session_change_password(struct call *c);
void session_get_all_subject_identifiers(struct call *c);
void session_logout_subject_identifier(struct call *c);
