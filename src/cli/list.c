/*
 * list.c: <class>-list, the verb that is asked most. Plain fields are shown as they stand in the
 * rows of a snapshot; records, of no more fields than are needed, are made only where a column goes
 * on from there. What can be said of a column once for all objects is found out once.
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

struct condition {
    const char *name, *value; /* name of a column, perhaps with a key */
    char *own;                /* what name points to, or NULL */
};

struct conditions {
    VEC(struct condition) all;
};

static void conditions_done(struct conditions *cs)
{
    vec_each (p, &cs->all)
        free(p->own);
    vec_done(&cs->all);
}

/* A condition that the host looks at itself: "true" or "false" of a plain field. */
static bool put_where(const struct xe_family *f, const char *name, const char *value, struct buf *b)
{
    const struct field_desc *field = column_field(f->record, column_find(f->record, name));
    if (!field || field->type->kind != TYPE_BOOL)
        return false;
    buf_printf(b, " and (field \"%s\" = \"%s\")", field->column, value);
    return true;
}

/* The class-wide filters of the family, as far as the host does not look at them, and those of the
 * command line; and the expression for the host. */
static char *find_conditions(const struct cmd *c, const struct xe_family *f, struct conditions *ret)
{
    _cleanup_(buf_done) struct buf where;
    buf_init(&where, 4096);
    buf_puts(&where, f->where);
    for (const char *const *filter = f->filters; *filter; filter++) {
        struct view value = view_of(*filter), name;
        view_split(&value, '=', &name);
        char *column = view_dup(name);
        struct condition condition = {column, value.p, column};
        if (put_where(f, column, value.p, &where))
            free(column);
        else
            vec_push(&ret->all, condition);
    }
    args_each(p, &c->args)
    {
        struct condition condition = {p->name, p->value, NULL};
        if (strcmp(p->name, "params") != 0 && !arg_is_standard(p->name))
            vec_push(&ret->all, condition);
    }
    return selection_where(f->record, &c->args, buf_str(&where), NULL);
}

/* ---- which fields ---- */

/* What has to be known of each object. */
struct wanted {
    bool records; /* rows alone will not do: a reference is followed, a key looked for */
    bool all;     /* what a function computes may need any field */
    VEC(const struct field_desc *) fields;
};

static void wanted_done(struct wanted *w)
{
    vec_done(&w->fields);
}

static void want(struct wanted *w, const struct xe_record *r, const struct xe_column *col, bool key)
{
    const char *source = col->source;
    w->records = w->records || key || !column_field(r, col);
    if (*source == '@')
        return; /* asks a message about the object */
    if (*source == '~' || *source == '?') {
        w->all = true;
        return;
    }
    struct view path = view_of(source + (*source == '=')), head;
    view_split(&path, '.', &head);
    _cleanup_(freep) char *name = view_dup(head);
    const struct field_desc *f = desc_field(desc_class_by_name(r->cls), name);
    if (f)
        vec_push(&w->fields, f);
    else
        w->all = true;
}

static struct err *find_objects(struct cmd *c, const struct xe_family *f, struct table *t,
                                struct selection *ret)
{
    _cleanup_(conditions_done) struct conditions cs = {0};
    _cleanup_(wanted_done) struct wanted w = {0};
    _cleanup_(freep) char *where = find_conditions(c, f, &cs);
    struct param_name p;
    vec_each (cell, &t->cells)
        want(&w, f->record, cell->column, false);
    vec_each (condition, &cs.all) {
        TRY(param_name_parse(f->record, condition->name, &p));
        want(&w, f->record, p.column, p.key != NULL);
    }
    vec_push(&w.fields, NULL);
    TRY(selection_rows(c, f->record, where, ret));
    if (w.records)
        selection_make_records(ret, w.all ? NULL : w.fields.v);
    vec_each (condition, &cs.all)
        TRY(selection_filter(c, ret, f->record, condition->name, condition->value));
    return NULL;
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
