/*
 * generic.c: the verbs that every family of objects has: <class>-list, -param-list, -param-get,
 * -param-set, -param-add, -param-remove, -param-clear. What a family is comes from model/xe.table.
 * Stream thread of the command.
 */
#include <stdio.h>
#include <string.h>

#include "base/rstr.h"
#include "cli/column.h"
#include "cli/list.h"
#include "cli/select.h"
#include "state/desc.h"

/* ---- param-list ---- */

static struct err *add_column(struct cmd *c, const struct object *o, const struct xe_column *col,
                              struct val *record)
{
    _cleanup_(freep) char *label = column_label(col), *text = NULL;
    TRY(column_get_text(c, o, col, &text));
    val_put_str(record, label, text);
    return NULL;
}

/* The object of uuid=. Its record is borrowed from the command's. */
static struct err *the_object(struct cmd *c, const struct xe_family *f, char **ref,
                              struct object *ret)
{
    TRY(cmd_need_ref(c, f->record->cls, "uuid", ref));
    *ret = (struct object){.kind = f->record, .ref = *ref};
    TRY(cmd_record(c, f->record->cls, *ref, &ret->record));
    if (!ret->record)
        return cli_fail("The object is gone");
    return NULL;
}

static struct err *verb_param_list(struct cmd *c, const struct xe_family *f)
{
    _cleanup_(freep) char *ref = NULL;
    _cleanup_(val_unrefp) struct val *record = val_map();
    struct object o;
    TRY(the_object(c, f, &ref, &o));
    for (unsigned i = 0; i < f->record->n_columns; i++)
        if (!f->record->columns[i].hidden)
            TRY(add_column(c, &o, &f->record->columns[i], record));
    cmd_print_record(c, record);
    return NULL;
}

/* ---- param-get ---- */

/* The column that param-name= names. */
static struct err *the_column(struct cmd *c, const struct xe_family *f,
                              const struct xe_column **ret)
{
    const char *name;
    TRY(args_need(&c->args, "param-name", &name));
    *ret = column_find(f->record, name);
    return *ret ? NULL : cli_fail("Unknown field '%s'", name);
}

static struct err *verb_param_get(struct cmd *c, const struct xe_family *f)
{
    _cleanup_(freep) char *ref = NULL;
    _cleanup_(val_unrefp) struct val *shown = NULL;
    const struct xe_column *col = NULL;
    const char *key = args_get(&c->args, "param-key");
    struct object o;
    TRY(the_column(c, f, &col));
    TRY(the_object(c, f, &ref, &o));
    TRY(column_get(c, &o, col, &shown));
    if (key && column_is_map(col)) {
        const char *value = val_kind(shown) == VAL_MAP ? val_map_str(shown, key, NULL) : NULL;
        if (!value)
            return cli_fail("Key %s not found in map", key);
        cmd_print(c, value);
        return NULL;
    }
    _cleanup_(freep) char *text = column_text(col, shown);
    cmd_print(c, text);
    return NULL;
}

/* ---- writing ---- */

static const char *api_name(const struct xe_column *col, const char *text)
{
    for (const struct xe_shown *s = col->shown; s && s->value; s++)
        if (strcasecmp(s->shown, text) == 0)
            return s->value;
    return text;
}

static struct err *parse_float(const char *name, const char *text, struct val **ret)
{
    double d;
    if (str_double(view_of(text), &d) < 0)
        return cli_fail("Parameter %s must be a floating-point number", name);
    *ret = val_float(d);
    return NULL;
}

/* Text of the command line as an argument of the type that the message declares. */
static struct err *parse_value(struct cmd *c, const struct xe_column *col, const struct type *t,
                               const char *text, struct val **ret)
{
    int64_t n;
    _cleanup_(freep) char *ref = NULL;
    switch (t->kind) {
    case TYPE_BOOL:
        if (strcasecmp(text, "true") != 0 && strcasecmp(text, "false") != 0)
            return cli_fail("Parameter %s must be a boolean (true or false)", col->name);
        *ret = val_bool(strcasecmp(text, "true") == 0);
        return NULL;
    case TYPE_INT:
        TRY(args_int(col->name, text, &n));
        *ret = val_int(n);
        return NULL;
    case TYPE_FLOAT:
        return parse_float(col->name, text, ret);
    case TYPE_REF:
        if (*text)
            TRY(cmd_by_uuid(c, desc_classes[t->cls]->name, text, &ref));
        *ret = val_str(ref ? ref : "OpaqueRef:NULL");
        return NULL;
    case TYPE_SET:
        if (t->elem->kind == TYPE_REF)
            return cmd_refs(c, desc_classes[t->elem->cls]->name, text, ret);
        *ret = cmd_strings(text);
        return NULL;
    default:
        *ret = val_str(api_name(col, text));
        return NULL;
    }
}

/* Type of the n-th argument of a message of the tables. */
static struct err *param_type(const char *message, unsigned n, const struct type **ret)
{
    const struct msg_desc *m = desc_msg(message);
    if (!m || m->n_params <= n)
        return err_internal("'%s' takes no argument %u", message, n);
    *ret = m->params[n].type;
    return NULL;
}

static struct err *write_value(struct cmd *c, const struct object *o, const struct xe_column *col,
                               const char *message, const char *text)
{
    const struct type *t = NULL;
    _cleanup_(val_unrefp) struct val *v = NULL;
    TRY(param_type(message, 1, &t));
    TRY(parse_value(c, col, t, text, &v));
    return cmd_call(c, NULL, message, "sv", o->ref, v);
}

/* One key of a map: through the message for it, or by taking the old pair away first. */
static struct err *write_key(struct cmd *c, const struct object *o, const struct xe_column *col,
                             const char *key, const char *value)
{
    _cleanup_(val_unrefp) struct val *shown = NULL;
    const char *name = api_name(col, key);
    if (col->set_in_map)
        return cmd_call(c, NULL, col->set_in_map, "sss", o->ref, name, value);
    if (!col->add)
        return cli_fail("Map field '%s' is read-only.", col->name);
    TRY(column_get(c, o, col, &shown));
    if (val_kind(shown) == VAL_MAP && val_map_get(shown, key))
        TRY(cmd_call(c, NULL, col->remove, "ss", o->ref, name));
    return cmd_call(c, NULL, col->add, "sss", o->ref, name, value);
}

/* ---- collections that are only written whole ---- */

/* A map field with some pairs added and one key (may be NULL) taken away. */
static struct err *changed_map(struct cmd *c, const struct object *o, const struct xe_column *col,
                               const struct val *added, const char *removed, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *shown = NULL, *map = val_map();
    TRY(column_get(c, o, col, &shown));
    for (size_t i = 0; i < val_count(shown); i++)
        if (!removed || strcmp(val_key_at(shown, i), removed) != 0)
            val_put(map, val_key_at(shown, i), val_ref(val_at(shown, i)));
    for (size_t i = 0; added && i < val_count(added); i++)
        val_put(map, val_key_at(added, i), val_ref(val_at(added, i)));
    *ret = steal(&map);
    return NULL;
}

/* Such a set with one member more or less, as the text that its setter takes. */
static struct err *write_whole_set(struct cmd *c, const struct object *o,
                                   const struct xe_column *col, const char *member, bool add)
{
    _cleanup_(val_unrefp) struct val *shown = NULL;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 1 << 20);
    TRY(column_get(c, o, col, &shown));
    for (size_t i = 0; i < val_count(shown); i++)
        if (strcmp(val_str_at(shown, i), member) != 0)
            buf_printf(&text, text.size ? ",%s" : "%s", val_str_at(shown, i));
    if (add)
        buf_printf(&text, text.size ? ",%s" : "%s", member);
    return write_value(c, o, col, col->set, buf_str(&text));
}

/* Whether members can be changed at all: one by one, or all at once. */
static bool is_changeable(const struct xe_column *col)
{
    return col->add || (col->rw == XE_SRW && col->set) || (col->rw == XE_MRW && col->set_map);
}

static struct err *add_pairs(struct cmd *c, const struct object *o, const struct xe_column *col)
{
    static const char *const own[] = {"uuid", "param-name", "param-key", NULL};
    _cleanup_(val_unrefp) struct val *added = val_map(), *map = NULL;
    args_each(p, &c->args) if (!xe_has_word(own, p->name) && !arg_is_standard(p->name))
        val_put_str(added, api_name(col, p->name), p->value);
    if (!col->add) {
        TRY(changed_map(c, o, col, added, NULL, &map));
        return cmd_call(c, NULL, col->set_map, "sv", o->ref, map);
    }
    for (size_t i = 0; i < val_count(added); i++)
        TRY(cmd_call(c, NULL, col->add, "sss", o->ref, val_key_at(added, i), val_str_at(added, i)));
    return NULL;
}

static struct err *remove_member(struct cmd *c, const struct object *o, const struct xe_column *col,
                                 const char *key)
{
    _cleanup_(val_unrefp) struct val *map = NULL;
    if (!column_is_map(col))
        return col->remove ? write_value(c, o, col, col->remove, key)
                           : write_whole_set(c, o, col, key, false);
    if (col->remove)
        return cmd_call(c, NULL, col->remove, "ss", o->ref, api_name(col, key));
    TRY(changed_map(c, o, col, NULL, key, &map));
    return cmd_call(c, NULL, col->set_map, "sv", o->ref, map);
}

/* All keys at once, for a map that has a message for the whole. One that is written key by key
 * elsewhere keeps its other keys. */
static struct err *write_map(struct cmd *c, const struct object *o, const struct xe_column *col)
{
    _cleanup_(val_unrefp) struct val *given = args_map(&c->args, col->name), *map = NULL;
    if (col->rw != XE_MRW)
        return cmd_call(c, NULL, col->set_map, "sv", o->ref, given);
    TRY(changed_map(c, o, col, given, NULL, &map));
    return cmd_call(c, NULL, col->set_map, "sv", o->ref, map);
}

static struct err *set_param(struct cmd *c, const struct object *o, const struct arg *p,
                             struct val *done)
{
    struct param_name name;
    TRY(param_name_parse(o->kind, p->name, &name));
    const struct xe_column *col = name.column;
    if (name.key && column_is_set(col))
        return cli_fail("Cannot param-set on set fields");
    if (name.key && col->set_map) {
        if (val_set_has(done, col->name))
            return NULL;
        val_add_str(done, col->name);
        return write_map(c, o, col);
    }
    if (name.key)
        return write_key(c, o, col, name.key, p->value);
    if (!col->set && col->add)
        return cli_fail("Field '%s' is a map or set. use the 'name:key=value' syntax.", col->name);
    if (!col->set)
        return cli_fail("Field '%s' is read-only.", col->name);
    return write_value(c, o, col, col->set, p->value);
}

static struct err *verb_param_set(struct cmd *c, const struct xe_family *f)
{
    _cleanup_(freep) char *ref = NULL;
    _cleanup_(val_unrefp) struct val *done = val_set();
    struct object o;
    TRY(the_object(c, f, &ref, &o));
    args_each(p, &c->args)
    {
        if (strcmp(p->name, "uuid") == 0 || arg_is_standard(p->name))
            continue;
        TRY(set_param(c, &o, p, done));
    }
    return NULL;
}

static struct err *verb_param_add(struct cmd *c, const struct xe_family *f)
{
    _cleanup_(freep) char *ref = NULL;
    const struct xe_column *col = NULL;
    const char *key = args_get(&c->args, "param-key");
    struct object o;
    TRY(the_column(c, f, &col));
    TRY(the_object(c, f, &ref, &o));
    if (!column_is_map(col) && !column_is_set(col) && !col->add)
        return cli_fail("Can only add to parameters of type Set or Map");
    if (!is_changeable(col))
        return cli_fail("Parameter is read-only");
    if (column_is_map(col))
        return add_pairs(c, &o, col);
    if (!key)
        return cli_fail("When adding a key to a set, use the syntax: *-param-add "
                        "param-name=<name> param-key=<key>");
    return col->add ? write_value(c, &o, col, col->add, key)
                    : write_whole_set(c, &o, col, key, true);
}

static struct err *verb_param_remove(struct cmd *c, const struct xe_family *f)
{
    _cleanup_(freep) char *ref = NULL;
    _cleanup_(val_unrefp) struct val *shown = NULL;
    const struct xe_column *col = NULL;
    const char *key;
    struct object o;
    TRY(the_column(c, f, &col));
    TRY(args_need(&c->args, "param-key", &key));
    TRY(the_object(c, f, &ref, &o));
    if (!column_is_map(col) && !column_is_set(col))
        return cli_fail("Can only remove from parameters of type Set or Map");
    if (!is_changeable(col))
        return cli_fail("Cannot remove parameters from read-only map");
    TRY(column_get(c, &o, col, &shown));
    if (val_kind(shown) == VAL_MAP && !val_map_get(shown, key))
        return cli_fail("Key %s is not in map", key);
    if (val_kind(shown) == VAL_SET && !val_set_has(shown, key))
        return cli_fail("Key %s is not in the set", key);
    return remove_member(c, &o, col, key);
}

/* Takes each member away. */
static struct err *clear_members(struct cmd *c, const struct object *o, const struct xe_column *col)
{
    _cleanup_(val_unrefp) struct val *shown = NULL;
    TRY(column_get(c, o, col, &shown));
    for (size_t i = 0; i < val_count(shown); i++) {
        if (val_kind(shown) == VAL_MAP)
            TRY(cmd_call(c, NULL, col->remove, "ss", o->ref, api_name(col, val_key_at(shown, i))));
        else
            TRY(write_value(c, o, col, col->remove, val_str_at(shown, i)));
    }
    return NULL;
}

static struct err *verb_param_clear(struct cmd *c, const struct xe_family *f)
{
    _cleanup_(freep) char *ref = NULL;
    const struct xe_column *col = NULL;
    struct object o;
    TRY(the_column(c, f, &col));
    TRY(the_object(c, f, &ref, &o));
    if (col->set_map)
        return cmd_call(c, NULL, col->set_map, "sv", o.ref, val_empty_map());
    if (col->remove)
        return clear_members(c, &o, col);
    if (!col->set)
        return cli_fail("Can only clear RW parameters");
    struct err *e = write_value(c, &o, col, col->set, "");
    if (!err_is(e, "CLI_FAILURE"))
        return e;
    err_free(e);
    return cli_fail("Cannot clear this parameter");
}

/* ---- dispatch ---- */

static const struct verb {
    const char *suffix;
    enum xe_verb verb;
    struct err *(*run)(struct cmd *c, const struct xe_family *f);
} verbs[] = {
    {"-param-list", XE_PARAM_LIST, verb_param_list},
    {"-param-get", XE_PARAM_GET, verb_param_get},
    {"-param-set", XE_PARAM_SET, verb_param_set},
    {"-param-add", XE_PARAM_ADD, verb_param_add},
    {"-param-remove", XE_PARAM_REMOVE, verb_param_remove},
    {"-param-clear", XE_PARAM_CLEAR, verb_param_clear},
    {"-list", XE_LIST, list_run},
};

static const struct verb *find(const char *command, const struct xe_family **ret_family)
{
    for (size_t v = 0; v < ARRAY_LEN(verbs); v++) {
        if (!str_ends(command, verbs[v].suffix))
            continue;
        size_t size = strlen(command) - strlen(verbs[v].suffix);
        for (unsigned i = 0; i < xe_n_families; i++) {
            const struct xe_family *f = &xe_families[i];
            if (strlen(f->prefix) == size && strncmp(f->prefix, command, size) == 0 &&
                f->verbs & verbs[v].verb) {
                *ret_family = f;
                return &verbs[v];
            }
        }
    }
    return NULL;
}

const struct xe_family *generic_find(const char *command, enum xe_verb *ret_verb)
{
    const struct xe_family *family = NULL;
    const struct verb *v = find(command, &family);
    if (v)
        *ret_verb = v->verb;
    return family;
}

struct err *generic_run(struct cmd *c, bool *ret_known)
{
    const struct xe_family *family = NULL;
    const struct verb *v = find(c->args.command, &family);
    *ret_known = v != NULL;
    if (!v)
        return NULL;
    args_each(p, &c->args) if (str_starts(p->name, "database:")) return cli_fail(
        "Reading another database (%s) is not supported", p->name);
    return v->run(c, family);
}
