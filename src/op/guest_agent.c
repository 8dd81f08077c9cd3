/*
 * guest_agent.c: what is asked of the agents inside guests: VM.call_plugin, and the pool's settings
 * for agents. Operation threads.
 *
 * The agent is QEMU's: it runs a program in the guest and tells later how that went, and writes
 * files. Whoever may command it is root in the guest, so scripts need the pool's permission and a
 * role beyond that of the message.
 */
#define LOG_MODULE "op"
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "gen/msg.h"
#include "op/world.h"

#define PLUGIN      "guest-agent-operation"
#define PERMISSION  "allow_guest_agent_run_script" /* in pool.other_config */
#define SCRIPT_MAX  1024
#define OUTPUT_MAX  1024 /* of what is answered */
#define TRUNCATED   " (truncated)"
#define LINE_MAX    (256u << 10)
#define ASK_TIME    (15 * USEC_PER_SEC)
#define SCRIPT_TIME (600 * USEC_PER_SEC)
#define LOOK_EVERY  (200 * USEC_PER_MSEC)
#define CONFIG_FILE "/run/cairn-guest-agent.json"

/* One request; `args` is taken over. */
static struct err *ask(struct op *op, const char *vm_uuid, const char *command, struct val *args,
                       struct val **ret)
{
    _cleanup_(val_unrefp) struct val *own = args;
    struct verb v = op_verb(op, ASK_TIME);
    v.id.op = "";
    return host_vm_ask_agent(op->host, &v, vm_uuid, command, own, ret);
}

/* ---- scripts ---- */

static struct err *failed(const char *why)
{
    return err_XENAPI_PLUGIN_FAILURE("failed to execute fn", why, why);
}

static struct err *may_run_scripts(struct op *op, const struct snap *s)
{
    const struct rec_pool *pool = snap_pool(s, ops_of(op)->pool_ref);
    bool power = op->caller.superuser || (op->caller.roles & 1u << ROLE_VM_POWER_ADMIN);
    if (!pool || !str_eq(val_map_str(pool->other_config, PERMISSION, ""), "true"))
        return err_FEATURE_RESTRICTED();
    if (!power)
        return err_RBAC_PERMISSION_DENIED("VM.call_plugin",
                                          "scripts are for the role vm-power-admin and above");
    return NULL;
}

static struct err *check_script(const struct val *args)
{
    static const char *const needed[] = {"username", "password", "script"};
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        _cleanup_(freep) char *text = mem_printf("the argument '%s' is required", needed[i]);
        if (!val_map_get(args, needed[i]))
            return err_XENAPI_PLUGIN_FAILURE("missing argument", "", text);
    }
    if (strlen(val_map_str(args, "script", "")) > SCRIPT_MAX)
        return err_XENAPI_PLUGIN_FAILURE("length restriction", "",
                                         "the script has more than 1024 bytes");
    return NULL;
}

static bool is_windows(const struct snap *s, const struct rec_VM *vm)
{
    const struct rec_VM_guest_metrics *m = snap_VM_guest_metrics(s, vm->guest_metrics);
    return m && str_eq(val_map_str(m->os_version, "distro", ""), "mswindows");
}

static struct val *exec_args(bool windows, const char *script)
{
    struct val *args = val_map(), *words = val_set();
    val_add_str(words, windows ? "/c" : "-c");
    val_add_str(words, script);
    val_put_str(args, "path", windows ? "cmd.exe" : "/bin/sh");
    val_put(args, "arg", words);
    val_put_bool(args, "capture-output", true);
    return args;
}

static bool flag(const struct val *map, const char *key)
{
    const struct val *v = val_kind(map) == VAL_MAP ? val_map_get(map, key) : NULL;
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

static int64_t number(const struct val *map, const char *key, int64_t otherwise)
{
    const struct val *v = val_kind(map) == VAL_MAP ? val_map_get(map, key) : NULL;
    return v && val_kind(v) == VAL_INT ? val_get_int(v) : otherwise;
}

/* Puts what the program has written, as text: bytes that are none become question marks. */
static void put_output(struct val *to, const char *to_key, const struct val *status,
                       const char *key)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, LINE_MAX);
    if (base64_get(view_of(val_map_str(status, key, "")), &b) < 0)
        buf_clear(&b);
    bool cut = b.size >= OUTPUT_MAX;
    if (cut)
        b.size = OUTPUT_MAX - strlen(TRUNCATED);
    bool text = str_is_utf8((struct view){b.data, b.size});
    for (size_t i = 0; i < b.size; i++)
        if (!b.data[i] || (!text && (unsigned char)b.data[i] >= 0x80))
            b.data[i] = '?';
    if (cut)
        buf_puts(&b, TRUNCATED);
    val_put_str(to, to_key, buf_str(&b));
}

static struct val *script_result(const struct val *status)
{
    _cleanup_(val_unrefp) struct val *result = val_map();
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, LINE_MAX);
    val_put_int(result, "rc", number(status, "exitcode", 128 + number(status, "signal", 0)));
    put_output(result, "stdout", status, "out-data");
    put_output(result, "stderr", status, "err-data");
    json_put_val(&text, result);
    return val_str(buf_str(&text));
}

static struct err *await_end(struct op *op, const char *vm_uuid, int64_t pid, struct val **ret)
{
    usec_t end = clock_now() + SCRIPT_TIME;
    for (;;) {
        _cleanup_(val_unrefp) struct val *status = NULL;
        struct val *args = val_map();
        val_put_int(args, "pid", pid);
        TRY(ask(op, vm_uuid, "guest-exec-status", args, &status));
        if (flag(status, "exited")) {
            *ret = script_result(status);
            return NULL;
        }
        if (clock_now() >= end)
            return err_internal("the script has not ended after ten minutes; it runs on");
        TRY(op_sleep(op, LOOK_EVERY));
    }
}

static struct err *run_in_guest(struct op *op, const char *vm_uuid, struct val *args,
                                struct val **ret)
{
    _cleanup_(val_unrefp) struct val *started = NULL;
    TRY(ask(op, vm_uuid, "guest-exec", args, &started));
    int64_t pid = number(started, "pid", -1);
    if (pid < 0)
        return err_internal("the guest agent told no process");
    TRY(op_allow_cancel(op)); /* of waiting; the program runs on */
    return await_end(op, vm_uuid, pid, ret);
}

static struct err *run_script(struct op *op, const struct snap *s, const struct rec_VM *vm,
                              const struct val *args, struct val **ret)
{
    TRY(may_run_scripts(op, s));
    TRY(check_script(args));
    struct val *what = exec_args(is_windows(s, vm), val_map_str(args, "script", ""));
    _cleanup_(err_freep) struct err *e = run_in_guest(op, vm->uuid, what, ret);
    if (!e || err_is(e, "TASK_CANCELLED"))
        return steal(&e);
    return failed(err_n_params(e) ? err_param(e, 0) : err_code(e));
}

struct err *msg_VM_call_plugin(struct op *op, const struct args_VM_call_plugin *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, a->vm, &vm));
    if (!str_eq(a->plugin, PLUGIN))
        return err_XENAPI_MISSING_PLUGIN(a->plugin);
    if (str_eq(a->fn, "run-script"))
        return run_script(op, s, vm, a->args, ret);
    if (str_eq(a->fn, "request-rdp-on") || str_eq(a->fn, "request-rdp-off"))
        return failed("agents of guests here do not switch remote desktops");
    _cleanup_(freep) char *why = mem_printf("'" PLUGIN "' has no function '%.200s'", a->fn);
    return err_XENAPI_PLUGIN_FAILURE("failed to find fn", why, why);
}

/* ---- settings of the pool for agents ---- */

static struct err *write_file(struct op *op, const char *vm_uuid, const char *base64)
{
    _cleanup_(val_unrefp) struct val *handle = NULL, *written = NULL, *closed = NULL;
    struct val *open = val_map();
    val_put_str(open, "path", CONFIG_FILE);
    val_put_str(open, "mode", "w");
    TRY(ask(op, vm_uuid, "guest-file-open", open, &handle));
    if (val_kind(handle) != VAL_INT)
        return err_internal("the guest agent told no handle");
    struct val *write = val_map(), *close = val_map();
    val_put_int(write, "handle", val_get_int(handle));
    val_put_str(write, "buf-b64", base64);
    val_put_int(close, "handle", val_get_int(handle));
    struct err *e = ask(op, vm_uuid, "guest-file-write", write, &written);
    return err_first(e, ask(op, vm_uuid, "guest-file-close", close, &closed));
}

/* A guest whose agent takes no files is told of in the log alone. */
static void tell_guest(struct op *op, const struct rec_VM *vm, const char *base64)
{
    struct guest_info info;
    _cleanup_(err_freep) struct err *e = host_vm_query(op->host, vm->uuid, &info);
    if (!e && (info.state != GUEST_RUNNING || !info.agent))
        return;
    if (!e)
        e = write_file(op, vm->uuid, base64);
    if (!e)
        return;
    _cleanup_(freep) char *why = err_text(e);
    log_warn("event=agent-not-told vm=%s error='%s'", vm->uuid, why);
}

static struct err *tell_guests(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_pool *pool = snap_pool(s, ops_of(op)->pool_ref);
    _cleanup_(buf_done) struct buf text;
    _cleanup_(buf_done) struct buf base64;
    buf_init(&text, LINE_MAX);
    buf_init(&base64, LINE_MAX);
    json_put_val(&text, pool ? pool->guest_agent_config : val_empty_map());
    buf_putc(&text, '\n');
    base64_put(&base64, (struct view){text.data, text.size});
    if (!buf_ok(&base64))
        return err_internal("the settings of the pool for agents are too large");
    snap_each (row, s, CLASS_VM) {
        const struct rec_VM *vm = rec_VM(row);
        TRY(op_check(op));
        if (vm->power_state == VM_POWER_STATE_RUNNING && !vm->is_control_domain &&
            str_eq(vm->resident_on, ops_of(op)->host_ref))
            tell_guest(op, vm, buf_str(&base64));
    }
    return NULL;
}

struct err *msg_host_apply_guest_agent_config(struct op *op,
                                              const struct args_host_apply_guest_agent_config *a,
                                              struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return tell_guests(op);
}

static struct err *edit_pool(struct txn *t, const char *ref, struct rec_pool **ret)
{
    *ret = txn_edit_pool(t, ref);
    return *ret ? NULL : err_HANDLE_INVALID("pool", ref);
}

static struct err *add_agent_key(struct txn *t, void *arg)
{
    const struct args_pool_add_to_guest_agent_config *a = arg;
    struct rec_pool *pool;
    TRY(edit_pool(t, a->self, &pool));
    if (val_map_get(pool->guest_agent_config, a->key))
        return err_MAP_DUPLICATE_KEY("pool", "guest_agent_config", a->self, a->key);
    val_assign(&pool->guest_agent_config, val_with(pool->guest_agent_config, a->key, a->value));
    return NULL;
}

struct err *msg_pool_add_to_guest_agent_config(struct op *op,
                                               const struct args_pool_add_to_guest_agent_config *a,
                                               struct val **ret)
{
    TRY(op_write(op, "guest_agent_config", add_agent_key, (void *)a));
    return tell_guests(op);
}

static struct err *remove_agent_key(struct txn *t, void *arg)
{
    const struct args_pool_remove_from_guest_agent_config *a = arg;
    struct rec_pool *pool;
    TRY(edit_pool(t, a->self, &pool));
    val_assign(&pool->guest_agent_config, val_without(pool->guest_agent_config, a->key));
    return NULL;
}

struct err *msg_pool_remove_from_guest_agent_config(
    struct op *op, const struct args_pool_remove_from_guest_agent_config *a, struct val **ret)
{
    TRY(op_write(op, "guest_agent_config", remove_agent_key, (void *)a));
    return tell_guests(op);
}
