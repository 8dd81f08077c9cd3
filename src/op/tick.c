/* tick.c: the host shows that it is alive. */
#include "op/schedule.h"
#include "op/world.h"

/* An idle host writes nothing: what is said already is not said again. */
static struct err *tick_txn(struct txn *t, void *arg)
{
    const struct ops *ops = arg;
    const struct rec_host *h = txn_host(t, ops->host_ref);
    const struct rec_host_metrics *now = h ? txn_host_metrics(t, h->metrics) : NULL;
    if (!now || now->live)
        return NULL;
    struct rec_host_metrics *m = txn_edit_host_metrics(t, h->metrics);
    m->live = true;
    m->last_updated = now_s();
    return NULL;
}

static struct err *look_at_schedules(struct ops *ops)
{
    int64_t last = ops->ticked_s;
    ops->ticked_s = now_s();
    return last ? vmss_due(ops, last, ops->ticked_s) : NULL;
}

struct err *ops_tick(struct ops *ops)
{
    TRY(host_ssh_expire(ops));
    TRY(look_at_schedules(ops));
    TRY(certificates_tick(ops));
    return db_write(ops->cfg.db, "tick", tick_txn, ops);
}
