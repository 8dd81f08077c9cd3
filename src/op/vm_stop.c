/*
 * vm_stop.c: clean and hard shutdown, clean and hard reboot, suspend, power_state_reset.
 *
 *     clean: ask the agent, else ACPI - wait - (guest is off) - take it away - mark halted
 *     hard:  take it away - mark halted
 *     suspend: make an image - save into it (ends the guest) - mark suspended
 *
 * A guest that is gone cannot be brought back, so taking it away is behind the commit: first the
 * records say Halted, then the process and the disks go. A crash in between is rolled forward.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "gen/msg.h"
#include "op/vdi_on_boot.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define DEFAULT_WAIT_S 60
#define ASK_AGAIN      (5 * USEC_PER_SEC)
#define NAMING_WAIT    (3 * USEC_PER_SEC)
#define NAMING_POLL_US 50000

/* ---- asking the guest ---- */

/* The guest could be asked both ways; ACPI is for those without an agent. */
static struct err *ask(struct op *op, const char *uuid, bool reboot)
{
    struct verb agent = op_verb(op, VERB_TIME);
    struct err *e = host_vm_shutdown(op->host, &agent, uuid, SHUTDOWN_AGENT, reboot);
    if (!e)
        return NULL;
    err_free(e);
    struct verb acpi = op_verb(op, VERB_TIME);
    return host_vm_shutdown(op->host, &acpi, uuid, SHUTDOWN_ACPI, reboot);
}

static struct err *ask_shutdown(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    TRY(op_vm_uuid(op, &uuid));
    return ask(op, uuid, false);
}

/* A guest that is still booting hears neither agent nor button, so it is asked again now and then.
 */
static struct err *wait_off(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    enum guest_state state;
    TRY(op_vm_uuid(op, &uuid));
    uint64_t wait_s = ops_of(op)->cfg.shutdown_wait_s;
    usec_t end = clock_now() + (wait_s ? wait_s : DEFAULT_WAIT_S) * USEC_PER_SEC;
    for (;;) {
        usec_t now = clock_now(), left = end > now ? end - now : 0;
        struct verb v = op_verb(op, left < ASK_AGAIN ? left : ASK_AGAIN);
        struct err *e =
            host_vm_wait(op->host, &v, uuid, 1u << GUEST_ABSENT | 1u << GUEST_STOPPED, &state);
        if (!e || err_is(e, "TASK_CANCELLED"))
            return e;
        err_free(e);
        if (clock_now() >= end)
            return err_VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT(op->self);
        err_free(ask(op, uuid, false));
    }
}

/* ---- the commit of every way down ---- */

static struct err *halted_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_VM *vm = txn_VM(t, op->self);
    if (!vm)
        return NULL;
    _cleanup_(freep) char *body = mem_printf("VM '%s' shut down", vm->name_label);
    alert_add(t, "VM_SHUTDOWN", 5, CLS_VM, vm->uuid, body);
    if (!ref_is_null(vm->suspend_VDI))
        op_put(op, "suspend_VDI", vm->suspend_VDI);
    vm_becomes_halted(t, op->self);
    return NULL;
}

struct err *mark_halted(struct op *op)
{
    return op_commit(op, "mark halted", halted_txn, op);
}

static const struct step clean_shutdown_steps[] = {
    {"ask the guest", ask_shutdown, NULL, .weight = 1},
    {"wait for the guest", wait_off, NULL, .weight = 8},
    {"mark halted", mark_halted, NULL, .weight = 1, .commit = true},
    {"take guest away", kill_guest, NULL, .weight = 1},
    {"detach disks", detach_disks, NULL, .weight = 1},
};
const struct op_kind kind_vm_clean_shutdown = OP_KIND("VM.clean_shutdown", clean_shutdown_steps);

static const struct step hard_shutdown_steps[] = {
    {"mark halted", mark_halted, NULL, .weight = 1, .commit = true},
    {"take guest away", kill_guest, NULL, .weight = 1},
    {"detach disks", detach_disks, NULL, .weight = 1},
    {"delete image", delete_suspend_image, NULL, .weight = 1},
};
const struct op_kind kind_vm_hard_shutdown = OP_KIND("VM.hard_shutdown", hard_shutdown_steps);

struct err *msg_VM_clean_shutdown(struct op *op, const struct args_VM_clean_shutdown *a,
                                  struct val **ret)
{
    return op_run_steps(op, "VM.clean_shutdown");
}

struct err *msg_VM_hard_shutdown(struct op *op, const struct args_VM_hard_shutdown *a,
                                 struct val **ret)
{
    return op_run_steps(op, "VM.hard_shutdown");
}

/* ---- VM.shutdown: cleanly if the guest obeys, else the hard way ---- */

static struct err *try_clean(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    TRY(need_VM(s, op->self, &vm));
    if (vm->power_state != VM_POWER_STATE_RUNNING)
        return NULL;
    struct err *e = ask(op, vm->uuid, false);
    if (!e)
        e = wait_off(op);
    if (err_is(e, "TASK_CANCELLED"))
        return e;
    err_free(e);
    return NULL;
}

static const struct step shutdown_steps[] = {
    {"ask the guest", try_clean, NULL, .weight = 8},
    {"mark halted", mark_halted, NULL, .weight = 1, .commit = true},
    {"take guest away", kill_guest, NULL, .weight = 1},
    {"detach disks", detach_disks, NULL, .weight = 1},
    {"delete image", delete_suspend_image, NULL, .weight = 1},
};
const struct op_kind kind_vm_shutdown = OP_KIND("VM.shutdown", shutdown_steps);

struct err *msg_VM_shutdown(struct op *op, const struct args_VM_shutdown *a, struct val **ret)
{
    return op_run_steps(op, "VM.shutdown");
}

struct err *msg_VM_power_state_reset(struct op *op, const struct args_VM_power_state_reset *a,
                                     struct val **ret)
{
    return op_run_steps(op, "VM.hard_shutdown");
}

/* ---- reboot ---- */

static struct err *domid_txn(struct txn *t, void *arg)
{
    *(int64_t *)arg = domid_next(t);
    return NULL;
}

struct err *take_domid(struct op *op)
{
    int64_t domid = 0;
    TRY(op_write(op, "next domid", domid_txn, &domid));
    op_put_int(op, "domid", domid);
    return NULL;
}

static struct err *rebooted_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    _cleanup_(boot_freep) struct boot *b = NULL;
    const struct rec_VM *vm = txn_VM(t, op->self);
    if (!vm)
        return NULL;
    TRY(boot_load(txn_snap(t), vm, &b));
    b->domid = op_get_int(op, "domid");
    _cleanup_(freep) char *body = mem_printf("VM '%s' rebooted", vm->name_label);
    alert_add(t, "VM_REBOOTED", 5, CLS_VM, vm->uuid, body);
    vm_becomes_running(t, op->self, ops_of(op)->host_ref, false, b);
    return NULL;
}

struct err *mark_rebooted(struct op *op)
{
    return op_commit(op, "mark rebooted", rebooted_txn, op);
}

/* A guest that was reset cannot be as it was: then the records say so, whatever failed later. */
struct err *believe_guest(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct guest_info info = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(host_vm_query(op->host, uuid, &info));
    if (info.state == GUEST_ABSENT || info.domid != op_get_int(op, "domid"))
        return NULL;
    TRY(unpause_guest(op));
    return op_write(op, "guest was reset", rebooted_txn, op);
}

static struct err *start_again(struct op *op)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    TRY(kill_guest(op));
    TRY(resets_run(op));
    TRY(op_boot(op, &b));
    b->domid = op_get_int(op, "domid");
    struct verb disks = op_verb(op, VERB_TIME), build = op_verb(op, VERB_TIME);
    TRY(host_disks_attach(op->host, &disks, b));
    TRY(host_vm_build(op->host, &build, b, NULL));
    return unpause_guest(op);
}

static struct err *gone_txn(struct txn *t, void *arg)
{
    vm_becomes_halted(t, arg);
    return NULL;
}

/* The guest is off in any case: what cannot be started again is halted. */
static struct err *stay_off(struct op *op)
{
    struct err *e = err_first(kill_guest(op), resets_undo(op));
    e = err_first(e, detach_disks(op));
    return err_first(e, op_write(op, "mark halted", gone_txn, (void *)op->self));
}

/* Not a reset of the machine: one that strikes while the firmware still moves itself into memory
 * leaves it hanging. A machine that is built anew has no such past. */
static const struct step hard_reboot_steps[] = {
    {"next domid", take_domid, NULL, .weight = 1},
    {"plan resets", resets_plan, NULL, .weight = 1},
    {"start guest again", start_again, stay_off, .weight = 4},
    {"mark rebooted", mark_rebooted, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_hard_reboot = OP_KIND("VM.hard_reboot", hard_reboot_steps);

struct err *msg_VM_hard_reboot(struct op *op, const struct args_VM_hard_reboot *a, struct val **ret)
{
    return op_run_steps(op, "VM.hard_reboot");
}

struct err *msg_VM_hard_reboot_internal(struct op *op, const struct args_VM_hard_reboot_internal *a,
                                        struct val **ret)
{
    return op_run_steps(op, "VM.hard_reboot");
}

/* The guest is asked to shut down and is then started again: both ends are ours, whatever its
 * kernel makes of a reboot request. */
static const struct step clean_reboot_steps[] = {
    {"ask the guest", ask_shutdown, NULL, .weight = 1},
    {"plan resets", resets_plan, NULL, .weight = 1},
    {"wait for the guest", wait_off, NULL, .weight = 8},
    {"next domid", take_domid, NULL, .weight = 1},
    {"start guest again", start_again, stay_off, .weight = 4},
    {"mark rebooted", mark_rebooted, NULL, .weight = 1, .commit = true},
};
const struct op_kind kind_vm_clean_reboot = OP_KIND("VM.clean_reboot", clean_reboot_steps);

struct err *msg_VM_clean_reboot(struct op *op, const struct args_VM_clean_reboot *a,
                                struct val **ret)
{
    return op_run_steps(op, "VM.clean_reboot");
}

/* ---- suspend ---- */

static bool is_sr(const struct snap *s, const char *ref)
{
    return !ref_is_null(ref) && snap_SR(s, ref);
}

/* The VM's own choice, else the host's, else the pool's. */
static struct err *suspend_sr(struct op *op, const struct snap *s, const struct rec_VM *vm,
                              const char **ret)
{
    const struct rec_host *host = snap_host(s, ops_of(op)->host_ref);
    const struct rec_pool *pool = snap_pool(s, ops_of(op)->pool_ref);
    if (is_sr(s, vm->suspend_SR))
        *ret = vm->suspend_SR;
    else if (host && is_sr(s, host->suspend_image_sr))
        *ret = host->suspend_image_sr;
    else if (pool && is_sr(s, pool->suspend_image_SR))
        *ret = pool->suspend_image_SR;
    else
        return err_VM_NO_SUSPEND_SR(vm->row.ref);
    return NULL;
}

struct err *image_name(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    const struct rec_VM *vm;
    const char *sr = NULL;
    char uuid[UUID_SIZE];
    uint64_t size;
    TRY(need_VM(s, op->self, &vm));
    TRY(vm_need_no_resets(s, op->self));
    TRY(need_no_waiting_disk(op));
    TRY(suspend_sr(op, s, vm, &sr));
    TRY(host_vm_save_size(op->host, vm->uuid, &size));
    str_uuid(uuid);
    op_put(op, "image.sr", sr);
    op_put(op, "image.uuid", uuid);
    op_put_int(op, "image.size", (int64_t)size);
    return NULL;
}

struct err *image_make(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *ref = NULL;
    struct vdi_make m = {.sr = op_get(op, "image.sr"),
                         .uuid = op_get(op, "image.uuid"),
                         .name = "Suspend image",
                         .description = "Memory of a suspended VM",
                         .type = VDI_TYPE_SUSPEND,
                         .size_bytes = (uint64_t)op_get_int(op, "image.size")};
    TRY(vdi_make(op, &m, &ref));
    op_put(op, "suspend_VDI", ref);
    return NULL;
}

struct err *image_drop(struct op *op)
{
    return vdi_unmake(op, op_get(op, "image.uuid"), op_get(op, "image.sr"));
}

/* Which repository it was may take a moment to be seen: its process may have just been started. */
static struct err *name_the_sr(struct op *op, struct err *e)
{
    struct err *named = NULL;
    for (usec_t end = clock_now() + NAMING_WAIT; !named && clock_now() < end;) {
        named = need_no_waiting_disk(op);
        if (!named)
            usleep(NAMING_POLL_US);
    }
    if (named)
        err_free(e);
    return named ? named : e;
}

struct err *guest_save(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct image to = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(suspend_image(op, &to));
    struct verb v = op_verb(op, 10 * VERB_TIME);
    struct err *e = host_vm_save(op->host, &v, uuid, &to);
    image_done(&to);
    return e && err_get_errno(e) == EAGAIN ? name_the_sr(op, e) : e;
}

/* The guest may still run, stand still in the middle of being saved, or be saved and gone. */
struct err *guest_unsave(struct op *op)
{
    _cleanup_(rstr_unrefp) const char *uuid = NULL;
    struct guest_info info = {0};
    TRY(op_vm_uuid(op, &uuid));
    TRY(host_vm_query(op->host, uuid, &info));
    if (info.state == GUEST_RUNNING)
        return NULL;
    if (info.state == GUEST_ABSENT)
        TRY(restore_guest(op));
    return unpause_guest(op);
}

static struct err *suspended_txn(struct txn *t, void *arg)
{
    struct op *op = arg;
    const struct rec_VM *vm = txn_VM(t, op->self);
    if (!vm)
        return NULL;
    _cleanup_(freep) char *body = mem_printf("VM '%s' suspended", vm->name_label);
    alert_add(t, "VM_SUSPENDED", 5, CLS_VM, vm->uuid, body);
    vm_becomes_suspended(t, op->self);
    rstr_set(&txn_edit_VM(t, op->self)->suspend_VDI, op_get(op, "suspend_VDI"));
    return NULL;
}

static struct err *mark_suspended(struct op *op)
{
    return op_commit(op, "mark suspended", suspended_txn, op);
}

static const struct step suspend_steps[] = {
    {"name image", image_name, NULL, .weight = 1},
    {"make image", image_make, image_drop, .weight = 1},
    {"save guest", guest_save, guest_unsave, .weight = 20},
    {"mark suspended", mark_suspended, NULL, .weight = 1, .commit = true},
    {"detach disks", detach_disks, NULL, .weight = 1},
};
const struct op_kind kind_vm_suspend = OP_KIND("VM.suspend", suspend_steps);

struct err *msg_VM_suspend(struct op *op, const struct args_VM_suspend *a, struct val **ret)
{
    return op_run_steps(op, "VM.suspend");
}

/* The image goes when nobody needs it any more; a failure leaves a VDI that an administrator sees.
 * What it was is noted first, for the record goes before the volume. */
struct err *delete_suspend_image(struct op *op)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    if (!*op_get(op, "old.uuid")) {
        const char *ref = op_get(op, "suspend_VDI");
        const struct rec_VDI *vdi = *ref ? snap_VDI(s, ref) : NULL;
        if (!vdi)
            return NULL;
        op_put(op, "old.uuid", vdi->uuid);
        op_put(op, "old.sr", vdi->SR);
        TRY(op_save(op));
    }
    return vdi_unmake(op, op_get(op, "old.uuid"), op_get(op, "old.sr"));
}
