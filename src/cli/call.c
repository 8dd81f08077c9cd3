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
 *     <name>            the contents of the client's file that the parameter names; with ? behind
 *                       the name nothing if it is missing
 *     /name             the last part of that file's name
 *     @field=argument   a member of a record; such arguments in a row make one
 *
 * In a command that talks to the client a map's "key:file=name" gives the key the contents of that
 * file. MESSAGE may be "A|B": B if --force is given.
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

static void call_parse(const char *line, bool force, struct call *ret)
{
    const char *arrow = strstr(line, " -> ");
    struct view rest = {line, arrow ? (size_t)(arrow - line) : strlen(line)}, forced, message;
    view_split(&rest, ' ', &forced);
    bool choice = view_split(&forced, '|', &message);
    *ret = (struct call){view_dup(choice && force ? forced : message), rest,
                         view_of(arrow ? arrow + 4 : "")};
}

char *call_message(const char *call)
{
    return mem_strndup(call, strcspn(call, " |"));
}

/* ---- arguments ---- */

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
        return cmd_refs(c, cls, value ? value : "", ret);
    if (optional && strcmp(cls, "host") == 0)
        TRY(cmd_host(c, param, &ref));
    else if (optional)
        TRY(cmd_optional_ref(c, cls, param, &ref));
    else
        TRY(cmd_need_ref(c, cls, param, &ref));
    *ret = val_str(ref);
    return NULL;
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

static struct err *file_text(struct cmd *c, const char *file, struct val **ret)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 1);
    TRY(talk_load(c->talk, file, &text));
    *ret = val_str_n(buf_str(&text), text.size);
    return NULL;
}

/* "<name>", "<name?>" without the brackets */
static struct err *file_argument(struct cmd *c, const char *name, struct val **ret)
{
    bool optional = str_ends(name, "?");
    _cleanup_(freep) char *param = mem_strndup(name, strlen(name) - optional);
    const char *file = args_get(&c->args, param);
    if (!file && !optional)
        return cli_missing(param);
    if (file)
        return file_text(c, file, ret);
    *ret = val_str("");
    return NULL;
}

static struct err *file_name_argument(struct cmd *c, const char *param, struct val **ret)
{
    const char *file;
    TRY(args_need(&c->args, param, &file));
    const char *slash = strrchr(file, '/');
    *ret = val_str(slash ? slash + 1 : file);
    return NULL;
}

static struct err *map_argument(struct cmd *c, const char *name, struct val **ret)
{
    static const char suffix[] = ":file";
    _cleanup_(val_unrefp) struct val *given = args_map(&c->args, name), *map = val_map();
    if (!(c->desc->flags & XE_WITH_FD)) {
        *ret = steal(&given);
        return NULL;
    }
    for (size_t i = 0; i < val_count(given); i++) {
        const char *key = val_key_at(given, i), *value = val_str_at(given, i);
        struct val *text = NULL;
        if (!str_ends(key, suffix)) {
            val_put_str(map, key, value);
            continue;
        }
        _cleanup_(freep) char *stem = mem_strndup(key, strlen(key) - strlen(suffix));
        TRY(file_text(c, value, &text));
        val_put(map, stem, text);
    }
    *ret = steal(&map);
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
        return map_argument(c, name, ret);
    if (*text == '<')
        return file_argument(c, name, ret);
    if (*text == '/')
        return file_name_argument(c, text + 1, ret);
    if (*text == '[')
        *ret = cmd_strings(args_or(&c->args, name, ""));
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
        _cleanup_(freep) char *text = column_text(&plain, shown);
        val_put_str(record, val_key_at(v, i), text);
    }
    cmd_print_record(c, record);
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
        _cleanup_(freep) char *text = column_text(&plain, shown);
        cmd_print(c, text);
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
            TRY(cmd_print_uuid(c, cls, ref));
        return NULL;
    }
    if (val_kind(v) == VAL_SET)
        return print_set(c, v);
    if (desc_class_by_name(cls) && val_kind(v) == VAL_STRING)
        return cmd_print_uuid(c, cls, val_get_str(v));
    TRY(column_show(c, &plain, v, NULL, &shown));
    _cleanup_(freep) char *text = column_text(&plain, shown);
    cmd_print(c, text);
    return NULL;
}

/* ---- running ---- */

/* "@field=argument": into the record that the last of the arguments is, or a new one. */
static struct err *member(struct cmd *c, struct view word, const struct object *o,
                          struct val **record)
{
    struct view field, value = view_cut(word, 1);
    struct val *v = NULL;
    view_split(&value, '=', &field);
    _cleanup_(freep) char *name = view_dup(field);
    TRY(argument(c, value, o, &v));
    if (!*record)
        *record = val_map();
    val_put(*record, name, v);
    return NULL;
}

static struct err *arguments(struct cmd *c, struct view rest, const struct object *o,
                             struct val *params)
{
    _cleanup_(val_unrefp) struct val *record = NULL;
    struct view word;
    while (rest.size) {
        struct val *v = NULL;
        view_split(&rest, ' ', &word);
        if (*word.p == '@') {
            TRY(member(c, word, o, &record));
            continue;
        }
        if (record)
            val_add(params, steal(&record));
        TRY(argument(c, word, o, &v));
        val_add(params, v);
    }
    if (record)
        val_add(params, steal(&record));
    return NULL;
}

static struct err *call_once(struct cmd *c, const struct object *o, void *arg)
{
    const struct call *call = arg;
    _cleanup_(val_unrefp) struct val *params = val_set();
    _cleanup_(val_unrefp) struct val *result = NULL;
    TRY(arguments(c, call->args, o, params));
    TRY(cmd_call_v(c, &result, call->message, params));
    return print_result(c, call, result);
}

struct err *call_run(struct cmd *c)
{
    static const unsigned flags[] = {XE_VM_SELECTORS, XE_HOST_SELECTORS, XE_SR_SELECTORS};
    _cleanup_(call_done) struct call call = {0};
    call_parse(c->desc->call, c->force, &call);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (c->desc->flags & flags[i])
            return select_each(c, flags[i], call_once, &call);
    return call_once(c, NULL, &call);
}
