/* auth_msg.c: how many passwords are checked at once. Natives, because auth is the layer's own. */
#include <stdio.h>

#include "api/auth.h"
#include "api/call.h"
#include "api/limit.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/typed.h"
#include "state/txn.h"

#define THREADS_MAX 8

static struct err *threads_txn(struct txn *t, void *arg)
{
    const struct args_pool_set_local_auth_max_threads *a = ((struct call *)arg)->args;
    struct rec_pool *pool = txn_edit_pool(t, a->self);
    if (!pool)
        return err_HANDLE_INVALID("pool", a->self);
    pool->local_auth_max_threads = a->value;
    return NULL;
}

static void threads_end(struct call *c)
{
    call_end(c, steal(&c->e), NULL);
}

static void threads_written(void *arg, struct err *e, uint64_t generation)
{
    struct call *c = arg;
    const struct args_pool_set_local_auth_max_threads *a = c->args;
    (void)generation;
    c->e = e;
    if (!e && c->api->auth)
        auth_set_max(c->api->auth, (unsigned)a->value);
    call_post(c, threads_end);
}

void pool_set_local_auth_max_threads(struct call *c)
{
    const struct args_pool_set_local_auth_max_threads *a = c->args;
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)a->value);
    if (a->value < 1 || a->value > THREADS_MAX)
        call_end(c,
                 err_VALUE_NOT_SUPPORTED("local_auth_max_threads", text, "it is between 1 and 8"),
                 NULL);
    else
        db_write_async(c->api->db, "auth threads", threads_txn, c, threads_written);
}

void auth_take_setting(struct api *api)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(api->db);
    const struct row *pool = snap_first(s, CLASS_pool);
    int64_t n = pool ? rec_pool(pool)->local_auth_max_threads : THREADS_MAX;
    if (api->auth && n >= 1 && n <= THREADS_MAX)
        auth_set_max(api->auth, (unsigned)n);
}
