/* cmd_message.c: alerts. */
#include <string.h>

#include "cli/cmd_tables.h"

/* The object that an alert is about: one of the uuid parameters. */
static const struct subject {
    const char *param, *cls;
} subjects[] = {{"vm-uuid", "VM"}, {"host-uuid", "Host"}, {"sr-uuid", "SR"}, {"pool-uuid", "Pool"}};

static struct err *message_create(struct cmd *c)
{
    const char *name, *body, *priority_text;
    int64_t priority;
    TRY(args_need(&c->args, "name", &name));
    TRY(args_need(&c->args, "body", &body));
    TRY(args_need(&c->args, "priority", &priority_text));
    TRY(args_int("priority", priority_text, &priority));
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        const char *uuid = args_get(&c->args, subjects[i].param);
        if (uuid)
            return cmd_call(c, NULL, "message.create", "sisss", name, priority, subjects[i].cls,
                            uuid, body);
    }
    return cli_fail("One of vm-uuid, host-uuid, sr-uuid and pool-uuid must be given");
}

static struct err *message_destroy(struct cmd *c)
{
    const char *uuids = args_or(&c->args, "uuids", args_get(&c->args, "uuid"));
    _cleanup_(val_unrefp) struct val *refs = NULL;
    if (!uuids)
        return cli_missing("uuid or uuids");
    TRY(cmd_refs(c, "message", uuids, &refs));
    val_each (ref, refs)
        TRY(cmd_call(c, NULL, "message.destroy", "s", ref));
    return NULL;
}

/* before= and after= are times, priority= a number: as the message's filters. */
static struct err *message_destroy_all(struct cmd *c)
{
    static const char *const names[] = {"before", "after", "priority"};
    _cleanup_(val_unrefp) struct val *filters = val_map();
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (args_get(&c->args, names[i]))
            val_put_str(filters, names[i], args_get(&c->args, names[i]));
    return cmd_call(c, NULL, "message.destroy_all", "v", filters);
}

const struct cmd_impl cmd_message_table[] = {
    {.name = "message-create",
     .run = message_create,
     .help = "Write an alert about a VM, host, SR or pool.",
     .needs = "message.create"},
    {.name = "message-destroy",
     .run = message_destroy,
     .help = "Take alerts away: uuid= or uuids=a,b.",
     .needs = "message.destroy"},
    {.name = "message-destroy-all",
     .run = message_destroy_all,
     .help = "Take all alerts away, or those before=, after= a time or of a priority=.",
     .needs = "message.destroy_all"},
    {.name = NULL},
};
