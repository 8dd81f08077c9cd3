/*
 * cmd_transfer.c: commands for which the client opens a connection of its own: disks as files, and
 * the text console.
 *
 * A transfer has a task: the handler of the URL ends it with the result, the client only says
 * whether its side went well.
 */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* Text for a query string. */
static void put_encoded(struct buf *b, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if ((*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
            strchr("-_.~:", *p)) {
            buf_putc(b, (char)*p);
        } else {
            buf_putc(b, '%');
            buf_putc(b, hex[*p >> 4]);
            buf_putc(b, hex[*p & 15]);
        }
    }
}

/* The result of the task of a transfer, or its error. */
static struct err *task_verdict(struct cmd *c, const char *task, bool client_ok)
{
    const struct val *record = NULL;
    cmd_forget(c);
    TRY(cmd_record(c, "task", task, &record));
    const char *status = record ? val_map_str(record, "status", "") : "";
    const struct val *info = record ? val_map_get(record, "error_info") : NULL;
    if (strcmp(status, "success") == 0)
        return NULL;
    if (info && val_count(info)) {
        const char *params[8];
        unsigned n = 0;
        for (size_t i = 1; i < val_count(info) && n < ARRAY_LEN(params); i++)
            params[n++] = val_str_at(info, i);
        return err_make_v(val_str_at(info, 0), __FILE__, __LINE__, n, params);
    }
    if (client_ok && strcmp(status, "pending") == 0)
        return cli_fail("The transfer ended before the server was done");
    return cli_fail("The transfer failed");
}

/* Hands the URL to the client and waits for both sides. `query` ends in what the handler needs. */
static struct err *transfer(struct cmd *c, enum thin_tag how, const char *file, const char *path,
                            const char *query)
{
    _cleanup_(val_unrefp) struct val *task = NULL;
    bool ok;
    TRY(cmd_call(c, &task, "task.create", "ss", c->desc->name, ""));
    _cleanup_(freep) char *url =
        mem_printf("%s?session_id=%s&task_id=%s&%s", path, c->session, val_get_str(task), query);
    struct err *e = talk_transfer(c->talk, how, file, url, &ok);
    if (!e)
        e = task_verdict(c, val_get_str(task), ok);
    err_free(cmd_call(c, NULL, "task.destroy", "s", val_get_str(task)));
    return e;
}

static struct err *disk_transfer(struct cmd *c, enum thin_tag how, const char *path)
{
    const char *file;
    _cleanup_(freep) char *vdi = NULL, *base = NULL;
    _cleanup_(buf_done) struct buf query;
    buf_init(&query, 4096);
    TRY(args_need(&c->args, "filename", &file));
    TRY(cmd_need_ref(c, "VDI", "uuid", &vdi));
    buf_printf(&query, "vdi=%s&format=", vdi);
    put_encoded(&query, args_or(&c->args, "format", "raw"));
    if (args_get(&c->args, "base")) {
        TRY(cmd_need_ref(c, "VDI", "base", &base));
        buf_printf(&query, "&base=%s", base);
    }
    return transfer(c, how, file, path, buf_str(&query));
}

static struct err *vdi_import(struct cmd *c)
{
    return disk_transfer(c, THIN_HTTP_PUT, "/import_raw_vdi");
}

static struct err *vdi_export(struct cmd *c)
{
    return disk_transfer(c, THIN_HTTP_GET, "/export_raw_vdi");
}

/* ---- the console ---- */

/* The serial console of a VM: the one whose protocol is text. */
static struct err *text_console(struct cmd *c, const struct object *vm, char **ret_uuid)
{
    val_each (ref, val_map_get(vm->record, "consoles")) {
        const struct val *console = NULL;
        TRY(cmd_record(c, "console", ref, &console));
        if (console && strcmp(val_map_str(console, "protocol", ""), "vt100") == 0) {
            *ret_uuid = mem_strdup(val_map_str(console, "uuid", ""));
            return NULL;
        }
    }
    return cli_fail("No text console available (is the VM running?)");
}

static struct err *console(struct cmd *c)
{
    bool ok;
    _cleanup_(freep) char *uuid = NULL, *url = NULL;
    _cleanup_(selection_done) struct selection s = {0};
    TRY(select_objects(c, XE_VM_SELECTORS, &s));
    if (s.v.n > 1)
        return cli_fail("Multiple VMs found: please narrow your request to one VM");
    TRY(text_console(c, &s.v.v[0], &uuid));
    cmd_say(c, "Connecting to console on VM %s. Press Ctrl + ']' to quit.",
            val_map_str(s.v.v[0].record, "name_label", ""));
    url = mem_printf("/console?uuid=%s&session_id=%s", uuid, c->session);
    TRY(talk_transfer(c->talk, THIN_HTTP_CONNECT, "", url, &ok));
    return ok ? NULL : cli_exit();
}

const struct cmd_impl cmd_transfer_table[] = {
    {"vdi-import", vdi_import, "Write a file into a disk; format=raw or vhd."},
    {"vdi-export", vdi_export, "Write a disk into a file, which must not exist yet."},
    {"console", console, "Talk to a VM's serial console; Ctrl-] leaves."},
    {NULL, NULL, NULL},
};
