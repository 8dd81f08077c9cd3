/*
 * caller.c: records of callers and of the limits they share. What is counted and who waits is in
 * src/api/limit.c, which reads these records at each call. Operation threads.
 */
#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>

#include "gen/msg.h"
#include "op/world.h"

/* ---- callers ---- */

static bool is_address(const char *text)
{
    unsigned char room[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, room) == 1 || inet_pton(AF_INET6, text, room) == 1;
}

struct making {
    const struct val *rec;
    const char *ref; /* rstr */
};

/* Two descriptions that are the same would make it a matter of luck which of them counts. */
static struct err *check_unlike(struct txn *t, const char *agent, const char *address)
{
    txn_each (row, t, CLASS_Caller) {
        const struct rec_Caller *c = rec_Caller(row);
        if (str_eq(c->user_agent, agent) && str_eq(c->client_ip, address))
            return err_INVALID_VALUE("user_agent", agent);
    }
    return NULL;
}

static struct err *make_caller(struct txn *t, void *arg)
{
    const struct making *m = arg;
    TRY(check_unlike(t, rec_str(m->rec, "user_agent"), rec_str(m->rec, "client_ip")));
    return rec_take_given(txn_add(t, CLASS_Caller, m->ref, NULL), m->rec);
}

struct err *msg_Caller_create(struct op *op, const struct args_Caller_create *a, struct val **ret)
{
    const char *agent = rec_str(a->args, "user_agent"), *address = rec_str(a->args, "client_ip");
    if (!*agent && !*address)
        return err_INVALID_VALUE("user_agent", "");
    if (*address && !is_address(address))
        return err_INVALID_VALUE("client_ip", address);
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct making m = {a->args, ref};
    TRY(op_write(op, "Caller.create", make_caller, &m));
    *ret = val_rstr(ref);
    return NULL;
}

static struct err *drop_caller(struct txn *t, void *ref)
{
    if (!txn_Caller(t, ref))
        return err_HANDLE_INVALID("Caller", ref);
    txn_delete(t, CLASS_Caller, ref);
    return NULL;
}

struct err *msg_Caller_destroy(struct op *op, const struct args_Caller_destroy *a, struct val **ret)
{
    return op_write(op, "Caller.destroy", drop_caller, (void *)a->self);
}

struct grouping {
    const char *caller, *group;
    bool add;
};

static struct err *group_txn(struct txn *t, void *arg)
{
    const struct grouping *g = arg;
    struct rec_Caller *c = txn_edit_Caller(t, g->caller);
    if (!c)
        return err_HANDLE_INVALID("Caller", g->caller);
    val_assign(&c->groups,
               g->add ? val_set_with(c->groups, g->group) : val_without(c->groups, g->group));
    return NULL;
}

struct err *msg_Caller_add_group(struct op *op, const struct args_Caller_add_group *a,
                                 struct val **ret)
{
    struct grouping g = {a->self, a->group, true};
    return *a->group ? op_write(op, "group", group_txn, &g) : err_INVALID_VALUE("group", "");
}

struct err *msg_Caller_remove_group(struct op *op, const struct args_Caller_remove_group *a,
                                    struct val **ret)
{
    struct grouping g = {a->self, a->group, false};
    return op_write(op, "group", group_txn, &g);
}

/* ---- limits ---- */

static struct err *check_number(const char *field, double value)
{
    char text[40];
    snprintf(text, sizeof(text), "%.16g", value);
    return value > 0 && isfinite(value) ? NULL : err_INVALID_VALUE(field, text);
}

static struct err *make_limit(struct txn *t, void *arg)
{
    const struct making *m = arg;
    return rec_take_given(txn_add(t, CLASS_Rate_limit, m->ref, NULL), m->rec);
}

struct err *msg_Rate_limit_create(struct op *op, const struct args_Rate_limit_create *a,
                                  struct val **ret)
{
    TRY(check_number("burst_size", rec_float(a->args, "burst_size")));
    TRY(check_number("fill_rate", rec_float(a->args, "fill_rate")));
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct making m = {a->args, ref};
    TRY(op_write(op, "Rate_limit.create", make_limit, &m));
    *ret = val_rstr(ref);
    return NULL;
}

/* Its callers are not limited any more. */
static struct err *drop_limit(struct txn *t, void *ref)
{
    if (!txn_Rate_limit(t, ref))
        return err_HANDLE_INVALID("Rate_limit", ref);
    txn_delete(t, CLASS_Rate_limit, ref);
    return NULL;
}

struct err *msg_Rate_limit_destroy(struct op *op, const struct args_Rate_limit_destroy *a,
                                   struct val **ret)
{
    return op_write(op, "Rate_limit.destroy", drop_limit, (void *)a->self);
}

struct sharing {
    const char *limit, *caller;
    bool add;
};

static struct err *share_txn(struct txn *t, void *arg)
{
    const struct sharing *s = arg;
    struct rec_Caller *c = txn_edit_Caller(t, s->caller);
    if (!txn_Rate_limit(t, s->limit))
        return err_HANDLE_INVALID("Rate_limit", s->limit);
    if (!c)
        return err_HANDLE_INVALID("Caller", s->caller);
    if (!s->add && !str_eq(c->rate_limit, s->limit))
        return err_INVALID_VALUE("caller", s->caller);
    rstr_set(&c->rate_limit, s->add ? s->limit : REF_NULL);
    return NULL;
}

struct err *msg_Rate_limit_add_caller(struct op *op, const struct args_Rate_limit_add_caller *a,
                                      struct val **ret)
{
    struct sharing s = {a->self, a->caller, true};
    return op_write(op, "caller", share_txn, &s);
}

struct err *msg_Rate_limit_remove_caller(struct op *op,
                                         const struct args_Rate_limit_remove_caller *a,
                                         struct val **ret)
{
    struct sharing s = {a->self, a->caller, false};
    return op_write(op, "caller", share_txn, &s);
}

struct number {
    const char *limit;
    double value;
    bool burst;
};

static struct err *number_txn(struct txn *t, void *arg)
{
    const struct number *n = arg;
    struct rec_Rate_limit *r = txn_edit_Rate_limit(t, n->limit);
    if (!r)
        return err_HANDLE_INVALID("Rate_limit", n->limit);
    if (n->burst)
        r->burst_size = n->value;
    else
        r->fill_rate = n->value;
    return NULL;
}

struct err *msg_Rate_limit_set_burst_size(struct op *op,
                                          const struct args_Rate_limit_set_burst_size *a,
                                          struct val **ret)
{
    struct number n = {a->self, a->value, true};
    TRY(check_number("burst_size", a->value));
    return op_write(op, "limit", number_txn, &n);
}

struct err *msg_Rate_limit_set_fill_rate(struct op *op,
                                         const struct args_Rate_limit_set_fill_rate *a,
                                         struct val **ret)
{
    struct number n = {a->self, a->value, false};
    TRY(check_number("fill_rate", a->value));
    return op_write(op, "limit", number_txn, &n);
}
