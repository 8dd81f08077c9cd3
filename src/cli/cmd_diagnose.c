/* cmd_diagnose.c: why something is as it is: a VM and its drives, a disk, a host. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

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

/* How long the parts of each host's daemon take. */
static struct err *diagnostic_timing_stats(struct cmd *c)
{
    _cleanup_(val_unrefp) struct val *hosts = NULL;
    TRY(cmd_call(c, &hosts, "host.get_all_records", ""));
    for (size_t i = 0; i < val_count(hosts); i++) {
        _cleanup_(val_unrefp) struct val *out = val_map(), *stats = NULL;
        _cleanup_(err_freep) struct err *e =
            cmd_call(c, &stats, "host.get_diagnostic_timing_stats", "s", val_key_at(hosts, i));
        val_put_str(out, "host-uuid", val_map_str(val_at(hosts, i), "uuid", ""));
        val_put_str(out, "host-name-label", val_map_str(val_at(hosts, i), "name_label", ""));
        for (size_t n = 0; !e && n < val_count(stats); n++)
            val_put_str(out, val_key_at(stats, n), val_str_at(stats, n));
        if (e)
            val_put_str(out, "Error", err_code(e));
        cmd_print_record(c, out);
    }
    return NULL;
}

/* The host's handlers and how often each was called; uri=, method=, params= pick some. */
static struct err *host_net_stats(struct cmd *c, const struct object *o, void *arg)
{
    static const char *const names[] = {"uri", "method", "params"};
    (void)arg;
    _cleanup_(val_unrefp) struct val *wanted = val_map(), *rows = NULL;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (args_get(&c->args, names[i]))
            val_put_str(wanted, names[i], args_get(&c->args, names[i]));
    TRY(cmd_call(c, &rows, "Diagnostics.network_stats", "sv", o->ref, wanted));
    for (size_t i = 0; i < val_count(rows); i++) {
        _cleanup_(buf_done) struct buf line;
        buf_init(&line, 1 << 20);
        val_each (cell, val_at(rows, i))
            buf_printf(&line, line.size ? ", %s" : "%s", cell);
        cmd_print(c, buf_str(&line));
    }
    return NULL;
}

static struct err *diagnostic_net_stats(struct cmd *c)
{
    return select_each(c, XE_HOST_SELECTORS, host_net_stats, NULL);
}

const struct cmd_impl cmd_diagnose_table[] = {
    {.name = "diagnostic-vm-status",
     .run = diagnostic_vm_status,
     .help = "Look at a VM: can its drives be attached, on which hosts could it run?"},
    {.name = "diagnostic-vdi-status",
     .run = diagnostic_vdi_status,
     .help = "Look at a disk: which drives use it?"},
    {.name = "diagnostic-timing-stats",
     .run = diagnostic_timing_stats,
     .help = "Show how long the parts of each host's daemon take.",
     .needs = "host.get_diagnostic_timing_stats"},
    {.name = "diagnostic-net-stats",
     .run = diagnostic_net_stats,
     .help = "Show how often each HTTP handler of a host was used.",
     .needs = "Diagnostics.network_stats"},
    {.name = NULL},
};
