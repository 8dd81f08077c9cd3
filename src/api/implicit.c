/*
 * implicit.c: see implicit.h.
 *
 * Rows of most classes stand in the database; those of class role in a table of rbac. The small
 * `rows_` functions hide the difference.
 */
#include "api/implicit.h"

#include <stdio.h>

#include "api/decode.h"
#include "base/rstr.h"
#include "base/str.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "state/filter.h"
#include "state/txn.h"

/* ---- where rows come from ---- */

struct rows {
    const struct snap *snap;
    const struct rbac *rbac;
    const struct class_desc *cls;
    size_t at; /* of rbac's rows */
};

static bool rows_made(const struct rows *s)
{
    return s->cls->flags & CLASS_CUSTOM_READ;
}

static const struct row *rows_get(const struct rows *s, const char *ref)
{
    return rows_made(s) ? rbac_row(s->rbac, ref) : snap_row(s->snap, s->cls->num, ref);
}

static const struct row *rows_by_uuid(const struct rows *s, const char *uuid)
{
    return rows_made(s) ? rbac_row_by_uuid(s->rbac, uuid)
                        : snap_by_uuid(s->snap, s->cls->num, uuid);
}

/* The row after r, the first one for NULL. */
static const struct row *rows_next(struct rows *s, const struct row *r)
{
    if (!rows_made(s))
        return r ? snap_after(s->snap, r) : snap_first(s->snap, s->cls->num);
    s->at = r ? s->at + 1 : 0;
    return s->at < rbac_count(s->rbac) ? rbac_row_at(s->rbac, s->at) : NULL;
}

#define rows_each(r, s) for (const struct row *r = rows_next((s), NULL); r; r = rows_next((s), r))

const struct row *implicit_row(const struct snap *s, const struct rbac *r, int cls, const char *ref)
{
    return rows_get(&(struct rows){s, r, desc_classes[cls], 0}, ref);
}

const struct row *implicit_row_by_uuid(const struct snap *s, const struct rbac *r, int cls,
                                       const char *uuid)
{
    return rows_by_uuid(&(struct rows){s, r, desc_classes[cls], 0}, uuid);
}

/* ---- reading ---- */

static struct err *need_row(const struct rows *s, const struct msg_desc *m, const void *args,
                            const struct row **ret)
{
    const char *ref = decode_str(m, args, 0);
    *ret = rows_get(s, ref);
    return *ret ? NULL : err_HANDLE_INVALID(s->cls->name, ref);
}

static struct err *get_by_uuid(struct rows *s, const char *uuid, struct val **ret)
{
    const struct row *r = rows_by_uuid(s, uuid);
    if (!r)
        return err_UUID_INVALID(s->cls->name, uuid);
    *ret = val_rstr(r->ref);
    return NULL;
}

static struct val *get_by_name(struct rows *s, const char *name)
{
    if (!rows_made(s))
        return snap_by_name(s->snap, s->cls->num, name);
    struct val *set = val_set();
    rows_each(r, s) if (str_eq(rec_role(r)->name_label, name)) val_add(set, val_rstr(r->ref));
    return set;
}

/* What get_all… leaves in; class role knows two questions of its own instead of the grammar. */
struct wanted {
    struct filter *filter;
    bool roles_only, permissions_only;
};

static bool is_wanted(const struct rows *s, const struct wanted *w, const struct row *r)
{
    if (w->roles_only || w->permissions_only)
        return rbac_is_role(s->rbac, r) == w->roles_only;
    return !w->filter || filter_match(w->filter, r);
}

static struct err *read_where(const struct rows *s, const char *expr, struct wanted *w)
{
    if (!rows_made(s))
        return filter_parse(s->cls, expr, &w->filter);
    w->roles_only = str_eq(expr, "subroles<>[]");
    w->permissions_only = str_eq(expr, "subroles=[]");
    return NULL;
}

static struct val *all_refs(struct rows *s, const struct wanted *w)
{
    struct val *set = val_set();
    rows_each(r, s) if (is_wanted(s, w, r)) val_add(set, val_rstr(r->ref));
    return set;
}

static void list_records(struct rows *s, const struct wanted *w, struct records *ret)
{
    rows_each(r, s) if (is_wanted(s, w, r)) vec_push(ret, r);
}

static struct err *get_all_where(struct rows *s, const char *expr, struct val **ret)
{
    struct wanted w = {0};
    TRY(read_where(s, expr, &w));
    *ret = all_refs(s, &w);
    filter_free(w.filter);
    return NULL;
}

static struct err *list_where(struct rows *s, const char *expr, struct records *ret)
{
    struct wanted w = {0};
    TRY(read_where(s, expr, &w));
    list_records(s, &w, ret);
    filter_free(w.filter);
    return NULL;
}

bool implicit_is_records(const struct msg_desc *m)
{
    return m->kind == MSG_GET_RECORD || m->kind == MSG_GET_ALL_RECORDS ||
           m->kind == MSG_GET_ALL_RECORDS_WHERE;
}

struct err *implicit_records(struct snap *snap, const struct rbac *rbac, const struct msg_desc *m,
                             const void *args, struct records *ret)
{
    struct rows s = {.snap = snap, .rbac = rbac, .cls = desc_classes[m->cls]};
    const struct row *r;
    *ret = (struct records){.snap = snap_ref(snap), .single = m->kind == MSG_GET_RECORD};
    if (m->kind == MSG_GET_ALL_RECORDS_WHERE)
        return list_where(&s, decode_str(m, args, 0), ret);
    if (!ret->single) {
        list_records(&s, &(struct wanted){0}, ret);
        return NULL;
    }
    TRY(need_row(&s, m, args, &r));
    vec_push(ret, r);
    return NULL;
}

void records_done(struct records *r)
{
    vec_done(r);
    snap_unref(r->snap);
    r->snap = NULL;
}

static struct err *records_val(const struct snap *snap, const struct rbac *rbac,
                               const struct msg_desc *m, const void *args, struct val **ret)
{
    _cleanup_(records_done) struct records list = {0};
    TRY(implicit_records((struct snap *)snap, rbac, m, args, &list));
    if (list.single) {
        *ret = row_record(list.v[0]);
        return NULL;
    }
    *ret = val_map();
    for (size_t i = 0; i < list.n; i++)
        val_put_shared(*ret, list.v[i]->ref, row_record(list.v[i]));
    return NULL;
}

bool implicit_is_read(const struct msg_desc *m)
{
    switch (m->kind) {
    case MSG_GETTER:
    case MSG_GET_RECORD:
    case MSG_GET_BY_UUID:
    case MSG_GET_BY_NAME_LABEL:
    case MSG_GET_ALL:
    case MSG_GET_ALL_RECORDS:
    case MSG_GET_ALL_WHERE:
    case MSG_GET_ALL_RECORDS_WHERE:
        return true;
    default:
        return false;
    }
}

struct err *implicit_read(const struct snap *snap, const struct rbac *rbac,
                          const struct msg_desc *m, const void *args, struct val **ret)
{
    struct rows s = {.snap = snap, .rbac = rbac, .cls = desc_classes[m->cls]};
    const struct row *r;
    switch (m->kind) {
    case MSG_GETTER:
        TRY(need_row(&s, m, args, &r));
        *ret = row_get(r, &s.cls->fields[m->field]);
        return NULL;
    case MSG_GET_BY_UUID:
        return get_by_uuid(&s, decode_str(m, args, 0), ret);
    case MSG_GET_BY_NAME_LABEL:
        *ret = get_by_name(&s, decode_str(m, args, 0));
        return NULL;
    case MSG_GET_ALL:
        *ret = all_refs(&s, &(struct wanted){0});
        return NULL;
    case MSG_GET_ALL_WHERE:
        return get_all_where(&s, decode_str(m, args, 0), ret);
    default:
        return records_val(snap, rbac, m, args, ret);
    }
}

/* ---- writing ---- */

static struct err *edit_row(struct txn *t, const struct class_desc *cls, const char *ref,
                            struct row **ret)
{
    *ret = txn_edit(t, cls->num, ref);
    return *ret ? NULL : err_HANDLE_INVALID(cls->name, ref);
}

static struct err *put_field(struct row *r, const struct field_desc *f, const struct val *v)
{
    if (row_set(r, f, v) < 0)
        return err_FIELD_TYPE_ERROR(f->name);
    return NULL;
}

static struct err *set_field(struct txn *t, const struct implicit_write *w,
                             const struct class_desc *cls, const struct field_desc *f)
{
    struct row *r;
    TRY(edit_row(t, cls, decode_str(w->msg, w->args, 0), &r));
    _cleanup_(val_unrefp) struct val *v = decode_arg(w->msg, w->args, 1);
    return put_field(r, f, v);
}

/* A key as maps have it, whatever its type. */
static const char *item_text(const struct val *v, char number[32])
{
    if (val_kind(v) == VAL_STRING)
        return val_get_str(v);
    snprintf(number, 32, "%lld", (long long)val_get_int(v));
    return number;
}

static struct err *add_key(const struct implicit_write *w, const struct class_desc *cls,
                           struct row *r, const struct field_desc *f)
{
    char number[32];
    _cleanup_(val_unrefp) struct val *given = decode_arg(w->msg, w->args, 1);
    const char *key = item_text(given, number);
    if (!*key)
        return err_internal("the key of an entry may not be empty");
    _cleanup_(val_unrefp) struct val *old = row_get(r, f), *fresh = NULL;
    if (val_map_get(old, key))
        return err_MAP_DUPLICATE_KEY(cls->name, f->column, r->ref, key);
    fresh = val_copy(old);
    val_put(fresh, key, decode_arg(w->msg, w->args, 2));
    return put_field(r, f, fresh);
}

static bool has_item(const struct val *set, const struct val *item)
{
    for (size_t i = 0; i < val_count(set); i++)
        if (val_equal(val_at(set, i), item))
            return true;
    return false;
}

static struct err *add_item(const struct implicit_write *w, struct row *r,
                            const struct field_desc *f)
{
    _cleanup_(val_unrefp) struct val *item = decode_arg(w->msg, w->args, 1), *fresh = NULL;
    _cleanup_(val_unrefp) struct val *old = row_get(r, f);
    if (has_item(old, item))
        return NULL;
    fresh = val_copy(old);
    val_add(fresh, val_ref(item));
    return put_field(r, f, fresh);
}

static struct err *remove_key(const struct implicit_write *w, struct row *r,
                              const struct field_desc *f)
{
    char number[32];
    _cleanup_(val_unrefp) struct val *key = decode_arg(w->msg, w->args, 1), *old = row_get(r, f);
    _cleanup_(val_unrefp) struct val *fresh = val_without(old, item_text(key, number));
    return put_field(r, f, fresh);
}

static struct err *remove_item(const struct implicit_write *w, struct row *r,
                               const struct field_desc *f)
{
    _cleanup_(val_unrefp) struct val *item = decode_arg(w->msg, w->args, 1), *old = row_get(r, f);
    _cleanup_(val_unrefp) struct val *fresh = val_set();
    for (size_t i = 0; i < val_count(old); i++)
        if (!val_equal(val_at(old, i), item))
            val_add(fresh, val_ref(val_at(old, i)));
    return put_field(r, f, fresh);
}

static struct err *change_entry(struct txn *t, const struct implicit_write *w,
                                const struct class_desc *cls, const struct field_desc *f)
{
    struct row *r;
    TRY(edit_row(t, cls, decode_str(w->msg, w->args, 0), &r));
    bool is_map = f->type->kind == TYPE_MAP;
    if (w->msg->kind == MSG_REMOVE)
        return is_map ? remove_key(w, r, f) : remove_item(w, r, f);
    return is_map ? add_key(w, cls, r, f) : add_item(w, r, f);
}

static struct err *make_row(struct txn *t, struct implicit_write *w, const struct class_desc *cls)
{
    _cleanup_(val_unrefp) struct val *record = decode_arg(w->msg, w->args, 0);
    struct row *r = txn_add(t, cls->num, NULL, NULL);
    desc_each_field (f, cls) {
        const struct val *v = f->flags & FIELD_GIVEN ? val_map_get(record, f->name) : NULL;
        if (v)
            TRY(put_field(r, f, v));
    }
    rstr_assign(&w->made, r->ref);
    return NULL;
}

static struct err *delete_row(struct txn *t, const struct implicit_write *w,
                              const struct class_desc *cls)
{
    const char *ref = decode_str(w->msg, w->args, 0);
    if (!txn_row(t, cls->num, ref))
        return err_HANDLE_INVALID(cls->name, ref);
    txn_delete(t, cls->num, ref);
    return NULL;
}

static struct err *check_fresh(struct txn *t, const struct implicit_write *w)
{
    bool has_object = w->unless_after && w->msg->kind != MSG_MAKE;
    const struct row *r =
        has_object ? txn_row(t, w->msg->cls, decode_str(w->msg, w->args, 0)) : NULL;
    if (!r || r->modified <= w->unless_after)
        return NULL;
    return err_make("STALE_RECORD", __FILE__, __LINE__, 1, r->ref);
}

struct err *implicit_txn(struct txn *t, void *arg)
{
    struct implicit_write *w = arg;
    const struct class_desc *cls = desc_classes[w->msg->cls];
    TRY(check_fresh(t, w));
    const struct field_desc *f = w->msg->field >= 0 ? &cls->fields[w->msg->field] : NULL;
    switch (w->msg->kind) {
    case MSG_SETTER:
        return set_field(t, w, cls, f);
    case MSG_ADD:
    case MSG_REMOVE:
        return change_entry(t, w, cls, f);
    case MSG_MAKE:
        return make_row(t, w, cls);
    case MSG_DELETE:
        return delete_row(t, w, cls);
    default:
        return err_internal("'%s.%s' is no implicit message", cls->name, w->msg->name);
    }
}
