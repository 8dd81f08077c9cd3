/*
 * disk_wait.c: guests whose writes wait for their repository, and guests whose disk has forgotten
 * them.
 *
 *     a repository is full, or does not answer ──> alert; no suspend, no migration meanwhile
 *     and it goes on                           ──> alert
 *     QEMU is connected and says nothing       ──> "disk again": the guest stops and goes on at
 * once
 *
 * The last: QEMU 7.2 does not talk to a back end that died before the guest's driver was ready, or
 * while it was being reset; stopping and going on has it begin anew. The guest notices nothing.
 */
#include <stdio.h>

#include "base/log.h"
#include "op/vm_ops.h"
#include "op/world.h"

static bool is_full(const char *code)
{
    return str_eq(code, "ENOSPC") || str_eq(code, "EDQUOT");
}

static const struct rec_SR *sr_of_device(struct txn *t, const struct rec_VM *vm, unsigned wanted)
{
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = txn_VBD(t, ref);
        unsigned device;
        const struct rec_VDI *vdi = vbd ? txn_VDI(t, vbd->VDI) : NULL;
        if (vdi && device_number(vbd->userdevice, &device) && device == wanted)
            return txn_SR(t, vdi->SR);
    }
    return NULL;
}

/* ---- alerts ---- */

struct wait_fact {
    const char *vm; /* rstr: uuid */
    unsigned device;
    char code[24]; /* "": it goes on */
};

static struct err *wait_txn(struct txn *t, void *arg)
{
    const struct wait_fact *f = arg;
    const struct rec_VM *vm = txn_VM_by_uuid(t, f->vm);
    const struct rec_SR *sr = vm ? sr_of_device(t, vm, f->device) : NULL;
    if (!sr)
        return NULL;
    bool full = is_full(f->code);
    _cleanup_(freep) char *body =
        !*f->code ? mem_printf("SR '%s' takes writes again; disk %u of VM '%s' goes on",
                               sr->name_label, f->device, vm->name_label)
                  : mem_printf("SR '%s' %s (%s): disk %u of VM '%s' waits and loses nothing. %s",
                               sr->name_label, full ? "is full" : "does not answer", f->code,
                               f->device, vm->name_label,
                               full ? "Delete disks or snapshots, or enlarge the SR."
                                    : "Check the server and the network.");
    const char *name = !*f->code ? "SR_GOES_ON" : full ? "SR_FULL" : "SR_NOT_ANSWERING";
    alert_add(t, name, *f->code ? 2 : 5, CLS_SR, sr->uuid, body);
    return NULL;
}

static void wait_done(void *arg, struct err *e, uint64_t generation)
{
    struct wait_fact *f = arg;
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        log_warn("event=fact-lost vm=%s error=%s", f->vm, text);
    }
    err_free(e);
    rstr_unref(f->vm);
    free(f);
}

void disk_wait_fact(struct ops *ops, const struct host_fact *fact)
{
    struct wait_fact *f = mem_new(struct wait_fact);
    f->vm = rstr_new(fact->vm);
    if (sscanf(fact->reason, "%u %23s", &f->device, f->code) < 1)
        log_warn("event=odd-fact vm=%s reason='%s'", fact->vm, fact->reason);
    db_write_async(ops->cfg.db, "disk waits", wait_txn, f, wait_done);
}

/* ---- before it is full ---- */

static void tell_low(struct txn *t, const struct rec_SR *sr, uint64_t left_mib, uint64_t all_mib)
{
    _cleanup_(freep) char *body = mem_printf(
        "SR '%s' has %llu of %llu MiB left for disks that grow; when nothing is left, VMs that "
        "write to them wait. Delete disks or snapshots, or enlarge the SR.",
        sr->name_label, (unsigned long long)left_mib, (unsigned long long)all_mib);
    alert_add(t, "SR_LOW_SPACE", 3, CLS_SR, sr->uuid, body);
}

void sr_low_alert(struct txn *t, const struct rec_SR *sr, uint64_t left, uint64_t all)
{
    tell_low(t, sr, left / MIB, all / MIB);
}

struct low_fact {
    const char *sr;     /* rstr: uuid */
    unsigned left, all; /* MiB */
};

static struct err *low_txn(struct txn *t, void *arg)
{
    const struct low_fact *f = arg;
    const struct rec_SR *sr = txn_SR_by_uuid(t, f->sr);
    if (sr)
        tell_low(t, sr, f->left, f->all);
    return NULL;
}

static void low_done(void *arg, struct err *e, uint64_t generation)
{
    struct low_fact *f = arg;
    if (e)
        log_warn("event=fact-lost sr=%s", f->sr);
    err_free(e);
    rstr_unref(f->sr);
    free(f);
}

void disk_low_fact(struct ops *ops, const struct host_fact *fact)
{
    struct low_fact *f = mem_new(struct low_fact);
    f->sr = rstr_new(fact->sr);
    if (sscanf(fact->reason, "%u %u", &f->left, &f->all) != 2)
        log_warn("event=odd-fact sr=%s reason='%s'", fact->sr, fact->reason);
    db_write_async(ops->cfg.db, "little is left", low_txn, f, low_done);
}

/* ---- what cannot be done meanwhile ---- */

struct err *need_no_waiting_disk(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    unsigned device, number;
    char code[24];
    TRY(need_VM(s, op->self, &vm));
    if (!host_disk_waits(op->host, vm->uuid, &device, code, sizeof(code)))
        return NULL;
    const struct rec_SR *sr = NULL;
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        const struct rec_VDI *vdi = vbd ? snap_VDI(s, vbd->VDI) : NULL;
        if (vdi && device_number(vbd->userdevice, &number) && number == device)
            sr = snap_SR(s, vdi->SR);
    }
    bool full = is_full(code);
    _cleanup_(freep) char *detail = mem_printf(
        "disk %u of the VM waits for SR '%s' (%s), which %s. %s, then try again", device,
        sr ? sr->name_label : "", sr ? sr->uuid : "", full ? "is full" : "does not answer",
        full ? "Delete disks or snapshots there, or enlarge it"
             : "Check its server and the network");
    const char *const params[] = {"", full ? "The SR is full" : "The SR does not answer", detail};
    return err_make_v(full ? "SR_BACKEND_FAILURE_44" : "SR_BACKEND_FAILURE_47", __FILE__, __LINE__,
                      3, params);
}

/* ---- "disk again" ---- */

static struct err *stop_and_go(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct guest_info info = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(host_vm_query(op->host, uuid, &info));
    if (info.state != GUEST_RUNNING)
        return NULL;
    struct verb stop = op_verb(op, VERB_TIME);
    TRY(host_vm_pause(op->host, &stop, uuid));
    struct verb go = op_verb(op, VERB_TIME);
    return host_vm_unpause(op->host, &go, uuid);
}

/* It had been running, whatever has become of that. */
static struct err *go(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct guest_info info = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(host_vm_query(op->host, uuid, &info));
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    bool stands = info.state == GUEST_PAUSED && vm->power_state == VM_POWER_STATE_RUNNING;
    return stands ? unpause_guest(op) : NULL;
}

static const struct step again_steps[] = {
    {"stop and go", stop_and_go, go, .weight = 1},
    {"keep", step_keep, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_disk_again = OP_KIND("disk again", again_steps);

void disk_again(struct ops *ops, const struct host_fact *fact)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(ops->cfg.db);
    const struct rec_VM *vm = snap_VM_by_uuid(s, fact->vm);
    if (!vm)
        return;
    log_warn("event=disk-forgotten vm=%s action=stop-and-go", fact->vm);
    tasks_run_internal(ops->cfg.tasks, "disk again", CLASS_VM, vm->row.ref, VM_OPERATIONS_PAUSE,
                       NULL);
}
