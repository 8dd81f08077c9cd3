/*
 * host_set.c: settings of host and pool that are records, and small questions about the host.
 * Operation threads.
 */
#define LOG_MODULE "op"
#include <stdio.h>

#include "base/log.h"
#include "gen/msg.h"
#include "host/machine.h"
#include "op/world.h"

#define DAY 86400

static struct err *need_host(struct op *op, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return snap_host(s, ref) ? NULL : err_HANDLE_INVALID("host", ref);
}

static struct err *edit_host(struct txn *t, const char *ref, struct rec_host **ret)
{
    *ret = txn_edit_host(t, ref);
    return *ret ? NULL : err_HANDLE_INVALID("host", ref);
}

static struct err *edit_pool(struct txn *t, const char *ref, struct rec_pool **ret)
{
    *ret = txn_edit_pool(t, ref);
    return *ret ? NULL : err_HANDLE_INVALID("pool", ref);
}

/* ---- memory nodes ---- */

static struct err *numa_txn(struct txn *t, void *arg)
{
    const struct args_host_set_numa_affinity_policy *a = arg;
    struct rec_host *h;
    TRY(edit_host(t, a->self, &h));
    h->numa_affinity_policy = (enum host_numa_affinity_policy)a->value;
    return NULL;
}

/* Guests are not bound to nodes: on a machine with several of them that cannot be promised. */
struct err *msg_host_set_numa_affinity_policy(struct op *op,
                                              const struct args_host_set_numa_affinity_policy *a,
                                              struct val **ret)
{
    TRY(need_own_host(op, a->self));
    if (a->value == HOST_NUMA_AFFINITY_POLICY_BEST_EFFORT && machine_numa_nodes() > 1)
        return err_VALUE_NOT_SUPPORTED("numa_affinity_policy", "best_effort",
                                       "guests are not bound to the nodes of this machine");
    return op_write(op, "numa policy", numa_txn, (void *)a);
}

/* ---- old TLS ---- */

static struct err *no_legacy_txn(struct txn *t, void *arg)
{
    const char *only = arg;
    txn_each (row, t, CLASS_host) {
        if (!only || str_eq(only, row->ref))
            txn_edit_host(t, row->ref)->ssl_legacy = false;
    }
    return NULL;
}

/* It cannot be turned on: TLS 1.2 is the oldest that is spoken. */
struct err *msg_host_set_ssl_legacy(struct op *op, const struct args_host_set_ssl_legacy *a,
                                    struct val **ret)
{
    TRY(need_host(op, a->self));
    if (a->value)
        return err_VALUE_NOT_SUPPORTED("ssl_legacy", "true", "TLS 1.2 is the oldest spoken here");
    return op_write(op, "ssl_legacy", no_legacy_txn, (void *)a->self);
}

struct err *msg_pool_disable_ssl_legacy(struct op *op, const struct args_pool_disable_ssl_legacy *a,
                                        struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!snap_pool(s, a->self))
        return err_HANDLE_INVALID("pool", a->self);
    return op_write(op, "ssl_legacy", no_legacy_txn, NULL);
}

/* ---- HTTPS alone ---- */

static struct err *https_txn(struct txn *t, void *arg)
{
    txn_each (row, t, CLASS_host)
        txn_edit_host(t, row->ref)->https_only = *(const bool *)arg;
    return NULL;
}

static struct err *set_https_only(struct op *op, bool on)
{
    const struct ops_config *c = &ops_of(op)->cfg;
    if (c->https_only)
        TRY(c->https_only(c->restart_arg, on));
    return op_write(op, "https_only", https_txn, &on);
}

struct err *msg_host_set_https_only(struct op *op, const struct args_host_set_https_only *a,
                                    struct val **ret)
{
    TRY(need_own_host(op, a->self));
    return set_https_only(op, a->value);
}

struct err *msg_pool_set_https_only(struct op *op, const struct args_pool_set_https_only *a,
                                    struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!snap_pool(s, a->self))
        return err_HANDLE_INVALID("pool", a->self);
    return set_https_only(op, a->value);
}

bool host_wants_https_only(struct ops *ops)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_host *h = snap_host(s, ops->host_ref);
    return h && h->https_only;
}

/* ---- room for a guest that is to come ---- */

struct allocate {
    const char *host, *vm;
};

static struct err *allocate_txn(struct txn *t, void *arg)
{
    const struct allocate *a = arg;
    struct rec_VM *vm = txn_edit_VM(t, a->vm);
    if (!vm)
        return err_HANDLE_INVALID("VM", a->vm);
    rstr_set(&vm->scheduled_to_be_resident_on, a->host);
    return NULL;
}

struct err *msg_host_allocate_resources_for_vm(struct op *op,
                                               const struct args_host_allocate_resources_for_vm *a,
                                               struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_own_host(op, a->self));
    TRY(need_VM(s, a->vm, &vm));
    TRY(place_check(ops_of(op), s, vm));
    return op_write(op, "allocate", allocate_txn, &(struct allocate){a->self, a->vm});
}

/* ---- liveness and notices ---- */

static struct err *heartbeat_txn(struct txn *t, void *arg)
{
    const struct rec_host *h = txn_host(t, arg);
    struct rec_host_metrics *m = h ? txn_edit_host_metrics(t, h->metrics) : NULL;
    if (!m)
        return err_HANDLE_INVALID("host", arg);
    m->live = true;
    m->last_updated = now_s();
    return NULL;
}

struct err *msg_host_tickle_heartbeat(struct op *op, const struct args_host_tickle_heartbeat *a,
                                      struct val **ret)
{
    TRY(op_write(op, "heartbeat", heartbeat_txn, (void *)a->host));
    *ret = val_map();
    return NULL;
}

struct err *msg_host_notify(struct op *op, const struct args_host_notify *a, struct val **ret)
{
    if (!*a->ty)
        return err_INVALID_VALUE("ty", "");
    log_info("event=notified type='%s' params='%s'", a->ty, a->params);
    return NULL;
}

/* What answers is healthy once it knows which host it is. */
struct err *msg_host_local_assert_healthy(struct op *op,
                                          const struct args_host_local_assert_healthy *a,
                                          struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return snap_host(s, ops_of(op)->host_ref) ? NULL : err_HOST_STILL_BOOTING();
}

static struct err *localdb_txn(struct txn *t, void *arg)
{
    const struct args_host_set_localdb_key *a = arg;
    _cleanup_(freep) char *key = mem_printf("local.%s", a->key);
    setting_put(t, key, a->value);
    return NULL;
}

struct err *msg_host_set_localdb_key(struct op *op, const struct args_host_set_localdb_key *a,
                                     struct val **ret)
{
    TRY(need_own_host(op, a->host));
    return op_write(op, "local setting", localdb_txn, (void *)a);
}

/* ---- telemetry ---- */

static struct err *collection_txn(struct txn *t, void *arg)
{
    const struct args_pool_set_telemetry_next_collection *a = arg;
    static const int64_t days[] = {[TELEMETRY_FREQUENCY_DAILY] = 2,
                                   [TELEMETRY_FREQUENCY_WEEKLY] = 14,
                                   [TELEMETRY_FREQUENCY_MONTHLY] = 62};
    struct rec_pool *pool;
    TRY(edit_pool(t, a->self, &pool));
    if (a->value > now_s() + days[pool->telemetry_frequency] * DAY) {
        char text[DATETIME_SIZE];
        str_datetime(a->value, text);
        return err_TELEMETRY_NEXT_COLLECTION_TOO_LATE(text);
    }
    pool->telemetry_next_collection = a->value;
    return NULL;
}

struct err *msg_pool_set_telemetry_next_collection(
    struct op *op, const struct args_pool_set_telemetry_next_collection *a, struct val **ret)
{
    return op_write(op, "telemetry", collection_txn, (void *)a);
}

/* The identity under which a pool would be known; a new one is unrelated to the old. */
static struct err *telemetry_uuid_txn(struct txn *t, void *arg)
{
    struct rec_pool *pool;
    char uuid[UUID_SIZE];
    TRY(edit_pool(t, arg, &pool));
    txn_delete(t, CLASS_secret, pool->telemetry_uuid);
    struct rec_secret *secret = txn_add_secret(t);
    str_uuid(uuid);
    rstr_set(&secret->value, uuid);
    rstr_assign(&pool->telemetry_uuid, secret->row.ref);
    return NULL;
}

struct err *msg_pool_reset_telemetry_uuid(struct op *op,
                                          const struct args_pool_reset_telemetry_uuid *a,
                                          struct val **ret)
{
    return op_write(op, "telemetry", telemetry_uuid_txn, (void *)a->self);
}

/* ---- other hosts ---- */

static void take_created(struct rec_host *h, const struct args_host_create *a)
{
    rstr_set(&h->name_label, a->name_label);
    rstr_set(&h->name_description, a->name_description);
    rstr_set(&h->hostname, a->hostname);
    rstr_set(&h->address, a->address);
    rstr_set(&h->external_auth_type, a->external_auth_type);
    rstr_set(&h->external_auth_service_name, a->external_auth_service_name);
    val_assign(&h->external_auth_configuration, val_ref(a->external_auth_configuration));
    val_assign(&h->license_params, val_ref(a->license_params));
    rstr_set(&h->edition, a->edition);
    val_assign(&h->license_server, val_ref(a->license_server));
    rstr_set(&h->local_cache_sr, a->local_cache_sr);
    val_assign(&h->chipset_info, val_ref(a->chipset_info));
    h->ssl_legacy = a->ssl_legacy;
    h->last_software_update = a->last_software_update;
    rstr_set(&h->last_update_hash, a->last_update_hash);
    h->ssh_enabled = a->ssh_enabled;
    h->ssh_enabled_timeout = a->ssh_enabled_timeout;
    h->ssh_expiry = a->ssh_expiry;
    h->ssh_auto_mode = a->ssh_auto_mode;
    h->console_idle_timeout = a->console_idle_timeout;
    h->secure_boot = a->secure_boot;
    val_assign(&h->software_version, val_ref(a->software_version));
    h->https_only = a->https_only;
    rstr_set(&h->max_cstate, a->max_cstate);
    h->ntp_mode = (enum host_ntp_mode)a->ntp_mode;
    val_assign(&h->ntp_custom_servers, val_ref(a->ntp_custom_servers));
    rstr_set(&h->timezone, a->timezone);
    h->numa_affinity_policy = (enum host_numa_affinity_policy)a->numa_affinity_policy;
    h->latest_synced_updates_applied =
        (enum latest_synced_updates_applied_state)a->latest_synced_updates_applied;
    val_assign(&h->pending_guidances_full, val_ref(a->pending_guidances_full));
    val_assign(&h->pending_guidances_recommended, val_ref(a->pending_guidances_recommended));
}

struct create {
    const struct args_host_create *a;
    const char *ref; /* rstr */
};

/* A member that is not there yet: it is neither enabled nor live until it speaks for itself. */
static struct err *create_txn(struct txn *t, void *arg)
{
    const struct create *c = arg;
    if (txn_by_uuid(t, CLASS_host, c->a->uuid))
        return err_UUID_INVALID("host", c->a->uuid);
    struct rec_host *h = (struct rec_host *)txn_add(t, CLASS_host, c->ref, c->a->uuid);
    take_created(h, c->a);
    struct rec_host_metrics *m = txn_add_host_metrics(t);
    m->live = false;
    rstr_assign(&h->metrics, m->row.ref);
    return NULL;
}

struct err *msg_host_create(struct op *op, const struct args_host_create *a, struct val **ret)
{
    if (!str_is_uuid(a->uuid))
        return err_UUID_INVALID("host", a->uuid);
    _cleanup_(rstr_unrefp) const char *ref = ref_new();
    struct create c = {a, ref};
    TRY(op_write(op, "host.create", create_txn, &c));
    *ret = val_rstr(ref);
    return NULL;
}

static struct err *check_gone(struct txn *t, const struct rec_host *h, const char *self)
{
    const struct rec_host_metrics *m = txn_host_metrics(t, h->metrics);
    if (str_eq(h->row.ref, self) || (m && m->live))
        return err_HOST_IS_LIVE(h->row.ref);
    return val_count(h->resident_VMs) ? err_HOST_HAS_RESIDENT_VMS(h->row.ref) : NULL;
}

struct destroy {
    const char *host, *self;
};

static struct err *destroy_txn(struct txn *t, void *arg)
{
    const struct destroy *d = arg;
    const struct rec_host *h = txn_host(t, d->host);
    if (!h)
        return err_HANDLE_INVALID("host", d->host);
    TRY(check_gone(t, h, d->self));
    delete_refs(t, CLASS_PBD, h->PBDs);
    delete_refs(t, CLASS_PIF, h->PIFs);
    delete_refs(t, CLASS_host_cpu, h->host_CPUs);
    delete_refs(t, CLASS_Certificate, h->certificates);
    delete_refs(t, CLASS_host_crashdump, h->crashdumps);
    txn_delete(t, CLASS_host_metrics, h->metrics);
    txn_delete(t, CLASS_VM, h->control_domain);
    txn_delete(t, CLASS_host, d->host);
    return NULL;
}

struct err *msg_host_destroy(struct op *op, const struct args_host_destroy *a, struct val **ret)
{
    struct destroy d = {a->self, ops_of(op)->host_ref};
    return op_write(op, "host.destroy", destroy_txn, &d);
}
