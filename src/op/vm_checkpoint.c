/*
 * vm_checkpoint.c: VM.checkpoint: a snapshot with the guest's memory.
 *
 *     plan - make image - save guest - pause disks - split volumes - add records - resume disks -
 *     wake guest
 *
 * The guest is saved as for suspend, its disks are split while it is away, and it goes on from the
 * image, which belongs to the snapshot. Until the records are added everything is undone: then the
 * guest goes on and the image is deleted. A VM that is suspended already lends its image instead.
 */
#include "gen/msg.h"
#include "op/vdi_chain.h"
#include "op/vm_ops.h"
#include "op/vm_snapshot.h"

#define TRIES 3 /* to wake the guest, before it is given up */

static bool is_live(struct op *op)
{
    return op_get_bool(op, "live");
}

static struct err *plan(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    op_put_bool(op, "live", vm->power_state != VM_POWER_STATE_SUSPENDED);
    op_put_bool(op, "paused", vm->power_state == VM_POWER_STATE_PAUSED);
    TRY(snapshot_plan(op, true));
    return is_live(op) ? image_name(op) : NULL;
}

static struct err *make_image(struct op *op)
{
    if (!is_live(op))
        return NULL;
    TRY(image_make(op));
    op_put(op, "memory", op_get(op, "suspend_VDI"));
    return NULL;
}

static struct err *drop_image(struct op *op)
{
    return image_drop(op);
}

static struct err *save(struct op *op)
{
    return is_live(op) ? guest_save(op) : NULL;
}

static struct err *unsave(struct op *op)
{
    return is_live(op) ? guest_unsave(op) : NULL;
}

static struct err *gone_txn(struct txn *t, void *arg)
{
    const struct rec_VM *vm = txn_VM(t, arg);
    _cleanup_(freep) char *body =
        mem_printf("VM '%s' could not go on after its checkpoint; its memory is in the checkpoint",
                   vm ? vm->name_label : "");
    if (vm)
        alert_add(t, "VM_CRASHED", 2, CLS_VM, vm->uuid, body);
    vm_becomes_halted(t, arg);
    return NULL;
}

static struct err *give_up(struct op *op)
{
    TRY(err_first(kill_guest(op), detach_disks(op)));
    TRY(op_write(op, "guest lost", gone_txn, (void *)(uintptr_t)op->self));
    return err_VM_CHECKPOINT_RESUME_FAILED(op->self);
}

static struct err *go_on(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct guest_info info = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(host_vm_query(op->host, uuid, &info));
    if (info.state == GUEST_ABSENT)
        TRY(restore_guest(op));
    return info.state == GUEST_RUNNING ? NULL : unpause_guest(op);
}

static struct err *wake(struct op *op)
{
    if (!is_live(op))
        return NULL;
    struct err *e = go_on(op);
    op_put_int(op, "tries", op_get_int(op, "tries") + 1);
    if (!e || op_get_int(op, "tries") < TRIES)
        return e;
    err_free(e);
    return give_up(op);
}

static const struct step checkpoint_steps[] = {
    {"plan", plan, vmss_failed, .weight = 1},
    {"make image", make_image, drop_image, .weight = 1},
    {"save guest", save, unsave, .weight = 20},
    {"pause disks", chain_pause, chain_resume, .weight = 1},
    {"split volumes", chain_split, chain_unsplit, .weight = 4},
    {"add records", snapshot_add, NULL, .weight = 1, .commit = true},
    {"resume disks", snapshot_finish, NULL, .weight = 1},
    {"wake guest", wake, NULL, .weight = 10},
};
const struct op_kind kind_vm_checkpoint = OP_KIND("VM.checkpoint", checkpoint_steps);

struct err *msg_VM_checkpoint(struct op *op, const struct args_VM_checkpoint *a, struct val **ret)
{
    op_put(op, "name", a->new_name);
    TRY(op_run_steps(op, "VM.checkpoint"));
    *ret = val_str(op_get(op, "result"));
    return NULL;
}
