/*
 * list.c: <class>-list, the verb that is asked most. Of each record it fetches only the fields that
 * it shows or filters by, and what can be said of a column once for all objects is found out once.
 * Stream thread of the command.
 */
#include "cli/list.h"

#include <string.h>

#include "cli/select.h"

/* ---- which columns ---- */

/* A column that is shown. */
struct cell {
    const struct xe_column *column;
    const struct field_desc *field; /* column_field() */
    char *label;                    /* padded, with its colon */
};

struct table {
    VEC(struct cell) cells;
};

static void table_done(struct table *t)
{
    vec_each (cell, &t->cells)
        free(cell->label);
    vec_done(&t->cells);
}

/* Whether -list shows a column: named in params=, else in the family's default; an empty list is
 * all. */
static bool is_listed(const struct xe_family *f, const struct xe_column *col, const char *params)
{
    if (col->hidden)
        return false;
    if (!params)
        return !*f->list_columns || xe_has_word(f->list_columns, col->name);
    if (strcmp(params, "all") == 0 || !*params)
        return true;
    struct view rest = view_of(params), item;
    while (rest.size) {
        view_split(&rest, ',', &item);
        if (view_eq(view_trim(item), col->name))
            return true;
    }
    return false;
}

/* The first label stands left, the others right, four beyond the longest. */
static void pad_labels(struct table *t)
{
    size_t width = 0;
    vec_each (cell, &t->cells)
        width = strlen(cell->label) > width ? strlen(cell->label) : width;
    vec_each (cell, &t->cells) {
        int room = (int)width + 4;
        bool first = cell == t->cells.v;
        char *padded = first ? mem_printf("%-*s: ", room, cell->label)
                             : mem_printf("%*s: ", room, cell->label);
        free(cell->label);
        cell->label = padded;
    }
}

/* Under --minimal the first column alone is shown. */
static void find_columns(const struct cmd *c, const struct xe_family *f, struct table *ret)
{
    const char *params = args_get(&c->args, "params");
    for (unsigned i = 0; i < f->record->n_columns; i++) {
        const struct xe_column *col = &f->record->columns[i];
        if ((c->minimal && ret->cells.n) || !is_listed(f, col, params))
            continue;
        struct cell cell = {col, column_field(f->record, col), column_label(col)};
        vec_push(&ret->cells, cell);
    }
    pad_labels(ret);
}

static void warn_unknown_params(struct cmd *c, const struct xe_family *f)
{
    struct view rest = view_of(args_or(&c->args, "params", "")), item;
    while (rest.size) {
        view_split(&rest, ',', &item);
        _cleanup_(freep) char *name = view_dup(view_trim(item));
        if (strcmp(name, "all") != 0 && *name && !column_find(f->record, name))
            cmd_warn(c, "Ignoring unknown field '%s'", name);
    }
}

/* ---- filters ---- */

/* Calls fn for the class-wide filters of the family and those of the command line. */
static struct err *each_filter(struct cmd *c, const struct xe_family *f,
                               struct err *(*fn)(struct cmd *c, const struct xe_record *r,
                                                 const char *name, const char *value, void *arg),
                               void *arg)
{
    for (const char *const *filter = f->filters; *filter; filter++) {
        struct view value = view_of(*filter), name;
        view_split(&value, '=', &name);
        _cleanup_(freep) char *column = view_dup(name);
        TRY(fn(c, f->record, column, value.p, arg));
    }
    args_each(p, &c->args)
    {
        if (strcmp(p->name, "params") != 0 && !arg_is_standard(p->name))
            TRY(fn(c, f->record, p->name, p->value, arg));
    }
    return NULL;
}

static struct err *apply_filter(struct cmd *c, const struct xe_record *r, const char *name,
                                const char *value, void *arg)
{
    return selection_filter(c, arg, r, name, value);
}

/* What the host can sort out by itself it need not send. */
static char *where_of(const struct cmd *c, const struct xe_family *f)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4096);
    buf_puts(&b, f->where);
    for (const char *const *filter = f->filters; *filter; filter++) {
        struct view value = view_of(*filter), name;
        view_split(&value, '=', &name);
        _cleanup_(freep) char *column = view_dup(name);
        const struct field_desc *field = column_field(f->record, column_find(f->record, column));
        if (field && field->type->kind == TYPE_BOOL)
            buf_printf(&b, " and (field \"%s\" = \"%s\")", field->column, value.p);
    }
    return selection_where(f->record, &c->args, buf_str(&b), NULL);
}

/* ---- which fields ---- */

struct wanted {
    bool all;
    VEC(const char *) names; /* ends with NULL once it is used */
};

static void wanted_done(struct wanted *w)
{
    vec_done(&w->names);
}

/* The field that a column's path begins with; what a function computes may need any. */
static void want(struct wanted *w, const struct xe_record *r, const struct xe_column *col)
{
    const char *source = col->source;
    if (*source == '@')
        return; /* asks a message */
    if (*source == '~' || *source == '?') {
        w->all = true;
        return;
    }
    struct view path = view_of(source + (*source == '=')), head;
    view_split(&path, '.', &head);
    _cleanup_(freep) char *name = view_dup(head);
    const struct field_desc *f = desc_field(desc_class_by_name(r->cls), name);
    if (f)
        vec_push(&w->names, f->name);
    else
        w->all = true;
}

/* A filter that cannot be read is told of when it is applied. */
static struct err *want_filtered(struct cmd *c, const struct xe_record *r, const char *name,
                                 const char *value, void *arg)
{
    struct param_name p = {0};
    _cleanup_(err_freep) struct err *e = param_name_parse(r, name, &p);
    (void)c;
    (void)value;
    if (!e)
        want(arg, r, p.column);
    return NULL;
}

static struct err *find_objects(struct cmd *c, const struct xe_family *f, struct table *t,
                                struct selection *ret)
{
    _cleanup_(wanted_done) struct wanted w = {0};
    _cleanup_(freep) char *where = where_of(c, f);
    vec_each (cell, &t->cells)
        want(&w, f->record, cell->column);
    TRY(each_filter(c, f, want_filtered, &w));
    vec_push(&w.names, NULL);
    TRY(selection_some(c, f->record, where, w.all ? NULL : w.names.v, ret));
    return each_filter(c, f, apply_filter, ret);
}

/* ---- output ---- */

static struct err *print_object(struct cmd *c, const struct object *o, struct table *t,
                                struct buf *text)
{
    buf_clear(text);
    vec_each (cell, &t->cells) {
        buf_puts(text, c->minimal ? "" : cell->label);
        if (cell->column->expensive)
            buf_puts(text, "<expensive field>");
        else
            TRY(column_put(c, o, cell->column, cell->field, text));
        buf_puts(text, c->minimal ? "" : "\n");
    }
    if (c->minimal && t->cells.n)
        cmd_print(c, buf_str(text));
    if (c->minimal)
        return NULL;
    buf_putc(text, '\n'); /* ends the record; the client's newline makes it two */
    talk_print(c->talk, buf_str(text));
    return NULL;
}

struct err *list_run(struct cmd *c, const struct xe_family *f)
{
    _cleanup_(selection_done) struct selection s = {0};
    _cleanup_(table_done) struct table t = {0};
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, THIN_MAX_BODY - 64);
    find_columns(c, f, &t);
    TRY(find_objects(c, f, &t, &s));
    warn_unknown_params(c, f);
    vec_each (o, &s.v)
        TRY(print_object(c, o, &t, &text));
    return NULL;
}
