/* ova_in.c: reading a description, which may hold anything; see ova.h. Any thread. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "codec/rpc.h"
#include "codec/xml.h"
#include "op/portable/ova.h"
#include "op/portable/portable_impl.h"

#define EXPORT_VSN_MAX 2
#define API_MAJOR_MAX  2
#define OBJECTS_MAX    4000u /* their records are made in one transaction, which has its limits */

/* ---- the document ---- */

const char *ova_text(const struct val *rec, const char *name)
{
    const struct val *v = rec && val_kind(rec) == VAL_MAP ? val_map_get(rec, name) : NULL;
    return v && val_kind(v) == VAL_STRING ? val_get_str(v) : "";
}

bool ova_bool(const struct val *rec, const char *name)
{
    const struct val *v = rec && val_kind(rec) == VAL_MAP ? val_map_get(rec, name) : NULL;
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

int64_t ova_int(const struct val *rec, const char *name)
{
    const struct val *v = rec && val_kind(rec) == VAL_MAP ? val_map_get(rec, name) : NULL;
    int64_t n = 0;
    return v && rpc_to_int(v, &n) == 0 ? n : 0;
}

static const struct val *member(const struct val *v, const char *name, enum val_kind kind)
{
    const struct val *m = val_kind(v) == VAL_MAP ? val_map_get(v, name) : NULL;
    return m && val_kind(m) == kind ? m : NULL;
}

static struct err *check_version(const struct val *doc)
{
    const struct val *v = member(doc, "version", VAL_MAP);
    if (!v)
        return import_error("the description says no version");
    if (ova_int(v, "export_vsn") > EXPORT_VSN_MAX || ova_int(v, "xapi_major") > API_MAJOR_MAX)
        return err_IMPORT_INCOMPATIBLE_VERSION();
    return NULL;
}

static struct err *index_objects(struct ova_in *o)
{
    for (size_t i = 0; i < val_count(o->objects); i++) {
        const struct val *obj = val_at(o->objects, i);
        const char *id = ova_text(obj, "id"), *cls = ova_text(obj, "class");
        if (!*id || !*cls || !member(obj, "snapshot", VAL_MAP))
            return import_error("object %zu of the description is malformed", i);
        if (val_map_get(o->by_id, id))
            return import_error("the description has two objects '%s'", id);
        char number[24];
        snprintf(number, sizeof(number), "%zu", i);
        val_put_str(o->by_id, id, number);
    }
    return NULL;
}

struct err *ova_parse(struct view text, struct ova_in *ret)
{
    struct val *doc = NULL;
    if (xml_parse_value(text, &doc) < 0)
        return import_error("the description of the VMs cannot be read");
    return ova_adopt(doc, ret);
}

struct err *ova_adopt(struct val *doc, struct ova_in *ret)
{
    ret->doc = doc;
    ret->by_id = val_map();
    TRY(check_version(ret->doc));
    ret->objects = member(ret->doc, "objects", VAL_SET);
    if (!ret->objects)
        return import_error("the description has no objects");
    if (val_count(ret->objects) > OBJECTS_MAX)
        return import_error("the description has more than %u objects", OBJECTS_MAX);
    return index_objects(ret);
}

void ova_in_done(struct ova_in *o)
{
    val_unref(o->doc);
    val_unref(o->by_id);
    *o = (struct ova_in){0};
}

size_t ova_count(const struct ova_in *o)
{
    return val_count(o->objects);
}

struct ova_object ova_at(const struct ova_in *o, size_t i)
{
    const struct val *obj = val_at(o->objects, i);
    return (struct ova_object){ova_text(obj, "class"), ova_text(obj, "id"),
                               val_map_get(obj, "snapshot")};
}

bool ova_find(const struct ova_in *o, const char *cls, const char *id, struct ova_object *ret)
{
    uint64_t i = 0;
    const char *number = val_map_str(o->by_id, id, "");
    if (str_u64(view_of(number), 0, SIZE_MAX, &i) < 0)
        return false;
    *ret = ova_at(o, (size_t)i);
    return str_eq(ret->cls, cls);
}

/* ---- values into the types of the model ---- */

/* 1: there is nothing to take; -EINVAL: it does not fit. */
static int convert(const struct val *v, const struct type *t, const struct val *refs,
                   struct val **ret);

static int convert_enum(const struct val *v, const struct type *t, struct val **ret)
{
    const char *text;
    if (rpc_to_str(v, &text) < 0)
        return -EINVAL;
    int n = desc_enum_value(t->enm, text);
    if (n < 0)
        return 1;
    *ret = val_str(t->enm->values[n]);
    return 0;
}

char *ova_key(int cls, const char *id)
{
    return mem_printf("%d %s", cls, id);
}

/* NULL if it is none of ours. */
static const char *ref_of(const struct val *refs, const struct type *t, const char *id)
{
    _cleanup_(freep) char *key = ova_key(t->cls, id);
    return val_map_str(refs, key, NULL);
}

static int convert_ref(const struct val *v, const struct type *t, const struct val *refs,
                       struct val **ret)
{
    const char *id, *ref;
    if (rpc_to_str(v, &id) < 0)
        return -EINVAL;
    ref = ref_of(refs, t, id);
    *ret = val_str(ref ? ref : REF_NULL);
    return 0;
}

static bool is_null_ref(const struct val *v, const struct type *t)
{
    return t->kind == TYPE_REF && ref_is_null(val_get_str(v));
}

static int convert_set(const struct val *v, const struct type *t, const struct val *refs,
                       struct val **ret)
{
    if (val_kind(v) != VAL_SET)
        return -EINVAL;
    _cleanup_(val_unrefp) struct val *out = val_set();
    for (size_t i = 0; i < val_count(v); i++) {
        struct val *item = NULL;
        int r = convert(val_at(v, i), t->elem, refs, &item);
        if (r < 0)
            return r;
        if (r == 0 && !is_null_ref(item, t->elem))
            val_add(out, item);
        else
            val_unref(item);
    }
    *ret = steal(&out);
    return 0;
}

static int convert_map(const struct val *v, const struct type *t, const struct val *refs,
                       struct val **ret)
{
    if (val_kind(v) != VAL_MAP)
        return -EINVAL;
    _cleanup_(val_unrefp) struct val *out = val_map();
    for (size_t i = 0; i < val_count(v); i++) {
        struct val *item = NULL;
        const char *key = val_key_at(v, i);
        if (t->key->kind == TYPE_REF)
            key = ref_of(refs, t->key, key);
        if (key && t->key->kind == TYPE_ENUM && desc_enum_value(t->key->enm, key) < 0)
            key = NULL;
        int r = convert(val_at(v, i), t->elem, refs, &item);
        if (r < 0)
            return r;
        if (r == 0 && key && !is_null_ref(item, t->elem))
            val_put(out, key, item);
        else
            val_unref(item);
    }
    *ret = steal(&out);
    return 0;
}

static int convert_number(const struct val *v, const struct type *t, struct val **ret)
{
    int64_t i;
    double d;
    bool b;
    int r = -EINVAL;
    if (t->kind == TYPE_INT && (r = rpc_to_int(v, &i)) == 0)
        *ret = val_int(i);
    else if (t->kind == TYPE_FLOAT && (r = rpc_to_float(v, &d)) == 0)
        *ret = val_float(d);
    else if (t->kind == TYPE_DATETIME && (r = rpc_to_datetime(v, &i)) == 0)
        *ret = val_datetime(i);
    else if (t->kind == TYPE_BOOL && (r = rpc_to_bool(v, &b)) == 0)
        *ret = val_bool(b);
    return r;
}

static int convert(const struct val *v, const struct type *t, const struct val *refs,
                   struct val **ret)
{
    switch (t->kind) {
    case TYPE_STRING:
        *ret = val_kind(v) == VAL_STRING ? val_ref(v) : NULL;
        return *ret ? 0 : -EINVAL;
    case TYPE_ENUM:
        return convert_enum(v, t, ret);
    case TYPE_REF:
        return convert_ref(v, t, refs, ret);
    case TYPE_SET:
        return convert_set(v, t, refs, ret);
    case TYPE_MAP:
        return convert_map(v, t, refs, ret);
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_BOOL:
    case TYPE_DATETIME:
        return convert_number(v, t, ret);
    default:
        return 1;
    }
}

struct err *ova_take(struct row *row, const struct field_desc *f, const struct val *rec,
                     const struct val *refs)
{
    const struct val *v = val_map_get(rec, f->name);
    _cleanup_(val_unrefp) struct val *typed = NULL;
    int r = v ? convert(v, f->type, refs, &typed) : 1;
    if (r == 1)
        return NULL;
    if (r < 0 || row_set(row, f, typed) < 0)
        return import_error("%s.%s of the description does not have its type", row->cls->name,
                            f->name);
    return NULL;
}
