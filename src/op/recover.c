/*
 * recover.c: after a start, make records and guests agree.
 *
 *     journal: operations of the dead process are undone or rolled forward (tasks_recover)
 *     storage: what was attached is attached again (a boot of the machine loses mounts)
 *     guests:  recorded and there    - taken over, state and domid as they are
 *              recorded and not there - Halted, with a message
 *              there and not recorded - taken away
 *     disks:   processes of nobody    - taken away
 */
#include <string.h>

#include "base/log.h"
#include "op/blob.h"
#include "op/crashdump.h"
#include "op/sr_ops.h"
#include "op/world.h"
#include "task/claim.h"

/* ---- storage ---- */

static void attach_again(struct ops *ops, const struct snap *s, const struct rec_PBD *pbd)
{
    const struct rec_SR *sr = snap_SR(s, pbd->SR);
    struct sr_ref ref;
    if (!sr || !pbd->currently_attached)
        return;
    _cleanup_(val_unrefp) struct val *config = sr_secrets_show(s, pbd->device_config);
    struct err *e = sr_ref_of(s, sr, true, &ref);
    struct verb v = ops_verb(VERB_TIME);
    ref.device_config = config;
    if (!e)
        e = sr_attach(ops->cfg.host, &v, &ref);
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        log_err("event=sr-attach-failed sr=%s error=%s", sr->uuid, text);
    }
    err_free(e);
}

static void attach_storage(struct ops *ops)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    snap_each (row, s, CLASS_PBD)
        attach_again(ops, s, rec_PBD(row));
}

/* ---- guests ---- */

struct guests {
    struct guest_item *v;
    size_t n;
};

static const struct guest_item *find(const struct guests *g, const char *uuid)
{
    for (size_t i = 0; i < g->n; i++) {
        if (strcmp(g->v[i].vm, uuid) == 0)
            return &g->v[i];
    }
    return NULL;
}

static bool is_live(const struct rec_VM *vm)
{
    return !vm->is_control_domain &&
           (vm->power_state == VM_POWER_STATE_RUNNING || vm->power_state == VM_POWER_STATE_PAUSED);
}

static bool is_there(const struct guest_item *g)
{
    return g && (g->info.state == GUEST_RUNNING || g->info.state == GUEST_PAUSED);
}

static void take_over(struct txn *t, struct ops *ops, const char *ref, const struct guest_item *g)
{
    const struct rec_VM *vm = txn_VM(t, ref);
    _cleanup_(boot_freep) struct boot *b = NULL;
    struct err *e = boot_load(txn_snap(t), vm, &b);
    if (e && g->boot)
        b = boot_copy(g->boot);
    err_free(e);
    if (!b)
        return;
    b->domid = g->info.domid;
    bool was_paused = vm->power_state == VM_POWER_STATE_PAUSED;
    bool is_paused = g->info.is_silent ? was_paused : g->info.state == GUEST_PAUSED;
    vm_becomes_running(t, ref, ops->host_ref, is_paused, b);
}

static void lost(struct txn *t, const char *ref)
{
    const struct rec_VM *vm = txn_VM(t, ref);
    _cleanup_(freep) char *body =
        mem_printf("VM '%s' was not running any more when the host came back", vm->name_label);
    alert_add(t, "VM_CRASHED", 2, CLS_VM, vm->uuid, body);
    vm_becomes_halted(t, ref);
}

struct agree_arg {
    struct ops *ops;
    const struct guests *guests;
};

static struct err *agree_txn(struct txn *t, void *arg)
{
    struct agree_arg *a = arg;
    txn_each (row, t, CLASS_VM) {
        const struct guest_item *g = find(a->guests, rec_VM(row)->uuid);
        if (is_live(rec_VM(row)) && is_there(g))
            take_over(t, a->ops, row->ref, g);
        else if (is_live(rec_VM(row)))
            lost(t, row->ref);
    }
    return NULL;
}

/* A guest or a set of disks belongs to somebody if its VM is recorded as running here. */
static bool is_owned(const struct snap *s, const char *uuid)
{
    const struct rec_VM *vm = snap_VM_by_uuid(s, uuid);
    return vm && is_live(vm);
}

static void sweep_guests(struct ops *ops, const struct snap *s, const struct guests *g)
{
    for (size_t i = 0; i < g->n; i++) {
        if (is_owned(s, g->v[i].vm) && is_there(&g->v[i]))
            continue;
        struct verb v = ops_verb(VERB_TIME);
        log_warn("event=sweep-guest vm=%s state=%s", g->v[i].vm,
                 guest_state_name(g->v[i].info.state));
        err_free(host_vm_kill(ops->cfg.host, &v, g->v[i].vm));
    }
}

static struct err *sweep_disks(struct ops *ops, const struct snap *s)
{
    char **owners = NULL;
    size_t n = 0;
    TRY(host_disks_list(ops->cfg.host, &owners, &n));
    for (size_t i = 0; i < n; i++) {
        struct verb v = ops_verb(VERB_TIME);
        if (!is_owned(s, owners[i]))
            err_free(host_disks_detach(ops->cfg.host, &v, owners[i]));
        free(owners[i]);
    }
    free(owners);
    return NULL;
}

static struct err *agree(struct ops *ops)
{
    struct guests g = {0};
    TRY(host_list(ops->cfg.host, &g.v, &g.n));
    struct agree_arg a = {ops, &g};
    struct err *e = db_write(ops->cfg.db, "guests found", agree_txn, &a);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    if (!e)
        sweep_guests(ops, s, &g);
    guest_items_free(g.v, g.n);
    return err_first(e, sweep_disks(ops, s));
}

struct err *ops_recover(struct ops *ops)
{
    attach_storage(ops);
    TRY(tasks_recover(ops->cfg.tasks));
    TRY(agree(ops));
    TRY(blob_adopt(ops));
    TRY(blob_sweep(ops, true));
    TRY(crashdumps_follow(ops));
    return claim_refresh_all(ops->cfg.db);
}
