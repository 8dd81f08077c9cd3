/* json.c: see json.h. Whether a comma is due tells the last byte written: after the beginning of
 * something or after a colon there is none. */
#include "codec/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#define EXACT_MAX 0x1p53 /* up to here a double holds every whole number */

/* Read as integers or, in a text with one beyond 64 bits, all as doubles. */
enum numbers { NUMBERS_EXACT, NUMBERS_LARGE };

static int convert(const json_t *j, enum numbers n, unsigned depth, struct val **ret);

static int convert_array(const json_t *j, enum numbers n, unsigned depth, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *set = val_set();
    for (size_t i = 0; i < json_array_size(j); i++) {
        struct val *item;
        int r = convert(json_array_get(j, i), n, depth, &item);
        if (r < 0)
            return r;
        val_add(set, item);
    }
    *ret = steal(&set);
    return 0;
}

static int convert_object(json_t *j, enum numbers n, unsigned depth, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *map = val_map();
    const char *key;
    json_t *member;
    json_object_foreach(j, key, member)
    {
        struct val *item;
        int r = convert(member, n, depth, &item);
        if (r < 0)
            return r;
        val_put(map, key, item);
    }
    *ret = steal(&map);
    return 0;
}

static struct val *convert_real(double d, enum numbers n)
{
    bool whole = n == NUMBERS_LARGE && fabs(d) <= EXACT_MAX && d == floor(d);
    return whole ? val_int((int64_t)d) : val_float(d);
}

static int convert(const json_t *j, enum numbers n, unsigned depth, struct val **ret)
{
    if (depth == JSON_DEPTH_MAX)
        return -E2BIG;
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return convert_object((json_t *)(uintptr_t)j, n, depth + 1, ret);
    case JSON_ARRAY:
        return convert_array(j, n, depth + 1, ret);
    case JSON_STRING:
        *ret = val_str_n(json_string_value(j), json_string_length(j));
        return 0;
    case JSON_INTEGER:
        *ret = val_int(json_integer_value(j));
        return 0;
    case JSON_REAL:
        *ret = convert_real(json_real_value(j), n);
        return 0;
    case JSON_TRUE:
    case JSON_FALSE:
        *ret = val_bool(json_is_true(j));
        return 0;
    case JSON_NULL:
        break;
    }
    *ret = val_ref(val_void());
    return 0;
}

static void drop(json_t **j)
{
    json_decref(*j);
}

int json_parse(struct view text, struct val **ret)
{
    json_error_t why;
    enum numbers n = NUMBERS_EXACT;
    _cleanup_(drop) json_t *j = json_loadb(text.p, text.size, JSON_DECODE_ANY, &why);
    if (!j && json_error_code(&why) == json_error_numeric_overflow) {
        n = NUMBERS_LARGE;
        j = json_loadb(text.p, text.size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &why);
    }
    if (!j)
        return json_error_code(&why) == json_error_stack_overflow ? -E2BIG : -EINVAL;
    return convert(j, n, 0, ret);
}

static void put_comma(struct buf *b)
{
    char last = b->size ? b->data[b->size - 1] : '\n';
    if (last != '[' && last != '{' && last != ':' && last != '\n')
        buf_putc(b, ',');
}

/* Bytes that may not be copied as they are. A table, because every byte passes here. */
static const bool special[256] = {[0 ... 0x1f] = true, ['"'] = true, ['\\'] = true};

static void put_special(struct buf *b, unsigned char c)
{
    static const char letters[][2] = {{'"', '"'},  {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'},
                                      {'\t', 't'}, {'\b', 'b'},  {'\f', 'f'}};
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (letters[i][0] == (char)c) {
            buf_put(b, (const char[]){'\\', letters[i][1]}, 2);
            return;
        }
    buf_printf(b, "\\u%04x", c);
}

static void put_quoted(struct buf *b, struct view text)
{
    buf_putc(b, '"');
    while (text.size) {
        size_t plain = 0;
        while (plain < text.size && !special[(unsigned char)text.p[plain]])
            plain++;
        buf_put(b, text.p, plain);
        text = view_cut(text, plain);
        if (text.size) {
            put_special(b, (unsigned char)text.p[0]);
            text = view_cut(text, 1);
        }
    }
    buf_putc(b, '"');
}

void json_put_str(struct buf *b, struct view text)
{
    put_comma(b);
    put_quoted(b, text);
}

void json_put_int(struct buf *b, int64_t i)
{
    put_comma(b);
    buf_put_int(b, i);
}

void json_put_bool(struct buf *b, bool v)
{
    put_comma(b);
    buf_puts(b, v ? "true" : "false");
}

void json_put_float(struct buf *b, double d)
{
    put_comma(b);
    if (isfinite(d))
        buf_printf(b, "%.16g", d);
    else
        buf_puts(b, isnan(d) ? "\"NaN\"" : d < 0 ? "\"-Infinity\"" : "\"Infinity\"");
}

void json_put_datetime(struct buf *b, int64_t seconds)
{
    char text[DATETIME_SIZE];
    str_datetime(seconds, text);
    json_put_str(b, view_of(text));
}

void json_put_null(struct buf *b)
{
    put_comma(b);
    buf_puts(b, "null");
}

void json_begin_set(struct buf *b)
{
    put_comma(b);
    buf_putc(b, '[');
}

void json_end_set(struct buf *b)
{
    buf_putc(b, ']');
}

void json_begin_map(struct buf *b)
{
    put_comma(b);
    buf_putc(b, '{');
}

void json_put_key(struct buf *b, struct view key)
{
    put_comma(b);
    put_quoted(b, key);
    buf_putc(b, ':');
}

void json_end_map(struct buf *b)
{
    buf_putc(b, '}');
}

static void put_set(struct buf *b, const struct val *v)
{
    json_begin_set(b);
    for (size_t i = 0; i < val_count(v); i++)
        json_put_val(b, val_at(v, i));
    json_end_set(b);
}

static void put_map(struct buf *b, const struct val *v)
{
    json_begin_map(b);
    for (size_t i = 0; i < val_count(v); i++) {
        json_put_key(b, view_of(val_key_at(v, i)));
        json_put_val(b, val_at(v, i));
    }
    json_end_map(b);
}

void json_put_val(struct buf *b, const struct val *v)
{
    switch (val_kind(v)) {
    case VAL_VOID:
        json_put_null(b);
        break;
    case VAL_BOOL:
        json_put_bool(b, val_get_bool(v));
        break;
    case VAL_INT:
        json_put_int(b, val_get_int(v));
        break;
    case VAL_FLOAT:
        json_put_float(b, val_get_float(v));
        break;
    case VAL_STRING:
        json_put_str(b, view_of(val_get_str(v)));
        break;
    case VAL_DATETIME:
        json_put_datetime(b, val_get_int(v));
        break;
    case VAL_SET:
        put_set(b, v);
        break;
    case VAL_MAP:
        put_map(b, v);
        break;
    }
}
