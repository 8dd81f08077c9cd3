/*
 * cmd_event.c: event-wait, which ends when an object of class= is as the command line says.
 *
 *     column=text  column=/=text          is, is not
 *     map-column:key=text                 so is the key; a missing one is as ""
 *     set-column:contains=text            has it, with /= has it not
 *
 * It looks once and then again after every change of the class and of the classes that its columns
 * look through; columns that no event tells of (data sources, results of messages) now and then.
 */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

#define POLL_SECONDS   30.0
#define UNTOLD_SECONDS 2.0

/* Parameters that are conditions. */
static bool is_condition(const struct arg *p)
{
    return strcmp(p->name, "class") != 0 && !arg_is_standard(p->name);
}

static bool is_negated(const struct arg *p)
{
    return str_starts(p->value, "/=");
}

/* ---- looking ---- */

static bool text_is(const struct xe_column *col, const char *is, const char *wanted)
{
    return (col->any_case ? strcasecmp(is, wanted) : strcmp(is, wanted)) == 0;
}

static bool member_is(const struct param_name *name, const struct val *shown, const char *wanted)
{
    if (val_kind(shown) == VAL_MAP)
        return text_is(name->column, val_map_str(shown, name->key, ""), wanted);
    for (size_t i = 0; val_kind(shown) == VAL_SET && i < val_count(shown); i++)
        if (text_is(name->column, val_str_at(shown, i), wanted))
            return true;
    return false;
}

static struct err *condition_holds(struct cmd *c, const struct object *o, const struct arg *p,
                                   bool *ret)
{
    struct param_name name;
    const char *wanted = is_negated(p) ? p->value + 2 : p->value;
    _cleanup_(val_unrefp) struct val *shown = NULL;
    TRY(param_name_parse(o->kind, p->name, &name));
    TRY(column_get(c, o, name.column, &shown));
    _cleanup_(freep) char *text = column_text(name.column, shown);
    bool is = name.key ? member_is(&name, shown, wanted) : text_is(name.column, text, wanted);
    *ret = is != is_negated(p);
    return NULL;
}

static struct err *object_matches(struct cmd *c, const struct object *o, bool *ret)
{
    *ret = true;
    args_each(p, &c->args)
    {
        bool ok;
        if (!is_condition(p))
            continue;
        TRY(condition_holds(c, o, p, &ok));
        *ret = *ret && ok;
    }
    return NULL;
}

/* An expression that keeps few objects: the uuid and name of the conditions, unless negated. */
static char *where(struct cmd *c, const struct xe_record *r)
{
    args_each(p, &c->args) if (is_negated(p)) return mem_strdup("true");
    return selection_where(r, &c->args, "true", NULL);
}

static struct err *any_matches(struct cmd *c, const struct xe_record *r, bool *ret)
{
    _cleanup_(selection_done) struct selection s = {0};
    _cleanup_(freep) char *which = where(c, r);
    *ret = false;
    cmd_forget(c);
    TRY(selection_all(c, r, which, &s));
    vec_each (o, &s.v) {
        struct err *e = object_matches(c, o, ret);
        /* Gone while it was looked at: no match. */
        if (err_is(e, "HANDLE_INVALID")) {
            err_freep(&e);
            *ret = false;
        }
        TRY(e);
        if (*ret)
            return NULL;
    }
    return NULL;
}

/* ---- waiting ---- */

struct watch {
    struct val *classes; /* a set */
    double seconds;      /* how long a change may stay unseen */
    char *token;
};

static void watch_done(struct watch *w)
{
    val_unref(w->classes);
    free(w->token);
}

/* Adds the classes that a column's path leads through. */
static void watch_column(struct watch *w, const struct xe_record *r, const struct xe_column *col)
{
    struct view path = view_of(col->source), head;
    const struct class_desc *cls = desc_class_by_name(r->cls);
    if (strchr("@?~", col->source[0]))
        w->seconds = UNTOLD_SECONDS;
    if (strchr("@?~=", col->source[0]))
        return;
    for (bool more = true; more && cls;) {
        more = view_split(&path, '.', &head);
        _cleanup_(freep) char *name = view_dup(head);
        const struct field_desc *f = desc_field(cls, name);
        const struct type *t = f && f->type->kind == TYPE_SET ? f->type->elem : f ? f->type : NULL;
        cls = t && t->kind == TYPE_REF ? desc_classes[t->cls] : NULL;
        if (cls && !val_set_has(w->classes, cls->name))
            val_add_str(w->classes, cls->name);
    }
}

/* Says at once if a condition is about no column. */
static struct err *watch_conditions(struct cmd *c, const struct xe_record *r, struct watch *w)
{
    w->classes = val_set();
    w->seconds = POLL_SECONDS;
    w->token = mem_strdup("");
    val_add_str(w->classes, r->cls);
    args_each(p, &c->args)
    {
        struct param_name name;
        if (!is_condition(p))
            continue;
        TRY(param_name_parse(r, p->name, &name));
        watch_column(w, r, name.column);
    }
    return NULL;
}

static struct err *next_events(struct cmd *c, struct watch *w)
{
    _cleanup_(val_unrefp) struct val *batch = NULL;
    /* Said aloud only with --debug; a client that has left is noticed by it. */
    talk_debug(c->talk, "waiting for events");
    talk_flush(c->talk);
    if (c->talk->broken)
        return cli_exit();
    TRY(cmd_call(c, &batch, "event.from", "vsf", w->classes, w->token, w->seconds));
    free(w->token);
    w->token = mem_strdup(val_map_str(batch, "token", ""));
    return NULL;
}

static struct err *event_wait(struct cmd *c)
{
    const char *name;
    enum xe_verb verb;
    _cleanup_(watch_done) struct watch w = {0};
    TRY(args_need(&c->args, "class", &name));
    _cleanup_(freep) char *listing = mem_printf("%s-list", name);
    const struct xe_family *f = generic_find(listing, &verb);
    if (!f)
        return cli_fail("There is no class '%s'", name);
    TRY(watch_conditions(c, f->record, &w));
    /* The token is taken before the first look, so that no change falls in between. */
    for (bool found = false; !found;) {
        TRY(next_events(c, &w));
        TRY(any_matches(c, f->record, &found));
    }
    return NULL;
}

const struct cmd_impl cmd_event_table[] = {
    {.name = "event-wait",
     .run = event_wait,
     .help = "Wait until an object of class= has the columns given; column=/=text waits for any "
             "other, map-column:key= and set-column:contains= look inside.",
     .needs = "event.from"},
    {.name = NULL},
};
