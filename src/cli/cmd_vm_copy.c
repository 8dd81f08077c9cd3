/* cmd_vm_copy.c: copies of VMs, snapshots, and taking VMs away with what belongs to them. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* ---- copies ---- */

/* Describes the new VM if asked to and prints its uuid. */
static struct err *finish_copy(struct cmd *c, const struct val *ref)
{
    const char *description = args_get(&c->args, "new-name-description");
    if (description)
        TRY(cmd_call(c, NULL, "VM.set_name_description", "ss", val_get_str(ref), description));
    return cmd_print_uuid(c, "VM", val_get_str(ref));
}

static struct err *copy_one(struct cmd *c, const struct object *o, void *arg)
{
    const char *message = arg, *name;
    _cleanup_(val_unrefp) struct val *ref = NULL;
    TRY(args_need(&c->args, "new-name-label", &name));
    TRY(cmd_call(c, &ref, message, "ss", o->ref, name));
    return finish_copy(c, ref);
}

static struct err *vm_clone(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, copy_one, (void *)"VM.clone");
}

/* Disks named in ignore-vdi-uuids= are left out. */
static struct err *snapshot_one(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    const char *name;
    _cleanup_(val_unrefp) struct val *ref = NULL, *ignored = NULL;
    TRY(args_need(&c->args, "new-name-label", &name));
    TRY(cmd_refs(c, "VDI", args_or(&c->args, "ignore-vdi-uuids", ""), &ignored));
    TRY(cmd_call(c, &ref, "VM.snapshot", "ssv", o->ref, name, ignored));
    return finish_copy(c, ref);
}

static struct err *vm_snapshot(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, snapshot_one, NULL);
}

static struct err *vm_snapshot_with_quiesce(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, copy_one, (void *)"VM.snapshot_with_quiesce");
}

static struct err *vm_checkpoint(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, copy_one, (void *)"VM.checkpoint");
}

static struct err *copy_to_sr(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    const char *name;
    _cleanup_(val_unrefp) struct val *ref = NULL;
    _cleanup_(freep) char *sr = NULL;
    TRY(args_need(&c->args, "new-name-label", &name));
    if (args_get(&c->args, "sr-uuid"))
        TRY(cmd_need_ref(c, "SR", "sr-uuid", &sr));
    TRY(cmd_call(c, &ref, "VM.copy", "sss", o->ref, name, sr ? sr : CMD_NULL));
    return finish_copy(c, ref);
}

static struct err *vm_copy(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, copy_to_sr, NULL);
}

/* ---- snapshots ---- */

/* The snapshot of snapshot-uuid= (older: uuid=). */
static struct err *the_snapshot(struct cmd *c, char **ret, const struct val **ret_record)
{
    const char *param = args_get(&c->args, "snapshot-uuid") ? "snapshot-uuid" : "uuid";
    const char *uuid = args_get(&c->args, param);
    if (!uuid)
        return cli_missing("snapshot-uuid or uuid");
    TRY(cmd_by_uuid(c, "VM", uuid, ret));
    TRY(cmd_record(c, "VM", *ret, ret_record));
    const struct val *is = *ret_record ? val_map_get(*ret_record, "is_a_snapshot") : NULL;
    if (!is || !val_get_bool(is))
        return cli_fail("This operation can only be performed on a VM snapshot. %s is not a VM "
                        "snapshot.",
                        uuid);
    return NULL;
}

static struct err *snapshot_revert(struct cmd *c)
{
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(the_snapshot(c, &ref, &record));
    return cmd_call(c, NULL, "VM.revert", "s", ref);
}

static struct err *snapshot_clone(struct cmd *c)
{
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(the_snapshot(c, &ref, &record));
    struct object o = {.ref = ref, .record = record};
    return copy_one(c, &o, (void *)"VM.clone");
}

static struct err *snapshot_copy(struct cmd *c)
{
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(the_snapshot(c, &ref, &record));
    struct object o = {.ref = ref, .record = record};
    return copy_to_sr(c, &o, NULL);
}

static struct err *snapshot_reset_powerstate(struct cmd *c)
{
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(the_snapshot(c, &ref, &record));
    if (!c->force)
        return cli_fail("A snapshot whose power state is reset loses its memory image; "
                        "force=true does it");
    return cmd_call(c, NULL, "VM.power_state_reset", "s", ref);
}

static struct err *snapshot_destroy(struct cmd *c)
{
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(the_snapshot(c, &ref, &record));
    return cmd_call(c, NULL, "VM.destroy", "s", ref);
}

/* ---- uninstalling: the VM, its own disks, its suspend image ---- */

struct loss {
    VEC(char *) vms, vdis; /* references */
    VEC(char *) lines;     /* what to say about each */
};

static void loss_done(struct loss *l)
{
    vec_each (p, &l->vms)
        free(*p);
    vec_each (p, &l->vdis)
        free(*p);
    vec_each (p, &l->lines)
        free(*p);
    vec_done(&l->vms);
    vec_done(&l->vdis);
    vec_done(&l->lines);
}

static struct err *lose_vdi(struct cmd *c, struct loss *l, const char *ref)
{
    const struct val *record = NULL;
    if (!cmd_is_null(ref))
        TRY(cmd_record(c, "VDI", ref, &record));
    if (!record)
        return NULL;
    vec_push(&l->vdis, mem_strdup(ref));
    vec_push(&l->lines, mem_printf("VDI: %s (%s)", val_map_str(record, "uuid", ""),
                                   val_map_str(record, "name_label", "")));
    return NULL;
}

/* Disks that were made for the VM carry the mark "owner"; others stay. */
static struct err *lose_owned(struct cmd *c, struct loss *l, const struct val *vm)
{
    val_each (ref, val_map_get(vm, "VBDs")) {
        const struct val *vbd = NULL;
        TRY(cmd_record(c, "VBD", ref, &vbd));
        const struct val *config = vbd ? val_map_get(vbd, "other_config") : NULL;
        if (config && val_map_get(config, "owner") &&
            strcmp(val_map_str(vbd, "type", ""), "Disk") == 0)
            TRY(lose_vdi(c, l, val_map_str(vbd, "VDI", CMD_NULL)));
    }
    return lose_vdi(c, l, val_map_str(vm, "suspend_VDI", CMD_NULL));
}

static struct err *lose_vm(struct cmd *c, struct loss *l, const char *ref)
{
    const struct val *vm = NULL;
    TRY(cmd_record(c, "VM", ref, &vm));
    if (!vm)
        return NULL;
    vec_push(&l->vms, mem_strdup(ref));
    vec_push(&l->lines, mem_printf("VM : %s (%s)", val_map_str(vm, "uuid", ""),
                                   val_map_str(vm, "name_label", "")));
    return lose_owned(c, l, vm);
}

static struct err *destroy_all(struct cmd *c, struct loss *l)
{
    vec_each (ref, &l->vms) {
        _cleanup_(freep) char *state = NULL;
        TRY(cmd_call_str(c, &state, "VM.get_power_state", *ref));
        if (strcmp(state, "Halted") != 0)
            TRY(cmd_call(c, NULL, "VM.hard_shutdown", "s", *ref));
        TRY(cmd_call(c, NULL, "VM.destroy", "s", *ref));
    }
    vec_each (ref, &l->vdis) {
        struct err *e = cmd_call(c, NULL, "VDI.destroy", "s", *ref);
        /* The suspend image went with the VM. */
        if (err_is(e, "HANDLE_INVALID"))
            err_freep(&e);
        TRY(e);
    }
    cmd_say(c, "All objects destroyed");
    return NULL;
}

static struct err *uninstall(struct cmd *c, struct loss *l)
{
    cmd_say(c, "The following items are about to be destroyed");
    vec_each (line, &l->lines)
        cmd_say(c, "%s", *line);
    TRY(cmd_confirm(c));
    return destroy_all(c, l);
}

static struct err *collect_loss(struct cmd *c, const struct object *o, void *arg)
{
    struct loss *l = arg;
    TRY(lose_vm(c, l, o->ref));
    const struct val *snapshots = val_map_get(o->record, "snapshots");
    val_each (ref, snapshots)
        TRY(lose_vm(c, l, ref));
    return NULL;
}

static struct err *vm_uninstall(struct cmd *c)
{
    _cleanup_(loss_done) struct loss l = {0};
    TRY(select_each(c, XE_VM_SELECTORS, collect_loss, &l));
    return uninstall(c, &l);
}

static struct err *template_uninstall(struct cmd *c)
{
    _cleanup_(loss_done) struct loss l = {0};
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(cmd_need_ref(c, "VM", "template-uuid", &ref));
    TRY(cmd_record(c, "VM", ref, &record));
    if (!record || !val_get_bool(val_map_get(record, "is_a_template")))
        return cli_fail("This operation can only be performed on a VM template.");
    TRY(lose_vm(c, &l, ref));
    return uninstall(c, &l);
}

static struct err *snapshot_uninstall(struct cmd *c)
{
    _cleanup_(loss_done) struct loss l = {0};
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(the_snapshot(c, &ref, &record));
    TRY(lose_vm(c, &l, ref));
    return uninstall(c, &l);
}

const struct cmd_impl cmd_vm_copy_table[] = {
    {.name = "vm-clone",
     .run = vm_clone,
     .help = "Clone a VM or template: vm=… new-name-label=…; prints the new uuid.",
     .needs = "VM.clone"},
    {.name = "vm-copy",
     .run = vm_copy,
     .help = "Copy a VM with its disks, to sr-uuid= if given.",
     .needs = "VM.copy"},
    {.name = "vm-snapshot",
     .run = vm_snapshot,
     .help = "Snapshot a VM; prints the snapshot's uuid.",
     .needs = "VM.snapshot"},
    {.name = "vm-snapshot-with-quiesce",
     .run = vm_snapshot_with_quiesce,
     .help = "Snapshot a VM whose guest has been told to write everything down.",
     .needs = "VM.snapshot_with_quiesce"},
    {.name = "vm-checkpoint",
     .run = vm_checkpoint,
     .help = "Snapshot a VM together with its memory.",
     .needs = "VM.checkpoint"},
    {.name = "vm-uninstall",
     .run = vm_uninstall,
     .help = "Destroy a VM and the disks made for it; asks first unless force=true."},
    {.name = "template-uninstall",
     .run = template_uninstall,
     .help = "Destroy a template and its disks."},
    {.name = "snapshot-uninstall",
     .run = snapshot_uninstall,
     .help = "Destroy a snapshot and its disks.",
     .needs = "VM.snapshot"},
    {.name = "snapshot-destroy",
     .run = snapshot_destroy,
     .help = "Destroy a snapshot's record, not its disks.",
     .needs = "VM.snapshot"},
    {.name = "snapshot-reset-powerstate",
     .run = snapshot_reset_powerstate,
     .help = "Declare a snapshot halted; its memory image is lost. Needs force=true.",
     .needs = "VM.snapshot"},
    {.name = "snapshot-revert",
     .run = snapshot_revert,
     .help = "Bring a VM back to a snapshot.",
     .needs = "VM.revert"},
    {.name = "snapshot-clone",
     .run = snapshot_clone,
     .help = "Make a template from a snapshot.",
     .needs = "VM.snapshot"},
    {.name = "snapshot-copy",
     .run = snapshot_copy,
     .help = "Make a template from a snapshot, with disks of its own.",
     .needs = "VM.snapshot"},
    {.name = NULL},
};
