/* tick.c: the host shows that it is alive. */
#include "op/schedule.h"
#include "op/world.h"

struct tick {
    const struct ops *ops;
    int64_t memory_free;
};

/* An idle host writes nothing: what is said already is not said again. */
static struct err *tick_txn(struct txn *t, void *arg)
{
    const struct tick *tick = arg;
    const struct ops *ops = tick->ops;
    const struct rec_host *h = txn_host(t, ops->host_ref);
    const struct rec_host_metrics *now = h ? txn_host_metrics(t, h->metrics) : NULL;
    if (!now || (now->live && now->memory_free == tick->memory_free))
        return NULL;
    struct rec_host_metrics *m = txn_edit_host_metrics(t, h->metrics);
    m->live = true;
    m->memory_free = tick->memory_free;
    m->last_updated = now_s();
    return NULL;
}

static struct err *look_at_schedules(struct ops *ops)
{
    int64_t last = ops->ticked_s;
    ops->ticked_s = now_s();
    return last ? vmss_due(ops, last, ops->ticked_s) : NULL;
}

/* What guests may still be given. */
static int64_t memory_free(struct ops *ops)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    uint64_t all = host_caps(ops->cfg.host)->memory_bytes;
    uint64_t taken = place_memory_taken(s, ops->host_ref, "");
    return taken < all ? (int64_t)(all - taken) : 0;
}

struct err *ops_tick(struct ops *ops)
{
    TRY(host_ssh_expire(ops));
    TRY(look_at_schedules(ops));
    TRY(certificates_tick(ops));
    struct tick tick = {.ops = ops, .memory_free = memory_free(ops)};
    return db_write(ops->cfg.db, "tick", tick_txn, &tick);
}
