/*
 * host_msg.c: small messages of classes host, pool and secret that touch nothing but state and
 * clock.
 */
#include "base/str.h"
#include "base/zone.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "task/op.h"

/* ---- the clock ---- */

struct err *msg_host_get_servertime(struct op *op, const struct args_host_get_servertime *a,
                                    struct val **ret)
{
    TRY(need_own_host(op, a->host));
    *ret = val_datetime((int64_t)(clock_wall() / USEC_PER_SEC));
    return NULL;
}

/* A date that names no zone: what the clock on the host's wall shows, written as if it were UTC. */
struct err *msg_host_get_server_localtime(struct op *op,
                                          const struct args_host_get_server_localtime *a,
                                          struct val **ret)
{
    TRY(need_own_host(op, a->host));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_host *h = snap_host(s, a->host);
    if (!h)
        return err_HANDLE_INVALID("host", a->host);
    int64_t now = (int64_t)(clock_wall() / USEC_PER_SEC);
    *ret = val_datetime(now + zone_offset(h->timezone, now));
    return NULL;
}

/* ---- the pool of one ---- */

struct err *msg_host_is_in_emergency_mode(struct op *op,
                                          const struct args_host_is_in_emergency_mode *a,
                                          struct val **ret)
{
    *ret = val_bool(false);
    return NULL;
}

struct err *msg_pool_is_slave(struct op *op, const struct args_pool_is_slave *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!snap_host(s, a->host))
        return err_HANDLE_INVALID("host", a->host);
    const struct row *pool = snap_first(s, CLASS_pool);
    *ret = val_bool(pool && !str_eq(rec_pool(pool)->master, a->host));
    return NULL;
}

/* An answer is never given before what it tells is durable; so everything is. */
struct err *msg_pool_sync_database(struct op *op, const struct args_pool_sync_database *a,
                                   struct val **ret)
{
    return NULL;
}

/* ---- secrets ---- */

struct introduce {
    const struct args_secret_introduce *a;
    const char *ref; /* rstr */
};

static struct err *introduce_txn(struct txn *t, void *arg)
{
    const struct introduce *in = arg;
    if (txn_by_uuid(t, CLASS_secret, in->a->uuid))
        return err_UUID_INVALID("secret", in->a->uuid);
    struct rec_secret *s = (struct rec_secret *)txn_add(t, CLASS_secret, in->ref, in->a->uuid);
    rstr_assign(&s->value, in->a->value);
    val_assign(&s->other_config, val_ref(in->a->other_config));
    return NULL;
}

struct err *msg_secret_introduce(struct op *op, const struct args_secret_introduce *a,
                                 struct val **ret)
{
    if (!str_is_uuid(a->uuid))
        return err_UUID_INVALID("secret", a->uuid);
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct introduce in = {a, ref};
    TRY(op_write(op, "secret.introduce", introduce_txn, &in));
    *ret = val_rstr(ref);
    return NULL;
}
