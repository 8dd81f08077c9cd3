/* api.c: the layer as a whole: making it, ending it, who speaks. See api.h. */
#include "api/api.h"

#include <inttypes.h>

#include "api/alarm.h"
#include "api/audit.h"
#include "api/batch.h"
#include "api/call.h"
#include "api/encode.h"
#include "api/event.h"
#include "api/lockout.h"
#include "api/rbac.h"
#include "api/session.h"
#include "api/limit.h"
#include "api/timing.h"
#include "state/db.h"

#define AUDIT_ARGS_MAX 4096
#define RESULT_MAX     (16u << 20)
#define ENCODINGS_SIZE (8u << 20) /* unless the configuration says otherwise */

/* On the audit log's thread. */
static void on_audit_trouble(void *arg, const char *why)
{
    const struct api *api = arg;
    _cleanup_(freep) char *text =
        mem_printf("The audit log cannot be written (%s). What happens is kept in memory for a "
                   "while, then it is lost. Make room on the disk of the log folder.",
                   why);
    alarm_raise(api, "AUDIT_LOG_NOT_WRITTEN", 2, text);
}

struct err *api_new(const struct api_config *cfg, struct api **ret)
{
    struct api *api = mem_new(struct api);
    *api = (struct api){
        .db = cfg->db,
        .tasks = cfg->tasks,
        .host = cfg->host,
        .world = cfg->world,
        .auth = cfg->auth,
        .audit = cfg->audit,
    };
    api->rbac = rbac_new();
    api->sessions = sessions_new(api);
    api->events = events_new(api);
    api->lockout = lockout_new();
    api->limits = limits_new();
    api->timing = timing_new();
    api->encodings = encodings_new(cfg->encodings_bytes ? cfg->encodings_bytes : ENCODINGS_SIZE);
    api->batches = batches_new(api->encodings);
    audit_set_trouble(api->audit, on_audit_trouble, api);
    auth_take_setting(api);
    *ret = api;
    return NULL;
}

void api_stop(struct api *api)
{
    if (api)
        sessions_close_all(api->sessions);
}

void api_free(struct api *api)
{
    if (!api)
        return;
    audit_set_trouble(api->audit, NULL, NULL);
    batches_free(api->batches);
    encodings_free(api->encodings);
    limits_free(api->limits);
    timing_free(api->timing);
    events_free(api->events);
    lockout_free(api->lockout);
    sessions_free(api->sessions);
    rbac_free(api->rbac);
    free(api);
}

void api_set_world(struct api *api, void *world)
{
    api->world = world;
}

void api_session_done(struct api_session *s)
{
    rstr_unref(s->ref);
    rstr_unref(s->user_name);
    rstr_unref(s->user_sid);
    rstr_unref(s->originator);
    *s = (struct api_session){0};
}

struct err *api_authenticate(struct api *api, const char *session, struct api_session *ret)
{
    _cleanup_(session_unrefp) struct session *s = NULL;
    TRY(session_find(api->sessions, session, &s));
    *ret = (struct api_session){
        .ref = rstr_ref(s->ref),
        .user_name = rstr_ref(s->user_name),
        .user_sid = rstr_ref(s->user_sid),
        .originator = rstr_ref(s->originator),
        .local = s->local,
        .superuser = s->superuser,
        .pool = s->pool,
        .roles = s->roles,
    };
    return NULL;
}

struct err *api_check_role(const struct api_session *s, enum role role, const char *permission)
{
    return rbac_check_role(s->superuser, s->roles, role, permission);
}

/* Of any class, by reference or uuid; NULL if there is none. */
static const struct row *find_object(const struct snap *s, const char *name)
{
    const struct row *r = NULL;
    for (unsigned i = 0; i < snap_n_classes(s) && !r; i++) {
        r = snap_row(s, (int)i, name);
        if (!r)
            r = snap_by_uuid(s, (int)i, name);
    }
    return r;
}

void api_audit(struct api *api, const struct api_session *s, const struct api_peer *peer,
               const char *action, const struct val *objects, const struct err *e)
{
    if (!api->audit)
        return;
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(api->db);
    _cleanup_(freep) char *client = api_client_name(peer);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, AUDIT_ARGS_MAX);
    for (size_t i = 0; objects && i < val_count(objects); i++) {
        const struct row *r = find_object(snap, val_str_at(objects, i));
        if (r && text.size)
            buf_putc(&text, ' ');
        if (r)
            audit_put_ref(&text, snap, val_key_at(objects, i), r->cls->num, r->ref);
    }
    struct caller caller = {.session = s->ref,
                            .superuser = s->superuser,
                            .pool = s->pool,
                            .roles = s->roles,
                            .user_name = s->user_name,
                            .user_sid = s->user_sid,
                            .originator = s->originator,
                            .client = client};
    audit_put(api->audit, &(struct audit_entry){
                              .caller = &caller, .action = action, .args = buf_str(&text), .e = e});
}

struct err *api_audit_read(struct api *api, const char *since,
                           int (*put)(void *arg, const void *p, size_t size), void *arg)
{
    return audit_read(api->audit, since, put, arg);
}

char *api_render(const struct val *result, const struct type *type)
{
    struct buf b; /* its memory goes to the caller */
    buf_init(&b, RESULT_MAX);
    struct rpc_out o = {.b = &b, .format = RPC_XML};
    rpc_put_val(&o, result ? result : val_void());
    return buf_take(&b);
}

void api_expire(struct api *api)
{
    sessions_expire(api->sessions);
    event_keep_alive(api->events);
}

void api_dump(struct api *api, struct buf *out)
{
    buf_printf(out, "sessions %zu\n", sessions_count(api->sessions));
    buf_printf(out, "calls under way %u\n", atomic_load(&api->n_calls));
    buf_printf(out, "event calls parked %zu\n", events_parked(api->events));
    encodings_dump(api->encodings, out);
    batches_dump(api->batches, out);
    buf_printf(out, "calls answered %" PRIu64 "\n", atomic_load(&api->n_answered));
}
