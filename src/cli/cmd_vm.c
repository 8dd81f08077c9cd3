/* cmd_vm.c: commands about VMs that choose between messages or look before they call. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* The host that on= names by uuid or name; NULL without it. */
static struct err *host_of_on(struct cmd *c, char **ret)
{
    const char *on = args_get(&c->args, "on");
    _cleanup_(val_unrefp) struct val *named = NULL;
    *ret = NULL;
    if (!on)
        return NULL;
    struct err *e = cmd_by_uuid(c, "host", on, ret);
    if (!e)
        return NULL;
    err_free(e);
    TRY(cmd_call(c, &named, "host.get_by_name_label", "s", on));
    if (val_count(named) != 1)
        return cli_fail(val_count(named) ? "More than one host is called %s" : "Host %s not found",
                        on);
    *ret = mem_strdup(val_str_at(named, 0));
    return NULL;
}

static struct err *start_one(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    bool paused;
    _cleanup_(freep) char *host = NULL;
    TRY(args_bool(&c->args, "paused", false, &paused));
    TRY(host_of_on(c, &host));
    if (host)
        return cmd_call(c, NULL, "VM.start_on", "ssbb", o->ref, host, paused, (int)c->force);
    return cmd_call(c, NULL, "VM.start", "sbb", o->ref, paused, (int)c->force);
}

static struct err *vm_start(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, start_one, NULL);
}

static struct err *resume_one(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    _cleanup_(freep) char *host = NULL;
    TRY(host_of_on(c, &host));
    if (host)
        return cmd_call(c, NULL, "VM.resume_on", "ssbb", o->ref, host, false, (int)c->force);
    return cmd_call(c, NULL, "VM.resume", "sbb", o->ref, false, (int)c->force);
}

static struct err *vm_resume(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, resume_one, NULL);
}

static struct err *must_force(struct cmd *c)
{
    return c->force
               ? NULL
               : cli_fail("This operation is dangerous and may cause data loss. This operation "
                          "must be forced (use --force).");
}

static struct err *reset_one(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    return cmd_call(c, NULL, "VM.power_state_reset", "s", o->ref);
}

static struct err *vm_reset_powerstate(struct cmd *c)
{
    TRY(must_force(c));
    return select_each(c, XE_VM_SELECTORS, reset_one, NULL);
}

static struct err *vm_create(struct cmd *c)
{
    const char *name;
    _cleanup_(val_unrefp) struct val *record = val_map(), *ref = NULL;
    TRY(args_need(&c->args, "name-label", &name));
    val_put_str(record, "name_label", name);
    val_put_str(record, "name_description", args_or(&c->args, "name-description", ""));
    static const char *const sizes[] = {"memory_static_max", "memory_dynamic_max",
                                        "memory_dynamic_min", "memory_static_min"};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        val_put_int(record, sizes[i], 256 << 20);
    val_put_int(record, "VCPUs_max", 1);
    val_put_int(record, "VCPUs_at_startup", 1);
    TRY(cmd_call(c, &ref, "VM.create", "v", record));
    return cmd_print_uuid(c, "VM", val_get_str(ref));
}

/* Interfaces of the selected VMs. */
static struct err *list_vifs(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    const char *params = args_or(&c->args, "params",
                                 "uuid,vm-name-label,device,MAC,network-uuid,network-name-label");
    val_each (ref, val_map_get(o->record, "VIFs"))
        TRY(object_print(c, "vif", ref, params));
    return NULL;
}

static struct err *vm_vif_list(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, list_vifs, NULL);
}

static struct err *list_crashdumps(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    val_each (ref, val_map_get(o->record, "crash_dumps"))
        TRY(object_print(c, "crashdump", ref, "all"));
    return NULL;
}

static struct err *vm_crashdump_list(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, list_crashdumps, NULL);
}

/* Strings that say nothing about a real machine. */
static bool is_generic(const struct val *strings, const char *key)
{
    static const char *const general[] = {"", "Cairn", "Xen"};
    const char *value = val_map_str(strings, key, "");
    for (size_t i = 0; i < ARRAY_LEN(general); i++)
        if (strcmp(value, general[i]) == 0)
            return true;
    return false;
}

static struct err *tell_bios(struct cmd *c, const struct object *o, void *arg)
{
    (void)arg;
    const struct val *strings = val_map_get(o->record, "bios_strings");
    if (!strings || !val_count(strings))
        cmd_print(c, "The BIOS strings of this VM have not yet been set.");
    else if (is_generic(strings, "bios-vendor") && is_generic(strings, "system-manufacturer"))
        cmd_print(c, "This VM is BIOS-generic.");
    else
        cmd_print(c, "This VM is BIOS-customized.");
    return NULL;
}

static struct err *vm_is_bios_customized(struct cmd *c)
{
    return select_each(c, XE_VM_SELECTORS, tell_bios, NULL);
}

const struct cmd_impl cmd_vm_table[] = {
    {.name = "vm-start",
     .run = vm_start,
     .help = "Start a VM: vm=<uuid or name>, paused=true to leave it paused.",
     .needs = "VM.start"},
    {.name = "vm-resume", .run = vm_resume, .help = "Resume a suspended VM.", .needs = "VM.resume"},
    {.name = "vm-reset-powerstate",
     .run = vm_reset_powerstate,
     .help = "Declare a VM halted that the host has lost; needs force=true.",
     .needs = "VM.power_state_reset"},
    {.name = "vm-create", .run = vm_create, .help = "Make an empty VM record without disks."},
    {.name = "vm-crashdump-list",
     .run = vm_crashdump_list,
     .help = "List the crash dumps of a VM."},
    {.name = "vm-is-bios-customized",
     .run = vm_is_bios_customized,
     .help = "Tell whether a VM shows its guest the BIOS strings of a real machine."},
    {.name = "vm-vif-list", .run = vm_vif_list, .help = "List the network interfaces of a VM."},
    {.name = NULL},
};
