/*
 * local_cache.c: see local_cache.h; and the messages that turn it on and off. Operation threads,
 * the transactions on core, tidying on the chores' thread.
 */
#include "op/local_cache.h"

#include "base/vec.h"
#include "gen/msg.h"
#include "host/disk_copy.h"
#include "op/vdi_chain.h"

#define MAY_HAVE "SR_CACHING"
#define MAY_KEEP "SR_SUPPORTS_LOCAL_CACHING"

static bool can(const struct rec_SR *sr, const char *feature)
{
    const struct sr_kind *k = sr_kind(sr->type);
    for (const char *const *f = k ? k->features : NULL; f && *f; f++)
        if (str_eq(*f, feature))
            return true;
    return false;
}

/* Of an attached repository of this host, the caller's; NULL: there is none. */
static char *folder_of(struct host *h, const struct snap *s, const char *sr)
{
    const struct rec_SR *rec = snap_SR(s, sr);
    struct sr_ref ref;
    if (!rec || !can(rec, MAY_KEEP))
        return NULL;
    _cleanup_(err_freep) struct err *e = sr_ref_of(s, rec, true, &ref);
    return e ? NULL : sr_kind(rec->type)->folder(h, &ref);
}

void local_cache_choose(struct op *op, const struct snap *s, const struct rec_VDI *vdi,
                        struct image *image)
{
    const struct rec_SR *sr = snap_SR(s, vdi->SR);
    const struct rec_host *h = snap_host(s, ops_of(op)->host_ref);
    if (!vdi->allow_caching || !sr || !h || !can(sr, MAY_HAVE))
        return;
    free(image->copies);
    image->copies = folder_of(op->host, s, h->local_cache_sr);
}

struct err *local_cache_check_unused(const struct snap *s, const char *sr)
{
    snap_each (row, s, CLASS_host)
        if (str_eq(rec_host(row)->local_cache_sr, sr))
            return err_SR_IS_CACHE_SR(row->ref);
    return NULL;
}

/* ---- what is left over ---- */

static bool is_built_on(const char *parent, const void *arg)
{
    const struct snap *s = arg;
    snap_each (row, s, CLASS_VDI) {
        const struct rec_VDI *vdi = rec_VDI(row);
        if (vdi->allow_caching && str_eq(val_map_str(vdi->sm_config, CHAIN_PARENT, ""), parent))
            return true;
    }
    return false;
}

static bool is_none(const char *parent, const void *arg)
{
    return false;
}

char *local_cache_folder(struct ops *ops, const struct snap *s, const char **ret_sr)
{
    const struct rec_host *h = snap_host(s, ops->host_ref);
    char *folder = h ? folder_of(ops->cfg.host, s, h->local_cache_sr) : NULL;
    *ret_sr = folder ? snap_SR(s, h->local_cache_sr)->uuid : "";
    return folder;
}

void local_cache_tidy(struct ops *ops, const struct snap *s)
{
    const char *sr;
    _cleanup_(freep) char *folder = local_cache_folder(ops, s, &sr);
    if (folder)
        disk_copies_clear(folder, is_built_on, s);
}

/* ---- on and off ---- */

struct cache_arg {
    const char *host, *sr;
};

/* No guest may be there whose disks would have to be opened anew. */
static struct err *check_quiet(const struct snap *s, const struct rec_host *h)
{
    if (h->enabled)
        return err_HOST_NOT_DISABLED();
    val_each (ref, h->resident_VMs) {
        const struct rec_VM *vm = snap_VM(s, ref);
        if (vm && !vm->is_control_domain)
            return err_HOST_IN_USE(h->row.ref, "VM", ref);
    }
    return NULL;
}

static bool has_pbd(const struct snap *s, const struct rec_SR *sr, const char *host)
{
    val_each (ref, sr->PBDs) {
        const struct rec_PBD *pbd = snap_PBD(s, ref);
        if (pbd && str_eq(pbd->host, host))
            return true;
    }
    return false;
}

static void move_to(struct txn *t, const char *host, const char *sr)
{
    struct rec_host *h = txn_edit_host(t, host);
    struct rec_SR *old = ref_is_null(h->local_cache_sr) ? NULL : txn_edit_SR(t, h->local_cache_sr);
    if (old)
        old->local_cache_enabled = false;
    rstr_set(&h->local_cache_sr, sr);
    if (!ref_is_null(sr))
        txn_edit_SR(t, sr)->local_cache_enabled = true;
}

static struct err *check_sr(const struct snap *s, const char *host, const char *ref)
{
    const struct rec_SR *sr;
    TRY(need_SR(s, ref, &sr));
    if (sr->shared || !can(sr, MAY_KEEP))
        return err_SR_OPERATION_NOT_SUPPORTED(ref);
    return has_pbd(s, sr, host) ? NULL : err_HOST_CANNOT_SEE_SR(host, ref);
}

static struct err *change_txn(struct txn *t, void *arg)
{
    const struct cache_arg *a = arg;
    const struct rec_host *h = txn_host(t, a->host);
    if (!h)
        return err_HANDLE_INVALID("host", a->host);
    if (a->sr)
        TRY(check_sr(txn_snap(t), a->host, a->sr));
    TRY(check_quiet(txn_snap(t), h));
    move_to(t, a->host, a->sr ? a->sr : REF_NULL);
    return NULL;
}

/* To that repository, or to none (NULL); what is in the one it was goes. */
static struct err *change(struct op *op, const char *host, const char *sr)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    struct cache_arg arg = {host, sr};
    const struct rec_host *h = snap_host(s, host);
    TRY(need_own_host(op, host));
    _cleanup_(freep) char *folder = folder_of(op->host, s, h->local_cache_sr);
    TRY(op_write(op, "local cache", change_txn, &arg));
    if (folder && !(sr && str_eq(h->local_cache_sr, sr)))
        disk_copies_clear(folder, is_none, NULL);
    return NULL;
}

struct err *msg_host_enable_local_storage_caching(
    struct op *op, const struct args_host_enable_local_storage_caching *a, struct val **ret)
{
    return change(op, a->host, a->sr);
}

struct err *msg_host_disable_local_storage_caching(
    struct op *op, const struct args_host_disable_local_storage_caching *a, struct val **ret)
{
    return change(op, a->host, NULL);
}

/* ---- all hosts ---- */

/* The first that it can be; a reference to nothing if there is none. */
static const char *find_sr(const struct snap *s, const char *host)
{
    snap_each (row, s, CLASS_SR) {
        const struct rec_SR *sr = rec_SR(row);
        if (!sr->shared && can(sr, MAY_KEEP) && has_pbd(s, sr, host))
            return row->ref;
    }
    return REF_NULL;
}

typedef VEC(const char *) refs_vec;

/* Who cannot is named; everybody else does it. */
static void each_host(struct op *op, const struct snap *s, bool on, refs_vec *failed)
{
    snap_each (row, s, CLASS_host) {
        _cleanup_(err_freep) struct err *e = change(op, row->ref, on ? find_sr(s, row->ref) : NULL);
        if (e)
            vec_push(failed, row->ref);
    }
}

struct err *msg_pool_enable_local_storage_caching(
    struct op *op, const struct args_pool_enable_local_storage_caching *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    refs_vec failed = {0};
    each_host(op, s, true, &failed);
    struct err *e =
        failed.n ? err_HOSTS_FAILED_TO_ENABLE_CACHING((unsigned)failed.n, failed.v) : NULL;
    vec_done(&failed);
    return e;
}

struct err *msg_pool_disable_local_storage_caching(
    struct op *op, const struct args_pool_disable_local_storage_caching *a, struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    refs_vec failed = {0};
    each_host(op, s, false, &failed);
    struct err *e =
        failed.n ? err_HOSTS_FAILED_TO_DISABLE_CACHING((unsigned)failed.n, failed.v) : NULL;
    vec_done(&failed);
    return e;
}
