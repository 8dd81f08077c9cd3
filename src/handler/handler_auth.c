/* handler_auth.c: who speaks, for requests outside RPC; see handler.h. Stream threads. */
#include "handler/handler.h"

#include "base/buf.h"
#include "base/rstr.h"
#include "base/str.h"

#define TEXT_MAX 8192

struct api_peer handler_peer(const struct handlers *h, const struct net_request *req)
{
    bool ours = req->peer.uid == 0 || (h->development && req->peer.uid == h->owner);
    return (struct api_peer){.trusted = req->peer.kind == NET_LOCAL && ours,
                             .address = req->peer.address};
}

/* The session_id that the request names, NULL if none; the caller frees. */
static char *named_session(const struct net_request *req)
{
    char *cookie = http_cookie_get(req->head, "session_id");
    return cookie ? cookie : http_query_get(req->query, "session_id");
}

static struct err *make_session(struct handlers *h, const struct net_request *req,
                                struct handler_session *ret)
{
    _cleanup_(freep) char *user = NULL, *password = NULL;
    struct api_peer peer = handler_peer(h, req);
    bool basic = http_basic_auth(req->head, &user, &password);
    if (!basic && !peer.trusted)
        return err_make("SESSION_AUTHENTICATION_FAILED", __FILE__, __LINE__, 2, "",
                        "no session_id and no credentials");
    TRY(api_login(h->api, &peer, user ? user : "", password ? password : "", "HTTP request",
                  &ret->ref));
    ret->owned = true;
    return api_authenticate(h->api, ret->ref, &ret->session);
}

struct err *handler_authenticate(struct handlers *h, const struct net_request *req,
                                 struct handler_session *ret)
{
    *ret = (struct handler_session){0};
    _cleanup_(freep) char *named = named_session(req);
    if (!named) {
        struct err *e = make_session(h, req, ret);
        if (e)
            handler_session_done(h, ret);
        return e;
    }
    TRY(api_authenticate(h->api, named, &ret->session));
    ret->ref = rstr_new(named);
    return NULL;
}

void handler_session_done(struct handlers *h, struct handler_session *s)
{
    if (s->owned)
        err_free(api_call(h->api, s->ref, "session.logout", NULL, NULL));
    api_session_done(&s->session);
    rstr_unref(s->ref);
    *s = (struct handler_session){0};
}

static unsigned status_of(const struct err *e)
{
    static const struct {
        const char *code;
        unsigned status;
    } table[] = {
        {"SESSION_AUTHENTICATION_FAILED", 401},
        {"SESSION_INVALID", 401},
        {"RBAC_PERMISSION_DENIED", 403},
        {"HANDLE_INVALID", 404},
        {"UUID_INVALID", 404},
        {"INVALID_VALUE", 400},
        {"VALUE_NOT_SUPPORTED", 404},
        {"IMPORT_ERROR_CANNOT_HANDLE_CHUNKED", 403},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (err_is(e, table[i].code))
            return table[i].status;
    return 500;
}

/* Code and parameters, as an answer of the API has them. */
static char *public_text(const struct err *e)
{
    struct buf b; /* its memory goes to the caller */
    buf_init(&b, TEXT_MAX);
    buf_puts(&b, err_code(e));
    for (unsigned i = 0; i < err_n_params(e); i++)
        buf_printf(&b, "%s%s", i ? ", " : ": ", err_param(e, i));
    return buf_take(&b);
}

void handler_refuse(struct net_stream *s, struct err *e)
{
    _cleanup_(freep) char *text = public_text(e);
    (void)net_stream_error(s, status_of(e), text);
    err_free(e);
}
