/*
 * lvm_text.c: see lvm_text.h. Descent by hand, with a bound on depth; a text has as many nodes as
 * bytes at most.
 */
#include "codec/lvm_text.h"

#include <stdlib.h>

#include "base/buf.h"

#define DEPTH_MAX 16u

struct reader {
    struct view rest;
    const char *why;
    unsigned depth;
};

static struct lvm_node *read_members(struct reader *r, bool is_outermost);
static struct lvm_node *read_value(struct reader *r);

static struct lvm_node *fail(struct reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    return NULL;
}

void lvm_text_free(struct lvm_node *n)
{
    while (n) {
        struct lvm_node *next = n->next;
        lvm_text_free(n->first);
        free(n->string);
        free(n);
        n = next;
    }
}

static void node_freep(struct lvm_node **n)
{
    lvm_text_free(*n);
}

/* Blanks, line ends and comments; the metadata ends with a NUL or two. */
static char look(struct reader *r)
{
    struct view *v = &r->rest;
    bool in_comment = false;
    for (; v->size; *v = view_cut(*v, 1)) {
        char c = *v->p;
        in_comment = (in_comment || c == '#') && c != '\n';
        if (!in_comment && c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != 0)
            return c;
    }
    return 0;
}

static bool take(struct reader *r, char c)
{
    if (look(r) != c)
        return false;
    r->rest = view_cut(r->rest, 1);
    return true;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("_-+.", c);
}

static struct view read_name(struct reader *r)
{
    struct view name = r->rest;
    name.size = 0;
    if (!look(r))
        return name;
    name.p = r->rest.p;
    while (name.size < r->rest.size && name.p[name.size] && is_name(name.p[name.size]))
        name.size++;
    r->rest = view_cut(r->rest, name.size);
    return name;
}

/* ---- values ---- */

static struct lvm_node *node_of(enum lvm_kind kind)
{
    struct lvm_node *n = mem_new(struct lvm_node);
    n->kind = kind;
    return n;
}

static struct lvm_node *read_string(struct reader *r)
{
    _cleanup_(buf_done) struct buf b;
    struct view v = view_cut(r->rest, 1);
    buf_init(&b, v.size + 1);
    while (v.size && *v.p != '"') {
        if (*v.p == '\\' && v.size > 1)
            v = view_cut(v, 1);
        if (!*v.p)
            return fail(r, "a string with a NUL");
        buf_putc(&b, *v.p);
        v = view_cut(v, 1);
    }
    if (!v.size || !buf_ok(&b))
        return fail(r, "a string without an end");
    r->rest = view_cut(v, 1);
    struct lvm_node *n = node_of(LVM_STRING);
    n->string = mem_strdup(buf_str(&b));
    return n;
}

static struct lvm_node *read_number(struct reader *r)
{
    struct view text = read_name(r);
    int64_t number;
    if (str_i64(text, INT64_MIN, INT64_MAX, &number) < 0)
        return fail(r, "a value that is no number");
    struct lvm_node *n = node_of(LVM_NUMBER);
    n->number = number;
    return n;
}

static struct lvm_node *read_list(struct reader *r)
{
    _cleanup_(node_freep) struct lvm_node *list = node_of(LVM_LIST);
    struct lvm_node **end = &list->first;
    (void)take(r, '[');
    while (!take(r, ']')) {
        if (list->first && !take(r, ','))
            return fail(r, "a list without commas");
        *end = read_value(r);
        if (!*end)
            return NULL;
        end = &(*end)->next;
    }
    return steal(&list);
}

static struct lvm_node *read_value(struct reader *r)
{
    if (r->depth > DEPTH_MAX)
        return fail(r, "too deep");
    r->depth++;
    char c = look(r);
    struct lvm_node *n = c == '"' ? read_string(r) : c == '[' ? read_list(r) : read_number(r);
    r->depth--;
    return n;
}

/* ---- members ---- */

static struct lvm_node *read_member(struct reader *r)
{
    struct view key = read_name(r);
    struct lvm_node *n = NULL;
    if (!key.size)
        return fail(r, "a member without a name");
    if (take(r, '='))
        n = read_value(r);
    else if (take(r, '{'))
        n = read_members(r, false);
    else
        return fail(r, "a name without a value");
    if (n)
        n->key = key;
    return n;
}

static struct lvm_node *read_members(struct reader *r, bool is_outermost)
{
    _cleanup_(node_freep) struct lvm_node *section = node_of(LVM_SECTION);
    struct lvm_node **end = &section->first;
    if (++r->depth > DEPTH_MAX)
        return fail(r, "too deep");
    while (is_outermost ? look(r) != 0 : !take(r, '}')) {
        *end = read_member(r);
        if (!*end)
            return NULL;
        end = &(*end)->next;
    }
    r->depth--;
    return steal(&section);
}

struct lvm_node *lvm_text_parse(struct view text, const char **ret_why)
{
    struct reader r = {.rest = text};
    struct lvm_node *n = read_members(&r, true);
    *ret_why = r.why;
    return n;
}

const struct lvm_node *lvm_text_get(const struct lvm_node *section, const char *key,
                                    enum lvm_kind kind)
{
    for (const struct lvm_node *n = section->first; n; n = n->next)
        if (n->kind == kind && view_eq(n->key, key))
            return n;
    return NULL;
}
