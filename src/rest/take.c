/*
 * take.c: JSON of strangers as values of the model's types.
 *
 * The reverse of show.c, and more lenient: an object may be named by its path, its uuid or its
 * reference. Errors name the place, as in `other_config.folder`. Any thread.
 */
#include <string.h>

#include "base/rstr.h"
#include "base/str.h"
#include "codec/json.h"
#include "codec/rpc.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "rest/rest_impl.h"

static struct err *wrong(const char *what, const char *expected)
{
    _cleanup_(freep) char *why = mem_printf("%s expected", expected);
    return err_INVALID_VALUE(what, why);
}

/* What stands behind the last slash of a path that names an object of this class. */
static struct err *id_of_path(int cls, const char *what, const char *text, const char **ret)
{
    *ret = text;
    if (*text != '/')
        return NULL;
    struct rest_target t = {.kind = REST_NOTHING};
    if (str_starts(text, REST_ROOT))
        t = rest_parse_path(text + strlen(REST_ROOT));
    if (t.kind != REST_OBJECT || (cls >= 0 && t.cls->cls != cls))
        return err_INVALID_VALUE(what, "it is no path of an object of that class");
    *ret = t.id.p;
    return NULL;
}

static struct err *take_ref(const struct rest_take *s, int cls, const char *what,
                            const struct val *in, struct val **ret)
{
    const char *id;
    if (val_kind(in) == VAL_VOID) {
        *ret = val_str(REF_NULL);
        return NULL;
    }
    if (val_kind(in) != VAL_STRING)
        return wrong(what, "the path, uuid or reference of an object, or null,");
    TRY(id_of_path(cls, what, val_get_str(in), &id));
    if (cls < 0 || ref_is_null(id) || str_starts(id, "OpaqueRef:")) {
        *ret = val_str(id);
        return NULL;
    }
    const struct row *r = api_row_by_uuid(s->api, s->snap, cls, id);
    if (!r)
        return err_UUID_INVALID(desc_classes[cls]->name, id);
    *ret = val_rstr(r->ref);
    return NULL;
}

static struct err *take_set(const struct rest_take *s, const struct type *t, const char *what,
                            const struct val *in, struct val **ret)
{
    if (val_kind(in) != VAL_SET)
        return wrong(what, "an array");
    _cleanup_(val_unrefp) struct val *set = val_set();
    for (size_t i = 0; i < val_count(in); i++) {
        struct val *item;
        TRY(rest_take_val(s, t->elem, what, val_at(in, i), &item));
        val_add(set, item);
    }
    *ret = steal(&set);
    return NULL;
}

static struct err *take_key(const struct rest_take *s, const struct type *t, const char *what,
                            const char *key, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *text = val_str(key);
    if (t->kind == TYPE_REF)
        return take_ref(s, t->cls, what, text, ret);
    *ret = steal(&text);
    return NULL;
}

static struct err *take_map(const struct rest_take *s, const struct type *t, const char *what,
                            const struct val *in, struct val **ret)
{
    if (val_kind(in) != VAL_MAP)
        return wrong(what, "an object");
    _cleanup_(val_unrefp) struct val *map = val_map();
    for (size_t i = 0; i < val_count(in); i++) {
        _cleanup_(freep) char *where = mem_printf("%s.%s", what, val_key_at(in, i));
        _cleanup_(val_unrefp) struct val *key = NULL;
        struct val *item;
        TRY(take_key(s, t->key, where, val_key_at(in, i), &key));
        TRY(rest_take_val(s, t->elem, where, val_at(in, i), &item));
        val_put(map, val_get_str(key), item);
    }
    *ret = steal(&map);
    return NULL;
}

static struct err *take_record(const struct rest_take *s, int cls, const char *what,
                               const struct val *in, struct val **ret)
{
    if (val_kind(in) != VAL_MAP)
        return wrong(what, "an object");
    if (cls < 0) {
        *ret = val_ref(in);
        return NULL;
    }
    _cleanup_(val_unrefp) struct val *map = val_map();
    for (size_t i = 0; i < val_count(in); i++) {
        const char *name = val_key_at(in, i);
        const struct field_desc *f = desc_field(desc_classes[cls], name);
        _cleanup_(freep) char *where = *what ? mem_printf("%s.%s", what, name) : mem_strdup(name);
        struct val *item;
        if (!f || f->flags & FIELD_INTERNAL)
            return err_INVALID_VALUE(where, "there is no such field");
        TRY(rest_take_val(s, f->type, where, val_at(in, i), &item));
        val_put(map, name, item);
    }
    *ret = steal(&map);
    return NULL;
}

static struct err *take_datetime(const char *what, const struct val *in, struct val **ret)
{
    int64_t seconds;
    if (val_kind(in) != VAL_STRING || str_parse_datetime(view_of(val_get_str(in)), &seconds) < 0)
        return wrong(what, "a date as in RFC 3339");
    *ret = val_datetime(seconds);
    return NULL;
}

static struct err *take_int(const char *what, const struct val *in, struct val **ret)
{
    int64_t i;
    bool number = val_kind(in) == VAL_INT || val_kind(in) == VAL_STRING;
    if (!number || rpc_to_int(in, &i) < 0)
        return wrong(what, "an integer of 64 bits");
    *ret = val_int(i);
    return NULL;
}

static struct err *take_float(const char *what, const struct val *in, struct val **ret)
{
    double d;
    bool number = val_kind(in) == VAL_INT || val_kind(in) == VAL_FLOAT;
    if (!number || rpc_to_float(in, &d) < 0)
        return wrong(what, "a number");
    *ret = val_float(d);
    return NULL;
}

static struct err *take_enum(const struct enum_desc *e, const char *what, const struct val *in,
                             struct val **ret)
{
    int n = val_kind(in) == VAL_STRING ? desc_enum_value(e, val_get_str(in)) : -1;
    if (n < 0) {
        _cleanup_(freep) char *expected = mem_printf("a value of %s", e->name);
        return wrong(what, expected);
    }
    *ret = val_str(e->values[n]);
    return NULL;
}

static struct err *take_option(const struct rest_take *s, const struct type *t, const char *what,
                               const struct val *in, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *set = val_set();
    if (val_kind(in) != VAL_VOID) {
        struct val *item;
        TRY(rest_take_val(s, t->elem, what, in, &item));
        val_add(set, item);
    }
    *ret = steal(&set);
    return NULL;
}

struct err *rest_take_val(const struct rest_take *s, const struct type *t, const char *what,
                          const struct val *in, struct val **ret)
{
    switch (t->kind) {
    case TYPE_INT:
        return take_int(what, in, ret);
    case TYPE_FLOAT:
        return take_float(what, in, ret);
    case TYPE_DATETIME:
        return take_datetime(what, in, ret);
    case TYPE_ENUM:
        return take_enum(t->enm, what, in, ret);
    case TYPE_REF:
        return take_ref(s, t->cls, what, in, ret);
    case TYPE_SET:
        return take_set(s, t, what, in, ret);
    case TYPE_MAP:
        return take_map(s, t, what, in, ret);
    case TYPE_RECORD:
        return take_record(s, t->cls, what, in, ret);
    case TYPE_OPTION:
        return take_option(s, t, what, in, ret);
    case TYPE_BOOL:
        if (val_kind(in) != VAL_BOOL)
            return wrong(what, "true or false");
        break;
    default:
        if (val_kind(in) != VAL_STRING)
            return wrong(what, "a string");
    }
    *ret = val_ref(in);
    return NULL;
}

struct err *rest_take_text(const struct rest_take *s, const struct type *t, const char *what,
                           const char *text, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *in = NULL;
    bool bare = t->kind == TYPE_STRING || t->kind == TYPE_REF || t->kind == TYPE_ENUM ||
                t->kind == TYPE_DATETIME || t->kind == TYPE_OPTION;
    if (bare)
        in = val_str(text);
    else if (json_parse(view_of(text), &in) < 0)
        return wrong(what, "JSON");
    return rest_take_val(s, t, what, in, ret);
}

/* ---- the parameters of a message ---- */

/* What is left out: the default; else a switch is off, and a collection empty. */
struct err *rest_take_nothing(const struct param_desc *p, struct val **ret)
{
    if (p->deflt && val_parse(view_of(p->deflt), p->type, ret) < 0)
        return err_internal("the default of parameter '%s' cannot be read", p->name);
    if (p->deflt)
        return NULL;
    if (p->type->kind == TYPE_BOOL)
        *ret = val_bool(false);
    else if (p->type->kind == TYPE_SET)
        *ret = val_set();
    else if (p->type->kind == TYPE_MAP)
        *ret = val_map();
    else
        return err_INVALID_VALUE(p->name, "the parameter is missing");
    return NULL;
}

static bool has_param(const struct msg_desc *m, unsigned first, const char *name)
{
    for (unsigned i = first; i < m->n_params; i++)
        if (str_eq(m->params[i].name, name))
            return true;
    return false;
}

static struct err *take_param(const struct rest_take *s, const struct param_desc *p,
                              const struct val *in, struct val **ret)
{
    if (in)
        return rest_take_val(s, p->type, p->name, in, ret);
    return rest_take_nothing(p, ret);
}

struct err *rest_take_params(const struct rest_take *s, const struct msg_desc *m, unsigned first,
                             const struct val *named, struct val *params)
{
    for (size_t i = 0; named && i < val_count(named); i++)
        if (!has_param(m, first, val_key_at(named, i)))
            return err_INVALID_VALUE(val_key_at(named, i), "there is no such parameter");
    for (unsigned i = first; i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];
        struct val *v;
        TRY(take_param(s, p, named ? val_map_get(named, p->name) : NULL, &v));
        val_add(params, v);
    }
    return NULL;
}
