/* decode.c: see decode.h. */
#include "api/decode.h"

#include <string.h>

#include "base/rstr.h"
#include "base/str.h"
#include "codec/rpc.h"
#include "gen/error.h"
#include "state/row.h"

static struct err *wrong(const char *what, const char *expected)
{
    return err_internal("cannot read '%s': %s expected", what, expected);
}

/* ---- one value; `what` names it in the error ---- */

static struct err *decode_value(const struct val *in, const struct type *t, const char *what,
                                struct val **ret);

static struct err *decode_bool(const struct val *in, const char *what, struct val **ret)
{
    bool b;
    if (rpc_to_bool(in, &b) < 0)
        return wrong(what, "a boolean");
    *ret = val_bool(b);
    return NULL;
}

static struct err *decode_int(const struct val *in, const char *what, struct val **ret)
{
    int64_t i;
    if (rpc_to_int(in, &i) < 0)
        return wrong(what, "an integer");
    *ret = val_int(i);
    return NULL;
}

static struct err *decode_float(const struct val *in, const char *what, struct val **ret)
{
    double d;
    if (rpc_to_float(in, &d) < 0)
        return wrong(what, "a number");
    *ret = val_float(d);
    return NULL;
}

static struct err *decode_string(const struct val *in, const char *what, struct val **ret)
{
    if (val_kind(in) != VAL_STRING)
        return wrong(what, "a string");
    *ret = val_ref(in);
    return NULL;
}

static struct err *decode_datetime(const struct val *in, const char *what, struct val **ret)
{
    int64_t s;
    if (rpc_to_datetime(in, &s) < 0)
        return wrong(what, "a date");
    *ret = val_datetime(s);
    return NULL;
}

static struct err *decode_enum(const struct val *in, const struct type *t, const char *what,
                               struct val **ret)
{
    int n = val_kind(in) == VAL_STRING ? desc_enum_value(t->enm, val_get_str(in)) : -1;
    if (n < 0)
        return err_internal("cannot read '%s': '%s' is no %s", what,
                            val_kind(in) == VAL_STRING ? val_get_str(in) : "it", t->enm->name);
    *ret = val_str(t->enm->values[n]);
    return NULL;
}

static struct err *decode_set(const struct val *in, const struct type *t, const char *what,
                              struct val **ret)
{
    if (val_kind(in) != VAL_SET)
        return wrong(what, "an array");
    _cleanup_(val_unrefp) struct val *set = val_set();
    for (size_t i = 0; i < val_count(in); i++) {
        struct val *item;
        TRY(decode_value(val_at(in, i), t->elem, what, &item));
        val_add(set, item);
    }
    *ret = steal(&set);
    return NULL;
}

/* Keys are text on every wire; they are brought into the spelling that a value would have. */
static struct err *decode_key(const char *key, const struct type *t, const char *what,
                              struct val **ret)
{
    _cleanup_(val_unrefp) struct val *text = val_str(key);
    if (t->kind != TYPE_INT)
        return decode_value(text, t, what, ret);
    _cleanup_(val_unrefp) struct val *number = NULL;
    TRY(decode_int(text, what, &number));
    _cleanup_(freep) char *s = mem_printf("%lld", (long long)val_get_int(number));
    *ret = val_str(s);
    return NULL;
}

static struct err *decode_map(const struct val *in, const struct type *t, const char *what,
                              struct val **ret)
{
    if (val_kind(in) != VAL_MAP)
        return wrong(what, "a struct");
    _cleanup_(val_unrefp) struct val *map = val_map();
    for (size_t i = 0; i < val_count(in); i++) {
        _cleanup_(val_unrefp) struct val *key = NULL;
        struct val *item;
        TRY(decode_key(val_key_at(in, i), t->key, what, &key));
        TRY(decode_value(val_at(in, i), t->elem, what, &item));
        val_put(map, val_get_str(key), item);
    }
    *ret = steal(&map);
    return NULL;
}

/* A value that may be missing is a set of none or one; a bare one stands for itself. */
static struct err *decode_option(const struct val *in, const struct type *t, const char *what,
                                 struct val **ret)
{
    if (val_kind(in) == VAL_SET && val_count(in) <= 1)
        return decode_set(in, t, what, ret);
    struct val *item;
    TRY(decode_value(in, t->elem, what, &item));
    *ret = val_set();
    val_add(*ret, item);
    return NULL;
}

static struct val *zero(const struct type *t)
{
    switch (t->kind) {
    case TYPE_BOOL:
        return val_bool(false);
    case TYPE_INT:
        return val_int(0);
    case TYPE_FLOAT:
        return val_float(0);
    case TYPE_DATETIME:
        return val_datetime(0);
    case TYPE_ENUM:
        return val_str(t->enm->values[0]);
    case TYPE_REF:
        return val_str(REF_NULL);
    case TYPE_SET:
    case TYPE_OPTION:
        return val_ref(val_empty_set());
    case TYPE_MAP:
    case TYPE_RECORD:
        return val_ref(val_empty_map());
    case TYPE_STRING:
    case TYPE_VOID:
        break;
    }
    return val_str("");
}

static struct err *member_default(const struct field_desc *f, struct val **ret)
{
    if (f->flags & FIELD_REQUIRED)
        return err_FIELD_TYPE_ERROR(f->name);
    if (!f->deflt)
        *ret = zero(f->type);
    else if (val_parse(view_of(f->deflt), f->type, ret) < 0)
        return err_internal("default of '%s' cannot be read", f->name);
    return NULL;
}

/* The members a constructor may be given, all of them; others are ignored. */
static struct err *decode_record(const struct val *in, const struct type *t, const char *what,
                                 struct val **ret)
{
    if (val_kind(in) != VAL_MAP)
        return wrong(what, "a struct");
    const struct class_desc *cls = desc_classes[t->cls];
    _cleanup_(val_unrefp) struct val *map = val_map();
    desc_each_field (f, cls) {
        if (!(f->flags & FIELD_GIVEN))
            continue;
        const struct val *given = val_map_get(in, f->name);
        struct val *item;
        if (given)
            TRY(decode_value(given, f->type, f->name, &item));
        else
            TRY(member_default(f, &item));
        val_put(map, f->name, item);
    }
    *ret = steal(&map);
    return NULL;
}

static struct err *decode_value(const struct val *in, const struct type *t, const char *what,
                                struct val **ret)
{
    switch (t->kind) {
    case TYPE_BOOL:
        return decode_bool(in, what, ret);
    case TYPE_INT:
        return decode_int(in, what, ret);
    case TYPE_FLOAT:
        return decode_float(in, what, ret);
    case TYPE_STRING:
    case TYPE_REF:
        return decode_string(in, what, ret);
    case TYPE_DATETIME:
        return decode_datetime(in, what, ret);
    case TYPE_ENUM:
        return decode_enum(in, t, what, ret);
    case TYPE_SET:
        return decode_set(in, t, what, ret);
    case TYPE_MAP:
        return decode_map(in, t, what, ret);
    case TYPE_RECORD:
        return decode_record(in, t, what, ret);
    case TYPE_OPTION:
        return decode_option(in, t, what, ret);
    case TYPE_VOID:
        break;
    }
    *ret = val_ref(val_void());
    return NULL;
}

/* ---- all arguments ---- */

/* Stands in front of an argument struct, so that it can be freed by its address alone. */
struct args_head {
    _Alignas(16) const struct msg_desc *msg;
};

static void *arg_at(const struct msg_desc *m, const void *args, unsigned i)
{
    return (char *)args + m->params[i].offset;
}

struct err *decode_check_count(const struct msg_desc *m, const char *name, const struct val *params)
{
    long got = (long)val_count(params) - (m->flags & MSG_NO_SESSION ? 0 : 1);
    if (got >= (long)m->n_mandatory && got <= (long)m->n_params)
        return NULL;
    _cleanup_(freep) char *expected = mem_printf("%u", m->n_mandatory);
    _cleanup_(freep) char *received = mem_printf("%ld", got);
    return err_MESSAGE_PARAMETER_COUNT_MISMATCH(name, expected, received);
}

/* Hands the value's text, number or itself over to the member. */
static void put_arg(const struct type *t, void *at, struct val *v)
{
    switch (t->kind) {
    case TYPE_BOOL:
        *(bool *)at = val_get_bool(v);
        break;
    case TYPE_INT:
    case TYPE_DATETIME:
        *(int64_t *)at = val_get_int(v);
        break;
    case TYPE_FLOAT:
        *(double *)at = val_get_float(v);
        break;
    case TYPE_STRING:
    case TYPE_REF:
        *(const char **)at = rstr_ref(val_get_str(v));
        break;
    case TYPE_ENUM:
        *(unsigned *)at = (unsigned)desc_enum_value(t->enm, val_get_str(v));
        break;
    default:
        *(const struct val **)at = val_ref(v);
        break;
    }
    val_unref(v);
}

static struct err *one_arg(const struct param_desc *p, const struct val *given, struct val **ret)
{
    if (given)
        return decode_value(given, p->type, p->name, ret);
    if (val_parse(view_of(p->deflt), p->type, ret) < 0)
        return err_internal("default of '%s' cannot be read", p->name);
    return NULL;
}

struct err *decode_args(const struct msg_desc *m, const struct val *params, size_t first,
                        void **ret)
{
    struct args_head *head = mem_zalloc(1, sizeof(*head) + m->args_size);
    head->msg = m;
    void *args = head + 1;
    for (unsigned i = 0; i < m->n_params; i++) {
        size_t at = first + i;
        struct val *v;
        struct err *e =
            one_arg(&m->params[i], at < val_count(params) ? val_at(params, at) : NULL, &v);
        if (e) {
            decode_free(args);
            return e;
        }
        put_arg(m->params[i].type, arg_at(m, args, i), v);
    }
    *ret = args;
    return NULL;
}

static void free_arg(const struct type *t, void *at)
{
    switch (t->kind) {
    case TYPE_BOOL:
    case TYPE_INT:
    case TYPE_DATETIME:
    case TYPE_FLOAT:
    case TYPE_ENUM:
        break;
    case TYPE_STRING:
    case TYPE_REF:
        rstr_unref(*(const char **)at);
        break;
    default:
        val_unref(*(const struct val **)at);
        break;
    }
}

void decode_free(void *args)
{
    if (!args)
        return;
    struct args_head *head = (struct args_head *)args - 1;
    for (unsigned i = 0; i < head->msg->n_params; i++)
        free_arg(head->msg->params[i].type, arg_at(head->msg, args, i));
    free(head);
}

const char *decode_str(const struct msg_desc *m, const void *args, unsigned i)
{
    return *(const char **)arg_at(m, args, i);
}

struct val *decode_arg(const struct msg_desc *m, const void *args, unsigned i)
{
    const struct type *t = m->params[i].type;
    const void *at = arg_at(m, args, i);
    switch (t->kind) {
    case TYPE_BOOL:
        return val_bool(*(const bool *)at);
    case TYPE_INT:
        return val_int(*(const int64_t *)at);
    case TYPE_DATETIME:
        return val_datetime(*(const int64_t *)at);
    case TYPE_FLOAT:
        return val_float(*(const double *)at);
    case TYPE_STRING:
    case TYPE_REF:
        return val_rstr(*(const char *const *)at);
    case TYPE_ENUM:
        return val_str(t->enm->values[*(const unsigned *)at]);
    default:
        return val_ref(*(const struct val *const *)at);
    }
}
