/* select.c: see select.h. */
#include "cli/select.h"

#include <string.h>

#include "cli/suggest.h"

/* ---- names of parameters ---- */

/* The longest map column, else set column, whose name and a dash begin the parameter's name. */
static const struct xe_column *dashed(const struct xe_record *r, const char *name, bool maps)
{
    const struct xe_column *best = NULL;
    for (unsigned i = 0; i < r->n_columns; i++) {
        const struct xe_column *col = &r->columns[i];
        size_t size = strlen(col->name);
        bool fits = maps ? column_is_map(col) : column_is_set(col);
        if (fits && strncmp(col->name, name, size) == 0 && name[size] == '-' &&
            (!best || size > strlen(best->name)))
            best = col;
    }
    return best;
}

static struct err *unknown_field(const struct xe_record *r, const char *name)
{
    const char *meant = suggest_column(r, name);
    return meant ? cli_fail("Unknown field '%s'; did you mean '%s'?", name, meant)
                 : cli_fail("Unknown field '%s'", name);
}

struct err *param_name_parse(const struct xe_record *r, const char *name, struct param_name *ret)
{
    const struct xe_column *col = column_find(r, name);
    const char *colon = strchr(name, ':');
    *ret = (struct param_name){.column = col};
    if (col)
        return NULL;
    if (colon) {
        _cleanup_(freep) char *stem = mem_strndup(name, (size_t)(colon - name));
        col = column_find(r, stem);
        if (!col)
            return unknown_field(r, name);
        if (!column_is_map(col) && !column_is_set(col))
            return cli_fail("Field '%s' is not a set or map", col->name);
        *ret = (struct param_name){col, colon + 1};
        return NULL;
    }
    col = dashed(r, name, true);
    if (!col)
        col = dashed(r, name, false);
    if (!col)
        return unknown_field(r, name);
    *ret = (struct param_name){col, name + strlen(col->name) + 1};
    return NULL;
}

/* ---- selections ---- */

void selection_done(struct selection *s)
{
    vec_done(&s->v);
    val_unrefp(&s->all);
    api_rows_done(&s->rows);
}

/* The database's name of a column that is a plain field; NULL if it is none. */
static const char *plain_field(const struct xe_record *r, const char *column)
{
    const struct xe_column *col = column_find(r, column);
    const struct class_desc *cls = desc_class_by_name(r->cls);
    const struct field_desc *f = col ? desc_field(cls, col->source) : NULL;
    return f && f->type->kind == TYPE_STRING ? f->column : NULL;
}

/* Text that an expression takes as it is. */
static bool is_plain(const char *text)
{
    return text && !strpbrk(text, "\"\\'");
}

char *selection_where(const struct xe_record *r, const struct args *a, const char *where,
                      const char *either)
{
    static const char *const columns[] = {"uuid", "name-label"};
    const char *fields[] = {plain_field(r, columns[0]), plain_field(r, columns[1])};
    const char *wanted = either ? args_get(a, either) : NULL;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "(%s)", where);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        const char *value = args_get(a, columns[i]);
        if (fields[i] && is_plain(value))
            buf_printf(&b, " and (field \"%s\" = \"%s\")", fields[i], value);
    }
    if (fields[0] && fields[1] && is_plain(wanted))
        buf_printf(&b, " and ((field \"%s\" = \"%s\") or (field \"%s\" = \"%s\"))", fields[0],
                   wanted, fields[1], wanted);
    return mem_strdup(b.size == strlen(where) + 2 ? where : buf_str(&b));
}

struct err *selection_all(struct cmd *c, const struct xe_record *r, const char *where,
                          struct selection *ret)
{
    _cleanup_(freep) char *message = mem_printf("%s.get_all_records_where", r->cls);
    _cleanup_(selection_done) struct selection s = {0};
    TRY(cmd_call(c, &s.all, message, "s", where));
    for (size_t i = 0; i < val_count(s.all); i++) {
        struct object o = {.kind = r, .ref = val_key_at(s.all, i), .record = val_at(s.all, i)};
        vec_push(&s.v, o);
    }
    *ret = s;
    s = (struct selection){0};
    return NULL;
}

struct err *selection_rows(struct cmd *c, const struct xe_record *r, const char *where,
                           struct selection *ret)
{
    _cleanup_(freep) char *message = mem_printf("%s.get_all_records_where", r->cls);
    const struct msg_desc *m = desc_msg(message);
    _cleanup_(val_unrefp) struct val *params = val_set();
    if (!m || m->kind != MSG_GET_ALL_RECORDS_WHERE || !c->backend->rows)
        return selection_all(c, r, where, ret);
    val_add_str(params, where);
    TRY(c->backend->rows(c->backend->arg, c->session, message, params, &ret->rows));
    for (size_t i = 0; i < ret->rows.n; i++) {
        struct object o = {.kind = r, .ref = ret->rows.v[i]->ref, .row = ret->rows.v[i]};
        vec_push(&ret->v, o);
    }
    return NULL;
}

void selection_make_records(struct selection *s, const struct field_desc *const *fields)
{
    VEC(const char *) keys = {0};
    if (s->all)
        return;
    for (const struct field_desc *const *f = fields; f && *f; f++)
        vec_push(&keys, rstr_new((*f)->name));
    s->all = val_map();
    vec_each (o, &s->v) {
        struct val *record = fields ? row_part(o->row, fields, keys.v, keys.n) : row_record(o->row);
        val_put_shared(s->all, o->ref, record);
        o->record = record;
    }
    vec_each (key, &keys)
        rstr_unref(*key);
    vec_done(&keys);
}

static bool text_equal(const struct xe_column *col, const char *a, const char *b)
{
    return col->any_case ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

static bool holds_member(const struct xe_column *col, const struct val *set, const char *value)
{
    for (size_t i = 0; i < val_count(set); i++)
        if (text_equal(col, val_str_at(set, i), value))
            return true;
    return false;
}

static struct err *fits(struct cmd *c, const struct object *o, const struct param_name *p,
                        const struct field_desc *field, const char *value, struct buf *text,
                        bool *ret)
{
    if (!p->key) {
        buf_clear(text);
        TRY(column_put(c, o, p->column, field, text));
        *ret = text_equal(p->column, buf_str(text), value);
        return NULL;
    }
    _cleanup_(val_unrefp) struct val *shown = NULL;
    TRY(column_get(c, o, p->column, &shown));
    if (val_kind(shown) == VAL_MAP) {
        const char *at = val_map_str(shown, p->key, NULL);
        *ret = at && text_equal(p->column, at, value);
    } else {
        *ret = val_kind(shown) == VAL_SET && holds_member(p->column, shown, value);
    }
    return NULL;
}

struct err *selection_filter(struct cmd *c, struct selection *s, const struct xe_record *r,
                             const char *name, const char *value)
{
    struct param_name p;
    TRY(param_name_parse(r, name, &p));
    if (p.key && column_is_set(p.column) && strcmp(p.key, "contains") != 0)
        return cli_fail("Invalid syntax for set filtering (should be %s:contains=value)",
                        p.column->name);
    _cleanup_(buf_done) struct buf text;
    const struct field_desc *field = column_field(r, p.column);
    size_t kept = 0;
    buf_init(&text, THIN_MAX_BODY);
    for (size_t i = 0; i < s->v.n; i++) {
        bool ok;
        TRY(fits(c, &s->v.v[i], &p, field, value, &text, &ok));
        if (ok)
            s->v.v[kept++] = s->v.v[i];
    }
    s->v.n = kept;
    return NULL;
}

/* ---- selectors of commands ---- */

struct selector {
    unsigned flag;
    const char *param, *record;
    const char *names[3]; /* columns that vm= may match besides the uuid */
    /* Filters that hold unless the command has the flag. */
    struct {
        unsigned unless;
        const char *column, *value;
    } always[2];
    const char *none;
};

static const struct selector selectors[] = {
    {XE_VM_SELECTORS,
     "vm",
     "vm",
     {"name-label"},
     {{XE_TEMPLATES, "is-a-template", "false"}, {XE_CONTROL_DOMAIN, "is-control-domain", "false"}},
     "No matching VMs found"},
    {XE_HOST_SELECTORS,
     "host",
     "host",
     {"name-label", "hostname"},
     {{0}},
     "No matching hosts found"},
    {XE_SR_SELECTORS, "sr", "sr", {"name-label"}, {{0}}, "No matching SRs found"},
};

static const struct selector *selector_of(unsigned flag)
{
    for (size_t i = 0; i < ARRAY_LEN(selectors); i++)
        if (selectors[i].flag == flag)
            return &selectors[i];
    return &selectors[0];
}

static bool named_in(const char *const *list, const char *name)
{
    size_t stem = strcspn(name, ":");
    for (; list && *list; list++) {
        size_t size = strcspn(*list, ":");
        if (size == stem && strncmp(*list, name, stem) == 0)
            return true;
    }
    return false;
}

/* Templates and the control domain are left out, unless the command is for them too and something
 * was selected: nobody means them by saying nothing. */
static struct err *filter_always(struct cmd *c, const struct selector *sel, struct selection *s,
                                 const struct xe_record *r, bool selected)
{
    for (size_t i = 0; i < ARRAY_LEN(sel->always) && sel->always[i].column; i++)
        if (!(selected && c->desc->flags & sel->always[i].unless))
            TRY(selection_filter(c, s, r, sel->always[i].column, sel->always[i].value));
    return NULL;
}

/* vm=<uuid or name> */
static struct err *filter_named(struct cmd *c, const struct selector *sel, struct selection *s,
                                const struct xe_record *r, const char *wanted)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->v.n; i++) {
        _cleanup_(freep) char *uuid = NULL;
        TRY(column_get_text(c, &s->v.v[i], column_find(r, "uuid"), &uuid));
        bool ok = strcmp(uuid, wanted) == 0;
        for (size_t n = 0; !ok && n < ARRAY_LEN(sel->names) && sel->names[n]; n++) {
            _cleanup_(freep) char *text = NULL;
            TRY(column_get_text(c, &s->v.v[i], column_find(r, sel->names[n]), &text));
            ok = strcmp(text, wanted) == 0;
        }
        if (ok)
            s->v.v[kept++] = s->v.v[i];
    }
    s->v.n = kept;
    return NULL;
}

/* Whether a parameter of the command line selects objects. */
static bool is_selecting(struct cmd *c, const struct selector *sel, const struct arg *p)
{
    return strcmp(p->name, sel->param) == 0 ||
           (!arg_is_standard(p->name) && !named_in(c->desc->required, p->name) &&
            !named_in(c->desc->optional, p->name));
}

static struct err *select_matching(struct cmd *c, const struct selector *sel, struct selection *s,
                                   bool *ret_selected)
{
    const struct xe_record *r = record_find(sel->record);
    /* A host may also be meant by its hostname. */
    const char *either = sel->flag == XE_HOST_SELECTORS ? NULL : sel->param;
    _cleanup_(freep) char *where = selection_where(r, &c->args, "true", either);
    TRY(selection_all(c, r, where, s));
    *ret_selected = false;
    args_each(p, &c->args)
    {
        if (!is_selecting(c, sel, p))
            continue;
        *ret_selected = true;
        if (strcmp(p->name, sel->param) == 0)
            TRY(filter_named(c, sel, s, r, p->value));
        else
            TRY(selection_filter(c, s, r, p->name, p->value));
    }
    return filter_always(c, sel, s, r, *ret_selected);
}

struct err *select_objects(struct cmd *c, unsigned flag, struct selection *ret)
{
    const struct selector *sel = selector_of(flag);
    _cleanup_(selection_done) struct selection s = {0};
    bool multiple, selected;
    TRY(args_bool(&c->args, "multiple", false, &multiple));
    TRY(select_matching(c, sel, &s, &selected));
    if (!s.v.n && !selected)
        return cli_fail("%s; name one by %s=<uuid or name>", sel->none, sel->param);
    if (!s.v.n)
        return cli_fail("%s", sel->none);
    if (s.v.n > 1 && !multiple)
        return cli_fail("Multiple matches found. --multiple required to complete the operation");
    *ret = s;
    s = (struct selection){0};
    return NULL;
}

/* Says which object failed, when there are several. */
static void say_failed(struct cmd *c, const struct object *o, const struct err *e)
{
    cmd_warn(c, "operation failed on %s:", val_map_str(o->record, "uuid", o->ref));
    complain(c, e);
}

struct err *select_each(struct cmd *c, unsigned flag,
                        struct err *(*fn)(struct cmd *c, const struct object *o, void *arg),
                        void *arg)
{
    _cleanup_(selection_done) struct selection s = {0};
    TRY(select_objects(c, flag, &s));
    if (s.v.n == 1)
        return fn(c, &s.v.v[0], arg);
    bool failed = false;
    vec_each (o, &s.v) {
        _cleanup_(err_freep) struct err *e = fn(c, o, arg);
        if (e && !c->talk->broken)
            say_failed(c, o, e);
        failed |= e != NULL;
    }
    return failed ? cli_exit() : NULL;
}
