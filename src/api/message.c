/*
 * message.c: the messages of class message: alerts for administrators.
 *
 * Alerts are rows like others, so they are durable and come as events; but they are in none of the
 * tables that clients count, and their number is bounded: the oldest go first.
 */
#include "base/str.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "state/filter.h"
#include "state/txn.h"
#include "task/op.h"

#define MESSAGES_MAX 10000

/* ---- reading ---- */

typedef bool (*message_match)(const struct rec_message *m, const void *arg);

static bool any(const struct rec_message *m, const void *arg)
{
    return true;
}

static struct val *records(struct op *op, message_match match, const void *arg)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    struct val *map = val_map();
    snap_each (r, s, CLASS_message) {
        if (match(rec_message(r), arg))
            val_put(map, r->ref, row_record(r));
    }
    return map;
}

struct err *msg_message_get_all_records(struct op *op, const struct args_message_get_all_records *a,
                                        struct val **ret)
{
    *ret = records(op, any, NULL);
    return NULL;
}

struct err *msg_message_get_all(struct op *op, const struct args_message_get_all *a,
                                struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    *ret = val_set();
    snap_each (r, s, CLASS_message) {
        val_add(*ret, val_rstr(r->ref));
    }
    return NULL;
}

static bool is_about(const struct rec_message *m, const void *arg)
{
    const struct args_message_get *a = arg;
    return m->cls == a->cls && str_eq(m->obj_uuid, a->obj_uuid) && m->timestamp >= a->since;
}

struct err *msg_message_get(struct op *op, const struct args_message_get *a, struct val **ret)
{
    *ret = records(op, is_about, a);
    return NULL;
}

static bool is_since(const struct rec_message *m, const void *arg)
{
    return m->timestamp >= *(const int64_t *)arg;
}

struct err *msg_message_get_since(struct op *op, const struct args_message_get_since *a,
                                  struct val **ret)
{
    *ret = records(op, is_since, &a->since);
    return NULL;
}

static bool passes(const struct rec_message *m, const void *filter)
{
    return filter_match(filter, &m->row);
}

struct err *msg_message_get_all_records_where(struct op *op,
                                              const struct args_message_get_all_records_where *a,
                                              struct val **ret)
{
    _cleanup_(filter_freep) struct filter *f = NULL;
    TRY(filter_parse(desc_classes[CLASS_message], a->expr, &f));
    *ret = records(op, passes, f);
    return NULL;
}

struct err *msg_message_get_record(struct op *op, const struct args_message_get_record *a,
                                   struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct row *r = snap_row(s, CLASS_message, a->self);
    if (!r)
        return err_HANDLE_INVALID("message", a->self);
    *ret = row_record(r);
    return NULL;
}

struct err *msg_message_get_by_uuid(struct op *op, const struct args_message_get_by_uuid *a,
                                    struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct row *r = snap_by_uuid(s, CLASS_message, a->uuid);
    if (!r)
        return err_UUID_INVALID("message", a->uuid);
    *ret = val_rstr(r->ref);
    return NULL;
}

/* ---- making ---- */

/* The class of the object that each kind of alert is about. */
static int class_of(enum cls cls)
{
    static const int classes[CLS_N] = {
        [CLS_VM] = CLASS_VM,
        [CLS_HOST] = CLASS_host,
        [CLS_SR] = CLASS_SR,
        [CLS_POOL] = CLASS_pool,
        [CLS_VMPP] = CLASS_VMPP,
        [CLS_VMSS] = CLASS_VMSS,
        [CLS_PVS_PROXY] = CLASS_PVS_proxy,
        [CLS_VDI] = CLASS_VDI,
        [CLS_CERTIFICATE] = CLASS_Certificate,
    };
    return classes[cls];
}

struct create {
    const struct args_message_create *a;
    const char *ref; /* rstr */
};

static struct err *create_txn(struct txn *t, void *arg)
{
    const struct create *c = arg;
    int cls = class_of(c->a->cls);
    if (!txn_by_uuid(t, cls, c->a->obj_uuid))
        return err_UUID_INVALID(desc_classes[cls]->name, c->a->obj_uuid);
    if (snap_count(txn_snap(t), CLASS_message) >= MESSAGES_MAX)
        txn_delete(t, CLASS_message, snap_first(txn_snap(t), CLASS_message)->ref);
    struct rec_message *m = (struct rec_message *)txn_add(t, CLASS_message, c->ref, NULL);
    rstr_assign(&m->name, c->a->name);
    m->priority = c->a->priority;
    m->cls = c->a->cls;
    rstr_assign(&m->obj_uuid, c->a->obj_uuid);
    m->timestamp = (int64_t)(clock_wall() / USEC_PER_SEC);
    rstr_assign(&m->body, c->a->body);
    return NULL;
}

struct err *msg_message_create(struct op *op, const struct args_message_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct create c = {a, ref};
    TRY(op_write(op, "message.create", create_txn, &c));
    *ret = val_rstr(ref);
    return NULL;
}

/* ---- deleting ---- */

static struct err *destroy_txn(struct txn *t, void *arg)
{
    const struct val *refs = arg;
    for (size_t i = 0; i < val_count(refs); i++) {
        const char *ref = val_str_at(refs, i);
        if (!txn_row(t, CLASS_message, ref))
            return err_HANDLE_INVALID("message", ref);
        txn_delete(t, CLASS_message, ref);
    }
    return NULL;
}

struct err *msg_message_destroy(struct op *op, const struct args_message_destroy *a,
                                struct val **ret)
{
    _cleanup_(val_unrefp) struct val *refs = val_set();
    val_add(refs, val_rstr(a->self));
    return op_write(op, "message.destroy", destroy_txn, refs);
}

/* A transaction takes a thousand rows; more than that goes in parts. */
static struct err *destroy_in_parts(struct op *op, const struct val *refs)
{
    size_t n = val_count(refs);
    for (size_t from = 0; from < n; from += TXN_MAX_ROWS / 2) {
        _cleanup_(val_unrefp) struct val *part = val_set();
        for (size_t i = from; i < n && i < from + TXN_MAX_ROWS / 2; i++)
            val_add(part, val_ref(val_at(refs, i)));
        TRY(op_write(op, "message.destroy_many", destroy_txn, part));
    }
    return NULL;
}

struct err *msg_message_destroy_many(struct op *op, const struct args_message_destroy_many *a,
                                     struct val **ret)
{
    return destroy_in_parts(op, a->messages);
}

struct filters {
    int64_t before, after;
    int64_t priority; /* 0: any */
};

static struct err *read_date(const struct val *filters, const char *key, int64_t *ret)
{
    const char *text = val_map_str(filters, key, NULL);
    if (text && str_parse_datetime(view_of(text), ret) < 0)
        return err_INVALID_VALUE(key, text);
    return NULL;
}

static struct err *read_filters(const struct val *in, struct filters *f)
{
    for (size_t i = 0; i < val_count(in); i++) {
        const char *key = val_key_at(in, i);
        if (!str_eq(key, "before") && !str_eq(key, "after") && !str_eq(key, "priority"))
            return err_INVALID_VALUE("filters", key);
    }
    *f = (struct filters){.before = INT64_MAX, .after = INT64_MIN};
    TRY(read_date(in, "before", &f->before));
    TRY(read_date(in, "after", &f->after));
    const char *priority = val_map_str(in, "priority", NULL);
    if (priority && str_i64(view_of(priority), 1, INT64_MAX, &f->priority) < 0)
        return err_INVALID_VALUE("priority", priority);
    return NULL;
}

struct err *msg_message_destroy_all(struct op *op, const struct args_message_destroy_all *a,
                                    struct val **ret)
{
    struct filters f;
    TRY(read_filters(a->filters, &f));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(val_unrefp) struct val *refs = val_set();
    snap_each (r, s, CLASS_message) {
        const struct rec_message *m = rec_message(r);
        if (m->timestamp < f.before && m->timestamp > f.after &&
            (!f.priority || m->priority == f.priority))
            val_add(refs, val_rstr(r->ref));
    }
    return destroy_in_parts(op, refs);
}
