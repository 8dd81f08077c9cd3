/* cmd_disk.c: disks of VMs, by VM; and drives with or without a disk. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/drive.h"
#include "cli/select.h"

/* ---- listing ---- */

struct err *drives_list(struct cmd *c, const struct object *vm, void *arg)
{
    const struct drive_kind *k = arg;
    unsigned n = 0;
    val_each (ref, val_map_get(vm->record, "VBDs")) {
        const struct val *vbd = NULL;
        TRY(cmd_record(c, "VBD", ref, &vbd));
        if (!vbd || strcmp(val_map_str(vbd, "type", ""), k->type) != 0)
            continue;
        const char *vdi = val_map_str(vbd, "VDI", CMD_NULL);
        cmd_say(c, "%s %u VBD:", k->title, n);
        TRY(object_print(c, "vbd", ref, args_or(&c->args, "vbd-params", k->vbd_params)));
        if (!cmd_is_null(vdi)) {
            cmd_say(c, "%s %u VDI:", k->title, n);
            TRY(object_print(
                c, "vdi", vdi,
                args_or(&c->args, "vdi-params", "uuid,name-label,virtual-size,sr-name-label")));
        }
        n++;
    }
    return NULL;
}

static const struct drive_kind disks = {"Disk", "Disk", "uuid,vm-name-label,userdevice"};

static struct err *vm_disk_list(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, drives_list, (void *)&disks);
}

static struct err *snapshot_disk_list(struct cmd *c)
{
    const char *param = args_get(&c->args, "snapshot-uuid") ? "snapshot-uuid" : "uuid";
    _cleanup_(freep) char *ref = NULL;
    struct object o = {0};
    TRY(cmd_need_ref(c, "VM", param, &ref));
    o.ref = ref;
    TRY(cmd_record(c, "VM", ref, &o.record));
    return o.record ? drives_list(c, &o, (void *)&disks) : NULL;
}

/* ---- drives ---- */

struct err *drive_create(struct cmd *c, const struct drive *d, char **ret)
{
    _cleanup_(val_unrefp) struct val *record = val_map(), *config = val_map(), *ref = NULL;
    if (d->owner)
        val_put_str(config, "owner", "");
    val_put_str(record, "VM", d->vm);
    val_put_str(record, "VDI", d->vdi ? d->vdi : CMD_NULL);
    val_put_str(record, "userdevice", d->device);
    val_put_bool(record, "bootable", d->bootable);
    val_put_str(record, "mode", d->mode);
    val_put_str(record, "type", d->type);
    val_put_bool(record, "unpluggable", d->unpluggable);
    val_put_bool(record, "empty", d->vdi == NULL);
    val_put(record, "other_config", val_ref(config));
    val_put_str(record, "qos_algorithm_type", "");
    val_put(record, "qos_algorithm_params", val_ref(val_empty_map()));
    TRY(cmd_call(c, &ref, "VBD.create", "v", record));
    *ret = mem_strdup(val_get_str(ref));
    return NULL;
}

struct err *drive_create_plugged(struct cmd *c, const struct drive *d)
{
    _cleanup_(freep) char *vbd = NULL, *state = NULL;
    TRY(drive_create(c, d, &vbd));
    TRY(cmd_call_str(c, &state, "VM.get_power_state", d->vm));
    if (strcmp(state, "Running") != 0)
        return NULL;
    _cleanup_(err_freep) struct err *e = cmd_call(c, NULL, "VBD.plug", "s", vbd);
    if (e)
        cmd_warn(c, "The drive was made but not plugged into the running VM: %s", err_code(e));
    return NULL;
}

/* ---- adding and removing ---- */

static struct err *sr_for_disk(struct cmd *c, char **ret)
{
    _cleanup_(freep) char *pool = NULL;
    if (args_get(&c->args, "sr-uuid"))
        return cmd_need_ref(c, "SR", "sr-uuid", ret);
    TRY(cmd_pool(c, &pool));
    TRY(cmd_call_str(c, ret, "pool.get_default_SR", pool));
    if (cmd_is_null(*ret))
        return cli_fail("No default Pool SR set; you must specify an SR with sr-uuid=");
    return NULL;
}

static struct err *create_vdi(struct cmd *c, const char *sr, int64_t size, const char *vm_uuid,
                              struct val **ret)
{
    _cleanup_(val_unrefp) struct val *record = val_map(), *config = val_map();
    val_put_str(config, "vmhint", vm_uuid);
    val_put_str(record, "name_label", "Created by xe");
    val_put_str(record, "name_description", "Created by xe");
    val_put_str(record, "SR", sr);
    val_put_int(record, "virtual_size", size);
    val_put_str(record, "type", "user");
    val_put_bool(record, "sharable", false);
    val_put_bool(record, "read_only", false);
    val_put(record, "other_config", val_ref(val_empty_map()));
    val_put(record, "sm_config", val_ref(config));
    return cmd_call(c, ret, "VDI.create", "v", record);
}

static struct err *add_disk(struct cmd *c, const struct object *vm, void *arg)
{
    (void)arg;
    const char *device, *size_text;
    int64_t size;
    _cleanup_(freep) char *sr = NULL;
    _cleanup_(val_unrefp) struct val *vdi = NULL;
    TRY(args_need(&c->args, "device", &device));
    TRY(args_need(&c->args, "disk-size", &size_text));
    TRY(args_int("disk-size", size_text, &size));
    TRY(sr_for_disk(c, &sr));
    TRY(create_vdi(c, sr, size, val_map_str(vm->record, "uuid", ""), &vdi));
    struct err *e = drive_create_plugged(c, &(struct drive){.vm = vm->ref,
                                                            .vdi = val_get_str(vdi),
                                                            .device = device,
                                                            .mode = "RW",
                                                            .type = "Disk",
                                                            .unpluggable = true,
                                                            .owner = true});
    if (e)
        err_free(cmd_call(c, NULL, "VDI.destroy", "s", val_get_str(vdi)));
    return e;
}

static struct err *vm_disk_add(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, add_disk, NULL);
}

static struct err *remove_disk(struct cmd *c, const struct object *vm, void *arg)
{
    (void)arg;
    const char *device;
    TRY(args_need(&c->args, "device", &device));
    val_each (ref, val_map_get(vm->record, "VBDs")) {
        const struct val *vbd = NULL;
        TRY(cmd_record(c, "VBD", ref, &vbd));
        if (!vbd || strcmp(val_map_str(vbd, "userdevice", ""), device) != 0)
            continue;
        if (strcmp(val_map_str(vbd, "type", ""), "Disk") != 0)
            return cli_fail("Device %s is not a disk", device);
        _cleanup_(freep) char *vdi = mem_strdup(val_map_str(vbd, "VDI", CMD_NULL));
        TRY(cmd_call(c, NULL, "VBD.destroy", "s", ref));
        return cmd_is_null(vdi) ? NULL : cmd_call(c, NULL, "VDI.destroy", "s", vdi);
    }
    return cli_fail("Disk not found");
}

static struct err *vm_disk_remove(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, remove_disk, NULL);
}

/* ---- vbd-create ---- */

/* One of a few words in any case, as the API spells it. */
static struct err *one_of(struct cmd *c, const char *param, const char *const *words,
                          const char **ret)
{
    const char *value = args_get(&c->args, param);
    *ret = words[0];
    for (; value && *words; words++)
        if (strcasecmp(*words, value) == 0) {
            *ret = *words;
            return NULL;
        }
    return value ? cli_fail("Unknown %s: %s", param, value) : NULL;
}

static struct err *vbd_create(struct cmd *c)
{
    static const char *const modes[] = {"RW", "RO", NULL};
    static const char *const types[] = {"Disk", "CD", "Floppy", NULL};
    _cleanup_(freep) char *vm = NULL, *vdi = NULL, *vbd = NULL;
    struct drive d = {0};
    TRY(cmd_need_ref(c, "VM", "vm-uuid", &vm));
    if (args_get(&c->args, "vdi-uuid"))
        TRY(cmd_need_ref(c, "VDI", "vdi-uuid", &vdi));
    TRY(args_need(&c->args, "device", &d.device));
    TRY(args_bool(&c->args, "bootable", false, &d.bootable));
    TRY(args_bool(&c->args, "unpluggable", true, &d.unpluggable));
    TRY(one_of(c, "mode", modes, &d.mode));
    TRY(one_of(c, "type", types, &d.type));
    if (strcmp(d.type, "Disk") == 0 && !vdi)
        return cli_fail("Empty VBDs can only be made for type=CD");
    d.vm = vm;
    d.vdi = vdi;
    TRY(drive_create(c, &d, &vbd));
    return cmd_print_uuid(c, "VBD", vbd);
}

const struct cmd_impl cmd_disk_table[] = {
    {.name = "vm-disk-list", .run = vm_disk_list, .help = "List the disks of a VM."},
    {.name = "vm-disk-add",
     .run = vm_disk_add,
     .help = "Make a disk of disk-size= and give it to a VM as device=."},
    {.name = "vm-disk-remove",
     .run = vm_disk_remove,
     .help = "Take the disk device= from a VM and destroy it."},
    {.name = "snapshot-disk-list",
     .run = snapshot_disk_list,
     .help = "List the disks of a snapshot.",
     .needs = "VM.snapshot"},
    {.name = "vbd-create", .run = vbd_create, .help = "Give a VM a drive; prints its uuid."},
    {.name = NULL},
};
