/* column.c: see column.h. Walks sources and shows values; asks the API through cmd.h. */
#include "cli/column.h"

#include <stdio.h>
#include <string.h>

/* ---- finding ---- */

const struct xe_record *record_find(const char *name)
{
    for (unsigned i = 0; i < xe_n_records; i++)
        if (strcmp(xe_records[i].name, name) == 0)
            return &xe_records[i];
    return NULL;
}

const struct xe_column *column_find(const struct xe_record *r, const char *name)
{
    for (unsigned i = 0; i < r->n_columns; i++)
        if (strcmp(r->columns[i].name, name) == 0)
            return &r->columns[i];
    return NULL;
}

bool column_is_map(const struct xe_column *col)
{
    return col->rw == XE_MRO || col->rw == XE_MRW;
}

bool column_is_set(const struct xe_column *col)
{
    return col->rw == XE_SRO || col->rw == XE_SRW;
}

char *column_label(const struct xe_column *col)
{
    static const char *const marks[] = {" RO", " RW", "SRO", "SRW", "MRO", "MRW"};
    return mem_printf("%s (%s)%s", col->name, marks[col->rw],
                      col->deprecated ? " [DEPRECATED]" : "");
}

/* ---- showing ---- */

static const char *shown_name(const struct xe_column *how, const char *value)
{
    for (const struct xe_shown *s = how->shown; s && s->value; s++)
        if (strcmp(s->value, value) == 0)
            return s->shown;
    return value;
}

static struct err *put_ref(struct cmd *c, const struct xe_column *how, const char *ref, int cls,
                           struct buf *out)
{
    const struct val *record = NULL;
    if (!cmd_is_null(ref))
        TRY(cmd_record(c, desc_classes[cls]->name, ref, &record));
    if (!record)
        buf_puts(out, NOT_IN_DATABASE);
    else if (how->format == XE_NAME)
        buf_puts(out, val_map_str(record, "name_label", val_map_str(record, "name", "")));
    else
        buf_puts(out, val_map_str(record, "uuid", ""));
    return NULL;
}

static void put_float(const struct xe_column *how, double d, struct buf *out)
{
    buf_printf(out, how->format == XE_F3 ? "%.3f" : "%.15g", d);
}

static void put_time(int64_t t, struct buf *out)
{
    char text[DATETIME_SIZE];
    str_datetime(t, text);
    buf_puts(out, text);
}

static void put_string(const struct xe_column *how, const char *s, struct buf *out)
{
    const char *text = shown_name(how, s);
    bool lower = how->format == XE_LOWER && *text >= 'A' && *text <= 'Z';
    if (lower)
        buf_putc(out, (char)(*text - 'A' + 'a'));
    buf_puts(out, text + lower);
}

/* A value that is neither set nor map. `type` may be NULL when it is not known. */
static struct err *put_one(struct cmd *c, const struct xe_column *how, const struct val *v,
                           const struct type *type, struct buf *out)
{
    if (type && type->kind == TYPE_REF && val_kind(v) == VAL_STRING)
        return put_ref(c, how, val_get_str(v), type->cls, out);
    switch (val_kind(v)) {
    case VAL_BOOL:
        buf_puts(out, val_get_bool(v) ? "true" : "false");
        break;
    case VAL_INT:
        buf_put_int(out, val_get_int(v));
        break;
    case VAL_FLOAT:
        put_float(how, val_get_float(v), out);
        break;
    case VAL_DATETIME:
        put_time(val_get_int(v), out);
        break;
    case VAL_STRING:
        put_string(how, val_get_str(v), out);
        break;
    default:
        break;
    }
    return NULL;
}

static struct err *show_one(struct cmd *c, const struct xe_column *how, const struct val *v,
                            const struct type *type, char **ret)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, THIN_MAX_BODY - 64);
    TRY(put_one(c, how, v, type, &out));
    *ret = mem_strdup(buf_str(&out));
    return NULL;
}

/* Set and map members; a map shown as a set (current-operations) gives its values. */
static struct err *show_many(struct cmd *c, const struct xe_column *how, const struct val *v,
                             const struct type *elem, struct val **ret)
{
    bool keyed = val_kind(v) == VAL_MAP && !column_is_set(how);
    _cleanup_(val_unrefp) struct val *many = keyed ? val_map() : val_set();
    for (size_t i = 0; i < val_count(v); i++) {
        _cleanup_(freep) char *text = NULL;
        TRY(show_one(c, how, val_at(v, i), elem, &text));
        if (keyed)
            val_put_str(many, shown_name(how, val_key_at(v, i)), text);
        else
            val_add_str(many, text);
    }
    *ret = steal(&many);
    return NULL;
}

struct err *column_show(struct cmd *c, const struct xe_column *how, const struct val *v,
                        const struct type *type, struct val **ret)
{
    if (type && type->kind == TYPE_OPTION)
        type = type->elem;
    if (val_kind(v) == VAL_SET || val_kind(v) == VAL_MAP)
        return show_many(c, how, v, type ? type->elem : NULL, ret);
    _cleanup_(freep) char *text = NULL;
    TRY(show_one(c, how, v, type, &text));
    *ret = val_str(text);
    return NULL;
}

static void put_shown(const struct xe_column *col, const struct val *shown, struct buf *out)
{
    if (val_kind(shown) == VAL_STRING) {
        buf_puts(out, val_get_str(shown));
        return;
    }
    for (size_t i = 0; i < val_count(shown); i++) {
        buf_puts(out, i ? col->separator : "");
        if (val_kind(shown) == VAL_MAP)
            buf_printf(out, "%s: ", val_key_at(shown, i));
        buf_puts(out, val_str_at(shown, i));
    }
}

char *column_text(const struct xe_column *col, const struct val *shown)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, THIN_MAX_BODY - 64);
    put_shown(col, shown, &b);
    return mem_strdup(buf_str(&b));
}

/* ---- walking ---- */

/* Where a path has arrived: a value of a type; nothing (a null reference on the way); or, beyond a
 * set of references, the set of what stood at their ends, each of that type. */
struct place {
    struct val *v;
    const struct type *type;
    bool collected;
};

static void place_done(struct place *p)
{
    val_unref(p->v);
    p->v = NULL;
}

static struct err *walk(struct cmd *c, const struct class_desc *cls, const struct val *record,
                        struct view path, struct place *ret);

/* Goes on from a reference. */
static struct err *walk_ref(struct cmd *c, const struct type *t, const char *ref, struct view path,
                            struct place *ret)
{
    const struct class_desc *cls = desc_classes[t->cls];
    const struct val *record = NULL;
    *ret = (struct place){0};
    if (!cmd_is_null(ref))
        TRY(cmd_record(c, cls->name, ref, &record));
    return record ? walk(c, cls, record, path, ret) : NULL;
}

/* Goes on from each reference of a set; what they show is collected. */
static struct err *walk_refs(struct cmd *c, const struct type *t, const struct val *refs,
                             struct view path, struct place *ret)
{
    _cleanup_(val_unrefp) struct val *all = val_set();
    const struct type *type = NULL;
    val_each (ref, refs) {
        _cleanup_(place_done) struct place at = {0};
        TRY(walk_ref(c, t->elem, ref, path, &at));
        if (at.v)
            val_add(all, val_ref(at.v));
        type = at.type ? at.type : type;
    }
    *ret = (struct place){.v = steal(&all), .type = type, .collected = true};
    return NULL;
}

static struct err *walk(struct cmd *c, const struct class_desc *cls, const struct val *record,
                        struct view path, struct place *ret)
{
    struct view head;
    bool more = view_split(&path, '.', &head);
    _cleanup_(freep) char *name = view_dup(head);
    const struct field_desc *f = desc_field(cls, name);
    const struct val *v = val_map_get(record, name);
    if (!f || !v)
        return err_internal("no field '%s' in '%s'", name, cls->name);
    if (!more)
        *ret = (struct place){.v = val_ref(v), .type = f->type};
    else if (f->type->kind == TYPE_REF)
        return walk_ref(c, f->type, val_get_str(v), path, ret);
    else
        return walk_refs(c, f->type, v, path, ret);
    return NULL;
}

static struct err *get_field(struct cmd *c, const struct object *o, const struct xe_column *col,
                             struct val **ret)
{
    _cleanup_(place_done) struct place at = {0};
    const struct class_desc *cls = desc_class_by_name(o->kind->cls);
    TRY(walk(c, cls, o->record, view_of(col->source), &at));
    if (at.v && at.collected)
        return show_many(c, col, at.v, at.type, ret);
    if (at.v)
        return column_show(c, col, at.v, at.type, ret);
    *ret = val_str(NOT_IN_DATABASE);
    return NULL;
}

/* "=path": is the reference there the object itself? */
static struct err *get_same(struct cmd *c, const struct object *o, const struct xe_column *col,
                            struct val **ret)
{
    _cleanup_(place_done) struct place at = {0};
    const struct class_desc *cls = desc_class_by_name(o->kind->cls);
    TRY(walk(c, cls, o->record, view_of(col->source + 1), &at));
    bool same = at.v && val_kind(at.v) == VAL_STRING && strcmp(val_get_str(at.v), o->ref) == 0;
    *ret = val_str(same ? "true" : "false");
    return NULL;
}

/* "@message": what it returns when called with the object; "@@message" without. */
static struct err *get_called(struct cmd *c, const struct object *o, const struct xe_column *col,
                              struct val **ret)
{
    _cleanup_(val_unrefp) struct val *v = NULL;
    bool alone = col->source[1] == '@';
    const char *message = col->source + (alone ? 2 : 1);
    const struct msg_desc *m = desc_msg(message);
    struct err *e = cmd_call(c, &v, message, alone ? "" : "s", o->ref);
    if (col->format == XE_SUCCEEDS) {
        *ret = e ? val_str("false") : val_str("true");
        err_freep(&e);
        return NULL;
    }
    if (err_is(e, "NOT_IMPLEMENTED")) {
        err_freep(&e);
        *ret = val_str("<not available>");
        return NULL;
    }
    TRY(e);
    return column_show(c, col, v, m ? m->result : NULL, ret);
}

/* Replaces {field} in the name of a data source. */
static char *source_name(const struct object *o, struct view pattern)
{
    _cleanup_(buf_done) struct buf b;
    struct view head, field;
    buf_init(&b, 256);
    if (!view_split(&pattern, '{', &head))
        return view_dup(head);
    view_split(&pattern, '}', &field);
    _cleanup_(freep) char *name = view_dup(field);
    buf_put(&b, head.p, head.size);
    const struct val *v = val_map_get(o->record, name);
    if (v && val_kind(v) == VAL_INT)
        buf_printf(&b, "%lld", (long long)val_get_int(v));
    else
        buf_puts(&b, val_map_str(o->record, name, ""));
    buf_put(&b, pattern.p, pattern.size);
    return mem_strdup(buf_str(&b));
}

/* "?owner:source:divisor" */
static struct err *get_measured(struct cmd *c, const struct object *o, const struct xe_column *col,
                                struct val **ret)
{
    struct view rest = view_of(col->source + 1), owner, pattern;
    _cleanup_(val_unrefp) struct val *v = NULL;
    double divisor = 1;
    view_split(&rest, ':', &owner);
    view_split(&rest, ':', &pattern);
    if (str_double(rest, &divisor) < 0)
        return err_internal("column '%s' has no divisor", col->name);
    _cleanup_(freep) char *source = source_name(o, pattern);
    _cleanup_(freep) char *field = view_dup(owner);
    const struct class_desc *cls = desc_class_by_name(o->kind->cls);
    const struct field_desc *f = *field ? desc_field(cls, field) : NULL;
    const char *name = f ? desc_classes[f->type->cls]->name : cls->name;
    _cleanup_(freep) char *message = mem_printf("%s.query_data_source", name);
    struct err *e =
        cmd_call(c, &v, message, "ss", f ? val_map_str(o->record, field, "") : o->ref, source);
    bool known = !e && val_kind(v) == VAL_FLOAT;
    err_free(e);
    if (!known) {
        *ret = val_str("<not available>");
        return NULL;
    }
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 512);
    put_float(col, val_get_float(v) / divisor, &text);
    *ret = val_str(buf_str(&text));
    return NULL;
}

static struct err *get_computed(struct cmd *c, const struct object *o, const struct xe_column *col,
                                struct val **ret)
{
    computed_fn fn = computed_find(col->source + 1);
    if (!fn)
        return err_internal("no computed column '%s'", col->source);
    return fn(c, o, ret);
}

struct err *column_get(struct cmd *c, const struct object *o, const struct xe_column *col,
                       struct val **ret)
{
    switch (col->source[0]) {
    case '@':
        return get_called(c, o, col, ret);
    case '?':
        return get_measured(c, o, col, ret);
    case '=':
        return get_same(c, o, col, ret);
    case '~':
        return get_computed(c, o, col, ret);
    default:
        return get_field(c, o, col, ret);
    }
}

const struct field_desc *column_field(const struct xe_record *r, const struct xe_column *col)
{
    const struct class_desc *cls = desc_class_by_name(r->cls);
    const struct field_desc *f = desc_field(cls, col->source);
    return f && f->type->kind < TYPE_SET && f->type->kind != TYPE_REF ? f : NULL;
}

/* A plain field of a row. */
static struct err *put_field(struct cmd *c, const struct row *r, const struct xe_column *col,
                             const struct field_desc *field, struct buf *out)
{
    const char *word = row_word(r, field);
    if (word) {
        put_string(col, word, out);
        return NULL;
    }
    _cleanup_(val_unrefp) struct val *v = row_get(r, field);
    return put_one(c, col, v, field->type, out);
}

struct err *column_put(struct cmd *c, const struct object *o, const struct xe_column *col,
                       const struct field_desc *field, struct buf *out)
{
    if (field && o->row)
        return put_field(c, o->row, col, field, out);
    const struct val *plain = field ? val_map_get(o->record, field->name) : NULL;
    if (plain)
        return put_one(c, col, plain, field->type, out);
    _cleanup_(val_unrefp) struct val *shown = NULL;
    struct err *e = column_get(c, o, col, &shown);
    if (err_is(e, "HANDLE_INVALID")) {
        err_freep(&e);
        buf_puts(out, "<invalid reference>");
        return NULL;
    }
    TRY(e);
    put_shown(col, shown, out);
    return NULL;
}

struct err *column_get_text(struct cmd *c, const struct object *o, const struct xe_column *col,
                            char **ret)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, THIN_MAX_BODY - 64);
    TRY(column_put(c, o, col, column_field(o->kind, col), &text));
    *ret = mem_strdup(buf_str(&text));
    return NULL;
}

/* ---- printing ---- */

static bool in_params(const char *list, const char *name)
{
    struct view rest = view_of(list), item;
    if (strcmp(list, "all") == 0)
        return true;
    while (rest.size) {
        view_split(&rest, ',', &item);
        if (view_eq(view_trim(item), name))
            return true;
    }
    return false;
}

struct err *object_print(struct cmd *c, const char *kind, const char *ref, const char *params)
{
    const struct xe_record *r = record_find(kind);
    _cleanup_(val_unrefp) struct val *out = val_map();
    struct object o = {.kind = r, .ref = ref};
    TRY(cmd_record(c, r->cls, ref, &o.record));
    for (unsigned i = 0; o.record && i < r->n_columns; i++) {
        const struct xe_column *col = &r->columns[i];
        if (col->hidden || !in_params(params, col->name))
            continue;
        _cleanup_(freep) char *label = column_label(col), *text = NULL;
        TRY(column_get_text(c, &o, col, &text));
        val_put_str(out, label, text);
    }
    cmd_print_record(c, out);
    return NULL;
}
