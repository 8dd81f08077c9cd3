/*
 * text.c: the canonical text of values (row.h), out and in.
 *
 * Reading is strict: only what writing makes is taken, the nesting is that of the type.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "state/row.h"

static size_t count_special(const char *p, size_t size)
{
    size_t n = 0;
    if (!memchr(p, '\'', size) && !memchr(p, '\\', size))
        return 0;
    for (size_t i = 0; i < size; i++)
        n += p[i] == '\'' || p[i] == '\\';
    return n;
}

void text_escape(struct buf *b, size_t from)
{
    size_t size = b->size - from;
    size_t n = size ? count_special(b->data + from, size) : 0;
    if (!n || !buf_reserve(b, n))
        return;
    char *end = b->data + b->size, *to = end + n;
    while (to > end) {
        *--to = *--end;
        if (*end == '\'' || *end == '\\')
            *--to = '\\';
    }
    buf_added(b, n);
}

void text_quote(struct view v, struct buf *ret)
{
    buf_putc(ret, '\'');
    size_t from = ret->size;
    buf_put(ret, v.p, v.size);
    text_escape(ret, from);
    buf_putc(ret, '\'');
}

/* An item of a set or map, quoted; nested ones are escaped again by whoever they are in. */
static void quote_item(const struct val *v, const struct type *t, struct buf *ret)
{
    buf_putc(ret, '\'');
    size_t from = ret->size;
    val_text(v, t, ret);
    text_escape(ret, from);
    buf_putc(ret, '\'');
}

static void set_text(const struct val *v, const struct type *t, struct buf *ret)
{
    buf_putc(ret, '(');
    for (size_t i = 0; i < val_count(v); i++) {
        if (i)
            buf_putc(ret, ' ');
        quote_item(val_at(v, i), t->elem, ret);
    }
    buf_putc(ret, ')');
}

static void map_text(const struct val *v, const struct type *t, struct buf *ret)
{
    buf_putc(ret, '(');
    for (size_t i = 0; i < val_count(v); i++) {
        buf_puts(ret, i ? " (" : "(");
        text_quote(view_of(val_key_at(v, i)), ret);
        buf_putc(ret, ' ');
        quote_item(val_at(v, i), t->elem, ret);
        buf_putc(ret, ')');
    }
    buf_putc(ret, ')');
}

static void datetime_text(int64_t s, struct buf *ret)
{
    char text[DATETIME_SIZE];
    str_datetime(s, text);
    buf_puts(ret, text);
}

void val_text(const struct val *v, const struct type *t, struct buf *ret)
{
    switch (val_kind(v)) {
    case VAL_VOID:
        break;
    case VAL_BOOL:
        buf_puts(ret, val_get_bool(v) ? "true" : "false");
        break;
    case VAL_INT:
        buf_put_int(ret, val_get_int(v));
        break;
    case VAL_DATETIME:
        datetime_text(val_get_int(v), ret);
        break;
    case VAL_FLOAT:
        buf_printf(ret, "%.18g", val_get_float(v));
        break;
    case VAL_STRING:
        buf_put(ret, val_get_str(v), rstr_size(val_get_str(v)));
        break;
    case VAL_SET:
        set_text(v, t, ret);
        break;
    case VAL_MAP:
        map_text(v, t, ret);
        break;
    }
}

/* --- reading --- */

static bool eat(struct view *in, char c)
{
    if (!in->size || *in->p != c)
        return false;
    *in = view_cut(*in, 1);
    return true;
}

/* Takes a quoted string off the front, without its escapes; the result is in `ret`. */
static int take_quoted(struct view *in, struct buf *ret)
{
    buf_clear(ret);
    if (!eat(in, '\''))
        return -EINVAL;
    while (in->size && *in->p != '\'') {
        if (*in->p == '\\')
            *in = view_cut(*in, 1);
        size_t n = 0;
        while (n < in->size && (n == 0 || (in->p[n] != '\'' && in->p[n] != '\\')))
            n++;
        if (!n)
            return -EINVAL;
        buf_put(ret, in->p, n);
        *in = view_cut(*in, n);
    }
    return eat(in, '\'') && buf_ok(ret) ? 0 : -EINVAL;
}

static int take_item(struct view *in, const struct type *t, struct val **ret)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, in->size);
    int e = take_quoted(in, &text);
    return e < 0 ? e : val_parse((struct view){buf_str(&text), text.size}, t, ret);
}

static int parse_set(struct view in, const struct type *t, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *set = val_set();
    if (!eat(&in, '('))
        return -EINVAL;
    while (!eat(&in, ')')) {
        struct val *item;
        if (val_count(set) && !eat(&in, ' '))
            return -EINVAL;
        int e = take_item(&in, t->elem, &item);
        if (e < 0)
            return e;
        val_add(set, item);
    }
    if (in.size)
        return -EINVAL;
    *ret = steal(&set);
    return 0;
}

static int parse_pair(struct view *in, const struct type *t, struct val *map)
{
    _cleanup_(buf_done) struct buf key;
    struct val *item;
    buf_init(&key, in->size);
    if (!eat(in, '(') || take_quoted(in, &key) < 0 || !eat(in, ' '))
        return -EINVAL;
    int e = take_item(in, t->elem, &item);
    if (e < 0)
        return e;
    val_put(map, buf_str(&key), item);
    return eat(in, ')') ? 0 : -EINVAL;
}

static int parse_map(struct view in, const struct type *t, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    if (!eat(&in, '('))
        return -EINVAL;
    while (!eat(&in, ')')) {
        if (val_count(map) && !eat(&in, ' '))
            return -EINVAL;
        int e = parse_pair(&in, t, map);
        if (e < 0)
            return e;
    }
    if (in.size)
        return -EINVAL;
    *ret = steal(&map);
    return 0;
}

static int parse_bool(struct view text, struct val **ret)
{
    if (!view_eq(text, "true") && !view_eq(text, "false"))
        return -EINVAL;
    *ret = val_bool(view_eq(text, "true"));
    return 0;
}

static int parse_number(struct view text, enum type_kind kind, struct val **ret)
{
    int64_t i;
    double d;
    int e;
    if (kind == TYPE_FLOAT)
        e = str_double(text, &d);
    else if (kind == TYPE_DATETIME)
        e = str_parse_datetime(text, &i);
    else
        e = str_i64(text, INT64_MIN, INT64_MAX, &i);
    if (e < 0)
        return -EINVAL;
    *ret = kind == TYPE_FLOAT ? val_float(d) : kind == TYPE_DATETIME ? val_datetime(i) : val_int(i);
    return 0;
}

static int parse_string(struct view text, const struct type *t, struct val **ret)
{
    if (text.size && memchr(text.p, 0, text.size))
        return -EINVAL;
    _cleanup_(val_unrefp) struct val *v = val_str_n(text.p, text.size);
    if (t->kind == TYPE_ENUM) {
        int e = desc_enum_value(t->enm, val_get_str(v));
        if (e < 0)
            return -EINVAL;
        *ret = val_str(t->enm->values[e]);
        return 0;
    }
    *ret = steal(&v);
    return 0;
}

int val_parse(struct view text, const struct type *t, struct val **ret)
{
    switch (t->kind) {
    case TYPE_BOOL:
        return parse_bool(text, ret);
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_DATETIME:
        return parse_number(text, t->kind, ret);
    case TYPE_STRING:
    case TYPE_REF:
    case TYPE_ENUM:
        return parse_string(text, t, ret);
    case TYPE_SET:
        return parse_set(text, t, ret);
    case TYPE_MAP:
        return parse_map(text, t, ret);
    case TYPE_OPTION:
        if (text.size)
            return val_parse(text, t->elem, ret);
        break;
    case TYPE_VOID:
    case TYPE_RECORD:
        break;
    }
    if (text.size)
        return -EINVAL;
    *ret = val_ref(val_void());
    return 0;
}

int row_parse(struct row *r, const struct field_desc *f, struct view text)
{
    _cleanup_(val_unrefp) struct val *v = NULL;
    int e = val_parse(text, f->type, &v);
    return e < 0 ? e : row_set(r, f, v);
}
