/*
 * call.c: commands that hand their parameters to one message, as model/xe.table says:
 *
 *     MESSAGE argument … [-> result]
 *
 *     vm host sr        each selected object in turn (flags of the command tell which)
 *     pool              the pool
 *     VDI:vdi-uuid      the reference of the object of that class whose uuid the parameter gives;
 *                       with ? behind it a missing parameter is the null reference (of a host: this
 *                       host), with * the parameter is a list with commas
 *     %name #name .name !name   the parameter as string, number, float, bool
 *     {name}            parameters name:key=value as a map
 *     [name]            a list with commas as a set of strings
 *     %name=text        what a missing parameter stands for
 *
 *     -> text           prints what the message returns
 *     -> VM             prints the uuid of the reference that it returns (-> PIFs: of each)
 *     -> map list records   prints a map as one record, a set as lines, a set of structs as records
 */
#include <string.h>

#include "cli/column.h"
#include "cli/select.h"

struct call {
    char *message;
    struct view args;   /* rest of the line before the arrow */
    struct view result; /* empty: nothing is printed */
};

static void call_done(struct call *call)
{
    free(call->message);
    call->message = NULL;
}

static void call_parse(const char *line, struct call *ret)
{
    const char *arrow = strstr(line, " -> ");
    struct view rest = {line, arrow ? (size_t)(arrow - line) : strlen(line)}, message;
    view_split(&rest, ' ', &message);
    *ret = (struct call){view_dup(message), rest, view_of(arrow ? arrow + 4 : "")};
}

/* ---- arguments ---- */

static struct err *comma_refs(struct cmd *c, const char *cls, const char *list, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *refs = val_set();
    struct view rest = view_of(list), item;
    while (rest.size) {
        _cleanup_(freep) char *ref = NULL;
        view_split(&rest, ',', &item);
        _cleanup_(freep) char *uuid = view_dup(view_trim(item));
        TRY(cmd_by_uuid(c, cls, uuid, &ref));
        val_add_str(refs, ref);
    }
    *ret = steal(&refs);
    return NULL;
}

/* "Class:param", "Class:param?", "Class:param*" */
static struct err *ref_argument(struct cmd *c, struct view word, struct val **ret)
{
    struct view cls_view;
    _cleanup_(freep) char *ref = NULL;
    view_split(&word, ':', &cls_view);
    _cleanup_(freep) char *cls = view_dup(cls_view), *param = view_dup(word);
    char *last = param + strlen(param) - 1;
    bool optional = *last == '?', many = *last == '*';
    if (optional || many)
        *last = '\0';
    const char *value = args_get(&c->args, param);
    if (many)
        return comma_refs(c, cls, value ? value : "", ret);
    if (!value && optional && strcmp(cls, "host") == 0)
        TRY(cmd_this_host(c, &ref));
    else if (!value && optional)
        ref = mem_strdup(CMD_NULL);
    else
        TRY(cmd_need_ref(c, cls, param, &ref));
    *ret = val_str(ref);
    return NULL;
}

static struct val *comma_strings(const char *list)
{
    struct val *set = val_set();
    struct view rest = view_of(list), item;
    while (rest.size) {
        view_split(&rest, ',', &item);
        val_add(set, val_str_n(item.p, item.size));
    }
    return set;
}

static struct err *number_argument(const char *name, const char *value, char kind, struct val **ret)
{
    int64_t n;
    double d;
    if (kind == '.') {
        if (str_double(view_of(value), &d) < 0)
            return cli_fail("Parameter %s must be a floating-point number", name);
        *ret = val_float(d);
        return NULL;
    }
    TRY(args_int(name, value, &n));
    *ret = val_int(n);
    return NULL;
}

/* "%name", "#name=5", … */
static struct err *plain_argument(struct cmd *c, struct view word, struct val **ret)
{
    char kind = *word.p;
    struct view name_view, deflt = view_cut(word, 1);
    bool has_default = view_split(&deflt, '=', &name_view), b;
    _cleanup_(freep) char *name = view_dup(name_view), *otherwise = view_dup(deflt);
    const char *value = args_or(&c->args, name, has_default ? otherwise : NULL);
    if (!value)
        return cli_missing(name);
    if (kind == '!') {
        TRY(args_bool(&c->args, name, strcmp(value, "true") == 0, &b));
        *ret = val_bool(b);
        return NULL;
    }
    if (kind == '#' || kind == '.')
        return number_argument(name, value, kind, ret);
    *ret = val_str(value);
    return NULL;
}

static struct err *argument(struct cmd *c, struct view word, const struct object *o,
                            struct val **ret)
{
    _cleanup_(freep) char *text = view_dup(word), *ref = NULL;
    struct view inner = word.size > 2 ? (struct view){word.p + 1, word.size - 2} : word;
    _cleanup_(freep) char *name = view_dup(inner);
    if (strchr("%#.!", *text))
        return plain_argument(c, word, ret);
    if (*text == '{')
        *ret = args_map(&c->args, name);
    else if (*text == '[')
        *ret = comma_strings(args_or(&c->args, name, ""));
    else if (view_eq(word, "pool")) {
        TRY(cmd_pool(c, &ref));
        *ret = val_str(ref);
    } else if (o && !strchr(text, ':'))
        *ret = val_str(o->ref);
    else
        return ref_argument(c, word, ret);
    return NULL;
}

/* ---- results ---- */

static const struct xe_column plain = {.name = "", .separator = "; ", .format = XE_UUID};

static struct err *print_record(struct cmd *c, const struct val *v)
{
    _cleanup_(val_unrefp) struct val *record = val_map();
    for (size_t i = 0; i < val_count(v); i++) {
        _cleanup_(val_unrefp) struct val *shown = NULL;
        TRY(column_show(c, &plain, val_at(v, i), NULL, &shown));
        _cleanup_(freep) char *label = mem_printf("%s ( RO)", val_key_at(v, i));
        _cleanup_(freep) char *text = column_text(&plain, shown);
        val_put_str(record, label, text);
    }
    cmd_print_record(c, record);
    return NULL;
}

static struct err *print_uuid(struct cmd *c, const char *cls, const char *ref)
{
    _cleanup_(freep) char *message = mem_printf("%s.get_uuid", cls), *uuid = NULL;
    TRY(cmd_call_str(c, &uuid, message, ref));
    cmd_print(c, uuid);
    return NULL;
}

static struct err *print_set(struct cmd *c, const struct val *v)
{
    for (size_t i = 0; i < val_count(v); i++) {
        _cleanup_(val_unrefp) struct val *shown = NULL;
        if (val_kind(val_at(v, i)) == VAL_MAP) {
            TRY(print_record(c, val_at(v, i)));
            continue;
        }
        TRY(column_show(c, &plain, val_at(v, i), NULL, &shown));
        cmd_print(c, val_get_str(shown));
    }
    return NULL;
}

static struct err *print_result(struct cmd *c, const struct call *call, const struct val *v)
{
    _cleanup_(val_unrefp) struct val *shown = NULL;
    _cleanup_(freep) char *cls = view_dup(call->result);
    if (!*cls)
        return NULL;
    if (strcmp(cls, "map") == 0)
        return print_record(c, v);
    if (val_kind(v) == VAL_SET && desc_class_by_name(cls) == NULL && str_ends(cls, "s") &&
        strcmp(cls, "records") != 0) {
        cls[strlen(cls) - 1] = '\0';
        val_each (ref, v)
            TRY(print_uuid(c, cls, ref));
        return NULL;
    }
    if (val_kind(v) == VAL_SET)
        return print_set(c, v);
    if (desc_class_by_name(cls) && val_kind(v) == VAL_STRING)
        return print_uuid(c, cls, val_get_str(v));
    TRY(column_show(c, &plain, v, NULL, &shown));
    _cleanup_(freep) char *text = column_text(&plain, shown);
    cmd_print(c, text);
    return NULL;
}

/* ---- running ---- */

static struct err *call_once(struct cmd *c, const struct object *o, void *arg)
{
    const struct call *call = arg;
    _cleanup_(val_unrefp) struct val *params = val_set();
    _cleanup_(val_unrefp) struct val *result = NULL;
    struct view rest = call->args, word;
    while (rest.size) {
        struct val *v = NULL;
        view_split(&rest, ' ', &word);
        TRY(argument(c, word, o, &v));
        val_add(params, v);
    }
    TRY(cmd_call_v(c, &result, call->message, params));
    return print_result(c, call, result);
}

struct err *call_run(struct cmd *c)
{
    static const unsigned flags[] = {XE_VM_SELECTORS, XE_HOST_SELECTORS, XE_SR_SELECTORS};
    _cleanup_(call_done) struct call call = {0};
    call_parse(c->desc->call, &call);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (c->desc->flags & flags[i])
            return select_each(c, flags[i], call_once, &call);
    return call_once(c, NULL, &call);
}
