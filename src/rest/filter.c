/*
 * filter.c: which objects of a collection are wanted.
 *
 *     terms := term (blank+ term)*           all have to be true
 *     term  := field ["." key] op value
 *     op    := "=" | "!=" | "~" | "<" | ">"
 *     value := bare word | '"' text with \" and \\ '"'
 *
 * "=" compares with the text of the value as REST shows it, without quotes; of a set it asks
 * whether the value is in it. "~" looks for a part, in any case. "<" and ">" compare numbers and
 * dates. Text of strangers: total, at most TERMS_MAX terms. Any thread.
 */
#include <ctype.h>
#include <string.h>

#include "base/str.h"
#include "codec/json.h"
#include "gen/error.h"
#include "rest/rest_impl.h"

#define TERMS_MAX 32

enum op { EQUAL, DIFFERENT, CONTAINS, LESS, MORE };

struct term {
    const struct field_desc *f;
    char *key; /* of a map; NULL */
    enum op op;
    char *value;
};

struct rest_filter {
    unsigned n;
    struct term terms[TERMS_MAX];
};

void rest_filter_free(struct rest_filter *f)
{
    for (unsigned i = 0; f && i < f->n; i++) {
        free(f->terms[i].key);
        free(f->terms[i].value);
    }
    free(f);
}

/* ---- reading ---- */

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static struct err *take_field(const struct class_desc *cls, const char **at, struct term *t)
{
    const char *end = *at;
    while (is_name(*end))
        end++;
    _cleanup_(freep) char *name = mem_strndup(*at, (size_t)(end - *at));
    t->f = desc_field(cls, name);
    if (!t->f || t->f->flags & FIELD_INTERNAL) {
        _cleanup_(freep) char *why = mem_printf("'%.60s' is no field", name);
        return err_INVALID_VALUE("filter", why);
    }
    *at = end;
    if (*end != '.')
        return NULL;
    if (t->f->type->kind != TYPE_MAP)
        return err_INVALID_VALUE("filter", "only a map has keys");
    const char *key = ++end;
    while (*end && !strchr("=!~<> ", *end))
        end++;
    t->key = mem_strndup(key, (size_t)(end - key));
    *at = end;
    return NULL;
}

static struct err *take_op(const char **at, enum op *ret)
{
    static const struct {
        const char *text;
        enum op op;
    } ops[] = {{"=", EQUAL}, {"!=", DIFFERENT}, {"~", CONTAINS}, {"<", LESS}, {">", MORE}};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (!str_starts(*at, ops[i].text))
            continue;
        *at += strlen(ops[i].text);
        *ret = ops[i].op;
        return NULL;
    }
    return err_INVALID_VALUE("filter", "one of = != ~ < > is expected behind a field");
}

static struct err *take_quoted(const char **at, char **ret)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 65536);
    const char *p = *at + 1;
    for (; *p && *p != '"'; p++) {
        if (*p == '\\' && p[1])
            p++;
        buf_putc(&b, *p);
    }
    if (*p != '"')
        return err_INVALID_VALUE("filter", "a quote is not closed");
    *at = p + 1;
    *ret = mem_strdup(buf_str(&b));
    return NULL;
}

static struct err *take_value(const char **at, char **ret)
{
    if (**at == '"')
        return take_quoted(at, ret);
    size_t size = strcspn(*at, " ");
    *ret = mem_strndup(*at, size);
    *at += size;
    return NULL;
}

static struct err *take_term(const struct class_desc *cls, const char **at, struct term *t)
{
    TRY(take_field(cls, at, t));
    TRY(take_op(at, &t->op));
    TRY(take_value(at, &t->value));
    if (**at && **at != ' ')
        return err_INVALID_VALUE("filter", "a blank is expected between two terms");
    return NULL;
}

struct err *rest_filter_parse(const struct class_desc *cls, const char *text,
                              struct rest_filter **ret)
{
    _cleanup_(rest_filter_freep) struct rest_filter *f = mem_new(struct rest_filter);
    for (const char *at = text;;) {
        at += strspn(at, " ");
        if (!*at)
            break;
        if (f->n == TERMS_MAX)
            return err_INVALID_VALUE("filter", "too many terms");
        f->n++;
        TRY(take_term(cls, &at, &f->terms[f->n - 1]));
    }
    *ret = steal(&f);
    return NULL;
}

/* ---- comparing ---- */

/* The text of a value as REST shows it, without quotes. */
static char *text_of(const struct rest_show *s, const struct type *t, const struct val *v)
{
    if (val_kind(v) == VAL_STRING && t->kind != TYPE_REF)
        return mem_strdup(val_get_str(v));
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    struct rest_show out = {.b = &b, .api = s->api, .snap = s->snap};
    rest_show_val(&out, t, v);
    const char *text = buf_str(&b);
    size_t size = strlen(text);
    bool quoted = size >= 2 && *text == '"';
    return quoted ? mem_strndup(text + 1, size - 2) : mem_strdup(text);
}

/* Links are long to type: what stands behind the last slash is enough. */
static bool same(const struct type *t, const char *text, const char *value)
{
    const char *slash = t->kind == TYPE_REF ? strrchr(text, '/') : NULL;
    return str_eq(text, value) || (slash && str_eq(slash + 1, value));
}

static int order(const struct type *t, const struct val *v, const char *value)
{
    double wanted = 0, have = 0;
    int64_t seconds = 0;
    if (t->kind == TYPE_DATETIME) {
        if (str_parse_datetime(view_of(value), &seconds) < 0)
            return 0;
        return val_get_int(v) < seconds ? -1 : val_get_int(v) > seconds;
    }
    if (str_double(view_of(value), &wanted) < 0)
        return 0;
    if (val_kind(v) == VAL_INT)
        have = (double)val_get_int(v);
    else if (val_kind(v) == VAL_FLOAT)
        have = val_get_float(v);
    else if (val_kind(v) != VAL_STRING || str_double(view_of(val_get_str(v)), &have) < 0)
        return 0;
    return have < wanted ? -1 : have > wanted;
}

static bool is_true(const struct term *t, const struct rest_show *s, const struct type *type,
                    const struct val *v)
{
    if (t->op == LESS || t->op == MORE)
        return order(type, v, t->value) == (t->op == LESS ? -1 : 1);
    _cleanup_(freep) char *text = text_of(s, type, v);
    if (t->op == CONTAINS)
        return strcasestr(text, t->value) != NULL;
    return same(type, text, t->value);
}

/* A term of a set is true if it is of one of its members. */
static bool any_is_true(const struct term *t, const struct rest_show *s, const struct type *type,
                        const struct val *v)
{
    if (type->kind != TYPE_SET)
        return is_true(t, s, type, v);
    for (size_t i = 0; i < val_count(v); i++)
        if (is_true(t, s, type->elem, val_at(v, i)))
            return true;
    return false;
}

static bool term_match(const struct term *t, const struct rest_show *s, const struct row *r)
{
    _cleanup_(val_unrefp) struct val *v = row_get(r, t->f);
    const struct type *type = t->key ? t->f->type->elem : t->f->type;
    const struct val *at = t->key ? val_map_get(v, t->key) : v;
    bool found = at && any_is_true(t, s, type, at);
    return t->op == DIFFERENT ? !found : found;
}

bool rest_filter_match(const struct rest_filter *f, struct rest_show *s, const struct row *r)
{
    for (unsigned i = 0; i < f->n; i++)
        if (!term_match(&f->terms[i], s, r))
            return false;
    return true;
}
