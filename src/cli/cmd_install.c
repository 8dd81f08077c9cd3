/*
 * cmd_install.c: vm-install, a VM from a template.
 *
 * Finds the template, decides on the storage, makes the VM (a clone, or with an SR given a copy),
 * provisions its disks there and prints the uuid. The VM is not started. Whatever fails after the
 * VM exists takes it away again.
 */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* ---- the template ---- */

static struct err *template_by_name(struct cmd *c, const char *name, char **ret)
{
    const struct xe_record *r = record_find("vm");
    _cleanup_(selection_done) struct selection s = {0};
    TRY(selection_all(c, r, "true", &s));
    TRY(selection_filter(c, &s, r, "name-label", name));
    TRY(selection_filter(c, &s, r, "is-a-template", "true"));
    TRY(selection_filter(c, &s, r, "is-control-domain", "false"));
    if (!s.v.n)
        return cli_fail("No templates matched");
    if (s.v.n > 1)
        return cli_fail("More than one matching template found");
    *ret = mem_strdup(s.v.v[0].ref);
    return NULL;
}

static struct err *template_by_uuid(struct cmd *c, const char *uuid, char **ret)
{
    struct err *e = cmd_by_uuid(c, "VM", uuid, ret);
    if (!err_is(e, "UUID_INVALID"))
        return e;
    err_free(e);
    return cli_fail("Cannot find template");
}

static struct err *find_template(struct cmd *c, char **ret)
{
    const char *uuid = args_get(&c->args, "template-uuid");
    const char *name =
        args_or(&c->args, "template-name-label", args_get(&c->args, "template-name"));
    const char *either = args_get(&c->args, "template");
    if (uuid)
        return template_by_uuid(c, uuid, ret);
    if (name)
        return template_by_name(c, name, ret);
    if (!either)
        return cli_fail("Template must be specified by parameter 'template-uuid', "
                        "'template-name', 'template-name-label' or 'template'");
    if (str_is_uuid(either) && !cmd_by_uuid(c, "VM", either, ret))
        return NULL;
    return template_by_name(c, either, ret);
}

/* ---- the storage repository ---- */

static struct err *sr_by_name(struct cmd *c, const char *name, const char *wanted, char **ret)
{
    _cleanup_(val_unrefp) struct val *srs = NULL;
    TRY(cmd_call(c, &srs, "SR.get_by_name_label", "s", name));
    if (!val_count(srs))
        return cli_fail("No SR with that name-label found");
    if (wanted && !val_set_has(srs, wanted))
        return cli_fail("SR specified via sr-uuid doesn't have the name specified via "
                        "sr-name-label");
    if (!wanted && val_count(srs) > 1)
        return cli_fail("Multiple SRs with that name-label found");
    *ret = mem_strdup(wanted ? wanted : val_str_at(srs, 0));
    return NULL;
}

/* The SR that was asked for; NULL if none was. */
static struct err *chosen_sr(struct cmd *c, const struct val *template, char **ret)
{
    const char *name = args_get(&c->args, "sr-name-label");
    _cleanup_(freep) char *sr = NULL, *named = NULL;
    bool given = name || args_get(&c->args, "sr-uuid");
    if (given && val_get_bool(val_map_get(template, "is_a_snapshot")))
        return cli_fail("Do not use the sr-name-label or sr-uuid argument when installing from a "
                        "snapshot: each new disk goes to the SR of its snapshot");
    if (args_get(&c->args, "sr-uuid"))
        TRY(cmd_need_ref(c, "SR", "sr-uuid", &sr));
    if (name)
        TRY(sr_by_name(c, name, sr, &named));
    *ret = named ? steal(&named) : steal(&sr);
    return NULL;
}

static struct err *default_sr_uuid(struct cmd *c, char **ret)
{
    _cleanup_(freep) char *pool = NULL, *sr = NULL;
    TRY(cmd_pool(c, &pool));
    TRY(cmd_call_str(c, &sr, "pool.get_default_SR", pool));
    if (cmd_is_null(sr)) {
        *ret = mem_strdup("");
        return NULL;
    }
    return cmd_uuid_of(c, "SR", sr, ret);
}

/* uuid of the SR for new disks; "" if the template needs none and there is none. */
static struct err *sr_for_disks(struct cmd *c, const struct val *template, const char *sr,
                                char **ret)
{
    if (sr)
        return cmd_uuid_of(c, "SR", sr, ret);
    TRY(default_sr_uuid(c, ret));
    if (!**ret && val_map_get(val_map_get(template, "other_config"), "disks"))
        return cli_fail("Failed to find a valid default SR for the Pool. Please provide an "
                        "sr-name-label or sr-uuid parameter.");
    return NULL;
}

/* ---- the VM ---- */

/* The provision text with every sr="…" replaced. */
static char *with_sr(const char *xml, const char *uuid)
{
    static const char attribute[] = " sr=";
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    for (const char *at; (at = strstr(xml, attribute)) != NULL;) {
        const char *value = at + sizeof(attribute) - 1;
        const char *end = *value == '"' || *value == '\'' ? strchr(value + 1, *value) : NULL;
        if (!end)
            break;
        buf_put(&b, xml, (size_t)(value + 1 - xml));
        buf_puts(&b, uuid);
        xml = end;
    }
    buf_puts(&b, xml);
    return mem_strdup(buf_str(&b));
}

static struct err *point_disks(struct cmd *c, const char *vm, const struct val *template,
                               const char *uuid)
{
    const char *xml = val_map_str(val_map_get(template, "other_config"), "disks", NULL);
    if (!xml || !*uuid)
        return NULL;
    _cleanup_(freep) char *changed = with_sr(xml, uuid);
    TRY(cmd_call(c, NULL, "VM.remove_from_other_config", "ss", vm, "disks"));
    return cmd_call(c, NULL, "VM.add_to_other_config", "sss", vm, "disks", changed);
}

static struct err *copy_bios_strings(struct cmd *c, const char *vm)
{
    _cleanup_(freep) char *host = NULL;
    if (!args_get(&c->args, "copy-bios-strings-from"))
        return NULL;
    TRY(cmd_need_ref(c, "host", "copy-bios-strings-from", &host));
    return cmd_call(c, NULL, "VM.copy_bios_strings", "ss", vm, host);
}

static struct err *finish(struct cmd *c, const char *vm, const struct val *template, const char *sr,
                          const char *disk_sr)
{
    const char *suspend = sr ? sr : val_map_str(template, "suspend_SR", CMD_NULL);
    TRY(cmd_call(c, NULL, "VM.set_name_description", "ss", vm, "Installed via xe CLI"));
    TRY(cmd_call(c, NULL, "VM.set_suspend_SR", "ss", vm, suspend));
    TRY(point_disks(c, vm, template, disk_sr));
    TRY(cmd_call(c, NULL, "VM.provision", "s", vm));
    TRY(copy_bios_strings(c, vm));
    return cmd_print_uuid(c, "VM", vm);
}

/* Whether the template brings disks of its own, which a copy moves to the chosen SR. Without any, a
 * clone is a copy. */
static struct err *has_disks(struct cmd *c, const struct val *template, bool *ret)
{
    *ret = false;
    val_each (ref, val_map_get(template, "VBDs")) {
        const struct val *vbd = NULL;
        TRY(cmd_record(c, "VBD", ref, &vbd));
        *ret |= vbd && strcmp(val_map_str(vbd, "type", ""), "Disk") == 0;
    }
    return NULL;
}

static struct err *make_vm(struct cmd *c, const char *ref, const struct val *template,
                           const char *sr, struct val **ret)
{
    const char *name;
    bool disks;
    TRY(args_need(&c->args, "new-name-label", &name));
    TRY(has_disks(c, template, &disks));
    if (sr && disks)
        return cmd_call(c, ret, "VM.copy", "sss", ref, name, sr);
    return cmd_call(c, ret, "VM.clone", "ss", ref, name);
}

static struct err *vm_install(struct cmd *c)
{
    _cleanup_(freep) char *ref = NULL, *sr = NULL, *disk_sr = NULL;
    _cleanup_(val_unrefp) struct val *vm = NULL;
    const struct val *template = NULL;
    TRY(find_template(c, &ref));
    TRY(cmd_record(c, "VM", ref, &template));
    if (!template || !val_get_bool(val_map_get(template, "is_a_template")))
        return cli_fail("Can only install from templates");
    TRY(chosen_sr(c, template, &sr));
    TRY(sr_for_disks(c, template, sr, &disk_sr));
    TRY(make_vm(c, ref, template, sr, &vm));
    struct err *e = finish(c, val_get_str(vm), template, sr, disk_sr);
    if (e)
        err_free(cmd_call(c, NULL, "VM.destroy", "s", val_get_str(vm)));
    return e;
}

const struct cmd_impl cmd_install_table[] = {
    {.name = "vm-install",
     .run = vm_install,
     .help = "Make a VM from a template (by uuid or name) and its disks; prints the uuid, starts "
             "nothing.",
     .needs = "VM.provision"},
    {.name = NULL},
};
