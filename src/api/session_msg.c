/*
 * session_msg.c: logging in and out, and the other messages of class session.
 *
 * A login asks the lockout, then a thread for passwords, then the subjects for roles, writes the
 * session's row and is over. What fails on the way is written into the audit log and counted.
 */
#define LOG_MODULE "api"
#include "api/session.h"

#include <string.h>

#include "api/alarm.h"
#include "api/audit.h"
#include "api/auth.h"
#include "api/lockout.h"
#include "api/rbac.h"
#include "base/log.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "state/txn.h"

/* What the two logins have in common. */
struct login {
    const char *user, *password, *originator; /* the call's arguments */
    struct session *session;                  /* once the password was right */
    struct auth_facts facts;
    bool no_row;
};

/* ---- the end ---- */

/* `s` is NULL for a login that failed. */
static void audit_login(struct call *c, const char *user, const struct session *s,
                        const struct err *e)
{
    c->caller = (struct caller){.session = s ? s->ref : "",
                                .superuser = s && s->superuser,
                                .roles = s ? s->roles : 0,
                                .user_name = user,
                                .user_sid = s ? s->user_sid : "",
                                .originator = s ? s->originator : "",
                                .client = c->client};
    call_audit(c, e);
    c->caller = (struct caller){0};
}

static void login_end(struct call *c)
{
    struct login *l = steal(&c->native);
    struct session *s = steal(&l->session);
    audit_login(c, l->user, c->e ? NULL : s, c->e);
    free(l);
    if (c->e) {
        session_unref(s);
        call_end(c, steal(&c->e), NULL);
        return;
    }
    _cleanup_(rstr_unrefp) const char *ref = rstr_ref(s->ref);
    session_enter(c->api->sessions, s);
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

static void refused(struct call *c, struct err *e)
{
    c->e = e;
    login_end(c);
}

/* ---- roles ---- */

/* The subject of a user of this host, NULL if none. */
static const struct rec_subject *find_subject(const struct snap *s, const char *user)
{
    _cleanup_(freep) char *sid = mem_printf("local:%s", user);
    snap_each (r, s, CLASS_subject) {
        if (str_eq(rec_subject(r)->subject_identifier, sid))
            return rec_subject(r);
    }
    return NULL;
}

/* A subject has exactly the roles of its record; without one an account has those of its file. */
static struct err *let_in(struct call *c)
{
    struct login *l = c->native;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    const struct rec_subject *subject = l->facts.superuser ? NULL : find_subject(s, l->user);
    struct session_facts facts = {
        .superuser = l->facts.superuser,
        .local = c->trusted,
        .no_row = l->no_row,
        .roles = subject ? rbac_roles(subject->roles) : l->facts.roles,
        .user = l->user,
        .subject = subject ? subject->row.ref : NULL,
        .originator = *l->originator || !c->originator ? l->originator : c->originator,
        .client = c->client,
    };
    if (!facts.roles && !facts.superuser)
        return err_SESSION_AUTHORIZATION_FAILED(l->user, "the user has no role on this host");
    if (l->no_row && !facts.superuser)
        return err_SESSION_AUTHORIZATION_FAILED(l->user, "local logins are for superusers");
    l->session = session_new(&facts);
    return NULL;
}

static void log_in(struct call *c)
{
    struct login *l = c->native;
    struct err *e = let_in(c);
    if (e)
        refused(c, e);
    else
        session_write(c->api->sessions, l->session, row_added, c);
}

/* ---- passwords ---- */

static void password_was_wrong(struct call *c, const struct login *l)
{
    unsigned seconds;
    bool first = lockout_failed(c->api->lockout, c->address, l->user, &seconds);
    log_info("event=login-failed user='%s' client='%s' wait_s=%u", l->user, c->client, seconds);
    if (!first)
        return;
    _cleanup_(freep) char *text =
        mem_printf("Somebody at '%s' guesses passwords; the last try was for user '%.64s'. "
                   "Further tries from there are delayed.",
                   c->client, l->user);
    alarm_raise(c->api, "FAILED_LOGIN_ATTEMPTS", desc_alert_priority("FAILED_LOGIN_ATTEMPTS"),
                text);
}

/* What an auth thread found waits in c->e and the login's facts. */
static void password_checked(struct call *c)
{
    const struct login *l = c->native;
    if (!c->e)
        lockout_passed(c->api->lockout, c->address, l->user);
    else if (err_is(c->e, "SESSION_AUTHENTICATION_FAILED"))
        password_was_wrong(c, l);
    else
        lockout_undecided(c->api->lockout, c->address, l->user);
    if (c->e)
        login_end(c);
    else
        log_in(c);
}

static void on_checked(void *arg, struct err *e, const struct auth_facts *facts)
{
    struct call *c = arg;
    c->e = e;
    if (!e)
        ((struct login *)c->native)->facts = *facts;
    call_post(c, password_checked);
}

static void begin(struct call *c, const struct login *given)
{
    struct login *l = mem_dup(given, sizeof(*given));
    c->native = l;
    if (c->trusted) {
        l->facts = (struct auth_facts){.superuser = true, .roles = (1u << ROLE_N) - 1};
        l->user = *l->user ? l->user : "root";
        log_in(c);
        return;
    }
    struct err *e = lockout_begin(c->api->lockout, c->address, l->user);
    if (e) { /* told when it began; a flood of tries must not flush the audit log */
        free(steal(&c->native));
        call_end(c, e, NULL);
    } else if (!c->api->auth) {
        refused(c, auth_refused(l->user));
    } else {
        auth_check_async(c->api->auth, l->user, l->password, on_checked, c);
    }
}

void session_login(struct call *c)
{
    const struct args_session_login_with_password *a = c->args;
    begin(c, &(struct login){.user = a->uname, .password = a->pwd, .originator = a->originator});
}

/* A session that needs no database: it has no row. */
void session_local_login(struct call *c)
{
    const struct args_session_slave_local_login_with_password *a = c->args;
    begin(c,
          &(struct login){.user = a->uname, .password = a->pwd, .originator = "", .no_row = true});
}

void session_logout(struct call *c)
{
    session_close(c->api->sessions, c->session->ref);
    call_end(c, NULL, NULL);
}

void session_local_logout(struct call *c)
{
    session_logout(c);
}

/* ---- passwords that change ---- */

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

/* ---- subjects ---- */

void session_get_all_subject_identifiers(struct call *c)
{
    call_end(c, NULL, sessions_subjects(c->api->sessions));
}

static bool is_of_subject(const struct session *s, const void *sid)
{
    return !s->superuser && !s->pool && str_eq(s->user_sid, sid);
}

void session_logout_subject_identifier(struct call *c)
{
    const struct args_session_logout_subject_identifier *a = c->args;
    sessions_close_matching(c->api->sessions, is_of_subject, a->subject_identifier);
    call_end(c, NULL, NULL);
}
