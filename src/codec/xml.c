/*
 * xml.c: see xml.h.
 *
 * The reader is a stack of elements. A table says which element may stand in which; the text of
 * the innermost one is collected; a value is complete when its element ends and then goes to the
 * element around it. The writers need no stack: in front of a key, the end of what was written
 * tells whether a member is still open.
 */
#include "codec/xml.h"

#include <errno.h>
#include <expat.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum tag {
    T_ROOT,
    T_METHOD_CALL,
    T_METHOD_NAME,
    T_METHOD_RESPONSE,
    T_PARAMS,
    T_PARAM,
    T_VALUE,
    T_STRING,
    T_INT,
    T_BOOLEAN,
    T_DOUBLE,
    T_DATETIME,
    T_NIL,
    T_ARRAY,
    T_DATA,
    T_STRUCT,
    T_MEMBER,
    T_NAME,
};

#define IN(tag) (1u << (tag))

static const struct {
    const char *name;
    enum tag tag;
    unsigned parents;
} elements[] = {
    {"value", T_VALUE, IN(T_ROOT) | IN(T_PARAM) | IN(T_DATA) | IN(T_MEMBER)},
    {"member", T_MEMBER, IN(T_STRUCT)},
    {"name", T_NAME, IN(T_MEMBER)},
    {"string", T_STRING, IN(T_VALUE)},
    {"param", T_PARAM, IN(T_PARAMS)},
    {"struct", T_STRUCT, IN(T_VALUE)},
    {"array", T_ARRAY, IN(T_VALUE)},
    {"data", T_DATA, IN(T_ARRAY)},
    {"boolean", T_BOOLEAN, IN(T_VALUE)},
    {"double", T_DOUBLE, IN(T_VALUE)},
    {"int", T_INT, IN(T_VALUE)},
    {"i4", T_INT, IN(T_VALUE)},
    {"i8", T_INT, IN(T_VALUE)},
    {"dateTime.iso8601", T_DATETIME, IN(T_VALUE)},
    {"nil", T_NIL, IN(T_VALUE)},
    {"methodCall", T_METHOD_CALL, IN(T_ROOT)},
    {"methodName", T_METHOD_NAME, IN(T_METHOD_CALL)},
    {"methodResponse", T_METHOD_RESPONSE, IN(T_ROOT)},
    {"params", T_PARAMS, IN(T_METHOD_CALL) | IN(T_METHOD_RESPONSE)},
};

/* value, struct and member (or array and data) a level, and the envelope. */
#define STACK_MAX (3 * XML_DEPTH_MAX + 4)
#define TEXT_MAX  (64u << 20)

struct element {
    enum tag tag;
    struct val *v; /* value: what it holds so far; array, struct: the container */
    char *name;    /* member */
};

struct reader {
    XML_Parser expat;
    bool small; /* the text */
    int error;
    unsigned values;
    size_t depth; /* elements on the stack; 0 is the root */
    struct element stack[STACK_MAX];
    struct buf text; /* of the innermost element since its last child */
    char *method;
    struct val *params; /* set: parameters, or the value of a response, or the lone value */
};

/* Making a parser costs more than reading a small call, so a few are kept for the next ones. */
#define SPARE_N    4
#define SPARE_TEXT 65536 /* what larger texts have made a parser hold is given back */

static _Atomic(XML_Parser) spare[SPARE_N];

/* What names are hashed with, for the life of the process; otherwise each parser asks the kernel.
 */
static void salt_parser(XML_Parser p)
{
    static _Atomic(unsigned long) salt;
    unsigned long s = atomic_load(&salt), none = 0;
    while (!s) {
        str_random(&s, sizeof(s));
        if (s && !atomic_compare_exchange_strong(&salt, &none, s))
            s = none;
    }
    XML_SetHashSalt(p, s);
}

static XML_Parser parser_get(void)
{
    for (size_t i = 0; i < SPARE_N; i++) {
        XML_Parser p = atomic_exchange(&spare[i], NULL);
        if (p && XML_ParserReset(p, NULL))
            return p;
        if (p)
            XML_ParserFree(p);
    }
    return XML_ParserCreate(NULL);
}

static void parser_put(XML_Parser p, bool keep)
{
    for (size_t i = 0; keep && i < SPARE_N; i++) {
        XML_Parser none = NULL;
        if (atomic_compare_exchange_strong(&spare[i], &none, p))
            return;
    }
    XML_ParserFree(p);
}

static void reader_done(struct reader *r)
{
    for (size_t i = 0; i <= r->depth; i++) {
        val_unref(r->stack[i].v);
        free(r->stack[i].name);
    }
    if (r->expat)
        parser_put(r->expat, r->small);
    buf_done(&r->text);
    free(r->method);
    val_unref(r->params);
}

static void fail(struct reader *r, int error)
{
    if (!r->error)
        r->error = error;
    XML_StopParser(r->expat, XML_FALSE);
}

static bool text_is_blank(const struct reader *r)
{
    for (size_t i = 0; i < r->text.size; i++)
        if (!strchr(" \t\r\n", r->text.data[i]))
            return false;
    return true;
}

static void XMLCALL on_start(void *arg, const char *name, const char **attributes)
{
    struct reader *r = arg;
    if (r->error)
        return;
    size_t i = 0;
    while (i < ARRAY_LEN(elements) && strcmp(elements[i].name, name) != 0)
        i++;
    struct element *around = &r->stack[r->depth];
    if (i == ARRAY_LEN(elements) || !(elements[i].parents & IN(around->tag)) ||
        (around->tag == T_VALUE && around->v) || !text_is_blank(r)) {
        fail(r, -EINVAL);
        return;
    }
    enum tag tag = elements[i].tag;
    if (r->depth + 1 == STACK_MAX || (tag == T_VALUE && ++r->values > XML_VALUES_MAX)) {
        fail(r, -E2BIG);
        return;
    }
    buf_clear(&r->text);
    r->stack[++r->depth] = (struct element){.tag = tag,
                                            .v = tag == T_ARRAY    ? val_set()
                                                 : tag == T_STRUCT ? val_map()
                                                                   : NULL};
}

static struct val *read_string(struct reader *r)
{
    return val_str_n(buf_str(&r->text), r->text.size);
}

/* What a scalar element means; the text where it does not mean what it says. */
static struct val *read_scalar(struct reader *r, enum tag tag)
{
    struct view text = view_trim((struct view){buf_str(&r->text), r->text.size});
    int64_t i;
    double d;
    switch (tag) {
    case T_INT:
        return str_i64(text, INT64_MIN, INT64_MAX, &i) < 0 ? read_string(r) : val_int(i);
    case T_BOOLEAN:
        return val_bool(view_eq(text, "1"));
    case T_DOUBLE:
        return str_double(text, &d) < 0 ? read_string(r) : val_float(d);
    case T_DATETIME:
        return str_parse_datetime(text, &i) < 0 ? read_string(r) : val_datetime(i);
    case T_NIL:
        return val_ref(val_void());
    default:
        return read_string(r);
    }
}

/* Gives a finished value to the element around it; false if there is no place for it. */
static bool place(struct reader *r, struct val *v)
{
    struct element *around = &r->stack[r->depth];
    switch (around->tag) {
    case T_DATA: /* its array is the next one out */
        val_add(r->stack[r->depth - 1].v, v);
        return true;
    case T_MEMBER:
        if (!around->name || around->v)
            break;
        around->v = v;
        return true;
    case T_PARAM:
    case T_ROOT:
        if (around->v)
            break;
        around->v = v;
        return true;
    default:
        break;
    }
    val_unref(v);
    return false;
}

static bool end_value(struct reader *r, struct element *e)
{
    return place(r, e->v ? steal(&e->v) : read_string(r));
}

static bool end_member(struct reader *r, struct element *e)
{
    if (!e->name || !e->v)
        return false;
    val_put(r->stack[r->depth].v, e->name, steal(&e->v));
    free(steal(&e->name));
    return true;
}

static bool end_param(struct reader *r, struct element *e)
{
    if (e->v)
        val_add(r->params, steal(&e->v));
    return true;
}

static bool take_name(struct reader *r, char **slot)
{
    if (*slot)
        return false;
    *slot = buf_take(&r->text);
    return true;
}

/* `e` has just left the stack, so the top is what stands around it. */
static bool end_element(struct reader *r, struct element *e)
{
    struct element *around = &r->stack[r->depth];
    switch (e->tag) {
    case T_VALUE:
        return (!e->v || text_is_blank(r)) && end_value(r, e);
    case T_STRING:
    case T_INT:
    case T_BOOLEAN:
    case T_DOUBLE:
    case T_DATETIME:
    case T_NIL:
        around->v = read_scalar(r, e->tag);
        return true;
    case T_NAME:
        return take_name(r, &around->name);
    case T_METHOD_NAME:
        return take_name(r, &r->method);
    default:
        break;
    }
    if (!text_is_blank(r))
        return false;
    if (e->tag == T_ARRAY || e->tag == T_STRUCT)
        around->v = steal(&e->v);
    return e->tag == T_MEMBER ? end_member(r, e) : e->tag == T_PARAM ? end_param(r, e) : true;
}

static void XMLCALL on_end(void *arg, const char *name)
{
    struct reader *r = arg;
    if (r->error)
        return;
    struct element *e = &r->stack[r->depth--];
    bool fine = end_element(r, e);
    if (!fine) {
        val_unref(e->v); /* off the stack, so nobody else frees it */
        free(e->name);
        fail(r, -EINVAL);
    }
    *e = (struct element){0};
    buf_clear(&r->text);
}

static void XMLCALL on_text(void *arg, const char *s, int size)
{
    struct reader *r = arg;
    buf_put(&r->text, s, (size_t)size);
}

static void XMLCALL on_doctype(void *arg, const char *name, const char *system, const char *public,
                               int has_subset)
{
    fail(arg, -EINVAL);
}

static int read_document(struct reader *r, struct view text)
{
    if (text.size > TEXT_MAX)
        return -E2BIG;
    r->expat = parser_get();
    r->small = text.size <= SPARE_TEXT;
    if (!r->expat)
        return -ENOMEM;
    salt_parser(r->expat);
    buf_init(&r->text, TEXT_MAX * 3); /* a Latin-1 text grows */
    r->params = val_set();
    XML_SetUserData(r->expat, r);
    XML_SetElementHandler(r->expat, on_start, on_end);
    XML_SetCharacterDataHandler(r->expat, on_text);
    XML_SetStartDoctypeDeclHandler(r->expat, on_doctype);
    enum XML_Status status = XML_Parse(r->expat, text.p, (int)text.size, 1);
    if (r->error)
        return r->error;
    return status == XML_STATUS_OK ? 0 : -EINVAL;
}

int xml_parse_value(struct view text, struct val **ret)
{
    _cleanup_(reader_done) struct reader r = {0};
    int e = read_document(&r, text);
    if (e < 0)
        return e;
    if (!r.stack[0].v)
        return -EINVAL;
    *ret = steal(&r.stack[0].v);
    return 0;
}

int xml_parse_call(struct view text, char **ret_method, struct val **ret_params)
{
    _cleanup_(reader_done) struct reader r = {0};
    int e = read_document(&r, text);
    if (e < 0)
        return e;
    if (!r.method)
        return -EINVAL;
    *ret_method = steal(&r.method);
    *ret_params = steal(&r.params);
    return 0;
}

int xml_parse_response(struct view text, struct val **ret)
{
    _cleanup_(reader_done) struct reader r = {0};
    int e = read_document(&r, text);
    if (e < 0)
        return e;
    if (r.method || r.stack[0].v || val_count(r.params) != 1)
        return -EINVAL;
    *ret = val_ref(val_at(r.params, 0));
    return 0;
}
