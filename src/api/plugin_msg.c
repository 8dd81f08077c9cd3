/*
 * plugin_msg.c: programs of the host as functions: host.call_plugin, VM.call_host_plugin,
 * host.call_extension.
 *
 * A plugin gets an XML-RPC methodCall fn(session, args) as its argument and answers with text; an
 * extension gets the call of its own name on stdin and answers with any value. Both print a
 * methodResponse with the usual envelope. Operation threads.
 */
#include "base/str.h"
#include "codec/rpc.h"
#include "codec/xml.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "host/host.h"
#include "task/op.h"

#define CALL_MAX   (96u << 10) /* one argument of a program */
#define PARAMS_MAX 16

typedef struct err *(*failed_fn)(const char *what, const struct plugin_run *run);

static struct err *plugin_failed(const char *what, const struct plugin_run *run)
{
    return err_XENAPI_PLUGIN_FAILURE(what, run->out, run->err);
}

static struct err *extension_failed(const char *what, const struct plugin_run *run)
{
    _cleanup_(freep) char *text = mem_printf("%s: %.1000s%.1000s", what, run->out, run->err);
    return err_EXTENSION_PROTOCOL_FAILURE(text);
}

/* What the plugin says went wrong: a code and its parameters. */
static struct err *take_failure(const struct val *description, const struct plugin_run *run,
                                failed_fn failed)
{
    const char *params[PARAMS_MAX];
    size_t n = description && val_kind(description) == VAL_SET ? val_count(description) : 0;
    if (!n || n > PARAMS_MAX)
        return failed("a failure without a description", run);
    for (size_t i = 0; i < n; i++) {
        if (val_kind(val_at(description, i)) != VAL_STRING)
            return failed("a failure that is no text", run);
        params[i] = val_str_at(description, i);
    }
    return err_make_v(params[0], __FILE__, __LINE__, (unsigned)n - 1, params + 1);
}

static struct err *take_answer(const struct plugin_run *run, failed_fn failed, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (run->status != 0) {
        _cleanup_(freep) char *status = mem_printf("%d", run->status);
        return failed(status, run);
    }
    if (xml_parse_response(view_of(run->out), &answer) < 0 || val_kind(answer) != VAL_MAP)
        return failed("no answer of a call", run);
    const struct val *status = val_map_get(answer, "Status"), *value = val_map_get(answer, "Value");
    bool good = status && val_kind(status) == VAL_STRING && str_eq(val_get_str(status), "Success");
    if (!good)
        return take_failure(val_map_get(answer, "ErrorDescription"), run, failed);
    if (!value)
        return failed("an answer without a value", run);
    *ret = val_ref(value);
    return NULL;
}

static struct err *make_call(const struct op *op, const char *fn, const struct val *args,
                             struct buf *ret)
{
    _cleanup_(val_unrefp) struct val *params = val_set();
    val_add_str(params, op->caller.session);
    val_add(params, val_ref(args));
    rpc_put_call(ret, fn, params);
    return buf_ok(ret) ? NULL : err_INVALID_VALUE("args", "more than a plugin can be given");
}

static struct err *run_plugin(struct op *op, const char *plugin, const char *fn,
                              const struct val *args, struct val **ret)
{
    _cleanup_(buf_done) struct buf call;
    buf_init(&call, CALL_MAX);
    TRY(make_call(op, fn, args, &call));
    _cleanup_(plugin_run_done) struct plugin_run run = {0};
    TRY(host_run_plugin(op->host, plugin, buf_str(&call), &run));
    _cleanup_(val_unrefp) struct val *value = NULL;
    TRY(take_answer(&run, plugin_failed, &value));
    if (val_kind(value) != VAL_STRING)
        return plugin_failed("a value that is no text", &run);
    *ret = steal(&value);
    return NULL;
}

struct err *msg_host_call_plugin(struct op *op, const struct args_host_call_plugin *a,
                                 struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return run_plugin(op, a->plugin, a->fn, a->args, ret);
}

/* Who looks after VMs may not do with the host as he likes: only programs named vm-… are for him.
 */
struct err *msg_VM_call_host_plugin(struct op *op, const struct args_VM_call_host_plugin *a,
                                    struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm = snap_VM(s, a->vm);
    bool admin = op->caller.superuser || (op->caller.roles & 1u << ROLE_POOL_ADMIN);
    if (!vm)
        return err_HANDLE_INVALID("VM", a->vm);
    if (ref_is_null(vm->resident_on))
        return err_VM_BAD_POWER_STATE(a->vm, "running, paused", "halted");
    TRY(need_own_host(op, vm->resident_on));
    if (!admin && !view_starts(view_of(a->plugin), "vm-"))
        return err_XENAPI_MISSING_PLUGIN(a->plugin);
    return run_plugin(op, a->plugin, a->fn, a->args, ret);
}

/* ---- extensions ---- */

struct err *msg_host_has_extension(struct op *op, const struct args_host_has_extension *a,
                                   struct val **ret)
{
    TRY(need_own_host(op, a->host));
    *ret = val_bool(host_has_extension(op->host, a->name));
    return NULL;
}

/* The pool has what each of its hosts has. */
struct err *msg_pool_has_extension(struct op *op, const struct args_pool_has_extension *a,
                                   struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!snap_pool(s, a->self))
        return err_HANDLE_INVALID("pool", a->self);
    *ret = val_bool(host_has_extension(op->host, a->name));
    return NULL;
}

/* `call` is the text of a methodCall, which names the extension. */
struct err *msg_host_call_extension(struct op *op, const struct args_host_call_extension *a,
                                    struct val **ret)
{
    _cleanup_(freep) char *name = NULL;
    _cleanup_(val_unrefp) struct val *params = NULL;
    TRY(need_own_host(op, a->host));
    if (xml_parse_call(view_of(a->call), &name, &params) < 0)
        return err_INVALID_VALUE("call", "it is no XML-RPC methodCall");
    _cleanup_(plugin_run_done) struct plugin_run run = {0};
    TRY(host_run_extension(op->host, name, a->call, &run));
    return take_answer(&run, extension_failed, ret);
}
