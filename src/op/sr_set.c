/* sr_set.c: the small setters of SR and the records of networks. One transaction each. */
#include <stdio.h>

#include "gen/msg.h"
#include "op/vm_ops.h"
#include "op/world.h"

struct sr_change {
    const char *sr, *text;
    enum { SR_NAME, SR_DESCRIPTION, SR_SIZE, SR_SHARED } field;
    int64_t number;
};

/* What is not shared is one host's. */
static struct err *check_shared(const struct rec_SR *sr, bool shared)
{
    if (shared || val_count(sr->PBDs) < 2)
        return NULL;
    return err_SR_HAS_MULTIPLE_PBDS(val_str_at(sr->PBDs, 0));
}

static struct err *sr_change_txn(struct txn *t, void *arg)
{
    const struct sr_change *c = arg;
    struct rec_SR *sr = txn_edit_SR(t, c->sr);
    if (!sr)
        return err_HANDLE_INVALID("SR", c->sr);
    if (c->field == SR_NAME)
        rstr_set(&sr->name_label, c->text);
    else if (c->field == SR_DESCRIPTION)
        rstr_set(&sr->name_description, c->text);
    else if (c->field == SR_SIZE)
        sr->physical_size = c->number;
    else {
        TRY(check_shared(sr, c->number));
        sr->shared = c->number;
    }
    return NULL;
}

static struct err *change(struct op *op, struct sr_change c)
{
    return op_write(op, "set SR field", sr_change_txn, &c);
}

struct err *msg_SR_set_name_label(struct op *op, const struct args_SR_set_name_label *a,
                                  struct val **ret)
{
    return change(op, (struct sr_change){a->sr, a->value, SR_NAME, 0});
}

struct err *msg_SR_set_name_description(struct op *op, const struct args_SR_set_name_description *a,
                                        struct val **ret)
{
    return change(op, (struct sr_change){a->sr, a->value, SR_DESCRIPTION, 0});
}

struct err *msg_SR_set_physical_size(struct op *op, const struct args_SR_set_physical_size *a,
                                     struct val **ret)
{
    return change(op, (struct sr_change){a->self, "", SR_SIZE, a->value});
}

struct err *msg_SR_set_shared(struct op *op, const struct args_SR_set_shared *a, struct val **ret)
{
    return change(op, (struct sr_change){a->sr, "", SR_SHARED, a->value});
}

/* ---- networks: records; the wiring is the network layer's ---- */

struct net_arg {
    const struct val *rec;
    const char *ref;
};

void network_free_bridge(struct txn *t, char out[24])
{
    unsigned n = 1;
    txn_each (row, t, CLASS_network)
        n++;
    _cleanup_(freep) bool *taken = mem_new_n(bool, n); /* of n numbers one is free */
    txn_each (row, t, CLASS_network) {
        const char *bridge = rec_network(row)->bridge;
        uint64_t number;
        if (str_starts(bridge, "xapi") && str_u64(view_of(bridge + 4), 0, n - 1, &number) == 0)
            taken[number] = true;
    }
    for (n = 0; taken[n];)
        n++;
    snprintf(out, 24, "xapi%u", n);
}

static struct err *net_create_txn(struct txn *t, void *arg)
{
    struct net_arg *a = arg;
    struct rec_network *n = (struct rec_network *)txn_add(t, CLASS_network, a->ref, NULL);
    TRY(rec_take_given(&n->row, a->rec));
    if (n->MTU == 0)
        n->MTU = 1500;
    if (!*n->bridge) {
        char bridge[24];
        network_free_bridge(t, bridge);
        rstr_set(&n->bridge, bridge);
    }
    return NULL;
}

struct err *msg_network_create(struct op *op, const struct args_network_create *a, struct val **ret)
{
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct net_arg arg = {a->args, ref};
    TRY(op_write(op, "create network", net_create_txn, &arg));
    *ret = val_rstr(ref);
    return NULL;
}

static struct err *net_destroy_txn(struct txn *t, void *arg)
{
    const struct rec_network *n = txn_network(t, arg);
    if (!n)
        return err_HANDLE_INVALID("network", arg);
    if (val_count(n->VIFs) > 0)
        return err_NETWORK_CONTAINS_VIF(val_str_at(n->VIFs, 0));
    if (val_count(n->PIFs) > 0)
        return err_NETWORK_CONTAINS_PIF(val_str_at(n->PIFs, 0));
    txn_delete(t, CLASS_network, arg);
    return NULL;
}

struct err *msg_network_destroy(struct op *op, const struct args_network_destroy *a,
                                struct val **ret)
{
    return op_write(op, "destroy network", net_destroy_txn, (void *)a->self);
}
