/*
 * login.c: /session: who wants to send many requests logs in once, and gets the session's reference
 * in the body, for a bearer's header, and as a cookie, for pages of this host.
 */
#include <string.h>

#include "base/rstr.h"
#include "codec/json.h"
#include "gen/rec.h"
#include "rest/rest_impl.h"

#define LAST_COOKIE "session_id=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"

/* The session as its owner may see it. */
static bool put_session(struct rest_call *c, struct buf *b, const char *ref, bool secret)
{
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    const struct row *r = api_row(c->rest->api, snap, CLASS_session, ref);
    if (!r)
        return false;
    const struct rec_session *s = (const struct rec_session *)r;
    struct rest_show show = {.b = b, .api = c->rest->api, .snap = snap};
    json_begin_map(b);
    json_put_key(b, view_of("href"));
    rest_put_link(&show, CLASS_session, ref);
    if (secret) {
        json_put_key(b, view_of("session"));
        json_put_str(b, view_of(ref));
    }
    json_put_key(b, view_of("user"));
    json_put_str(b, view_of(s->auth_user_name));
    json_put_key(b, view_of("superuser"));
    json_put_bool(b, s->is_local_superuser);
    json_put_key(b, view_of("last_active"));
    rest_put_datetime(b, s->last_active);
    json_end_map(b);
    return true;
}

static void session_made(struct rest_call *c, const struct api_answer *a)
{
    if (a->e) {
        rest_answer_error(c, 0, a->e);
        return;
    }
    const char *ref = val_get_str(a->value);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4096);
    (void)put_session(c, &b, ref, true);
    _cleanup_(freep) char *cookie = mem_printf("session_id=%s; Path=/; HttpOnly; SameSite=Strict%s",
                                               ref, c->tls ? "; Secure" : "");
    const struct rest_header headers[] = {{"Set-Cookie", cookie},
                                          {"Location", REST_ROOT "/session"}};
    rest_answer(c, 201, headers, ARRAY_LEN(headers), &b);
}

static const char *text_in(const struct val *body, const char *key, const char *otherwise)
{
    const struct val *v = body ? val_map_get(body, key) : NULL;
    return v && val_kind(v) == VAL_STRING ? val_get_str(v) : otherwise;
}

void rest_login(struct rest_call *c)
{
    const char *user = text_in(c->body, "user", c->user);
    const char *password = text_in(c->body, "password", c->password);
    if (!user && !c->peer.trusted) {
        rest_refuse(c, 400, "user and password are needed, in the body or as Basic credentials");
        return;
    }
    struct val *params = val_set();
    val_add_str(params, user ? user : "");
    val_add_str(params, password ? password : "");
    val_add_str(params, "1.0");
    val_add_str(params, text_in(c->body, "originator", "REST"));
    rstr_unref(steal(&c->session)); /* one that came along is not meant */
    rest_ask(c, "session.login_with_password", params, session_made);
}

void rest_get_session(struct rest_call *c)
{
    struct api_session found = {0};
    struct err *e = api_authenticate(c->rest->api, c->session, &found);
    if (e) {
        rest_fail(c, 0, e);
        return;
    }
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4096);
    bool there = put_session(c, &b, found.ref, false);
    api_session_done(&found);
    rest_is_known(c);
    if (there)
        rest_answer(c, 200, NULL, 0, &b);
    else
        rest_refuse(c, 404, "the session has no record yet");
}

static void logged_out(struct rest_call *c, const struct api_answer *a)
{
    struct rest_header gone = {"Set-Cookie", LAST_COOKIE};
    if (a->e)
        rest_answer_error(c, 0, a->e);
    else
        rest_answer(c, 204, &gone, 1, NULL);
}

void rest_logout(struct rest_call *c)
{
    c->owned = false;
    rest_ask(c, "session.logout", NULL, logged_out);
}
