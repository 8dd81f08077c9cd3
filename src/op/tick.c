/* tick.c: the host shows that it is alive. */
#include "op/world.h"

static struct err *tick_txn(struct txn *t, void *arg)
{
    const struct ops *ops = arg;
    const struct rec_host *h = txn_host(t, ops->host_ref);
    struct rec_host_metrics *m = h ? txn_edit_host_metrics(t, h->metrics) : NULL;
    if (!m)
        return NULL;
    m->live = true;
    m->last_updated = now_s();
    return NULL;
}

struct err *ops_tick(struct ops *ops)
{
    TRY(host_ssh_expire(ops));
    return db_write(ops->cfg.db, "tick", tick_txn, ops);
}
