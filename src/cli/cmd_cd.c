/* cmd_cd.c: CDs of VMs: the drive is found by the VM, the disc by its name. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/drive.h"
#include "cli/select.h"

/* Whether a disk is in an ISO repository or a drive of the host. */
static struct err *is_cd(struct cmd *c, const char *vdi, bool *ret)
{
    const struct val *record = NULL, *sr = NULL;
    *ret = false;
    TRY(cmd_record(c, "VDI", vdi, &record));
    if (!record)
        return NULL;
    TRY(cmd_record(c, "SR", val_map_str(record, "SR", CMD_NULL), &sr));
    *ret = sr && strcmp(val_map_str(sr, "content_type", ""), "iso") == 0;
    return NULL;
}

/* The one CD of cd-name=. */
static struct err *the_cd(struct cmd *c, bool first, char **ret)
{
    const char *name;
    _cleanup_(val_unrefp) struct val *all = NULL;
    unsigned found = 0;
    TRY(args_need(&c->args, "cd-name", &name));
    TRY(cmd_call(c, &all, "VDI.get_by_name_label", "s", name));
    val_each (ref, all) {
        bool cd;
        TRY(is_cd(c, ref, &cd));
        if (cd && found++ == 0)
            *ret = mem_strdup(ref);
    }
    if (!found)
        return cli_fail("CD %s not found!", name);
    if (found > 1 && !first) {
        free(steal(ret));
        return cli_fail("Multiple CDs named %s found. Please use vbd-insert and specify uuids",
                        name);
    }
    return NULL;
}

static struct err *add_cd(struct cmd *c, const struct object *vm, void *arg)
{
    struct drive d = {.vm = vm->ref, .vdi = arg, .mode = "RO", .type = "CD", .unpluggable = true};
    TRY(args_need(&c->args, "device", &d.device));
    return drive_create_plugged(c, &d);
}

static struct err *vm_cd_add(struct cmd *c)
{
    _cleanup_(freep) char *vdi = NULL;
    TRY(the_cd(c, true, &vdi));
    return select_each(c, XE_VM_SELECTORS, add_cd, vdi);
}

static struct err *remove_cd(struct cmd *c, const struct object *vm, void *arg)
{
    (void)arg;
    const char *name;
    TRY(args_need(&c->args, "cd-name", &name));
    val_each (ref, val_map_get(vm->record, "VBDs")) {
        const struct val *vbd = NULL, *vdi = NULL;
        TRY(cmd_record(c, "VBD", ref, &vbd));
        if (!vbd || strcmp(val_map_str(vbd, "type", ""), "CD") != 0)
            continue;
        const char *disc = val_map_str(vbd, "VDI", CMD_NULL);
        if (!cmd_is_null(disc))
            TRY(cmd_record(c, "VDI", disc, &vdi));
        if (strcmp(vdi ? val_map_str(vdi, "name_label", "") : "<EMPTY>", name) == 0)
            return cmd_call(c, NULL, "VBD.destroy", "s", ref);
    }
    return cli_fail("Disk not found");
}

static struct err *vm_cd_remove(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, remove_cd, NULL);
}

/* The CD drives of a VM; `empty` counts the empty ones alone. */
static struct err *find_drives(struct cmd *c, const struct object *vm, bool empty, const char **ret,
                               unsigned *ret_n)
{
    *ret = NULL;
    *ret_n = 0;
    val_each (ref, val_map_get(vm->record, "VBDs")) {
        const struct val *vbd = NULL;
        TRY(cmd_record(c, "VBD", ref, &vbd));
        if (!vbd || strcmp(val_map_str(vbd, "type", ""), "CD") != 0 ||
            (empty && !val_get_bool(val_map_get(vbd, "empty"))))
            continue;
        *ret = ref;
        ++*ret_n;
    }
    return NULL;
}

static struct err *eject_cd(struct cmd *c, const struct object *vm, void *arg)
{
    (void)arg;
    const char *vbd;
    unsigned n;
    TRY(find_drives(c, vm, false, &vbd, &n));
    if (n == 0)
        return cli_fail("No CDs found");
    if (n > 1)
        return cli_fail("Two or more CDs found. Please use vbd-eject");
    return cmd_call(c, NULL, "VBD.eject", "s", vbd);
}

static struct err *vm_cd_eject(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, eject_cd, NULL);
}

static struct err *insert_cd(struct cmd *c, const struct object *vm, void *arg)
{
    const char *vbd;
    unsigned n;
    TRY(find_drives(c, vm, true, &vbd, &n));
    if (n == 0)
        return err_make("VM_NO_EMPTY_CD_VBD", __FILE__, __LINE__, 1, vm->ref);
    if (n > 1)
        return cli_fail("Two or more empty CD devices found. Please use vbd-insert");
    return cmd_call(c, NULL, "VBD.insert", "ss", vbd, (const char *)arg);
}

static struct err *vm_cd_insert(struct cmd *c)
{
    _cleanup_(freep) char *vdi = NULL;
    TRY(the_cd(c, false, &vdi));
    return select_each(c, XE_VM_SELECTORS, insert_cd, vdi);
}

static struct err *vm_cd_list(struct cmd *c)
{
    static const struct drive_kind cds = {"CD", "CD", "uuid,vm-name-label,userdevice,empty"};
    return select_each(c, XE_VM_SELECTORS, drives_list, (void *)&cds);
}

static struct err *cd_list(struct cmd *c)
{
    _cleanup_(val_unrefp) struct val *srs = NULL;
    TRY(cmd_call(c, &srs, "SR.get_all_records_where", "s", "field \"content_type\"=\"iso\""));
    for (size_t i = 0; i < val_count(srs); i++)
        val_each (ref, val_map_get(val_at(srs, i), "VDIs"))
            TRY(object_print(c, "vdi", ref, args_or(&c->args, "params", "name-label,uuid")));
    return NULL;
}

const struct cmd_impl cmd_cd_table[] = {
    {.name = "cd-list", .run = cd_list, .help = "List the CDs that can be given to VMs."},
    {.name = "vm-cd-list", .run = vm_cd_list, .help = "List the CD drives of a VM."},
    {.name = "vm-cd-add",
     .run = vm_cd_add,
     .help = "Give a VM a new CD drive device= with the disc cd-name= in it."},
    {.name = "vm-cd-remove",
     .run = vm_cd_remove,
     .help = "Take away the CD drive in which cd-name= lies."},
    {.name = "vm-cd-insert",
     .run = vm_cd_insert,
     .help = "Put the disc cd-name= into the VM's empty CD drive.",
     .needs = "VBD.insert"},
    {.name = "vm-cd-eject",
     .run = vm_cd_eject,
     .help = "Eject the disc from the VM's CD drive.",
     .needs = "VBD.eject"},
    {.name = NULL},
};
