/* cmd_console.c: a VM's serial console, for which the client opens a connection of its own. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

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

const struct cmd_impl cmd_console_table[] = {
    {.name = "console", .run = console, .help = "Talk to a VM's serial console; Ctrl-] leaves."},
    {.name = NULL},
};
