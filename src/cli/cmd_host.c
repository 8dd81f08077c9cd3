/* cmd_host.c: hosts and the pool. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* Of what is known about CPUs, the sets of features alone. */
static struct err *print_features(struct cmd *c, const char *message, const char *ref)
{
    _cleanup_(val_unrefp) struct val *info = NULL, *features = val_map();
    TRY(cmd_call(c, &info, message, "s", ref));
    for (size_t i = 0; i < val_count(info); i++)
        if (str_starts(val_key_at(info, i), "features"))
            val_put_str(features, val_key_at(info, i), val_str_at(info, i));
    cmd_print_record(c, features);
    return NULL;
}

static struct err *host_get_cpu_features(struct cmd *c)
{
    _cleanup_(freep) char *host = NULL;
    TRY(cmd_host(c, "uuid", &host));
    return print_features(c, "host.get_cpu_info", host);
}

static struct err *pool_get_cpu_features(struct cmd *c)
{
    _cleanup_(freep) char *pool = NULL;
    TRY(cmd_pool(c, &pool));
    return print_features(c, "pool.get_cpu_info", pool);
}

/* Why each VM that stands in the way cannot leave the host. */
static struct err *host_get_vms_which_prevent_evacuation(struct cmd *c)
{
    _cleanup_(freep) char *host = NULL;
    _cleanup_(val_unrefp) struct val *vms = NULL;
    TRY(cmd_need_ref(c, "host", "uuid", &host));
    TRY(cmd_call(c, &vms, "host.get_vms_which_prevent_evacuation", "s", host));
    for (size_t i = 0; i < val_count(vms); i++) {
        _cleanup_(freep) char *uuid = NULL;
        _cleanup_(val_unrefp) struct val *out = val_map();
        _cleanup_(buf_done) struct buf reason;
        buf_init(&reason, 1 << 20);
        TRY(cmd_uuid_of(c, "VM", val_key_at(vms, i), &uuid));
        for (size_t n = 0; n < val_count(val_at(vms, i)); n++)
            buf_printf(&reason, n ? "; %s" : "%s", val_str_at(val_at(vms, i), n));
        val_put_str(out, "uuid", uuid);
        val_put_str(out, "reason", buf_str(&reason));
        cmd_print_record(c, out);
    }
    return NULL;
}

/* Takes a host out of the pool's knowledge, after saying what that means. */
static struct err *give_up(struct cmd *c, const char *message, const char *warning)
{
    _cleanup_(freep) char *host = NULL;
    const struct val *record = NULL;
    TRY(cmd_need_ref(c, "host", "uuid", &host));
    TRY(cmd_record(c, "host", host, &record));
    if (!c->force) {
        cmd_say(c, "WARNING: %s", warning);
        cmd_say(c, "Host: %s (%s)", args_get(&c->args, "uuid"),
                record ? val_map_str(record, "name_label", "") : "");
        val_each (ref, val_map_get(record, "resident_VMs")) {
            const struct val *vm = NULL;
            TRY(cmd_record(c, "VM", ref, &vm));
            if (vm && !val_get_bool(val_map_get(vm, "is_control_domain")))
                cmd_say(c, "VM : %s (%s)", val_map_str(vm, "uuid", ""),
                        val_map_str(vm, "name_label", ""));
        }
    }
    TRY(cmd_confirm(c));
    return cmd_call(c, NULL, message, "s", host);
}

static struct err *host_forget(struct cmd *c)
{
    return give_up(c, "host.destroy",
                   "A host that is forgotten has to be installed anew before it can come back. "
                   "Forget only what is beyond repair; pool-eject is for others. Lost are:");
}

static struct err *host_declare_dead(struct cmd *c)
{
    return give_up(c, "host.declare_dead",
                   "If the host is not really dead, its VMs may come to run twice and destroy "
                   "their disks. Make sure that it is off. Declared dead are:");
}

static struct err *pool_eject(struct cmd *c)
{
    _cleanup_(freep) char *host = NULL;
    TRY(cmd_need_ref(c, "host", "host-uuid", &host));
    cmd_say(c, "WARNING: Ejecting a host from the pool erases the data on its local storage.");
    TRY(cmd_confirm(c));
    return cmd_call(c, NULL, "pool.eject", "s", host);
}

const struct cmd_impl cmd_host_table[] = {
    {.name = "host-get-cpu-features",
     .run = host_get_cpu_features,
     .help = "Show the CPU feature sets of a host."},
    {.name = "pool-get-cpu-features",
     .run = pool_get_cpu_features,
     .help = "Show the CPU feature sets of the pool."},
    {.name = "host-get-vms-which-prevent-evacuation",
     .run = host_get_vms_which_prevent_evacuation,
     .help = "List the VMs that cannot leave a host, with the reason.",
     .needs = "host.get_vms_which_prevent_evacuation"},
    {.name = "host-forget",
     .run = host_forget,
     .help = "Forget a host that is beyond repair; asks first unless force=true.",
     .needs = "host.destroy"},
    {.name = "host-declare-dead",
     .run = host_declare_dead,
     .help = "Declare a host dead, with all that ran on it; asks first unless force=true.",
     .needs = "host.declare_dead"},
    {.name = "pool-eject",
     .run = pool_eject,
     .help = "Send a host out of the pool; asks first unless force=true.",
     .needs = "pool.eject"},
    {.name = NULL},
};
