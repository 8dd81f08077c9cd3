/*
 * cmd_files.c: what comes or goes as a file, through an HTTP handler of the host: backups, logs,
 * status reports, the audit log, the database, blobs.
 */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/progress.h"
#include "cli/select.h"

/* ---- one file, one handler ---- */

static const struct route {
    const char *command;
    enum thin_tag how;
    const char *path, *file; /* of the handler; parameter that names the client's file */
    const char *params[3];   /* that are handed on as they are */
} routes[] = {
    {"blob-get", THIN_HTTP_GET, "/blob", "filename", {"uuid"}},
    {"blob-put", THIN_HTTP_PUT, "/blob", "filename", {"uuid"}},
    {"audit-log-get", THIN_HTTP_GET, "/audit_log", "filename", {"since"}},
    {"pool-dump-database", THIN_HTTP_GET, "/pool/xmldbdump", "file-name", {NULL}},
    {"host-backup", THIN_HTTP_GET, "/host_backup", "file-name", {NULL}},
    {"host-restore", THIN_HTTP_PUT, "/host_restore", "file-name", {NULL}},
    {"host-logs-download", THIN_HTTP_GET, "/host_logs_download", "file-name", {NULL}},
    {"host-get-system-status", THIN_HTTP_GET, "/system-status", "filename", {"entries", "output"}},
};

static const struct route *route_of(const char *command)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (strcmp(routes[i].command, command) == 0)
            return &routes[i];
    return NULL;
}

/* The selected host's address as the beginning of a URL, "" if it is this one. */
static struct err *url_of_host(struct cmd *c, char **ret)
{
    _cleanup_(selection_done) struct selection s = {0};
    _cleanup_(freep) char *here = NULL;
    if (!(c->desc->flags & XE_HOST_SELECTORS)) {
        *ret = mem_strdup("");
        return NULL;
    }
    TRY(select_objects(c, XE_HOST_SELECTORS, &s));
    if (s.v.n > 1)
        return cli_fail("One file holds one host: name one by host=");
    TRY(cmd_this_host(c, &here));
    *ret = strcmp(here, s.v.v[0].ref) == 0
               ? mem_strdup("")
               : mem_printf("https://%s", val_map_str(s.v.v[0].record, "address", ""));
    return NULL;
}

static struct err *move_file(struct cmd *c)
{
    const struct route *r = route_of(c->desc->name);
    _cleanup_(freep) char *host = NULL;
    _cleanup_(buf_done) struct buf path;
    buf_init(&path, 1 << 20);
    TRY(url_of_host(c, &host));
    buf_printf(&path, "%s%s", host, r->path);
    for (size_t i = 0, n = 0; i < ARRAY_LEN(r->params) && r->params[i]; i++) {
        const char *value = args_get(&c->args, r->params[i]);
        if (!value)
            continue;
        _cleanup_(freep) char *quoted = progress_quote(value);
        buf_printf(&path, "%c%s=%s", n++ ? '&' : '?', r->params[i], quoted);
    }
    return progress_transfer(c,
                             &(struct transfer){.how = r->how,
                                                .file = args_or(&c->args, r->file, ""),
                                                .path = buf_str(&path),
                                                .title = r->command},
                             NULL);
}

/* ---- the database ---- */

static struct err *pool_restore_database(struct cmd *c)
{
    bool dry;
    const char *file;
    TRY(args_bool(&c->args, "dry-run", false, &dry));
    TRY(args_need(&c->args, "file-name", &file));
    if (!dry) {
        cmd_say(c,
                "The pool's database is about to be replaced by the one in %s: what was made, "
                "changed or removed since it was written will be lost.",
                file);
        TRY(cmd_confirm(c));
    }
    TRY(progress_transfer(c,
                          &(struct transfer){.how = THIN_HTTP_PUT,
                                             .file = file,
                                             .path = dry ? "/pool/xmldbdump?dry_run=true"
                                                         : "/pool/xmldbdump?dry_run=false",
                                             .title = "pool-restore-database"},
                          NULL));
    cmd_say(c, dry ? "The database in the file can be restored"
                   : "The database is restored; the host begins anew with it");
    return NULL;
}

/* ---- blobs ---- */

static const struct owner {
    const char *param, *cls;
} owners[] = {{"vm-uuid", "VM"},
              {"host-uuid", "host"},
              {"sr-uuid", "SR"},
              {"network-uuid", "network"},
              {"pool-uuid", "pool"}};

static struct err *blob_create(struct cmd *c)
{
    const char *name, *type = args_or(&c->args, "mime-type", "");
    bool public;
    TRY(args_need(&c->args, "name", &name));
    TRY(args_bool(&c->args, "public", false, &public));
    for (size_t i = 0; i < ARRAY_LEN(owners); i++) {
        _cleanup_(freep) char *ref = NULL, *message = NULL;
        _cleanup_(val_unrefp) struct val *blob = NULL;
        if (!args_get(&c->args, owners[i].param))
            continue;
        TRY(cmd_need_ref(c, owners[i].cls, owners[i].param, &ref));
        message = mem_printf("%s.create_new_blob", owners[i].cls);
        TRY(cmd_call(c, &blob, message, "sssb", ref, name, type, (int)public));
        return cmd_print_uuid(c, "blob", val_get_str(blob));
    }
    return cli_fail("One of vm-uuid, host-uuid, sr-uuid, network-uuid and pool-uuid must be given");
}

const struct cmd_impl cmd_files_table[] = {
    {.name = "blob-create",
     .run = blob_create,
     .help = "Attach an empty blob to a VM, host, SR, network or pool; prints its uuid.",
     .needs = "VM.create_new_blob"},
    {.name = "blob-get",
     .run = move_file,
     .help = "Write what a blob holds into filename=.",
     .handler = "get_blob"},
    {.name = "blob-put",
     .run = move_file,
     .help = "Fill a blob with the contents of filename=.",
     .handler = "put_blob"},
    {.name = "audit-log-get",
     .run = move_file,
     .help = "Write the audit log, from the time since= on, into filename=.",
     .handler = "get_audit_log"},
    {.name = "pool-dump-database",
     .run = move_file,
     .help = "Write the pool's database into file-name=.",
     .handler = "get_pool_xml_db_sync"},
    {.name = "pool-restore-database",
     .run = pool_restore_database,
     .help = "Replace the pool's database by that in file-name=; dry-run=true only looks at it.",
     .handler = "put_pool_xml_db_sync"},
    {.name = "host-backup",
     .run = move_file,
     .help = "Write a host's backup into file-name=.",
     .handler = "get_host_backup"},
    {.name = "host-restore",
     .run = move_file,
     .help = "Restore a host from file-name=.",
     .handler = "put_host_restore"},
    {.name = "host-logs-download",
     .run = move_file,
     .help = "Write a host's logs into file-name=, or to standard output, as an archive.",
     .handler = "get_host_logs_download"},
    {.name = "host-get-system-status",
     .run = move_file,
     .help = "Write a status report into filename=: entries=a,b, output=tar|tar.bz2|zip.",
     .handler = "get_system_status"},
    {.name = NULL},
};
