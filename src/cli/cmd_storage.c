/* cmd_storage.c: storage repositories, their connections, disks; network interfaces. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* device-config:key=value; a key that ends in -filename carries the contents of that file. */
static struct err *device_config(struct cmd *c, struct val **ret)
{
    static const char suffix[] = "-filename";
    _cleanup_(val_unrefp) struct val *given = args_map(&c->args, "device-config");
    _cleanup_(val_unrefp) struct val *config = val_map();
    for (size_t i = 0; i < val_count(given); i++) {
        const char *key = val_key_at(given, i), *value = val_str_at(given, i);
        if (!str_ends(key, suffix)) {
            val_put_str(config, key, value);
            continue;
        }
        _cleanup_(buf_done) struct buf file;
        buf_init(&file, 1);
        TRY(talk_load(c->talk, value, &file));
        _cleanup_(freep) char *stem = mem_strndup(key, strlen(key) - strlen(suffix));
        val_put_str(config, stem, buf_str(&file));
    }
    *ret = steal(&config);
    return NULL;
}

static struct err *sr_create(struct cmd *c)
{
    const char *name, *type;
    bool shared;
    int64_t size = 0;
    _cleanup_(freep) char *host = NULL;
    _cleanup_(val_unrefp) struct val *config = NULL, *ref = NULL;
    _cleanup_(val_unrefp) struct val *sm = args_map(&c->args, "sm-config");
    TRY(args_need(&c->args, "name-label", &name));
    TRY(args_need(&c->args, "type", &type));
    TRY(args_bool(&c->args, "shared", false, &shared));
    TRY(args_int("physical-size", args_or(&c->args, "physical-size", "0"), &size));
    TRY(cmd_host(c, "host-uuid", &host));
    TRY(device_config(c, &config));
    TRY(cmd_call(c, &ref, "SR.create", "svissssbv", host, config, size, name,
                 args_or(&c->args, "name-description", ""), type,
                 args_or(&c->args, "content-type", ""), (int)shared, sm));
    return cmd_print_uuid(c, "SR", val_get_str(ref));
}

static struct err *pbd_create(struct cmd *c)
{
    _cleanup_(freep) char *host = NULL, *sr = NULL;
    _cleanup_(val_unrefp) struct val *record = val_map(), *config = NULL, *ref = NULL;
    TRY(cmd_need_ref(c, "host", "host-uuid", &host));
    TRY(cmd_need_ref(c, "SR", "sr-uuid", &sr));
    TRY(device_config(c, &config));
    val_put_str(record, "host", host);
    val_put_str(record, "SR", sr);
    val_put(record, "device_config", val_ref(config));
    val_put(record, "other_config", val_ref(val_empty_map()));
    TRY(cmd_call(c, &ref, "PBD.create", "v", record));
    return cmd_print_uuid(c, "PBD", val_get_str(ref));
}

/* tags:one= tags:two= */
static struct val *tags_of(const struct args *a)
{
    struct val *tags = val_set();
    args_each(p, a) if (str_starts(p->name, "tags:")) val_add_str(tags, p->name + strlen("tags:"));
    return tags;
}

static struct err *vdi_create(struct cmd *c)
{
    const char *name, *size_text;
    bool sharable;
    int64_t size;
    _cleanup_(freep) char *sr = NULL;
    _cleanup_(val_unrefp) struct val *record = val_map(), *ref = NULL;
    TRY(args_need(&c->args, "name-label", &name));
    TRY(args_need(&c->args, "virtual-size", &size_text));
    TRY(args_int("virtual-size", size_text, &size));
    TRY(args_bool(&c->args, "sharable", false, &sharable));
    TRY(cmd_need_ref(c, "SR", "sr-uuid", &sr));
    val_put_str(record, "name_label", name);
    val_put_str(record, "name_description", args_or(&c->args, "name-description", ""));
    val_put_str(record, "SR", sr);
    val_put_int(record, "virtual_size", size);
    val_put_str(record, "type", args_or(&c->args, "type", "user"));
    val_put_bool(record, "sharable", sharable);
    val_put_bool(record, "read_only", false);
    val_put(record, "other_config", val_ref(val_empty_map()));
    val_put(record, "sm_config", args_map(&c->args, "sm-config"));
    val_put(record, "tags", tags_of(&c->args));
    TRY(cmd_call(c, &ref, "VDI.create", "v", record));
    return cmd_print_uuid(c, "VDI", val_get_str(ref));
}

static struct err *vdi_resize(struct cmd *c)
{
    const char *size_text;
    int64_t size;
    bool online;
    _cleanup_(freep) char *vdi = NULL;
    TRY(args_need(&c->args, "disk-size", &size_text));
    TRY(args_int("disk-size", size_text, &size));
    TRY(args_bool(&c->args, "online", false, &online));
    TRY(cmd_need_ref(c, "VDI", "uuid", &vdi));
    return cmd_call(c, NULL, online ? "VDI.resize_online" : "VDI.resize", "si", vdi, size);
}

static struct err *vdi_copy(struct cmd *c)
{
    _cleanup_(freep) char *vdi = NULL, *sr = NULL, *base = NULL, *into = NULL;
    _cleanup_(val_unrefp) struct val *ref = NULL;
    TRY(cmd_need_ref(c, "VDI", "uuid", &vdi));
    TRY(cmd_optional_ref(c, "SR", "sr-uuid", &sr));
    TRY(cmd_optional_ref(c, "VDI", "base-vdi-uuid", &base));
    TRY(cmd_optional_ref(c, "VDI", "into-vdi-uuid", &into));
    if (cmd_is_null(sr) && cmd_is_null(into))
        return cli_fail("Exactly one of sr-uuid and into-vdi-uuid must be given");
    TRY(cmd_call(c, &ref, "VDI.copy", "ssss", vdi, sr, base, into));
    return cmd_print_uuid(c, "VDI", val_get_str(ref));
}

static struct err *vdi_pool_migrate(struct cmd *c)
{
    const char *format = args_get(&c->args, "dest-img-format");
    _cleanup_(freep) char *vdi = NULL, *sr = NULL;
    _cleanup_(val_unrefp) struct val *options = val_map(), *ref = NULL;
    TRY(cmd_need_ref(c, "VDI", "uuid", &vdi));
    TRY(cmd_need_ref(c, "SR", "sr-uuid", &sr));
    if (format)
        val_put_str(options, "dest-img-format", format);
    TRY(cmd_call(c, &ref, "VDI.pool_migrate", "ssv", vdi, sr, options));
    return cmd_print_uuid(c, "VDI", val_get_str(ref));
}

static struct err *vif_create(struct cmd *c)
{
    const char *device, *mac = args_or(&c->args, "mac", "random");
    _cleanup_(freep) char *vm = NULL, *network = NULL;
    _cleanup_(val_unrefp) struct val *record = val_map(), *ref = NULL;
    const struct val *about = NULL;
    TRY(args_need(&c->args, "device", &device));
    TRY(cmd_need_ref(c, "VM", "vm-uuid", &vm));
    TRY(cmd_need_ref(c, "network", "network-uuid", &network));
    TRY(cmd_record(c, "network", network, &about));
    const struct val *mtu = about ? val_map_get(about, "MTU") : NULL;
    val_put_str(record, "device", device);
    val_put_str(record, "VM", vm);
    val_put_str(record, "network", network);
    val_put_str(record, "MAC", strcmp(mac, "random") == 0 ? "" : mac);
    val_put_int(record, "MTU", mtu ? val_get_int(mtu) : 1500);
    val_put(record, "other_config", val_ref(val_empty_map()));
    val_put_str(record, "qos_algorithm_type", "");
    val_put(record, "qos_algorithm_params", val_ref(val_empty_map()));
    TRY(cmd_call(c, &ref, "VIF.create", "v", record));
    return cmd_print_uuid(c, "VIF", val_get_str(ref));
}

const struct cmd_impl cmd_storage_table[] = {
    {.name = "sr-create",
     .run = sr_create,
     .help = "Make a storage repository: name-label= type= device-config:key=…; prints its uuid.",
     .needs = "SR.create"},
    {.name = "pbd-create",
     .run = pbd_create,
     .help = "Connect a host to a storage repository; prints the uuid."},
    {.name = "vdi-create",
     .run = vdi_create,
     .help = "Make a disk of virtual-size= in a storage repository."},
    {.name = "vdi-resize",
     .run = vdi_resize,
     .help = "Make a disk larger, to disk-size=.",
     .needs = "VDI.resize"},
    {.name = "vdi-copy",
     .run = vdi_copy,
     .help = "Copy a disk to another repository or into another disk.",
     .needs = "VDI.copy"},
    {.name = "vdi-pool-migrate",
     .run = vdi_pool_migrate,
     .help = "Move a disk, under a running guest too, to the repository sr-uuid=; "
             "dest-img-format=vhd|qcow2.",
     .needs = "VDI.pool_migrate"},
    {.name = "vif-create",
     .run = vif_create,
     .help = "Give a VM a network interface; mac=random makes up an address."},
    {.name = NULL},
};
