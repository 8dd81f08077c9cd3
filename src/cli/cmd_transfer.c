/*
 * cmd_transfer.c: VMs, templates and disks as files of the client: vm-export, vm-import and their
 * kin. The bytes go through the HTTP handlers, over a connection of the client's own.
 */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/progress.h"
#include "cli/select.h"

/* ---- paths ---- */

static void put_param(struct buf *path, const char *name, const char *value)
{
    _cleanup_(freep) char *quoted_name = progress_quote(name);
    _cleanup_(freep) char *quoted = progress_quote(value);
    buf_printf(path, "%c%s=%s", memchr(path->data, '?', path->size) ? '&' : '?', quoted_name,
               quoted);
}

/* A parameter of the command that is true or false goes on under another name. */
static struct err *put_flag(struct cmd *c, struct buf *path, const char *name, const char *as)
{
    bool on;
    TRY(args_bool(&c->args, name, false, &on));
    if (on)
        put_param(path, as, "true");
    return NULL;
}

/* ---- out ---- */

/* compress=true, false, gzip or zstd. */
static struct err *put_compression(struct cmd *c, struct buf *path)
{
    const char *how = args_get(&c->args, "compress");
    if (how && (strcmp(how, "zstd") == 0 || strcmp(how, "gzip") == 0)) {
        put_param(path, "use_compression", how);
        return NULL;
    }
    return put_flag(c, path, "compress", "use_compression");
}

static struct err *download(struct cmd *c, struct buf *path, const char *title)
{
    const char *file;
    TRY(args_need(&c->args, "filename", &file));
    TRY(progress_transfer(
        c,
        &(struct transfer){
            .how = THIN_HTTP_GET, .file = file, .path = buf_str(path), .title = title},
        NULL));
    if (*file)
        cmd_print(c, "Export succeeded");
    return NULL;
}

static struct err *export_uuid(struct cmd *c, const char *uuid)
{
    _cleanup_(buf_done) struct buf path;
    bool metadata;
    const char *excluded = args_get(&c->args, "excluded-device-types");
    buf_init(&path, 1 << 20);
    TRY(args_bool(&c->args, "metadata", false, &metadata));
    buf_puts(&path, metadata ? "/export_metadata" : "/export");
    put_param(&path, "uuid", uuid);
    TRY(put_compression(c, &path));
    TRY(put_flag(c, &path, "preserve-power-state", "preserve_power_state"));
    TRY(put_flag(c, &path, "include-snapshots", "export_snapshots"));
    if (excluded)
        put_param(&path, "excluded_device_types", excluded);
    return download(c, &path, c->desc->name);
}

static struct err *vm_export(struct cmd *c)
{
    _cleanup_(selection_done) struct selection s = {0};
    TRY(select_objects(c, XE_VM_SELECTORS, &s));
    if (s.v.n > 1)
        return cli_fail("One file holds one VM: please narrow your request to one");
    return export_uuid(c, val_map_str(s.v.v[0].record, "uuid", ""));
}

/* The VM of a parameter, of which something must be so. */
static struct err *export_kind(struct cmd *c, const char *param, const char *member,
                               const char *complaint)
{
    const char *uuid;
    _cleanup_(freep) char *ref = NULL;
    const struct val *record = NULL;
    TRY(args_need(&c->args, param, &uuid));
    TRY(cmd_need_ref(c, "VM", param, &ref));
    TRY(cmd_record(c, "VM", ref, &record));
    const struct val *is = record ? val_map_get(record, member) : NULL;
    if (!is || val_kind(is) != VAL_BOOL || !val_get_bool(is))
        return cli_fail("%s", complaint);
    return export_uuid(c, uuid);
}

static struct err *template_export(struct cmd *c)
{
    return export_kind(c, "template-uuid", "is_a_template",
                       "This operation can only be performed on a template");
}

static struct err *snapshot_export(struct cmd *c)
{
    return export_kind(c, "snapshot-uuid", "is_a_snapshot",
                       "This operation can only be performed on a snapshot");
}

/* ---- in ---- */

static struct err *print_new(struct cmd *c, const struct val *refs)
{
    if (refs && val_kind(refs) == VAL_SET)
        val_each (ref, refs)
            TRY(cmd_print_uuid(c, "VM", ref));
    return NULL;
}

static struct err *import_url(struct cmd *c, const char *url)
{
    _cleanup_(val_unrefp) struct val *refs = NULL;
    _cleanup_(freep) char *sr = NULL;
    bool preserve, force;
    TRY(args_bool(&c->args, "preserve", false, &preserve));
    TRY(args_bool(&c->args, "force", false, &force));
    TRY(cmd_optional_ref(c, "SR", "sr-uuid", &sr));
    TRY(cmd_call(c, &refs, "VM.import", "ssbb", url, sr, (int)preserve, (int)force));
    return print_new(c, refs);
}

static struct err *import_path(struct cmd *c, struct buf *path)
{
    bool metadata;
    const char *sr = args_get(&c->args, "sr-uuid");
    _cleanup_(val_unrefp) struct val *vdis = args_map(&c->args, "vdi");
    TRY(args_bool(&c->args, "metadata", false, &metadata));
    buf_puts(path, metadata ? "/import_metadata?" : "/import?");
    TRY(put_flag(c, path, "preserve", "restore"));
    TRY(put_flag(c, path, "force", "force"));
    TRY(put_flag(c, path, "dry-run", "dry_run"));
    if (sr)
        put_param(path, "sr_uuid", sr);
    for (size_t i = 0; i < val_count(vdis); i++) {
        _cleanup_(freep) char *name = mem_printf("vdi:%s", val_key_at(vdis, i));
        put_param(path, name, val_str_at(vdis, i));
    }
    return NULL;
}

/* A VM made for a disk bears the file's name, without what stands behind its dot. */
static void put_name(struct buf *path, const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *base = slash ? slash + 1 : file;
    size_t n = strcspn(base + (*base == '.'), ".") + (*base == '.');
    _cleanup_(freep) char *name = mem_strndup(base, n);
    if (*name)
        put_param(path, "name_label", name);
}

/* type=raw: the bytes of a disk, whatever they look like; anything else is seen. */
static struct err *put_type(struct cmd *c, struct buf *path)
{
    const char *type = args_get(&c->args, "type");
    if (args_get(&c->args, "host-username") || (type && strcmp(type, "raw") != 0))
        return cli_fail("VMs cannot be fetched from other platforms; give a file (XVA, OVA, VHD, "
                        "qcow2, VMDK), or type=raw and the bytes of a disk");
    if (type)
        put_param(path, "format", type);
    return NULL;
}

static struct err *vm_import(struct cmd *c)
{
    const char *url = args_get(&c->args, "url"), *file;
    _cleanup_(val_unrefp) struct val *result = NULL;
    _cleanup_(buf_done) struct buf path;
    buf_init(&path, 1 << 20);
    if (url)
        return import_url(c, url);
    TRY(args_need(&c->args, "filename", &file));
    TRY(import_path(c, &path));
    put_name(&path, file);
    TRY(put_type(c, &path));
    TRY(progress_transfer(
        c,
        &(struct transfer){
            .how = THIN_HTTP_PUT, .file = file, .path = buf_str(&path), .title = c->desc->name},
        &result));
    return print_new(c, result);
}

/* ---- disks ---- */

static struct err *disk_path(struct cmd *c, const char *handler, struct buf *path)
{
    const char *uuid, *format = args_get(&c->args, "format");
    _cleanup_(freep) char *ref = NULL;
    TRY(args_need(&c->args, "uuid", &uuid));
    TRY(cmd_need_ref(c, "VDI", "uuid", &ref));
    buf_puts(path, handler);
    put_param(path, "vdi", uuid);
    if (format)
        put_param(path, "format", format);
    return NULL;
}

static struct err *vdi_export(struct cmd *c)
{
    const char *base = args_get(&c->args, "base");
    _cleanup_(buf_done) struct buf path;
    buf_init(&path, 1 << 20);
    TRY(disk_path(c, "/export_raw_vdi", &path));
    if (base)
        put_param(&path, "base", base);
    return download(c, &path, c->desc->name);
}

/* A disk made of the file, or a CD image in a library of them. */
static struct err *new_disk_path(struct cmd *c, struct buf *path)
{
    const char *sr, *name = args_get(&c->args, "name-label");
    _cleanup_(freep) char *ref = NULL;
    if (!args_get(&c->args, "sr-uuid"))
        TRY(args_need(&c->args, "uuid", &sr)); /* says that it is missing */
    TRY(args_need(&c->args, "sr-uuid", &sr));
    TRY(cmd_need_ref(c, "SR", "sr-uuid", &ref));
    buf_puts(path, "/import_raw_vdi");
    put_param(path, "sr_uuid", sr);
    if (name)
        put_param(path, "name_label", name);
    return NULL;
}

static struct err *vdi_import(struct cmd *c)
{
    const char *file;
    _cleanup_(buf_done) struct buf path;
    buf_init(&path, 1 << 20);
    TRY(args_need(&c->args, "filename", &file));
    if (args_get(&c->args, "uuid"))
        TRY(disk_path(c, "/import_raw_vdi", &path));
    else
        TRY(new_disk_path(c, &path));
    return progress_transfer(
        c,
        &(struct transfer){
            .how = THIN_HTTP_PUT, .file = file, .path = buf_str(&path), .title = c->desc->name},
        NULL);
}

const struct cmd_impl cmd_transfer_table[] = {
    {.name = "vm-export", .run = vm_export, .help = "Write a VM with its disks to a file."},
    {.name = "vm-import",
     .run = vm_import,
     .help = "Make a VM of such a file, of an OVA or a disk (VHD, qcow2, VMDK, raw), or of what a "
             "URL gives; prints its uuid."},
    {.name = "template-export", .run = template_export, .help = "Write a template to a file."},
    {.name = "snapshot-export-to-template",
     .run = snapshot_export,
     .help = "Write a snapshot to a file, from which it becomes a template."},
    {.name = "vdi-export", .run = vdi_export, .help = "Write a disk's contents to a file."},
    {.name = "vdi-import",
     .run = vdi_import,
     .help = "Fill a disk from a file, or make one, or a CD image, of it."},
    {.name = NULL},
};
