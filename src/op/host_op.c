/*
 * host_op.c: what the host has left for guests.
 */
#include "base/str.h"
#include "gen/msg.h"
#include "op/world.h"

struct err *msg_host_compute_free_memory(struct op *op,
                                         const struct args_host_compute_free_memory *a,
                                         struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->host);
    if (!h)
        return err_HANDLE_INVALID("host", a->host);
    const struct rec_host_metrics *m = snap_host_metrics(s, h->metrics);
    bool own = str_eq(a->host, ops_of(op)->host_ref);
    uint64_t all = own ? host_caps(op->host)->memory_bytes : m ? (uint64_t)m->memory_total : 0;
    uint64_t taken = place_memory_taken(s, a->host, "");
    *ret = val_int((int64_t)(taken < all ? all - taken : 0));
    return NULL;
}

struct err *msg_host_compute_memory_overhead(struct op *op,
                                             const struct args_host_compute_memory_overhead *a,
                                             struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->host);
    if (!h)
        return err_HANDLE_INVALID("host", a->host);
    *ret = val_int(h->memory_overhead);
    return NULL;
}
