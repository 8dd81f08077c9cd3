/* tick.c: what is measured now and then; volatile fields alone, so nothing is stored. */
#include "op/world.h"

struct tick_arg {
    struct ops *ops;
    uint64_t free_bytes;
};

static struct err *tick_txn(struct txn *t, void *arg)
{
    struct tick_arg *a = arg;
    const struct rec_host *h = txn_host(t, a->ops->host_ref);
    struct rec_host_metrics *m = h ? txn_edit_host_metrics(t, h->metrics) : NULL;
    if (!m)
        return NULL;
    m->live = true;
    m->last_updated = now_s();
    return NULL;
}

struct err *ops_tick(struct ops *ops)
{
    struct tick_arg a = {.ops = ops};
    return db_write(ops->cfg.db, "tick", tick_txn, &a);
}
