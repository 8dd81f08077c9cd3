/*
 * observer.c: the messages of class Observer. Operation threads; what an observer watches is worked
 * out in the transaction that changes it, so the last change counts.
 */
#include "op/observer.h"

#include <string.h>

#include "gen/msg.h"
#include "op/world.h"

#define KEY_MAX   255
#define VALUE_MAX 4095

/* ---- what follows from the records ---- */

struct observers *observers_new(void)
{
    struct observers *o = mem_new(struct observers);
    mutex_init(&o->lock, LOCK_LEAF);
    return o;
}

void observers_free(struct observers *o)
{
    if (!o)
        return;
    trace_want(0);
    observer_export_free(o->export);
    vec_each (ref, &o->away)
        rstr_unref(*ref);
    vec_done(&o->away);
    mutex_done(&o->lock);
    free(o);
}

static size_t find_away(const struct observers *o, const char *ref)
{
    size_t i = 0;
    while (i < o->away.n && !str_eq(o->away.v[i], ref))
        i++;
    return i;
}

static void set_away(struct observers *o, const char *ref, bool away)
{
    mutex_guard(&o->lock);
    size_t i = find_away(o, ref);
    if (away && i == o->away.n) {
        vec_push(&o->away, rstr_new(ref));
    } else if (!away && i < o->away.n) {
        rstr_unref(o->away.v[i]);
        vec_remove(&o->away, i);
    }
}

static bool is_away(struct observers *o, const char *ref)
{
    mutex_guard(&o->lock);
    return find_away(o, ref) < o->away.n;
}

unsigned observer_parts(struct ops *ops, const struct rec_Observer *r)
{
    enum trace_part part;
    unsigned parts = 0;
    bool here = !val_count(r->hosts) || val_set_has(r->hosts, ops->host_ref);
    if (!r->enabled || !here || is_away(ops->observers, r->row.ref))
        return 0;
    val_each (name, r->components) {
        if (trace_part_find(name, &part))
            parts |= 1u << part;
    }
    return val_count(r->components) ? parts : (1u << TRACE_PARTS) - 1;
}

/* On core. */
static void settle(struct txn *t, struct ops *ops)
{
    unsigned parts = 0;
    txn_each (row, t, CLASS_Observer)
        parts |= observer_parts(ops, rec_Observer(row));
    trace_want(parts);
}

/* Called by whoever has changed a record; messages may run side by side, but there is one thread:
 * it alone waits for what has ended. */
static void see_to_export(struct ops *ops)
{
    struct observers *o = ops->observers;
    mutex_guard(&o->lock);
    if (!o->export && trace_is_wanted())
        o->export = observer_export_new(ops);
}

static struct err *settle_txn(struct txn *t, void *arg)
{
    settle(t, arg);
    return NULL;
}

struct err *observers_begin(struct ops *ops)
{
    TRY(db_write(ops->cfg.db, "observers", settle_txn, ops));
    see_to_export(ops);
    return NULL;
}

/* ---- what may be set ---- */

static struct err *check_hosts(struct txn *t, const struct val *hosts)
{
    val_each (ref, hosts) {
        if (!txn_host(t, ref))
            return err_INVALID_VALUE("host", ref);
    }
    return NULL;
}

static struct err *check_components(const struct val *components)
{
    enum trace_part part;
    val_each (name, components) {
        if (!trace_part_find(name, &part))
            return err_INVALID_VALUE("component", name);
    }
    return NULL;
}

static struct err *check_endpoints(const struct val *endpoints)
{
    val_each (text, endpoints) {
        if (!observer_is_endpoint(text))
            return err_INVALID_VALUE("endpoint", text);
    }
    return NULL;
}

static bool is_attribute(const char *key, const char *value)
{
    size_t size = strlen(key);
    return size && size <= KEY_MAX &&
           strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789._-") == size && *value &&
           strlen(value) <= VALUE_MAX;
}

static struct err *check_attributes(const struct val *attributes)
{
    for (size_t i = 0; i < val_count(attributes); i++) {
        const char *key = val_key_at(attributes, i), *value = val_str_at(attributes, i);
        _cleanup_(freep) char *both = mem_printf("%s:%s", key, value);
        if (!is_attribute(key, value))
            return err_INVALID_VALUE("attributes", both);
    }
    return NULL;
}

/* ---- making and ending one ---- */

struct making {
    struct ops *ops;
    const struct val *rec;
    const char *ref; /* rstr */
};

static const struct val *given_set(const struct val *rec, const char *key)
{
    const struct val *v = val_map_get(rec, key);
    return v && val_kind(v) == VAL_SET ? v : val_empty_set();
}

static struct err *make(struct txn *t, void *arg)
{
    const struct making *m = arg;
    TRY(check_hosts(t, given_set(m->rec, "hosts")));
    struct row *row = txn_add(t, CLASS_Observer, m->ref, NULL);
    TRY(rec_take_given(row, m->rec));
    struct rec_Observer *r = (struct rec_Observer *)row;
    if (!val_count(r->endpoints))
        val_assign(&r->endpoints, val_set_with(r->endpoints, "bugtool"));
    settle(t, m->ops);
    return NULL;
}

struct err *msg_Observer_create(struct op *op, const struct args_Observer_create *a,
                                struct val **ret)
{
    TRY(check_components(given_set(a->args, "components")));
    TRY(check_endpoints(given_set(a->args, "endpoints")));
    TRY(check_attributes(rec_map(a->args, "attributes")));
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct making m = {ops_of(op), a->args, ref};
    TRY(op_write(op, "Observer.create", make, &m));
    see_to_export(m.ops);
    *ret = val_rstr(ref);
    return NULL;
}

/* A change of one: `put` is told its record, and what it needs. NULL: it goes. */
struct change {
    struct ops *ops;
    const char *self;
    struct err *(*put)(struct txn *t, struct rec_Observer *r, const void *arg);
    const void *arg;
};

static struct err *change_txn(struct txn *t, void *arg)
{
    const struct change *c = arg;
    if (!txn_Observer(t, c->self))
        return err_HANDLE_INVALID("Observer", c->self);
    if (c->put)
        TRY(c->put(t, txn_edit_Observer(t, c->self), c->arg));
    else
        txn_delete(t, CLASS_Observer, c->self);
    settle(t, c->ops);
    return NULL;
}

static struct err *change(struct op *op, const char *self,
                          struct err *(*put)(struct txn *, struct rec_Observer *, const void *),
                          const void *arg)
{
    struct change c = {ops_of(op), self, put, arg};
    TRY(op_write(op, "observer", change_txn, &c));
    see_to_export(c.ops);
    return NULL;
}

struct err *msg_Observer_destroy(struct op *op, const struct args_Observer_destroy *a,
                                 struct val **ret)
{
    TRY(change(op, a->self, NULL, NULL));
    set_away(ops_of(op)->observers, a->self, false);
    return NULL;
}

/* ---- settings ---- */

static struct err *put_hosts(struct txn *t, struct rec_Observer *r, const void *hosts)
{
    TRY(check_hosts(t, hosts));
    val_assign(&r->hosts, val_ref(hosts));
    return NULL;
}

struct err *msg_Observer_set_hosts(struct op *op, const struct args_Observer_set_hosts *a,
                                   struct val **ret)
{
    return change(op, a->self, put_hosts, a->value);
}

static struct err *put_enabled(struct txn *t, struct rec_Observer *r, const void *on)
{
    r->enabled = *(const bool *)on;
    return NULL;
}

struct err *msg_Observer_set_enabled(struct op *op, const struct args_Observer_set_enabled *a,
                                     struct val **ret)
{
    return change(op, a->self, put_enabled, &a->value);
}

static struct err *put_attributes(struct txn *t, struct rec_Observer *r, const void *map)
{
    val_assign(&r->attributes, val_ref(map));
    return NULL;
}

struct err *msg_Observer_set_attributes(struct op *op, const struct args_Observer_set_attributes *a,
                                        struct val **ret)
{
    TRY(check_attributes(a->value));
    return change(op, a->self, put_attributes, a->value);
}

static struct err *put_endpoints(struct txn *t, struct rec_Observer *r, const void *set)
{
    val_assign(&r->endpoints, val_ref(set));
    return NULL;
}

struct err *msg_Observer_set_endpoints(struct op *op, const struct args_Observer_set_endpoints *a,
                                       struct val **ret)
{
    TRY(check_endpoints(a->value));
    return change(op, a->self, put_endpoints, a->value);
}

static struct err *put_components(struct txn *t, struct rec_Observer *r, const void *set)
{
    val_assign(&r->components, val_ref(set));
    return NULL;
}

struct err *msg_Observer_set_components(struct op *op, const struct args_Observer_set_components *a,
                                        struct val **ret)
{
    TRY(check_components(a->value));
    return change(op, a->self, put_components, a->value);
}

/* ---- this host alone: until the daemon begins anew ---- */

struct presence {
    struct observers *observers;
    bool away;
};

static struct err *put_presence(struct txn *t, struct rec_Observer *r, const void *arg)
{
    const struct presence *p = arg;
    set_away(p->observers, r->row.ref, p->away);
    return NULL;
}

struct err *msg_Observer_register(struct op *op, const struct args_Observer_register *a,
                                  struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return change(op, a->self, put_presence, &(struct presence){ops_of(op)->observers, false});
}

struct err *msg_Observer_unregister(struct op *op, const struct args_Observer_unregister *a,
                                    struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return change(op, a->self, put_presence, &(struct presence){ops_of(op)->observers, true});
}
