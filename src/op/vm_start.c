/*
 * vm_start.c: VM.start, start_on, resume, resume_on, pause, unpause.
 *
 *     start:  choose host - reserve - boot record - attach disks - build - (unpause) - mark running
 *     resume: the same with the stored boot record and the memory image, which goes at the end
 *
 * Until "mark running" commits, everything is undone: the guest, its disks, the reservation.
 */
#include <string.h>

#include "gen/msg.h"
#include "op/vdi_on_boot.h"
#include "op/vm_ops.h"
#include "op/world.h"

/* ---- choose host ---- */

static struct err *choose_host(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    const char *wanted = op_get(op, "host");
    if (*wanted && !str_eq(wanted, ops_of(op)->host_ref))
        return err_HANDLE_INVALID("host", wanted);
    return place_check(ops_of(op), s, vm);
}

/* ---- reserve: memory by being scheduled, and a domid ---- */

struct reserve {
    struct op *op;
    int64_t domid;
};

static struct err *reserve_txn(struct txn *t, void *arg)
{
    struct reserve *a = arg;
    struct ops *ops = ops_of(a->op);
    const struct rec_VM *vm = txn_VM(t, a->op->self);
    if (!vm)
        return err_HANDLE_INVALID("VM", a->op->self);
    TRY(place_check(ops, txn_snap(t), vm));
    bios_settle(t, a->op->self);
    rstr_set(&txn_edit_VM(t, a->op->self)->scheduled_to_be_resident_on, ops->host_ref);
    a->domid = domid_next(t);
    return NULL;
}

static struct err *reserve(struct op *op)
{
    struct reserve a = {.op = op};
    TRY(op_write(op, "reserve memory", reserve_txn, &a));
    op_put_int(op, "domid", a.domid);
    return NULL;
}

static struct err *unreserve_txn(struct txn *t, void *arg)
{
    struct rec_VM *vm = txn_edit_VM(t, arg);
    if (vm)
        rstr_set(&vm->scheduled_to_be_resident_on, REF_NULL);
    return NULL;
}

static struct err *unreserve(struct op *op)
{
    return op_write(op, "give memory back", unreserve_txn, (void *)op->self);
}

/* ---- the boot record ---- */

struct record_arg {
    struct op *op;
    const struct boot *boot;
};

static struct err *store_record_txn(struct txn *t, void *arg)
{
    struct record_arg *a = arg;
    const struct rec_VM *vm = txn_VM(t, a->op->self);
    if (!vm)
        return err_HANDLE_INVALID("VM", a->op->self);
    boot_put(t, vm, a->boot);
    return NULL;
}

static struct err *make_record(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(boot_freep) struct boot *b = NULL;
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    TRY(boot_build(op, s, vm, op_get_int(op, "domid"), &b));
    struct record_arg a = {op, b};
    return op_write(op, "store boot record", store_record_txn, &a);
}

static struct err *drop_record_txn(struct txn *t, void *arg)
{
    const struct rec_VM *vm = txn_VM(t, arg);
    if (vm)
        boot_drop(t, vm->uuid);
    return NULL;
}

static struct err *drop_record(struct op *op)
{
    return op_write(op, "drop boot record", drop_record_txn, (void *)op->self);
}

struct err *op_boot(struct op *op, struct boot **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    return boot_load(s, vm, ret);
}

struct err *op_vm_uuid(struct op *op, const char **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    *ret = rstr_ref(vm->uuid);
    return NULL;
}

/* ---- disks and guest ---- */

struct err *attach_disks(struct op *op)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    TRY(op_boot(op, &b));
    struct verb v = op_verb(op, VERB_TIME);
    return host_disks_attach(op->host, &v, b);
}

struct err *detach_disks(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_disks_detach(op->host, &v, uuid);
}

static struct err *build(struct op *op)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    TRY(op_boot(op, &b));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_build(op->host, &v, b, NULL);
}

struct err *kill_guest(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_kill(op->host, &v, uuid);
}

struct err *unpause_guest(struct op *op)
{
    if (op_get_bool(op, "paused"))
        return NULL;
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_unpause(op->host, &v, uuid);
}

/* ---- the commit ---- */

struct running_arg {
    struct op *op;
    const struct boot *boot;
    const char *alert;
};

static struct err *running_txn(struct txn *t, void *arg)
{
    struct running_arg *a = arg;
    bool paused = op_get_bool(a->op, "paused");
    vm_becomes_running(t, a->op->self, ops_of(a->op)->host_ref, paused, a->boot);
    const struct rec_VM *vm = txn_VM(t, a->op->self);
    _cleanup_(freep) char *body = mem_printf(
        "VM '%s' %s", vm->name_label, str_eq(a->alert, "VM_STARTED") ? "started" : "resumed");
    alert_add(t, a->alert, 5, CLS_VM, vm->uuid, body);
    return NULL;
}

static struct err *mark_running_as(struct op *op, const char *alert)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    TRY(op_boot(op, &b));
    struct running_arg a = {op, b, alert};
    return op_commit(op, "mark running", running_txn, &a);
}

static struct err *mark_running(struct op *op)
{
    return mark_running_as(op, "VM_STARTED");
}

static const struct step start_steps[] = {
    {"choose host", choose_host, NULL, .weight = 1},
    {"reserve memory", reserve, unreserve, .weight = 1},
    {"plan resets", resets_plan, NULL, .weight = 1},
    {"reset disks", resets_run, resets_undo, .weight = 1},
    {"make boot record", make_record, drop_record, .weight = 1},
    {"attach disks", attach_disks, detach_disks, .weight = 3},
    {"build guest", build, kill_guest, .weight = 4},
    {"unpause", unpause_guest, NULL, .weight = 1},
    {"mark running", mark_running, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_start = OP_KIND("VM.start", start_steps);

static struct err *start(struct op *op, const char *host, bool paused)
{
    op_put(op, "host", host);
    op_put_bool(op, "paused", paused);
    return op_run_steps(op, "VM.start");
}

struct err *msg_VM_start(struct op *op, const struct args_VM_start *a, struct val **ret)
{
    return start(op, "", a->start_paused);
}

struct err *msg_VM_start_on(struct op *op, const struct args_VM_start_on *a, struct val **ret)
{
    return start(op, a->host, a->start_paused);
}

/* ---- resume ---- */

/* Where the images of its disks are now: a repository may have moved since. */
static struct err *renew_images(struct op *op, const struct snap *s, const struct rec_VM *vm,
                                struct boot *b)
{
    val_each (ref, vm->VBDs) {
        const struct rec_VBD *vbd = snap_VBD(s, ref);
        const struct boot_disk *old = vbd ? boot_disk_by_id(b, vbd->uuid) : NULL;
        struct boot_disk *now = NULL;
        if (!old || vbd->empty)
            continue;
        TRY(boot_build_disk(op, s, vbd, &now));
        now->bus = old->bus;
        now->device = old->device;
        boot_set_disk(b, now);
        boot_disk_free(now);
    }
    return NULL;
}

/* The stored record under the new domid. */
static struct err *renew_record(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(boot_freep) struct boot *b = NULL;
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    TRY(boot_load(s, vm, &b));
    TRY(renew_images(op, s, vm, b));
    b->domid = op_get_int(op, "domid");
    struct record_arg a = {op, b};
    return op_write(op, "store boot record", store_record_txn, &a);
}

struct err *suspend_image(struct op *op, struct image *ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    const struct rec_VDI *vdi;
    TRY(need_VM(s, op->self, &vm));
    const char *ref = *op_get(op, "suspend_VDI") ? op_get(op, "suspend_VDI") : vm->suspend_VDI;
    TRY(need_VDI(s, ref, &vdi));
    return boot_build_image(op, s, vdi, false, ret);
}

struct err *restore_guest(struct op *op)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    struct image from = {0};
    TRY(op_boot(op, &b));
    TRY(suspend_image(op, &from));
    struct verb v = op_verb(op, 10 * VERB_TIME);
    struct err *e = host_vm_build(op->host, &v, b, &from);
    image_done(&from);
    return e;
}

struct resumed_arg {
    struct running_arg running;
    const char *vdi; /* rstr: what to delete afterwards */
};

static struct err *resumed_txn(struct txn *t, void *arg)
{
    struct running_arg *a = arg;
    TRY(running_txn(t, a));
    rstr_set(&txn_edit_VM(t, a->op->self)->suspend_VDI, REF_NULL);
    return NULL;
}

static struct err *note_image(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    op_put(op, "suspend_VDI", vm->suspend_VDI);
    return choose_host(op);
}

static struct err *mark_resumed(struct op *op)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    TRY(op_boot(op, &b));
    struct running_arg a = {op, b, "VM_RESUMED"};
    return op_commit(op, "mark resumed", resumed_txn, &a);
}

static const struct step resume_steps[] = {
    {"choose host", note_image, NULL, .weight = 1},
    {"reserve memory", reserve, unreserve, .weight = 1},
    {"renew boot record", renew_record, NULL, .weight = 1},
    {"attach disks", attach_disks, detach_disks, .weight = 3},
    {"restore guest", restore_guest, kill_guest, .weight = 10},
    {"unpause", unpause_guest, NULL, .weight = 1},
    {"mark running", mark_resumed, NULL, .weight = 1, .commit = true},
    {"delete image", delete_suspend_image, NULL, .weight = 1},
};
const struct op_kind kind_vm_resume = OP_KIND("VM.resume", resume_steps);

static struct err *resume(struct op *op, const char *host, bool paused)
{
    op_put(op, "host", host);
    op_put_bool(op, "paused", paused);
    return op_run_steps(op, "VM.resume");
}

struct err *msg_VM_resume(struct op *op, const struct args_VM_resume *a, struct val **ret)
{
    return resume(op, "", a->start_paused);
}

struct err *msg_VM_resume_on(struct op *op, const struct args_VM_resume_on *a, struct val **ret)
{
    return resume(op, a->host, a->start_paused);
}

/* ---- pause and unpause ---- */

static struct err *pause_guest(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    struct verb v = op_verb(op, VERB_TIME);
    return host_vm_pause(op->host, &v, uuid);
}

static struct err *let_run(struct op *op)
{
    op_put_bool(op, "paused", false);
    return unpause_guest(op);
}

struct power_arg {
    const char *vm;
    enum vm_power_state state;
};

static struct err *power_txn(struct txn *t, void *arg)
{
    struct power_arg *a = arg;
    struct rec_VM *vm = txn_edit_VM(t, a->vm);
    if (vm)
        vm->power_state = a->state;
    return NULL;
}

static struct err *mark_paused(struct op *op)
{
    struct power_arg a = {op->self, VM_POWER_STATE_PAUSED};
    return op_commit(op, "mark paused", power_txn, &a);
}

static struct err *mark_unpaused(struct op *op)
{
    struct power_arg a = {op->self, VM_POWER_STATE_RUNNING};
    return op_commit(op, "mark running", power_txn, &a);
}

static const struct step pause_steps[] = {
    {"pause guest", pause_guest, let_run, .weight = 1},
    {"mark paused", mark_paused, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_pause = OP_KIND("VM.pause", pause_steps);

static const struct step unpause_steps[] = {
    {"unpause guest", let_run, pause_guest, .weight = 1},
    {"mark running", mark_unpaused, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_unpause = OP_KIND("VM.unpause", unpause_steps);

struct err *msg_VM_pause(struct op *op, const struct args_VM_pause *a, struct val **ret)
{
    return op_run_steps(op, "VM.pause");
}

struct err *msg_VM_unpause(struct op *op, const struct args_VM_unpause *a, struct val **ret)
{
    return op_run_steps(op, "VM.unpause");
}
