/*
 * dispatch.c: from a name and parameters to whoever does the work.
 *
 * The checks come in the order of the protocol: name, number of parameters, types, session, role.
 * Errors up to the session are answered at once; what comes later belongs into the task when the
 * call is asynchronous. Then: messages answered here (native.c), implicit messages, handlers that
 * only read (inline), and all other handlers through the task layer.
 */
#include <string.h>

#include "api/audit.h"
#include "api/call.h"
#include "api/decode.h"
#include "api/implicit.h"
#include "api/rbac.h"
#include "api/session.h"
#include "api/together.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "host/host.h"
#include "state/txn.h"
#include "task/permit.h"
#include "task/task.h"

/* ---- names without a message ---- */

/* The names of all messages that can be called, the synchronous ones alone: a client that lists
 * them would take "Async" for a class. */
static struct val *all_methods(void)
{
    struct val *set = val_set();
    for (unsigned i = 0; i < desc_n_msgs; i++) {
        const struct msg_desc *m = desc_msgs[i];
        const struct class_desc *cls = desc_classes[m->cls];
        if (cls->flags & CLASS_INTERNAL)
            continue;
        _cleanup_(freep) char *name = mem_printf("%s.%s", cls->name, m->name);
        val_add_str(set, name);
    }
    return set;
}

void host_list_methods(struct call *c)
{
    call_end(c, NULL, all_methods());
}

static bool try_system(struct call *c, const char *name, const struct val *params)
{
    if (str_eq(name, "system.listMethods")) {
        call_end(c, NULL, all_methods());
        return true;
    }
    if (str_eq(name, "system.isAlive") && val_count(params)) {
        call_end(c, NULL, val_ref(val_at(params, 0)));
        return true;
    }
    return false;
}

static const char *session_param(const struct val *params)
{
    bool given = val_count(params) && val_kind(val_at(params, 0)) == VAL_STRING;
    return given ? val_str_at(params, 0) : "";
}

static void take_caller(struct call *c)
{
    const struct session *s = c->session;
    bool inside = str_eq(c->client, "internal"); /* e.g. a command: the session knows from where */
    c->caller = (struct caller){
        .session = s->ref,
        .superuser = s->superuser,
        .local = s->local,
        .pool = s->pool,
        .roles = s->roles,
        .user_name = s->user_name,
        .user_sid = s->user_sid,
        .originator = s->originator,
        .client = inside ? s->client : c->client,
    };
}

#define EXTENSION_CALL_MAX (512u << 10)

/* The arguments of host.call_extension(host, call) for this call. */
static struct err *extension_args(struct call *c, const char *name, const struct val *params)
{
    _cleanup_(val_unrefp) struct val *args = val_set();
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, EXTENSION_CALL_MAX);
    rpc_put_call(&text, name, params);
    if (!buf_ok(&text))
        return err_INVALID_VALUE("params", "more than an extension can be given");
    val_add_str(args, tasks_host_ref(c->api->tasks));
    val_add_str(args, buf_str(&text));
    return decode_args(c->msg, args, 0, &c->args);
}

/* An unknown name might be an extension of the host: the session has to be good enough to ask for
 * one. If there is one, the call becomes host.call_extension. */
static struct err *unknown_method(struct call *c, const char *name, const struct val *params)
{
    if (!val_count(params))
        return err_MESSAGE_METHOD_UNKNOWN(name);
    TRY(session_find(c->api->sessions, session_param(params), &c->session));
    const struct msg_desc *ext = desc_msg("host.call_extension");
    TRY(rbac_check_role(c->session->superuser, c->session->roles, ext->role,
                        "host.call_extension"));
    if (c->async || !c->api->host || !host_has_extension(c->api->host, name))
        return err_MESSAGE_METHOD_UNKNOWN(name);
    take_caller(c);
    c->msg = ext;
    return extension_args(c, name, params);
}

/* ---- checks ---- */

static const struct msg_desc *find_message(struct call *c, const char *name)
{
    if (str_starts(name, "Async.") || str_starts(name, "InternalAsync.")) {
        c->async = true;
        name = strchr(name, '.') + 1;
        if (!strchr(name, '.'))
            return NULL;
    }
    const struct msg_desc *m = desc_msg(name);
    return m && desc_classes[m->cls]->flags & CLASS_INTERNAL ? NULL : m;
}

static struct err *check_session(struct call *c, const struct val *params)
{
    if (c->msg->flags & MSG_NO_SESSION)
        return NULL;
    TRY(session_find(c->api->sessions, session_param(params), &c->session));
    take_caller(c);
    return NULL;
}

static struct err *fault(const char *text)
{
    const char *params[] = {text};
    return err_make_v("Fault", __FILE__, __LINE__, 1, params);
}

/* Everything up to the session; then the call has its arguments. */
static struct err *check_call(struct call *c, const char *name, const struct val *params)
{
    const struct msg_desc *m = c->msg;
    bool with_session = !(m->flags & MSG_NO_SESSION);
    if (c->async && !(m->flags & MSG_ASYNC))
        return fault("this message has no asynchronous form");
    TRY(decode_check_count(m, name, params));
    if (m->flags & MSG_REMOVED) {
        TRY(check_session(c, params));
        return err_MESSAGE_REMOVED();
    }
    TRY(decode_args(m, params, with_session ? 1 : 0, &c->args));
    return check_session(c, params);
}

/* set_F on a map some of whose keys are protected: what would change is looked at before. */
static struct err *check_protected_keys(const struct call *c)
{
    const struct msg_desc *m = c->msg;
    if (m->n_params != 2 || !str_starts(m->name, "set_") || m->params[1].type->kind != TYPE_MAP)
        return NULL;
    const struct field_desc *f = desc_field(desc_classes[m->cls], m->name + strlen("set_"));
    if (!f || !f->key_roles)
        return NULL;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    const struct row *r = snap_row(s, m->cls, decode_str(m, c->args, 0));
    if (!r)
        return NULL;
    _cleanup_(val_unrefp) struct val *old = row_get(r, f), *fresh = decode_arg(m, c->args, 1);
    return permit_map(&c->caller, m, f->key_roles, old, fresh);
}

/* A constructor, of which the arguments or the members of its record are the new object's. */
static struct err *check_new_keys(const struct call *c)
{
    const struct msg_desc *m = c->msg;
    if (c->caller.superuser || !str_eq(m->name, "create"))
        return NULL;
    _cleanup_(val_unrefp) struct val *given = val_map();
    for (unsigned i = 0; i < m->n_params; i++) {
        _cleanup_(val_unrefp) struct val *v = decode_arg(m, c->args, i);
        if (m->params[i].type->kind == TYPE_RECORD)
            TRY(permit_new(&c->caller, desc_classes[m->cls], v));
        else if (m->params[i].type->kind == TYPE_MAP)
            val_put(given, m->params[i].name, val_ref(v));
    }
    return permit_new(&c->caller, desc_classes[m->cls], given);
}

static struct err *check_role(const struct call *c)
{
    if (c->msg->flags & MSG_NO_SESSION)
        return NULL;
    TRY(rbac_check(&c->caller, c->msg, c->args));
    TRY(check_new_keys(c));
    return check_protected_keys(c);
}

/* ---- implicit messages ---- */

struct write_call {
    struct implicit_write w; /* first */
    struct call *c;
    uint64_t generation;
};

static void write_end(struct call *c)
{
    struct write_call *w = steal(&c->native);
    c->generation = w->generation;
    struct val *made = w->w.made ? val_rstr(w->w.made) : NULL;
    rstr_unref(w->w.made);
    free(w);
    if (c->e) {
        val_unref(made);
        made = NULL;
    } else if (c->msg->cls == CLASS_subject) {
        sessions_revise(c->api->sessions);
    }
    call_end(c, steal(&c->e), made);
}

static void on_written(void *arg, struct err *e, uint64_t generation)
{
    struct write_call *w = arg;
    struct call *c = w->c;
    w->generation = generation;
    c->e = e;
    call_post(c, write_end);
}

/* On a wire records go out as they are kept encoded; others may like rows better than values. */
static void read_records(struct call *c)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    c->records = mem_new(struct records);
    struct err *e = implicit_records(s, c->api->rbac, c->msg, c->args, c->records);
    call_end(c, e, NULL);
}

static void run_implicit(struct call *c)
{
    if ((c->loop || c->wants_rows) && implicit_is_records(c->msg)) {
        read_records(c);
        return;
    }
    if (implicit_is_read(c->msg)) {
        _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
        struct val *result = NULL;
        struct err *e = implicit_read(s, c->api->rbac, c->msg, c->args, &result);
        call_end(c, e, result);
        return;
    }
    struct write_call *w = mem_new(struct write_call);
    *w = (struct write_call){.w = {.msg = c->msg, .args = c->args, .unless_after = c->unless_after},
                             .c = c};
    c->native = w;
    if (c->together)
        together_join(steal(&c->together), c->api->db, &w->w, on_written, w);
    else
        db_write_async(c->api->db, "implicit", implicit_txn, w, on_written);
}

/* The same inside a task, for Async.*.create and destroy. */
static struct err *implicit_op(struct op *op, const void *args, struct val **ret)
{
    struct implicit_write w = {.msg = op->msg, .args = args};
    TRY(op_write(op, "implicit", implicit_txn, &w));
    if (w.made)
        *ret = val_rstr(w.made);
    rstr_unref(w.made);
    return NULL;
}

/* ---- handlers ---- */

/* The object a message is sent to: its first parameter, if that is of the message's class. */
static const char *main_object(const struct call *c)
{
    const struct msg_desc *m = c->msg;
    bool has =
        m->n_params && m->params[0].type->kind == TYPE_REF && m->params[0].type->cls == m->cls;
    return has ? decode_str(m, c->args, 0) : "";
}

static void run_inline(struct call *c, msg_fn fn)
{
    struct op op = {.db = c->api->db,
                    .tasks = c->api->tasks,
                    .host = c->api->host,
                    .world = c->api->world,
                    .msg = c->msg,
                    .self = main_object(c),
                    .task = "",
                    .caller = c->caller};
    struct val *result = NULL;
    struct err *e = fn(&op, c->args, &result);
    call_end(c, e, result);
}

static void task_started(struct call *c)
{
    call_end(c, steal(&c->e), steal(&c->result));
}

/* For an asynchronous call the reply is the task; what it comes to is told there. */
static void on_started(void *arg, struct err *e, const char *task)
{
    struct call *c = arg;
    c->e = e;
    c->result = e ? NULL : val_str(task);
    c->task = e ? NULL : rstr_new(task);
    call_ref(c); /* for the audit of what it comes to */
    if (e) {
        call_note_end(c, e);
        call_unref(c);
    }
    call_post(c, task_started);
}

static void drop_outcome(void *arg, struct err *e, struct val *result)
{
    struct call *c = arg;
    call_note_end(c, e);
    call_trace_end(c, e);
    call_unref(c);
    err_free(e);
    val_unref(result);
}

static void on_done(void *arg, struct err *e, struct val *result)
{
    struct call *c = arg;
    c->e = e;
    c->result = result;
    call_post(c, task_started);
}

static const char *existing_task(const struct call *c, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    return ref && snap_row(s, CLASS_task, ref) ? ref : NULL;
}

static void run_task(struct call *c, const struct msg_desc *msg, msg_fn fn, void *args,
                     void (*free_args)(void *))
{
    struct run_request rq = {.msg = msg,
                             .fn = fn,
                             .args = args,
                             .free_args = free_args,
                             .self = main_object(c),
                             .caller = c->caller,
                             .async = c->async,
                             .task = existing_task(c, c->task_id),
                             .subtask_of = existing_task(c, c->subtask_of),
                             .label = c->name,
                             .other_config = c->other_config,
                             .trace = c->span.on ? &c->span.id : NULL};
    if (args == c->args)
        c->args = NULL;
    if (c->async)
        tasks_run(c->api->tasks, &rq, on_started, drop_outcome, c);
    else
        tasks_run(c->api->tasks, &rq, NULL, on_done, c);
}

/* A refusal that an asynchronous call finds in its task: a task of a message that claims nothing
 * and fails. */
struct refusal {
    struct msg_desc msg;
    struct err *e;
};

static struct err *refuse_op(struct op *op, const void *args, struct val **ret)
{
    return steal(&((struct refusal *)args)->e);
}

static void refusal_free(void *arg)
{
    struct refusal *r = arg;
    err_free(r->e);
    free(r);
}

static void refuse(struct call *c, struct err *e)
{
    if (!c->async) {
        call_end(c, e, NULL);
        return;
    }
    struct refusal *r = mem_new(struct refusal);
    *r = (struct refusal){.msg = *c->msg, .e = e};
    r->msg.op = NULL;
    run_task(c, &r->msg, refuse_op, r, refusal_free);
}

/* An asynchronous call of a message that is answered here: the task calls the synchronous form. */
struct native_task {
    struct api *api;
    struct val *params;
    char *name;
};

static struct err *native_op(struct op *op, const void *args, struct val **ret)
{
    const struct native_task *t = args;
    return api_call(t->api, op->caller.session, t->name, t->params, ret);
}

static void native_task_free(void *arg)
{
    struct native_task *t = arg;
    val_unref(t->params);
    free(t->name);
    free(t);
}

static void run_native_task(struct call *c)
{
    free(steal(&c->audit)); /* the call that it makes is told */
    struct native_task *t = mem_new(struct native_task);
    *t = (struct native_task){
        .api = c->api, .params = steal(&c->params), .name = mem_strdup(strchr(c->name, '.') + 1)};
    run_task(c, c->msg, native_op, t, native_task_free);
}

static struct val *without_session(const struct val *params)
{
    struct val *set = val_set();
    for (size_t i = 1; i < val_count(params); i++)
        val_add(set, val_ref(val_at(params, i)));
    return set;
}

/* Before anything happens: the objects have the names that they are called by. Logins have their
 * own way into the audit log, for they have no session yet. */
static void note_arguments(struct call *c, const struct err *refused)
{
    if (!c->api->audit || !c->session || (!refused && !audit_is_wanted(c->msg)))
        return;
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->api->db);
    c->audit = audit_args(s, c->msg, c->args);
}

/* ---- all together ---- */

static void run(struct call *c)
{
    const struct msg_desc *m = c->msg;
    call_fn native = native_find(m);
    if (m->flags & MSG_UNIMPLEMENTED) {
        _cleanup_(freep) char *name = mem_printf("%s.%s", desc_classes[m->cls]->name, m->name);
        refuse(c, err_NOT_IMPLEMENTED(name));
    } else if (native && c->async) {
        run_native_task(c);
    } else if (native) {
        native(c);
    } else if (!(m->flags & MSG_HANDLER)) {
        if (c->async)
            run_task(c, m, implicit_op, c->args, decode_free);
        else
            run_implicit(c);
    } else if (m->flags & MSG_INLINE && !c->async) {
        run_inline(c, msg_handlers[m->num]);
    } else {
        run_task(c, m, msg_handlers[m->num], c->args, decode_free);
    }
}

void dispatch(struct call *c, const char *name, const struct val *params)
{
    c->name = mem_strdup(name);
    trace_begin(&c->span, TRACE_CALLS, &c->parent);
    if (try_system(c, name, params))
        return;
    c->msg = find_message(c, name);
    struct err *e = c->msg ? check_call(c, name, params) : unknown_method(c, name, params);
    if (e) {
        call_end(c, e, NULL);
        return;
    }
    if (c->async)
        c->params = without_session(params);
    e = check_role(c);
    note_arguments(c, e);
    if (e)
        refuse(c, e);
    else
        run(c);
}
