/* Calls from name and parameters to the answer, on one thread, without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "api/auth.h"
#include "api/encode.h"
#include "codec/json.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "state/txn.h"
#include "state/watch.h"
#include "task/task.h"

/* Instead of gen/msg.c, which wants the handlers of all layers: those of this one. */
msg_fn msg_handlers[8192];
#define HANDLER(name) struct err *msg_##name(struct op *op, const void *args, struct val **ret)
HANDLER(task_create);
HANDLER(task_destroy);
HANDLER(task_set_progress);
HANDLER(task_set_other_config);
HANDLER(message_create);
HANDLER(message_destroy);
HANDLER(message_get_all_records);

struct world {
    struct db *db;
    struct tasks *tasks;
    struct auth *auth;
    struct api *api;
    struct loop *loop;
    const char *root; /* a superuser's session */
    const char *vm;
};

static void (*dwell)(void); /* on the auth thread, while it checks; NULL: nothing */

static struct err *check(void *arg, const char *user, const char *password, struct auth_facts *ret)
{
    *(int *)arg += 1;
    if (dwell)
        dwell();
    if (!str_eq(password, "right"))
        return auth_refused(user);
    enum role role = desc_role_by_name(user);
    *ret = role < ROLE_N ? (struct auth_facts){.roles = (2u << role) - 1}
                         : (struct auth_facts){.superuser = true, .roles = (1u << ROLE_N) - 1};
    return NULL;
}

static const struct auth_ops auth_ops = {.check = check};
static int checks;

static struct err *first_objects(struct txn *t, void *arg)
{
    struct world *w = arg;
    struct rec_VM *vm = (struct rec_VM *)txn_add(t, CLASS_VM, NULL, NULL);
    rstr_set(&vm->name_label, "first");
    w->vm = rstr_ref(vm->row.ref);
    return NULL;
}

static int set_up(void **state)
{
    struct world *w = mem_new(struct world);
    *state = w;
    clock_fake(1000 * USEC_PER_SEC);
    checks = 0;
    msg_handlers[desc_msg("task.create")->num] = msg_task_create;
    msg_handlers[desc_msg("task.destroy")->num] = msg_task_destroy;
    msg_handlers[desc_msg("task.set_progress")->num] = msg_task_set_progress;
    msg_handlers[desc_msg("task.set_other_config")->num] = msg_task_set_other_config;
    msg_handlers[desc_msg("message.create")->num] = msg_message_create;
    msg_handlers[desc_msg("message.destroy")->num] = msg_message_destroy;
    msg_handlers[desc_msg("message.get_all_records")->num] = msg_message_get_all_records;
    assert_null(db_open(&(struct db_config){.single = true}, &w->db));
    assert_null(tasks_new(&(struct tasks_config){.db = w->db, .single = true, .render = api_render},
                          &w->tasks));
    w->auth = auth_new(&auth_ops, &checks);
    assert_null(
        api_new(&(struct api_config){.db = w->db, .tasks = w->tasks, .auth = w->auth}, &w->api));
    w->loop = loop_new("test");
    assert_null(db_write(w->db, "first objects", first_objects, w));
    assert_null(
        api_login(w->api, &(struct api_peer){.trusted = true}, NULL, NULL, "test", &w->root));
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    loop_free(w->loop);
    (void)tasks_stop(w->tasks, clock_now());
    auth_free(w->auth);
    api_free(w->api);
    db_close(w->db);
    rstr_unref(w->root);
    rstr_unref(w->vm);
    clock_real();
    free(w);
    return 0;
}

/* Parameters from JSON text, with $ for the VM. */
static struct val *params_of(const struct world *w, const char *json)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    for (const char *c = json; *c; c++)
        *c == '$' ? buf_puts(&b, w->vm) : buf_putc(&b, *c);
    struct val *v;
    assert_int_equal(json_parse(view_of(buf_str(&b)), &v), 0);
    buf_done(&b);
    return v;
}

/* The answer as one line of JSON; of an error code and parameters. */
static const char *call_as(struct world *w, const char *session, const char *name, const char *json)
{
    static char line[65536];
    _cleanup_(val_unrefp) struct val *params = params_of(w, json), *result = NULL;
    _cleanup_(err_freep) struct err *e = api_call(w->api, session, name, params, &result);
    struct buf b;
    buf_init(&b, sizeof(line) - 1);
    if (e) {
        buf_puts(&b, err_code(e));
        for (unsigned i = 0; i < err_n_params(e); i++)
            buf_printf(&b, " %s", err_param(e, i));
    } else {
        json_put_val(&b, result ? result : val_void());
    }
    snprintf(line, sizeof(line), "%s", buf_str(&b));
    buf_done(&b);
    return line;
}

static const char *call(struct world *w, const char *name, const char *json)
{
    return call_as(w, w->root, name, json);
}

#define assert_call(w, name, json, want) assert_string_equal(call((w), (name), (json)), want)
#define assert_call_starts(w, name, json, want)                                                    \
    assert_memory_equal(call((w), (name), (json)), want, strlen(want))

/* ---- checks and types ---- */

static void test_order_of_checks(void **state)
{
    struct world *w = *state;
    assert_string_equal(call_as(w, "bad", "VM.get_record", "[]"),
                        "MESSAGE_PARAMETER_COUNT_MISMATCH VM.get_record 1 0");
    assert_string_equal(call_as(w, "bad", "VM.get_record", "[\"x\"]"), "SESSION_INVALID bad");
    assert_memory_equal(call_as(w, "bad", "VM.get_record", "[1]"), "INTERNAL_ERROR", 14);
    assert_string_equal(call_as(w, "bad", "VM.no", "[]"), "SESSION_INVALID bad");
    assert_call(w, "VM.no", "[]", "MESSAGE_METHOD_UNKNOWN VM.no");
    assert_call(w, "vm.get_all", "[]", "MESSAGE_METHOD_UNKNOWN vm.get_all");
    assert_call(w, "Async.VM", "[]", "MESSAGE_METHOD_UNKNOWN Async.VM");
    assert_call(w, "op.get_all", "[]", "MESSAGE_METHOD_UNKNOWN op.get_all");
    assert_call(w, "VMPP.get_alerts", "[\"x\",1]", "MESSAGE_REMOVED");
    assert_call(w, "VMPP.get_alerts", "[\"x\"]",
                "MESSAGE_PARAMETER_COUNT_MISMATCH VMPP.get_alerts 2 1");
    assert_call_starts(w, "Async.VM.get_record", "[\"x\"]", "Fault");
    assert_call(w, "pool.join", "[\"a\",\"b\",\"c\"]", "NOT_IMPLEMENTED pool.join");
    assert_call(w, "VM_get_name_label", "[\"$\"]", "\"first\"");
}

static void test_types(void **state)
{
    struct world *w = *state;
    assert_call(w, "VM.set_user_version", "[\"$\",\"-7\"]", "null");
    assert_call(w, "VM.get_user_version", "[\"$\"]", "-7");
    assert_call(w, "VM.set_user_version", "[\"$\",9007199254740993]", "null");
    assert_call(w, "VM.get_user_version", "[\"$\"]", "9007199254740993");
    assert_call_starts(w, "VM.set_user_version", "[\"$\",\"7 apples\"]", "INTERNAL_ERROR");
    assert_call_starts(w, "VM.set_user_version", "[\"$\",true]", "INTERNAL_ERROR");
    assert_call_starts(w, "VM.set_name_label", "[\"$\",null]", "INTERNAL_ERROR");
    assert_call_starts(w, "VM.set_name_label", "[\"$\",1]", "INTERNAL_ERROR");
    assert_call(w, "VM.set_actions_after_reboot", "[\"$\",\"RESTART\"]", "null");
    assert_call(w, "VM.get_actions_after_reboot", "[\"$\"]", "\"restart\"");
    assert_call_starts(w, "VM.set_tags", "[\"$\",\"one\"]", "INTERNAL_ERROR");
    assert_call_starts(w, "VM.set_tags", "[\"$\",[1]]", "INTERNAL_ERROR");
    assert_call_starts(w, "VM.set_HVM_boot_params", "[\"$\",{\"a\":1}]", "INTERNAL_ERROR");
}

/* ---- implicit messages ---- */

static void test_maps_and_sets(void **state)
{
    struct world *w = *state;
    assert_call(w, "VM.set_HVM_boot_params", "[\"$\",{\"a\":\"1\"}]", "null");
    assert_call(w, "VM.add_to_HVM_boot_params", "[\"$\",\"b\",\"2\"]", "null");
    _cleanup_(freep) char *duplicate =
        mem_printf("MAP_DUPLICATE_KEY VM HVM__boot_params %s b", w->vm);
    assert_call(w, "VM.add_to_HVM_boot_params", "[\"$\",\"b\",\"2\"]", duplicate);
    assert_call_starts(w, "VM.add_to_HVM_boot_params", "[\"$\",\"\",\"2\"]", "INTERNAL_ERROR");
    assert_call(w, "VM.remove_from_HVM_boot_params", "[\"$\",\"a\"]", "null");
    assert_call(w, "VM.remove_from_HVM_boot_params", "[\"$\",\"a\"]", "null");
    assert_call(w, "VM.get_HVM_boot_params", "[\"$\"]", "{\"b\":\"2\"}");
    assert_call(w, "VM.add_tags", "[\"$\",\"x\"]", "null");
    assert_call(w, "VM.add_tags", "[\"$\",\"x\"]", "null");
    assert_call(w, "VM.add_tags", "[\"$\",\"y\"]", "null");
    assert_call(w, "VM.remove_tags", "[\"$\",\"x\"]", "null");
    assert_call(w, "VM.get_tags", "[\"$\"]", "[\"y\"]");
    assert_call(w, "VM.get_tags", "[\"OpaqueRef:no\"]", "HANDLE_INVALID VM OpaqueRef:no");
    assert_call(w, "VM.add_tags", "[\"OpaqueRef:no\",\"x\"]", "HANDLE_INVALID VM OpaqueRef:no");
}

static void test_create_and_destroy(void **state)
{
    struct world *w = *state;
    assert_call(w, "secret.create", "[{\"other_config\":{}}]", "FIELD_TYPE_ERROR value");
    assert_call_starts(w, "secret.create", "[{\"value\":\"v\",\"uuid\":\"\",\"more\":1}]",
                       "\"OpaqueRef:");
    assert_call_starts(w, "secret.get_all", "[]", "[\"OpaqueRef:");
    _cleanup_(val_unrefp) struct val *all = NULL;
    assert_null(api_call(w->api, w->root, "secret.get_all", NULL, &all));
    assert_null(api_call(w->api, w->root, "secret.destroy", all, NULL));
    assert_call(w, "secret.get_all", "[]", "[]");
    assert_call(w, "secret.get_by_uuid", "[\"no\"]", "UUID_INVALID secret no");
    assert_call(w, "VM.get_by_name_label", "[\"nobody\"]", "[]");
}

/* ---- sessions and roles ---- */

static const char *login(struct world *w, const char *user)
{
    const char *session;
    assert_null(
        api_login(w->api, &(struct api_peer){.address = "192.0.2.1"}, user, "right", "", &session));
    return session;
}

static void test_passwords(void **state)
{
    struct world *w = *state;
    struct api_peer peer = {.address = "192.0.2.1"};
    const char *session;
    for (int i = 0; i < 3; i++) {
        _cleanup_(err_freep) struct err *e =
            api_login(w->api, &peer, "root", "wrong", "", &session);
        assert_true(err_is(e, "SESSION_AUTHENTICATION_FAILED"));
        assert_string_equal(err_param(e, 0), "root");
    }
    assert_int_equal(checks, 3); /* a wrong one is never answered from memory */
    rstr_unref(login(w, "root"));
    rstr_unref(login(w, "root"));
    assert_int_equal(checks, 4);
    clock_advance(301 * USEC_PER_SEC);
    rstr_unref(login(w, "root"));
    assert_int_equal(checks, 5);
    auth_forget(w->auth, "root");
    rstr_unref(login(w, "root"));
    assert_int_equal(checks, 6);
}

static void test_sessions_end(void **state)
{
    struct world *w = *state;
    _cleanup_(rstr_unrefp) const char *a = login(w, "root"), *b = login(w, "root");
    assert_string_equal(call_as(w, a, "session.logout", "[]"), "null");
    assert_memory_equal(call_as(w, a, "VM.get_all", "[]"), "SESSION_INVALID", 15);
    clock_advance(23 * 3600 * USEC_PER_SEC);
    assert_call_starts(w, "VM.get_all", "[]", "[");
    clock_advance(2 * 3600 * USEC_PER_SEC);
    api_expire(w->api);
    assert_memory_equal(call_as(w, b, "VM.get_all", "[]"), "SESSION_INVALID", 15);
    assert_call_starts(w, "VM.get_all", "[]", "[");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    assert_int_equal(snap_count(s, CLASS_session), 1);
}

static void test_roles(void **state)
{
    struct world *w = *state;
    _cleanup_(rstr_unrefp) const char *reader = login(w, "read-only"),
                                      *op = login(w, "vm-operator"), *admin = login(w, "vm-admin");
    const char *denied = "RBAC_PERMISSION_DENIED vm.set_name_label ";
    assert_string_equal(call_as(w, reader, "VM.get_name_label", "[\"$\"]"), "\"first\"");
    assert_memory_equal(call_as(w, reader, "VM.set_name_label", "[\"$\",\"x\"]"), denied,
                        strlen(denied));
    assert_string_equal(call_as(w, admin, "VM.set_name_label", "[\"$\",\"x\"]"), "null");
    assert_memory_equal(call_as(w, op, "VM.add_to_HVM_boot_params", "[\"$\",\"folder\",\"x\"]"),
                        "RBAC_PERMISSION_DENIED", 22);
    assert_memory_equal(call_as(w, op, "network.add_to_other_config", "[\"x\",\"folder\",\"f\"]"),
                        "HANDLE_INVALID", 14);
    denied = "RBAC_PERMISSION_DENIED network.add_to_other_config ";
    assert_memory_equal(call_as(w, op, "network.add_to_other_config", "[\"x\",\"other\",\"f\"]"),
                        denied, strlen(denied));
    denied = "RBAC_PERMISSION_DENIED session.change_password ";
    _cleanup_(rstr_unrefp) const char *high = login(w, "pool-admin");
    assert_memory_equal(call_as(w, high, "session.change_password", "[\"a\",\"b\"]"), denied,
                        strlen(denied));
}

static void test_role_objects(void **state)
{
    struct world *w = *state;
    assert_call(w, "role.get_by_uuid", "[\"0165f154-ba3e-034e-6b27-5d271af109ba\"]",
                "\"OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba\"");
    assert_call(w, "role.get_by_name_label", "[\"pool-admin\"]",
                "[\"OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba\"]");
    assert_call(w, "role.get_record", "[\"x\"]", "HANDLE_INVALID role x");
    _cleanup_(val_unrefp) struct val *params = params_of(w, "[\"subroles<>[]\"]"), *roles = NULL;
    assert_null(api_call(w->api, w->root, "role.get_all_where", params, &roles));
    assert_int_equal(val_count(roles), ROLE_N);
}

/* ---- tasks and alerts ---- */

static void test_tasks(void **state)
{
    struct world *w = *state;
    _cleanup_(rstr_unrefp) const char *reader = login(w, "read-only");
    assert_call_starts(w, "task.create", "[\"label\",\"what for\"]", "\"OpaqueRef:");
    _cleanup_(val_unrefp) struct val *all = NULL;
    assert_null(api_call(w->api, w->root, "task.get_all", NULL, &all));
    _cleanup_(freep) char *self = mem_printf("[\"%s\"]", val_str_at(all, 0));
    _cleanup_(freep) char *half = mem_printf("[\"%s\",0.5]", val_str_at(all, 0));
    assert_call(w, "task.set_progress", half, "null");
    assert_call(w, "task.get_progress", self, "0.5");
    assert_memory_equal(call_as(w, reader, "task.set_progress", half),
                        "RBAC_PERMISSION_DENIED task.destroy/any", 39);
    assert_call(w, "task.get_status", self, "\"pending\"");
    assert_call_starts(w, "Async.secret.create", "[{\"value\":\"v\"}]", "\"OpaqueRef:");
    assert_call_starts(w, "secret.get_all", "[]", "[\"OpaqueRef:");
}

static void test_protected_keys(void **state)
{
    struct world *w = *state;
    _cleanup_(rstr_unrefp) const char *reader = login(w, "read-only"),
                                      *op = login(w, "vm-operator");
    _cleanup_(freep) char *task = mem_strdup(call_as(w, reader, "task.create", "[\"l\",\"d\"]"));
    _cleanup_(freep) char *free_key = mem_printf("[%s,{\"any\":\"x\"}]", task);
    _cleanup_(freep) char *own_key = mem_printf("[%s,{\"any\":\"x\",\"applies_to\":\"y\"}]", task);
    const char *denied = "RBAC_PERMISSION_DENIED task.set_other_config/key:applies_to ";
    assert_string_equal(call_as(w, reader, "task.set_other_config", free_key), "null");
    assert_memory_equal(call_as(w, reader, "task.set_other_config", own_key), denied,
                        strlen(denied));
    assert_call(w, "task.set_other_config", own_key, "null");
    assert_memory_equal(call_as(w, reader, "task.set_other_config", free_key), denied,
                        strlen(denied));
    assert_string_equal(call_as(w, reader, "task.set_other_config", own_key), "null");
    assert_memory_equal(call_as(w, op, "task.set_other_config", own_key),
                        "RBAC_PERMISSION_DENIED task.destroy/any", 39);
}

static void test_alerts(void **state)
{
    struct world *w = *state;
    assert_call(w, "message.create", "[\"ALARM\",1,\"VM\",\"no uuid\",\"body\"]",
                "UUID_INVALID VM no uuid");
    _cleanup_(snap_unrefp) struct snap *s = snap_get(w->db);
    _cleanup_(freep) char *params =
        mem_printf("[\"ALARM\",1,\"vm\",\"%s\",\"body\"]",
                   ((const struct rec_VM *)snap_row(s, CLASS_VM, w->vm))->uuid);
    assert_call_starts(w, "message.create", params, "\"OpaqueRef:");
    assert_non_null(strstr(call(w, "message.get_all_records", "[]"), "\"priority\":1"));
    assert_non_null(
        strstr(call(w, "event.from", "[[\"message\"],\"\",0]"), "\"class\":\"message\""));
    assert_null(strstr(call(w, "event.from", "[[\"vm\"],\"\",0]"), "\"message\":"));
}

/* ---- events ---- */

static char *token_of(const char *answer)
{
    const char *at = strstr(answer, "\"token\":\"");
    assert_non_null(at);
    return mem_strndup(at + 9, 41);
}

static void test_events(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *token = token_of(call(w, "event.from", "[[\"VM\"],\"\",0]"));
    const char *answer = call(w, "event.from", "[[\"*\"],\"\",0]");
    assert_non_null(strstr(answer, "\"operation\":\"add\""));
    assert_null(strstr(answer, "\"class\":\"session\""));
    assert_non_null(strstr(answer, "\"session\":1"));
    assert_call(w, "VM.set_name_label", "[\"$\",\"second\"]", "null");
    _cleanup_(freep) char *from = mem_printf("[[\"vm/%s\"],\"%s\",0]", w->vm, token);
    answer = call(w, "event.from", from);
    assert_non_null(strstr(answer, "\"operation\":\"mod\""));
    assert_non_null(strstr(answer, "\"name_label\":\"second\""));
    _cleanup_(freep) char *other = mem_printf("[[\"vm/x\",\"no_class\"],\"%s\",0]", token);
    assert_non_null(strstr(call(w, "event.from", other), "\"events\":[]"));
    assert_call(w, "event.from", "[[\"a/b/c\"],\"\",0]", "EVENT_SUBSCRIPTION_PARSE_FAILURE a/b/c");
    assert_call(w, "event.from", "[[],\"12\",0]", "EVENT_FROM_TOKEN_PARSE_FAILURE 12");
}

static void test_inject(void **state)
{
    struct world *w = *state;
    char token[64];
    assert_call_starts(w, "event.inject", "[\"vm\",\"$\"]", "HANDLE_INVALID vm ");
    assert_call(w, "event.inject", "[\"VM\",\"x\"]", "HANDLE_INVALID VM x");
    snprintf(token, sizeof(token), "%.41s", call(w, "event.inject", "[\"VM\",\"$\"]") + 1);
    _cleanup_(freep) char *from = mem_printf("[[\"vm\"],\"%s\",0]", token);
    assert_non_null(strstr(call(w, "event.from", from), "\"operation\":\"mod\""));
}

static void test_next(void **state)
{
    struct world *w = *state;
    assert_call_starts(w, "event.next", "[]", "SESSION_NOT_REGISTERED");
    assert_call(w, "event.register", "[[\"a/b/c\"]]", "EVENT_SUBSCRIPTION_PARSE_FAILURE a/b/c");
    assert_call(w, "event.register", "[[\"VM\"]]", "null");
    assert_call(w, "VM.set_name_label", "[\"$\",\"second\"]", "null");
    const char *answer = call(w, "event.next", "[]");
    assert_non_null(strstr(answer, "\"name_label\":\"second\""));
    assert_call(w, "event.unregister", "[[\"VM\"]]", "null");
    assert_call_starts(w, "event.next", "[]", "SESSION_NOT_REGISTERED");
}

/* ---- over a loop ---- */

struct answer {
    char *text; /* NULL: none yet */
    unsigned status;
};

static void take_answer(void *arg, unsigned status, const char *content_type, struct buf *body)
{
    struct answer *a = arg;
    assert_null(a->text);
    a->text = buf_take(body);
    a->status = status;
}

static struct api_rpc *post(struct world *w, const char *body, struct answer *a)
{
    struct api_request rq = {.loop = w->loop,
                             .format = RPC_JSON,
                             .peer = {.address = "192.0.2.1"},
                             .body = view_of(body)};
    return api_rpc(w->api, &rq, take_answer, a);
}

static void turn(struct world *w)
{
    while (loop_step(w->loop))
        ;
}

static struct api_rpc *post_from(struct world *w, const char *session, struct answer *a)
{
    _cleanup_(freep) char *now = token_of(call(w, "event.from", "[[\"VM\"],\"\",0]"));
    _cleanup_(freep) char *body = mem_printf(
        "{\"jsonrpc\":\"2.0\",\"id\":\"i\",\"method\":\"event.from\",\"params\":[\"%s\",[\"vm\"],"
        "\"%s\",30.5]}",
        session, now);
    return post(w, body, a);
}

static void test_long_poll(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    assert_non_null(post_from(w, w->root, &a));
    turn(w);
    assert_null(a.text);
    assert_call(w, "VM.set_name_label", "[\"$\",\"polled\"]", "null");
    turn(w);
    assert_non_null(a.text);
    assert_non_null(strstr(a.text, "\"name_label\":\"polled\""));
    assert_non_null(strstr(a.text, "\"id\":\"i\""));
    free(a.text);
}

/* What many are told of a change is encoded once, and is what a caller in process is told. */
static void test_many_poll(void **state)
{
    enum { N = 1000 };
    static struct answer answers[N];
    struct world *w = *state;
    _cleanup_(freep) char *token = token_of(call(w, "event.from", "[[\"VM\"],\"\",0]"));
    for (size_t i = 0; i < N; i++) {
        answers[i] = (struct answer){0};
        assert_non_null(post_from(w, w->root, &answers[i]));
    }
    assert_call(w, "VM.set_name_label", "[\"$\",\"polled\"]", "null");
    turn(w);
    _cleanup_(freep) char *from = mem_printf("[[\"vm\"],\"%s\",0]", token);
    const char *value = call(w, "event.from", from);
    assert_non_null(strstr(value, "\"name_label\":\"polled\""));
    for (size_t i = 0; i < N; i++) {
        assert_non_null(answers[i].text);
        assert_non_null(strstr(answers[i].text, value));
        free(answers[i].text);
    }
    _cleanup_(buf_done) struct buf dump;
    buf_init(&dump, 1 << 16);
    api_dump(w->api, &dump);
    assert_non_null(strstr(buf_str(&dump), "batches encoded 1, given again 999"));
}

static void test_long_poll_ends(void **state)
{
    struct world *w = *state;
    struct answer late = {0}, gone = {0}, ended = {0};
    _cleanup_(rstr_unrefp) const char *other = login(w, "root");
    assert_non_null(post_from(w, w->root, &late));
    api_rpc_drop(post_from(w, w->root, &gone));
    assert_non_null(post_from(w, other, &ended));
    assert_string_equal(call_as(w, other, "session.logout", "[]"), "null");
    turn(w);
    assert_null(late.text);
    assert_non_null(strstr(ended.text, "SESSION_INVALID"));
    clock_advance(31 * USEC_PER_SEC);
    watch_run_due(w->db);
    turn(w);
    assert_non_null(strstr(late.text, "\"events\":[]"));
    assert_null(gone.text);
    free(late.text);
    free(ended.text);
}

/* What is kept encoded is what a value would have been, also after a change. */
/* In process records may come as rows; what is no record does not. */
static void test_records_as_rows(void **state)
{
    struct world *w = *state;
    _cleanup_(val_unrefp) struct val *where = val_set(), *all = NULL;
    _cleanup_(api_rows_done) struct api_rows rows = {0};
    val_add_str(where, "field \"is_a_template\" = \"false\"");
    assert_null(api_call(w->api, w->root, "VM.get_all_records_where", where, &all));
    assert_null(api_call_rows(w->api, w->root, "VM.get_all_records_where", where, &rows));
    assert_true(rows.n > 0);
    assert_int_equal(rows.n, val_count(all));
    for (size_t i = 0; i < rows.n; i++) {
        _cleanup_(val_unrefp) struct val *record = row_record(rows.v[i]);
        assert_true(val_equal(record, val_map_get(all, rows.v[i]->ref)));
    }
    struct api_rows none = {0};
    _cleanup_(err_freep) struct err *e = api_call_rows(w->api, w->root, "VM.get_all", NULL, &none);
    assert_true(err_is(e, "INTERNAL_ERROR"));
    _cleanup_(err_freep) struct err *stranger =
        api_call_rows(w->api, "OpaqueRef:none", "VM.get_all_records", NULL, &none);
    assert_true(err_is(stranger, "SESSION_INVALID"));
}

static void test_encoded_records(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *body = mem_printf(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"VM.get_all_records\",\"params\":[\"%s\"]}",
        w->root);
    for (int i = 0; i < 4; i++) {
        struct answer a = {0};
        assert_null(post(w, body, &a));
        _cleanup_(freep) char *wanted =
            mem_printf("\"result\":%s,\"id\":1", call(w, "VM.get_all_records", "[]"));
        assert_non_null(strstr(a.text, wanted));
        free(a.text);
        if (i == 1)
            assert_call(w, "VM.set_name_label", "[\"$\",\"changed\"]", "null");
    }
}

static void test_kept_encodings(void **state)
{
    struct encodings *t = encodings_new(3000);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 50; i++) {
            struct row *r = row_new(desc_classes[CLASS_VM_group], rstr_printf("OpaqueRef:%d", i));
            rstr_set(&((struct rec_VM_group *)r)->name_label, i % 2 ? "odd" : "even");
            for (int again = 0; again < 2; again++) {
                _cleanup_(buf_done) struct buf b;
                buf_init(&b, 1 << 16);
                struct rpc_out o = {.b = &b, .format = again ? RPC_JSON : RPC_XML};
                encodings_put(t, &o, r);
                encodings_put(t, &o, r);
                assert_non_null(strstr(buf_str(&b), i % 2 ? "odd" : "even"));
                assert_null(strstr(buf_str(&b), i % 2 ? "even" : "odd"));
            }
            row_unref(r);
        }
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 10);
    encodings_dump(t, &b);
    assert_non_null(strstr(buf_str(&b), "hits 200, misses 200"));
    encodings_free(t);
}

static void test_unreadable_bodies(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    assert_null(post(w, "{", &a));
    assert_int_equal(a.status, 500);
    free(a.text);
}

/* ---- checks of passwords at once ---- */

static atomic_int inside, most, ended, patience_ms;

/* Stays until somebody else is in, too, but not for ever. */
static void stay(void)
{
    int n = ++inside;
    if (n > most)
        most = n;
    for (int i = 0; i < patience_ms && most < 2; i++)
        usleep(1000);
    inside--;
}

static void count_end(void *arg, struct err *e, const struct auth_facts *facts)
{
    err_free(e);
    ended++;
}

static int checked_at_once(struct world *w, int ms)
{
    static const char *const users[] = {"a", "b", "c", "d"};
    inside = most = ended = 0;
    patience_ms = ms;
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        auth_check_async(w->auth, users[i], "wrong", count_end, NULL);
    while (ended < (int)ARRAY_LEN(users))
        usleep(1000);
    return most;
}

static struct err *add_pool(struct txn *t, void *arg)
{
    txn_add(t, CLASS_pool, "OpaqueRef:pool", NULL);
    return NULL;
}

static void test_so_many_passwords_are_checked_at_once(void **state)
{
    struct world *w = *state;
    assert_null(db_write(w->db, "pool", add_pool, NULL));
    dwell = stay;
    assert_string_equal(call(w, "pool.set_local_auth_max_threads", "[\"OpaqueRef:pool\", 1]"),
                        "null");
    assert_int_equal(checked_at_once(w, 50), 1);
    assert_string_equal(call(w, "pool.set_local_auth_max_threads", "[\"OpaqueRef:pool\", 8]"),
                        "null");
    assert_int_equal(checked_at_once(w, 10000), 2);
    dwell = NULL;
    assert_memory_equal(call(w, "pool.set_local_auth_max_threads", "[\"OpaqueRef:pool\", 9]"),
                        "VALUE_NOT_SUPPORTED local_auth_max_threads 9", 44);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_order_of_checks),
        TEST(test_types),
        TEST(test_maps_and_sets),
        TEST(test_create_and_destroy),
        TEST(test_passwords),
        TEST(test_so_many_passwords_are_checked_at_once),
        TEST(test_sessions_end),
        TEST(test_roles),
        TEST(test_role_objects),
        TEST(test_tasks),
        TEST(test_protected_keys),
        TEST(test_alerts),
        TEST(test_events),
        TEST(test_inject),
        TEST(test_next),
        TEST(test_long_poll),
        TEST(test_many_poll),
        TEST(test_long_poll_ends),
        TEST(test_records_as_rows),
        TEST(test_encoded_records),
        cmocka_unit_test(test_kept_encodings),
        TEST(test_unreadable_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
