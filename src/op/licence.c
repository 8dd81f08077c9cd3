/*
 * licence.c: nothing is licensed.
 *
 * Clients ask for licences all the same. They are told of one that ends in the far future, may
 * choose among the editions they know, all of which are the same, and find in the restrictions a
 * `restrict_…` of "false" for each feature whose message works; a feature that is not there is not
 * named. Operation threads; licence_put() on core.
 */
#include "gen/msg.h"
#include "op/world.h"

#define EDITION "cairn"
#define EXPIRY  "20991231T23:59:59Z"

/* What clients select by; any of them gives everything. The first is the default. */
static const char *const editions[] = {
    EDITION,
    "free",
    "express",
    "per-socket",
    "trial",
    "standard-per-socket",
    "xendesktop",
    "desktop",
    "desktop-plus",
    "desktop-cloud",
    "advanced",
    "premium-per-socket",
    "enterprise",
    "platinum",
    "enterprise-per-socket",
    "enterprise-xendesktop",
    "standard",
    "enterprise-plus",
};

/* A feature as clients gate it, and the message without which it would not work. */
static const struct feature {
    const char *key, *message;
} features[] = {
    {"restrict_ad", "pool.enable_external_auth"},
    {"restrict_cbt", "VDI.enable_cbt"},
    {"restrict_certificate_verification", "pool.enable_tls_verification"},
    {"restrict_checkpoint", "VM.checkpoint"},
    {"restrict_connection", "session.login_with_password"},
    {"restrict_corosync", "Cluster.create"},
    {"restrict_dr", "DR_task.create"},
    {"restrict_gpu", "VGPU.create"},
    {"restrict_historical_performance", "VM.query_data_source"},
    {"restrict_igmp_snooping", "pool.set_igmp_snooping_enabled"},
    {"restrict_intellicache", "host.enable_local_storage_caching"},
    {"restrict_live_patching", "host.apply_updates"},
    {"restrict_network_sriov", "network_sriov.create"},
    {"restrict_pool_attached_storage", "SR.introduce"},
    {"restrict_pool_secret_rotation", "pool.rotate_secret"},
    {"restrict_pooling", "pool.join"},
    {"restrict_pvs_proxy", "PVS_proxy.create"},
    {"restrict_rbac", "subject.add_to_roles"},
    {"restrict_set_vcpus_number_live", "VM.set_VCPUs_number_live"},
    {"restrict_storage_xen_motion", "VM.migrate_send"},
    {"restrict_updates", "pool.sync_updates"},
    {"restrict_usb_passthrough", "PUSB.set_passthrough_enabled"},
    {"restrict_vgpu", "VGPU.create"},
    {"restrict_vif_locking", "VIF.set_locking_mode"},
    {"restrict_vlan", "VLAN.create"},
    {"restrict_vm_groups", "VM.set_groups"},
    {"restrict_vm_start", "VM.start"},
    {"restrict_vmss", "VMSS.snapshot_now"},
    {"restrict_vtpm", "VTPM.create"},
    {"restrict_wlb", "pool.initialize_wlb"},
    {"restrict_xen_motion", "VM.pool_migrate"},
};

static bool works(const struct feature *f)
{
    const struct msg_desc *m = desc_msg(f->message);
    return m && !(m->flags & (MSG_UNIMPLEMENTED | MSG_REMOVED));
}

/* Not a feature of the product: whether clients should nag, and whether they may be turned away. */
static void put_restrictions(struct val *v)
{
    for (size_t i = 0; i < ARRAY_LEN(features); i++)
        if (works(&features[i]))
            val_put_str(v, features[i].key, "false");
    val_put_str(v, "regular_nag_dialog", "false");
    val_put_str(v, "platform_filter", "false");
}

static struct val *license_params(const char *edition)
{
    struct val *v = val_map();
    val_put_str(v, "sku_type", edition);
    val_put_str(v, "sku_marketing_name", "Cairn");
    val_put_str(v, "version", "");
    val_put_str(v, "productcode", "");
    val_put_str(v, "serialnumber", "");
    val_put_str(v, "sockets", "32767");
    val_put_str(v, "expiry", EXPIRY);
    val_put_str(v, "name", "");
    val_put_str(v, "company", "");
    val_put_str(v, "grace", "no");
    put_restrictions(v);
    return v;
}

static void put_edition(struct rec_host *h, const char *edition)
{
    rstr_set(&h->edition, edition);
    val_assign(&h->license_params, license_params(edition));
}

void licence_put(struct txn *t, struct rec_host *host, struct rec_pool *pool)
{
    struct val *all = val_set(), *restrictions = val_map();
    for (size_t i = 0; i < ARRAY_LEN(editions); i++)
        val_add_str(all, editions[i]);
    put_restrictions(restrictions);
    val_assign(&host->editions, all);
    put_edition(host, *host->edition ? host->edition : EDITION);
    val_assign(&pool->restrictions, restrictions);
}

/* ---- editions ---- */

static const char *find_edition(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(editions); i++)
        if (view_ieq(view_of(name), editions[i]))
            return editions[i];
    return NULL;
}

struct apply {
    const char *host; /* NULL: all */
    const char *edition;
};

static struct err *apply_txn(struct txn *t, void *arg)
{
    const struct apply *a = arg;
    if (a->host && !txn_host(t, a->host))
        return err_HANDLE_INVALID("host", a->host);
    txn_each (row, t, CLASS_host) {
        if (!a->host || str_eq(a->host, row->ref))
            put_edition(txn_edit_host(t, row->ref), a->edition);
    }
    return NULL;
}

static struct err *apply_edition(struct op *op, const char *host, const char *name)
{
    struct apply a = {host, find_edition(name)};
    if (!a.edition)
        return err_INVALID_EDITION(name);
    return op_write(op, "apply_edition", apply_txn, &a);
}

struct err *msg_host_apply_edition(struct op *op, const struct args_host_apply_edition *a,
                                   struct val **ret)
{
    return apply_edition(op, a->host, a->edition);
}

static struct err *need_pool(struct op *op, const char *ref)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    return snap_pool(s, ref) ? NULL : err_HANDLE_INVALID("pool", ref);
}

struct err *msg_pool_apply_edition(struct op *op, const struct args_pool_apply_edition *a,
                                   struct val **ret)
{
    TRY(need_pool(op, a->self));
    return apply_edition(op, NULL, a->edition);
}

/* The pool has the edition of its coordinator. */
struct err *msg_pool_get_license_state(struct op *op, const struct args_pool_get_license_state *a,
                                       struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_pool *pool = snap_pool(s, a->self);
    if (!pool)
        return err_HANDLE_INVALID("pool", a->self);
    const struct rec_host *h = snap_host(s, pool->master);
    *ret = val_map();
    val_put_str(*ret, "edition", h ? h->edition : EDITION);
    val_put_str(*ret, "expiry", EXPIRY);
    return NULL;
}

/* ---- licence files ---- */

/* There is no licence that could be read. */
struct err *msg_host_license_add(struct op *op, const struct args_host_license_add *a,
                                 struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!snap_host(s, a->host))
        return err_HANDLE_INVALID("host", a->host);
    return err_LICENSE_PROCESSING_ERROR();
}

/* Back to the default edition. */
struct err *msg_host_license_remove(struct op *op, const struct args_host_license_remove *a,
                                    struct val **ret)
{
    return apply_edition(op, a->host, EDITION);
}

static struct err *params_txn(struct txn *t, void *arg)
{
    const struct args_host_set_license_params *a = arg;
    struct rec_host *h = txn_edit_host(t, a->self);
    if (!h)
        return err_HANDLE_INVALID("host", a->self);
    val_assign(&h->license_params, val_ref(a->value));
    return NULL;
}

struct err *msg_host_set_license_params(struct op *op, const struct args_host_set_license_params *a,
                                        struct val **ret)
{
    return op_write(op, "license_params", params_txn, (void *)a);
}
