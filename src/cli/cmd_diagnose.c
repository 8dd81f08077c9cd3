/* cmd_diagnose.c: why something is as it is: a VM and its drives, a disk. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/column.h"

/* Whether the VM could run on each host, with the reason where not. */
static struct err *report_hosts(struct cmd *c, const char *vm)
{
    _cleanup_(val_unrefp) struct val *hosts = NULL;
    TRY(cmd_call(c, &hosts, "host.get_all_records", ""));
    for (size_t i = 0; i < val_count(hosts); i++) {
        _cleanup_(val_unrefp) struct val *out = val_map();
        _cleanup_(err_freep) struct err *e =
            cmd_call(c, NULL, "VM.assert_can_boot_here", "ss", vm, val_key_at(hosts, i));
        _cleanup_(freep) char *reason =
            e ? mem_printf("Cannot boot here: %s", err_code(e)) : mem_strdup("OK");
        val_put_str(out, "uuid", val_map_str(val_at(hosts, i), "uuid", ""));
        val_put_str(out, "name-label", val_map_str(val_at(hosts, i), "name_label", ""));
        val_put_str(out, "verdict", reason);
        cmd_print_record(c, out);
    }
    return NULL;
}

static struct err *diagnostic_vm_status(struct cmd *c)
{
    _cleanup_(freep) char *vm = NULL;
    const struct val *record = NULL;
    TRY(cmd_need_ref(c, "VM", "uuid", &vm));
    TRY(object_print(c, "vm", vm, "uuid,name-label,power-state,possible-hosts"));
    cmd_say(c, "Checking to see whether disks are attachable");
    TRY(cmd_record(c, "VM", vm, &record));
    val_each (ref, val_map_get(record, "VBDs"))
        TRY(object_print(c, "vbd", ref,
                         "uuid,userdevice,device,vdi-uuid,empty,mode,type,attachable"));
    cmd_say(c, "Checking to see whether VM can boot on each host");
    return report_hosts(c, vm);
}

static struct err *diagnostic_vdi_status(struct cmd *c)
{
    _cleanup_(freep) char *vdi = NULL;
    const struct val *record = NULL;
    TRY(cmd_need_ref(c, "VDI", "uuid", &vdi));
    TRY(object_print(c, "vdi", vdi, "uuid,name-label,sr-uuid,mode,read-only,sharable"));
    TRY(cmd_record(c, "VDI", vdi, &record));
    cmd_say(c, "VBDs which use this disk:");
    val_each (ref, val_map_get(record, "VBDs"))
        TRY(object_print(c, "vbd", ref, "uuid,vm-uuid,vm-name-label,currently-attached,mode"));
    return NULL;
}

const struct cmd_impl cmd_diagnose_table[] = {
    {.name = "diagnostic-vm-status",
     .run = diagnostic_vm_status,
     .help = "Look at a VM: can its drives be attached, on which hosts could it run?"},
    {.name = "diagnostic-vdi-status",
     .run = diagnostic_vdi_status,
     .help = "Look at a disk: which drives use it?"},
    {.name = NULL},
};
