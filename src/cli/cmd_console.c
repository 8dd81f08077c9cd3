/* cmd_console.c: a VM's serial console, for which the client opens a connection of its own. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* The VM's console of a protocol; NULL if it has none. */
static struct err *console_of(struct cmd *c, const struct object *vm, const char *protocol,
                              const struct val **ret)
{
    *ret = NULL;
    val_each (ref, val_map_get(vm->record, "consoles")) {
        const struct val *console = NULL;
        TRY(cmd_record(c, "console", ref, &console));
        if (console && strcmp(val_map_str(console, "protocol", ""), protocol) == 0)
            *ret = console;
    }
    return NULL;
}

/* The page on which a browser shows a VM: of the host that its screen's location names. */
static char *page_of(const struct object *vm, const struct val *screen)
{
    const char *location = val_map_str(screen, "location", "");
    const char *at = strstr(location, "/console?");
    return at ? mem_printf("%.*s/console.html?uuid=%s", (int)(at - location), location,
                           val_map_str(vm->record, "uuid", ""))
              : NULL;
}

/* A VM that says nothing on a serial line may have a screen. */
static struct err *point_to_screen(struct cmd *c, const struct object *vm)
{
    const struct val *screen = NULL;
    TRY(console_of(c, vm, "rfb", &screen));
    _cleanup_(freep) char *page = screen ? page_of(vm, screen) : NULL;
    if (!page)
        return cli_fail("No text console available (is the VM running?)");
    cmd_say(c, "The VM has no text console; a browser shows its screen at");
    cmd_print(c, page);
    return NULL;
}

static struct err *console(struct cmd *c)
{
    bool ok;
    const struct val *text = NULL;
    _cleanup_(freep) char *url = NULL;
    _cleanup_(selection_done) struct selection s = {0};
    TRY(select_objects(c, XE_VM_SELECTORS, &s));
    if (s.v.n > 1)
        return cli_fail("Multiple VMs found: please narrow your request to one VM");
    TRY(console_of(c, &s.v.v[0], "vt100", &text));
    if (!text)
        return point_to_screen(c, &s.v.v[0]);
    cmd_say(c, "Connecting to console on VM %s. Press Ctrl + ']' to quit.",
            val_map_str(s.v.v[0].record, "name_label", ""));
    url = mem_printf("/console?uuid=%s&session_id=%s", val_map_str(text, "uuid", ""), c->session);
    TRY(talk_transfer(c->talk, THIN_HTTP_CONNECT, "", url, &ok));
    return ok ? NULL : cli_exit();
}

const struct cmd_impl cmd_console_table[] = {
    {.name = "console", .run = console, .help = "Talk to a VM's serial console; Ctrl-] leaves."},
    {.name = NULL},
};
