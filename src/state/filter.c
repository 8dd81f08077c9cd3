/*
 * filter.c: see filter.h. The text becomes a list of steps in postfix order, worked off with a
 * stack of truth values; so its nesting costs the matcher nothing.
 *
 * The parser is one function a rule:  expr := term { ("and" | "or") term }
 *                                     term := "not" expr | "true" | "false" | "(" expr ")" | pair
 */
#include "state/filter.h"

#include <string.h>

#include "base/vec.h"
#include "gen/error.h"

#define MAX_TEXT   (64 * 1024)
#define MAX_LEVELS 1000

/* What is compared: a field of the row, the row's reference, or a text of the query. */
struct operand {
    const struct field_desc *field;
    bool is_ref;
    const char *text; /* rstr; NULL for the others */
};

struct step {
    enum { PUSH_TRUE, PUSH_FALSE, PUSH_EQUAL, DO_NOT, DO_AND, DO_OR } what;
    struct operand a, b; /* of PUSH_EQUAL */
};

struct filter {
    VEC(struct step) steps;
};

struct parser {
    const struct class_desc *cls;
    const char *text;
    struct view rest;
    unsigned level;
    struct filter *filter;
};

/* --- parsing --- */

static struct err *parse_expr(struct parser *p);

static struct err *complain(const struct parser *p, const char *what)
{
    _cleanup_(freep) char *reason =
        mem_printf("%s at character %zu", what, (size_t)(p->rest.p - p->text));
    return err_INVALID_VALUE(p->text, reason);
}

static bool eat(struct parser *p, const char *token)
{
    while (p->rest.size && strchr(" \t\n", *p->rest.p))
        p->rest = view_cut(p->rest, 1);
    if (!view_starts(p->rest, token))
        return false;
    p->rest = view_cut(p->rest, strlen(token));
    return true;
}

static void emit(struct parser *p, struct step s)
{
    vec_push(&p->filter->steps, s);
}

static struct err *parse_string(struct parser *p, struct view *ret)
{
    if (!eat(p, "\""))
        return complain(p, "a string is expected");
    if (!view_split(&p->rest, '"', ret))
        return complain(p, "a string has no end");
    return NULL;
}

static struct err *parse_operand(struct parser *p, struct operand *ret)
{
    struct view v;
    bool is_field = eat(p, "field");
    TRY(parse_string(p, &v));
    _cleanup_(rstr_unrefp) const char *text = rstr_new_n(v.p, v.size);
    if (!is_field) {
        ret->text = rstr_ref(text);
        return NULL;
    }
    ret->is_ref = strcmp(text, "_ref") == 0;
    ret->field = ret->is_ref ? NULL : desc_field_by_column(p->cls, text);
    if (!ret->is_ref && !ret->field)
        return err_make("INTERNAL_ERROR", __FILE__, __LINE__, 3, "missing field", p->cls->name,
                        text);
    return NULL;
}

static void operand_done(struct operand *o)
{
    rstr_unref(o->text);
}

static struct err *parse_pair(struct parser *p)
{
    _cleanup_(operand_done) struct operand a = {0};
    _cleanup_(operand_done) struct operand b = {0};
    TRY(parse_operand(p, &a));
    if (!eat(p, "="))
        return complain(p, "'=' is expected");
    TRY(parse_operand(p, &b));
    emit(p, (struct step){PUSH_EQUAL, a, b});
    a = b = (struct operand){0};
    return NULL;
}

static struct err *parse_nested(struct parser *p)
{
    if (p->level == MAX_LEVELS)
        return complain(p, "the query is nested too deeply");
    p->level++;
    TRY(parse_expr(p));
    p->level--;
    return NULL;
}

static struct err *parse_term(struct parser *p)
{
    if (eat(p, "not")) {
        TRY(parse_nested(p));
        emit(p, (struct step){.what = DO_NOT});
        return NULL;
    }
    if (eat(p, "(")) {
        TRY(parse_nested(p));
        return eat(p, ")") ? NULL : complain(p, "')' is expected");
    }
    if (eat(p, "true")) {
        emit(p, (struct step){.what = PUSH_TRUE});
        return NULL;
    }
    if (eat(p, "false")) {
        emit(p, (struct step){.what = PUSH_FALSE});
        return NULL;
    }
    return parse_pair(p);
}

static struct err *parse_expr(struct parser *p)
{
    TRY(parse_term(p));
    for (;;) {
        bool is_and = eat(p, "and");
        if (!is_and && !eat(p, "or"))
            return NULL;
        TRY(parse_term(p));
        emit(p, (struct step){.what = is_and ? DO_AND : DO_OR});
    }
}

struct err *filter_parse(const struct class_desc *cls, const char *text, struct filter **ret)
{
    _cleanup_(filter_freep) struct filter *f = mem_new(struct filter);
    struct parser p = {cls, text, view_of(text), 0, f};
    if (p.rest.size > MAX_TEXT)
        return err_INVALID_VALUE("", "the query is longer than 64 KiB");
    TRY(parse_expr(&p));
    if (!eat(&p, "") || p.rest.size)
        return complain(&p, "'and', 'or' or the end is expected");
    *ret = steal(&f);
    return NULL;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    vec_each (s, &f->steps) {
        operand_done(&s->a);
        operand_done(&s->b);
    }
    vec_done(&f->steps);
    free(f);
}

/* --- matching --- */

/* The text of an operand; written to `buf` unless it stands somewhere as it is. */
static const char *text_of(const struct operand *o, const struct row *r, struct buf *buf)
{
    if (o->text)
        return o->text;
    if (o->is_ref)
        return r->ref;
    const char *word = row_word(r, o->field);
    if (word)
        return word;
    row_text(r, o->field, buf);
    return buf_str(buf);
}

static bool is_equal(const struct step *s, const struct row *r)
{
    _cleanup_(buf_done) struct buf a;
    _cleanup_(buf_done) struct buf b;
    buf_init(&a, SIZE_MAX / 4);
    buf_init(&b, SIZE_MAX / 4);
    return strcmp(text_of(&s->a, r, &a), text_of(&s->b, r, &b)) == 0;
}

bool filter_match(const struct filter *f, const struct row *r)
{
    bool stack[MAX_LEVELS + 2];
    size_t n = 0;
    for (size_t i = 0; i < f->steps.n; i++) {
        const struct step *s = &f->steps.v[i];
        switch (s->what) {
        case PUSH_TRUE:
        case PUSH_FALSE:
            stack[n++] = s->what == PUSH_TRUE;
            break;
        case PUSH_EQUAL:
            stack[n++] = is_equal(s, r);
            break;
        case DO_NOT:
            stack[n - 1] = !stack[n - 1];
            break;
        case DO_AND:
            n--;
            stack[n - 1] = stack[n - 1] && stack[n];
            break;
        case DO_OR:
            n--;
            stack[n - 1] = stack[n - 1] || stack[n];
            break;
        }
    }
    return stack[0];
}
