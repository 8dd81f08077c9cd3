/*
 * root_device.c: guests that ask for root=/dev/xvda1, as those of Xen do: what helps is told as a
 * message of the VM, once. On core, and (root_named) on the mon loop.
 */
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "vm"
#include "base/log.h"
#include "host/root_hint.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define ALERT "VM_ROOT_DEVICE_MISSING"

static bool is_told(struct txn *t, const struct rec_VM *vm)
{
    txn_each (row, t, CLASS_message) {
        const struct rec_message *m = rec_message(row);
        if (str_eq(m->name, ALERT) && str_eq(m->obj_uuid, vm->uuid))
            return true;
    }
    return false;
}

static void tell(struct txn *t, const struct rec_VM *vm, const char *device)
{
    char disk = device[8] ? device[8] : 'a'; /* of "/dev/xvda1" */
    const char *part = device[8] ? device + 9 : "";
    _cleanup_(freep) char *body = mem_printf(
        "The guest looks for its root file system on %s. Disks have no such names here: that one "
        "is "
        "/dev/vd%c%s. Start it once with root=/dev/vd%c%s (edit the line in its boot loader%s); "
        "then "
        "put UUID=… (see blkid) instead of %s into its /etc/fstab and boot loader configuration, "
        "and "
        "build its initramfs again with the driver virtio_blk.",
        device, disk, part, disk, part, *vm->PV_kernel ? ", or the VM's PV-args" : "", device);
    if (!is_told(t, vm))
        alert_add(t, ALERT, 3, CLS_VM, vm->uuid, body);
}

void root_check(struct txn *t, const struct rec_VM *vm)
{
    struct root_hint h = {0};
    if (root_hint_feed(&h, vm->PV_args, strlen(vm->PV_args)) || root_hint_feed(&h, " ", 1))
        tell(t, vm, h.device);
}

/* ---- seen on its serial line ---- */

struct named {
    const char *vm; /* rstr: uuid */
    char device[ROOT_HINT_MAX];
};

static struct err *named_txn(struct txn *t, void *arg)
{
    const struct named *n = arg;
    const struct rec_VM *vm = txn_VM_by_uuid(t, n->vm);
    if (vm)
        tell(t, vm, n->device);
    return NULL;
}

static void named_done(void *arg, struct err *e, uint64_t generation)
{
    struct named *n = arg;
    if (e)
        log_warn("event=fact-lost vm=%s", n->vm);
    err_free(e);
    rstr_unref(n->vm);
    free(n);
}

void root_named(struct ops *ops, const struct host_fact *fact)
{
    struct named *n = mem_new(struct named);
    n->vm = rstr_new(fact->vm);
    (void)snprintf(n->device, sizeof(n->device), "%s", fact->reason);
    db_write_async(ops->cfg.db, "root device", named_txn, n, named_done);
}
