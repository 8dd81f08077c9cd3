/* cmd_limit.c: who calls how often, and how often one may. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/column.h"

static struct err *put_result(struct cmd *c, struct val *out, const char *label,
                              const char *message, const char *of)
{
    static const struct xe_column how = {.name = "", .separator = "; ", .format = XE_F3};
    _cleanup_(val_unrefp) struct val *v = NULL, *shown = NULL;
    TRY(cmd_call(c, &v, message, "s", of));
    TRY(column_show(c, &how, v, NULL, &shown));
    _cleanup_(freep) char *text = column_text(&how, shown);
    val_put_str(out, label, text);
    return NULL;
}

/* What one caller (uuid=) or all of a group= have used. */
static struct err *caller_query_usage(struct cmd *c)
{
    const char *group = args_get(&c->args, "group");
    _cleanup_(val_unrefp) struct val *out = val_map();
    _cleanup_(freep) char *caller = NULL;
    if (!group && !args_get(&c->args, "uuid"))
        return cli_missing("uuid or group");
    if (group) {
        TRY(put_result(c, out, "token-usage", "Caller.query_group_token_usage", group));
        TRY(put_result(c, out, "call-count", "Caller.query_group_call_count", group));
    } else {
        TRY(cmd_need_ref(c, "Caller", "uuid", &caller));
        TRY(put_result(c, out, "token-usage", "Caller.query_token_usage", caller));
        TRY(put_result(c, out, "call-count", "Caller.query_call_count", caller));
    }
    cmd_print_record(c, out);
    return NULL;
}

static struct err *put_number(struct cmd *c, struct val *record, const char *field,
                              const char *param)
{
    const char *text;
    double d;
    TRY(args_need(&c->args, param, &text));
    if (str_double(view_of(text), &d) < 0)
        return cli_fail("Parameter %s must be a floating-point number", param);
    val_put(record, field, val_float(d));
    return NULL;
}

/* A limit, with the callers of caller-uuids= under it from the start. */
static struct err *rate_limit_create(struct cmd *c)
{
    _cleanup_(val_unrefp) struct val *record = val_map(), *callers = NULL, *limit = NULL;
    TRY(put_number(c, record, "burst_size", "burst-size"));
    TRY(put_number(c, record, "fill_rate", "fill-rate"));
    val_put_str(record, "name_label", args_or(&c->args, "name-label", ""));
    val_put_str(record, "name_description", args_or(&c->args, "name-description", ""));
    TRY(cmd_refs(c, "Caller", args_or(&c->args, "caller-uuids", ""), &callers));
    TRY(cmd_call(c, &limit, "Rate_limit.create", "v", record));
    val_each (caller, callers)
        TRY(cmd_call(c, NULL, "Rate_limit.add_caller", "ss", val_get_str(limit), caller));
    return cmd_print_uuid(c, "Rate_limit", val_get_str(limit));
}

const struct cmd_impl cmd_limit_table[] = {
    {.name = "caller-query-usage",
     .run = caller_query_usage,
     .help = "Show what a caller (uuid=) or a group= of callers has used.",
     .needs = "Caller.query_token_usage"},
    {.name = "rate-limit-create",
     .run = rate_limit_create,
     .help = "Limit how often callers may call; prints the limit's uuid."},
    {.name = NULL},
};
