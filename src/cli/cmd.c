/* cmd.c: calling and printing for commands; see cmd.h. */
#include "cli/cmd.h"

#include <stdarg.h>
#include <string.h>

#include "base/rstr.h"
#include "cli/progress.h"
#include "state/desc.h"

/* ---- calling ---- */

bool cmd_is_null(const char *ref)
{
    return !*ref || strcmp(ref, CMD_NULL) == 0;
}

static struct val *argument(char type, va_list *ap)
{
    switch (type) {
    case 'i':
        return val_int(va_arg(*ap, int64_t));
    case 'b':
        return val_bool(va_arg(*ap, int) != 0);
    case 'f':
        return val_float(va_arg(*ap, double));
    case 'v':
        return val_ref(va_arg(*ap, const struct val *));
    default:
        return val_str(va_arg(*ap, const char *));
    }
}

struct err *cmd_call(struct cmd *c, struct val **ret, const char *message, const char *types, ...)
{
    _cleanup_(val_unrefp) struct val *params = val_set();
    va_list ap;
    va_start(ap, types);
    for (const char *t = types; *t; t++)
        val_add(params, argument(*t, &ap));
    va_end(ap);
    return cmd_call_v(c, ret, message, params);
}

/* Answered from memory at once. */
static bool is_quick(const char *message)
{
    const struct msg_desc *m = desc_msg(message);
    return m && (m->kind == MSG_GETTER || m->kind >= MSG_GET_BY_UUID);
}

struct err *cmd_call_v(struct cmd *c, struct val **ret, const char *message,
                       const struct val *params)
{
    _cleanup_(val_unrefp) struct val *result = NULL;
    if (!is_quick(message))
        talk_flush(c->talk);
    if (c->progress && progress_is_for(message))
        return progress_call(c, ret, message, params);
    TRY(c->backend->call(c->backend->arg, c->session, message, params, &result));
    if (ret)
        *ret = result ? steal(&result) : val_ref(val_void());
    return NULL;
}

struct err *cmd_call_str(struct cmd *c, char **ret, const char *message, const char *ref)
{
    _cleanup_(val_unrefp) struct val *result = NULL;
    TRY(cmd_call(c, &result, message, "s", ref));
    if (val_kind(result) != VAL_STRING)
        return err_internal("'%s' gave no string", message);
    *ret = mem_strdup(val_get_str(result));
    return NULL;
}

struct err *cmd_by_uuid(struct cmd *c, const char *cls, const char *uuid, char **ret)
{
    _cleanup_(freep) char *message = mem_printf("%s.get_by_uuid", cls);
    return cmd_call_str(c, ret, message, uuid);
}

struct err *cmd_need_ref(struct cmd *c, const char *cls, const char *param, char **ret)
{
    const char *uuid;
    TRY(args_need(&c->args, param, &uuid));
    return cmd_by_uuid(c, cls, uuid, ret);
}

struct err *cmd_optional_ref(struct cmd *c, const char *cls, const char *param, char **ret)
{
    if (args_get(&c->args, param))
        return cmd_need_ref(c, cls, param, ret);
    *ret = mem_strdup(CMD_NULL);
    return NULL;
}

struct err *cmd_refs(struct cmd *c, const char *cls, const char *uuids, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *refs = val_set();
    struct view rest = view_of(uuids), item;
    while (rest.size) {
        view_split(&rest, ',', &item);
        _cleanup_(freep) char *uuid = view_dup(view_trim(item)), *ref = NULL;
        TRY(cmd_by_uuid(c, cls, uuid, &ref));
        val_add_str(refs, ref);
    }
    *ret = steal(&refs);
    return NULL;
}

struct val *cmd_strings(const char *list)
{
    struct val *set = val_set();
    struct view rest = view_of(list), item;
    while (rest.size) {
        view_split(&rest, ',', &item);
        val_add(set, val_str_n(item.p, item.size));
    }
    return set;
}

struct err *cmd_host(struct cmd *c, const char *param, char **ret)
{
    if (args_get(&c->args, param))
        return cmd_need_ref(c, "host", param, ret);
    return cmd_this_host(c, ret);
}

struct err *cmd_record(struct cmd *c, const char *cls, const char *ref, const struct val **ret)
{
    if (!c->records)
        c->records = val_map();
    const struct val *known = val_map_get(c->records, ref);
    if (!known) {
        _cleanup_(freep) char *message = mem_printf("%s.get_record", cls);
        _cleanup_(val_unrefp) struct val *record = NULL;
        struct err *e = cmd_call(c, &record, message, "s", ref);
        if (err_is(e, "HANDLE_INVALID"))
            err_freep(&e);
        TRY(e);
        val_put(c->records, ref, record ? steal(&record) : val_ref(val_void()));
        known = val_map_get(c->records, ref);
    }
    *ret = val_kind(known) == VAL_MAP ? known : NULL;
    return NULL;
}

void cmd_forget(struct cmd *c)
{
    val_unrefp(&c->records);
}

struct err *cmd_uuid_of(struct cmd *c, const char *cls, const char *ref, char **ret)
{
    const struct val *record;
    TRY(cmd_record(c, cls, ref, &record));
    *ret = mem_strdup(record ? val_map_str(record, "uuid", "") : "");
    return NULL;
}

struct err *cmd_pool(struct cmd *c, char **ret)
{
    _cleanup_(val_unrefp) struct val *all = NULL;
    TRY(cmd_call(c, &all, "pool.get_all", ""));
    if (!val_count(all))
        return cli_fail("This host belongs to no pool yet");
    *ret = mem_strdup(val_str_at(all, 0));
    return NULL;
}

struct err *cmd_this_host(struct cmd *c, char **ret)
{
    return cmd_call_str(c, ret, "session.get_this_host", c->session);
}

/* ---- the tables ---- */

const struct xe_command *cmd_find(const char *name)
{
    for (unsigned i = 0; i < xe_n_commands; i++)
        if (strcmp(xe_commands[i].name, name) == 0)
            return &xe_commands[i];
    return NULL;
}

bool cmd_is_served(const struct cmd *c, const struct cmd_impl *impl)
{
    return !impl->handler || !c->backend->serves || c->backend->serves(impl->handler);
}

/* ---- output ---- */

char *cmd_escape(const char *text)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, THIN_MAX_BODY);
    for (const char *p = text; *p; p++) {
        if (*p == ',' || *p == '\\')
            buf_putc(&b, '\\');
        buf_putc(&b, *p);
    }
    return mem_strdup(buf_str(&b));
}

void cmd_print(struct cmd *c, const char *text)
{
    if (!c->minimal)
        talk_print(c->talk, text);
    else
        vec_push(&c->collected, cmd_escape(text));
}

struct err *cmd_print_uuid(struct cmd *c, const char *cls, const char *ref)
{
    _cleanup_(freep) char *message = mem_printf("%s.get_uuid", cls), *uuid = NULL;
    TRY(cmd_call_str(c, &uuid, message, ref));
    cmd_print(c, uuid);
    return NULL;
}

static char *formatted(const char *fmt, va_list ap)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, THIN_MAX_BODY - 64);
    buf_vprintf(&b, fmt, ap);
    return mem_strdup(buf_str(&b));
}

void cmd_say(struct cmd *c, const char *fmt, ...)
{
    va_list ap;
    if (c->minimal)
        return;
    va_start(ap, fmt);
    _cleanup_(freep) char *text = formatted(fmt, ap);
    va_end(ap);
    talk_print(c->talk, text);
}

void cmd_warn(struct cmd *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    _cleanup_(freep) char *text = formatted(fmt, ap);
    va_end(ap);
    _cleanup_(freep) char *line = mem_printf("%s\n", text);
    talk_stderr(c->talk, line);
}

/* The first label stands left, the others right, four beyond the longest; an empty line ends the
 * record and the client's newline makes it two. */
void cmd_print_record(struct cmd *c, const struct val *record)
{
    if (c->minimal) {
        if (val_count(record))
            cmd_print(c, val_str_at(record, 0));
        return;
    }
    size_t width = 0;
    for (size_t i = 0; i < val_count(record); i++) {
        size_t size = strlen(val_key_at(record, i)) + 4;
        width = size > width ? size : width;
    }
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, THIN_MAX_BODY - 64);
    for (size_t i = 0; i < val_count(record); i++) {
        buf_printf(&b, i ? "%*s: " : "%-*s: ", (int)width, val_key_at(record, i));
        buf_puts(&b, val_str_at(record, i));
        buf_putc(&b, '\n');
    }
    buf_putc(&b, '\n');
    talk_print(c->talk, buf_str(&b));
}

void cmd_flush(struct cmd *c)
{
    if (!c->minimal)
        return;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, THIN_MAX_BODY - 64);
    for (size_t i = 0; i < c->collected.n; i++) {
        buf_puts(&b, i ? "," : "");
        buf_puts(&b, c->collected.v[i]);
    }
    talk_print(c->talk, buf_str(&b));
}

struct err *cmd_confirm(struct cmd *c)
{
    _cleanup_(buf_done) struct buf answer;
    buf_init(&answer, 1);
    if (c->force)
        return NULL;
    talk_print(c->talk, "Type 'yes' to continue");
    TRY(talk_prompt(c->talk, &answer));
    if (view_ieq(view_trim((struct view){buf_str(&answer), answer.size}), "yes"))
        return NULL;
    if (!answer.size)
        return cli_fail("Nothing was typed; force=true answers yes");
    cmd_say(c, "Aborted (you typed: '%s')", buf_str(&answer));
    return cli_exit();
}
