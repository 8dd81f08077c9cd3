/* cmd_help.c: `xe help`, `xe help --all`, `xe help <command>`; and the list of all tables. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/column.h"
#include "state/desc.h"

static const struct cmd_impl *const tables[] = {
    cmd_vm_table,       cmd_vm_copy_table, cmd_install_table, cmd_disk_table,     cmd_cd_table,
    cmd_storage_table,  cmd_host_table,    cmd_license_table, cmd_files_table,    cmd_event_table,
    cmd_message_table,  cmd_access_table,  cmd_limit_table,   cmd_transfer_table, cmd_console_table,
    cmd_diagnose_table, cmd_help_table,
};

const struct cmd_impl *cmd_find_impl(const char *name)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct cmd_impl *i = tables[t]; i->name; i++)
            if (strcmp(i->name, name) == 0)
                return i;
    return NULL;
}

/* ---- what a command is ---- */

static bool is_implemented(const char *message)
{
    const struct msg_desc *m = desc_msg(message);
    return m && !(m->flags & (MSG_UNIMPLEMENTED | MSG_REMOVED));
}

/* A command is there if what it is about is: its message, its HTTP handler. */
static bool is_there(const struct cmd *c, const struct xe_command *d)
{
    const struct cmd_impl *impl = cmd_find_impl(d->name);
    if (impl)
        return cmd_is_served(c, impl) && (!impl->needs || is_implemented(impl->needs));
    if (!d->call)
        return false;
    _cleanup_(freep) char *message = call_message(d->call);
    return is_implemented(message);
}

static const char *const verb_names[] = {"list",      "param-list",   "param-get",  "param-set",
                                         "param-add", "param-remove", "param-clear"};

/* ---- listing ---- */

/* Adds a name to a list that breaks at 78 columns. */
static void add_name(struct buf *b, size_t *column, const char *name)
{
    size_t size = strlen(name) + 2;
    if (*column && *column + size > 78) {
        buf_puts(b, "\n");
        *column = 0;
    } else if (*column) {
        buf_puts(b, " ");
    }
    buf_printf(b, "%s,", name);
    *column += size;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the commands, sorted; all, or those for every day. Each name is the list's. */
static struct val *command_names(const struct cmd *c, bool all)
{
    VEC(char *) names = {0};
    for (unsigned i = 0; i < xe_n_commands; i++) {
        const struct xe_command *d = &xe_commands[i];
        if (!(d->flags & XE_HIDDEN) && (all || d->flags & XE_STANDARD) && is_there(c, d))
            vec_push(&names, mem_strdup(d->name));
    }
    for (unsigned i = 0; i < xe_n_families; i++)
        for (size_t v = 0; v < ARRAY_LEN(verb_names); v++)
            if (xe_families[i].verbs & 1u << v && (all || (v == 0 && xe_families[i].standard)))
                vec_push(&names, mem_printf("%s-%s", xe_families[i].prefix, verb_names[v]));
    qsort(names.v, names.n, sizeof(names.v[0]), by_name);
    struct val *sorted = val_set();
    vec_each (n, &names) {
        val_add_str(sorted, *n);
        free(*n);
    }
    vec_done(&names);
    return sorted;
}

static void print_names(struct cmd *c, bool all)
{
    _cleanup_(val_unrefp) struct val *names = command_names(c, all);
    _cleanup_(buf_done) struct buf b = {0};
    size_t column = 0;
    if (c->minimal) {
        val_each (name, names)
            cmd_print(c, name);
        return;
    }
    buf_init(&b, 1 << 20);
    val_each (name, names)
        add_name(&b, &column, name);
    if (b.size)
        b.data[b.size - 1] = '\0';
    cmd_say(c, "Usage: xe <command> [-s server] [-p port] [-u username] [-pw password] "
               "[command specific arguments]\n");
    cmd_say(c, all ? "All commands:\n" : "Common commands (xe help --all lists all):\n");
    cmd_say(c, "%s\n", buf_str(&b));
    cmd_say(c, "xe help <command> tells more about one.");
}

/* ---- one command ---- */

static char *joined(const char *const *names)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 16);
    for (unsigned i = 0; names[i]; i++)
        buf_printf(&b, i ? ", %s" : "%s", names[i]);
    return mem_strdup(buf_str(&b));
}

static const char *description(const struct cmd *c, const struct xe_command *d)
{
    const struct cmd_impl *impl = cmd_find_impl(d->name);
    if (!is_there(c, d))
        return "This host does not implement this command yet.";
    if (impl)
        return impl->help;
    _cleanup_(freep) char *message = call_message(d->call);
    const struct msg_desc *m = desc_msg(message);
    return m ? m->doc : "";
}

static const char *selector_text(unsigned flags)
{
    if (flags & XE_VM_SELECTORS)
        return "vm=<uuid or name>, any field of a VM, --multiple";
    if (flags & XE_HOST_SELECTORS)
        return "host=<uuid or name>, any field of a host, --multiple";
    if (flags & XE_SR_SELECTORS)
        return "sr=<uuid or name>, any field of a storage repository, --multiple";
    return "";
}

static void put_line(struct val *record, const char *label, const char *text)
{
    val_put_str(record, label, text);
}

static void explain(struct cmd *c, const struct xe_command *d)
{
    _cleanup_(val_unrefp) struct val *record = val_map();
    _cleanup_(freep) char *required = joined(d->required), *optional = joined(d->optional);
    put_line(record, "command name", d->name);
    put_line(record, "reqd params", required);
    put_line(record, "optional params", optional);
    if (*selector_text(d->flags))
        put_line(record, "selectors", selector_text(d->flags));
    put_line(record, "description", description(c, d));
    cmd_print_record(c, record);
}

static void explain_family(struct cmd *c, const struct xe_family *f, enum xe_verb verb,
                           const char *name)
{
    static const struct {
        enum xe_verb verb;
        const char *required, *optional, *text;
    } verbs[] = {
        {XE_LIST, "", "params, any field as a filter",
         "List the objects; map-field:key=value and set-field:contains=value filter, too."},
        {XE_PARAM_LIST, "uuid", "", "Show all fields of an object."},
        {XE_PARAM_GET, "uuid, param-name", "param-key", "Show one field of an object, or a key."},
        {XE_PARAM_SET, "uuid", "any field that is RW", "Set fields; map-field:key=value a key."},
        {XE_PARAM_ADD, "uuid, param-name", "param-key", "Add to a set (param-key=) or to a map."},
        {XE_PARAM_REMOVE, "uuid, param-name, param-key", "", "Take a member or key away."},
        {XE_PARAM_CLEAR, "uuid, param-name", "", "Empty a field."},
    };
    _cleanup_(val_unrefp) struct val *record = val_map();
    _cleanup_(buf_done) struct buf fields;
    buf_init(&fields, 1 << 16);
    for (unsigned i = 0; i < f->record->n_columns; i++)
        if (!f->record->columns[i].hidden)
            buf_printf(&fields, fields.size ? ", %s" : "%s", f->record->columns[i].name);
    put_line(record, "command name", name);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (verbs[i].verb != verb)
            continue;
        put_line(record, "reqd params", verbs[i].required);
        put_line(record, "optional params", verbs[i].optional);
        put_line(record, "description", verbs[i].text);
    }
    put_line(record, "fields", buf_str(&fields));
    cmd_print_record(c, record);
}

static struct err *help_about(struct cmd *c, const char *name)
{
    enum xe_verb verb;
    const struct xe_command *d = cmd_find(name);
    const struct xe_family *f = generic_find(name, &verb);
    if (d)
        explain(c, d);
    else if (f)
        explain_family(c, f, verb, name);
    else
        return cli_fail("There is no command '%s'", name);
    return NULL;
}

static struct err *help(struct cmd *c)
{
    bool any = false;
    args_each(p, &c->args)
    {
        if (arg_is_standard(p->name))
            continue;
        any = true;
        TRY(help_about(c, p->name));
    }
    if (!any)
        print_names(c, args_get(&c->args, "all") != NULL);
    return NULL;
}

const struct cmd_impl cmd_help_table[] = {
    {.name = "help", .run = help, .help = "List the commands, or explain one."},
    {.name = NULL},
};
