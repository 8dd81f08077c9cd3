/* cmd_misc.c: waiting for events, alerts, secrets, and other small objects. */
#include <string.h>

#include "cli/cmd_tables.h"
#include "cli/select.h"

/* ---- event-wait ---- */

#define POLL_SECONDS 30.0

/* One condition: a column (or key of a map) and a text, to be equal or (value "/=text") not. */
static struct err *condition_holds(struct cmd *c, const struct object *o, const struct arg *p,
                                   bool *ret)
{
    struct param_name name;
    bool negate = str_starts(p->value, "/=");
    const char *wanted = negate ? p->value + 2 : p->value;
    _cleanup_(val_unrefp) struct val *shown = NULL;
    TRY(param_name_parse(o->kind, p->name, &name));
    TRY(column_get(c, o, name.column, &shown));
    _cleanup_(freep) char *text = column_text(name.column, shown);
    const char *is = text;
    if (name.key && val_kind(shown) == VAL_MAP)
        is = val_map_str(shown, name.key, "");
    *ret = (strcmp(is, wanted) == 0) != negate;
    return NULL;
}

static struct err *object_matches(struct cmd *c, const struct object *o, bool *ret)
{
    *ret = true;
    args_each(p, &c->args)
    {
        bool ok;
        if (strcmp(p->name, "class") == 0 || arg_is_standard(p->name))
            continue;
        TRY(condition_holds(c, o, p, &ok));
        *ret = *ret && ok;
    }
    return NULL;
}

static struct err *any_matches(struct cmd *c, const struct xe_record *r, bool *ret)
{
    _cleanup_(selection_done) struct selection s = {0};
    *ret = false;
    cmd_forget(c);
    TRY(selection_all(c, r, "true", &s));
    vec_each (o, &s.v) {
        TRY(object_matches(c, o, ret));
        if (*ret)
            return NULL;
    }
    return NULL;
}

/* Events of the class and of those its columns may look through. */
static struct err *next_events(struct cmd *c, const struct val *classes, char **token)
{
    _cleanup_(val_unrefp) struct val *batch = NULL;
    /* Said aloud only with --debug; a client that has left is noticed by it. */
    talk_debug(c->talk, "waiting for events");
    if (c->talk->broken)
        return cli_exit();
    TRY(cmd_call(c, &batch, "event.from", "vsf", classes, *token, POLL_SECONDS));
    free(*token);
    *token = mem_strdup(val_map_str(batch, "token", ""));
    return NULL;
}

static struct err *event_wait(struct cmd *c)
{
    const char *name;
    TRY(args_need(&c->args, "class", &name));
    enum xe_verb verb;
    _cleanup_(freep) char *listing = mem_printf("%s-list", name);
    const struct xe_family *f = generic_find(listing, &verb);
    if (!f)
        return cli_fail("There is no class '%s'", name);
    _cleanup_(val_unrefp) struct val *classes = val_set();
    _cleanup_(freep) char *token = mem_strdup("");
    val_add_str(classes, f->record->cls);
    /* The token is taken before the first look, so that no change falls in between. */
    for (;;) {
        bool found;
        TRY(next_events(c, classes, &token));
        TRY(any_matches(c, f->record, &found));
        if (found)
            return NULL;
    }
}

/* ---- messages (alerts) ---- */

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
    if (!uuids)
        return cli_missing("uuid or uuids");
    struct view rest = view_of(uuids), item;
    while (rest.size) {
        _cleanup_(freep) char *ref = NULL;
        view_split(&rest, ',', &item);
        _cleanup_(freep) char *uuid = view_dup(view_trim(item));
        TRY(cmd_by_uuid(c, "message", uuid, &ref));
        TRY(cmd_call(c, NULL, "message.destroy", "s", ref));
    }
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

/* ---- small objects ---- */

static struct err *secret_create(struct cmd *c)
{
    const char *value;
    _cleanup_(val_unrefp) struct val *record = val_map(), *ref = NULL;
    _cleanup_(freep) char *uuid = NULL;
    TRY(args_need(&c->args, "value", &value));
    val_put_str(record, "value", value);
    val_put(record, "other_config", val_ref(val_empty_map()));
    TRY(cmd_call(c, &ref, "secret.create", "v", record));
    TRY(cmd_call_str(c, &uuid, "secret.get_uuid", val_get_str(ref)));
    cmd_print(c, uuid);
    return NULL;
}

static struct err *appliance_create(struct cmd *c)
{
    const char *name;
    _cleanup_(val_unrefp) struct val *record = val_map(), *ref = NULL;
    _cleanup_(freep) char *uuid = NULL;
    TRY(args_need(&c->args, "name-label", &name));
    val_put_str(record, "name_label", name);
    val_put_str(record, "name_description", args_or(&c->args, "name-description", ""));
    TRY(cmd_call(c, &ref, "VM_appliance.create", "v", record));
    TRY(cmd_call_str(c, &uuid, "VM_appliance.get_uuid", val_get_str(ref)));
    cmd_print(c, uuid);
    return NULL;
}

static struct err *subject_add(struct cmd *c)
{
    const char *name;
    _cleanup_(val_unrefp) struct val *record = val_map(), *sid = NULL, *ref = NULL, *info = NULL;
    _cleanup_(freep) char *uuid = NULL;
    TRY(args_need(&c->args, "subject-name", &name));
    TRY(cmd_call(c, &sid, "auth.get_subject_identifier", "s", name));
    TRY(cmd_call(c, &info, "auth.get_subject_information_from_identifier", "s", val_get_str(sid)));
    val_put_str(record, "subject_identifier", val_get_str(sid));
    val_put(record, "other_config", val_ref(info));
    TRY(cmd_call(c, &ref, "subject.create", "v", record));
    TRY(cmd_call_str(c, &uuid, "subject.get_uuid", val_get_str(ref)));
    cmd_print(c, uuid);
    return NULL;
}

/* The role of role-name= or role-uuid=. */
static struct err *the_role(struct cmd *c, char **ret)
{
    const char *name = args_get(&c->args, "role-name");
    _cleanup_(val_unrefp) struct val *named = NULL;
    if (!name)
        return cmd_need_ref(c, "role", "role-uuid", ret);
    TRY(cmd_call(c, &named, "role.get_by_name_label", "s", name));
    if (val_count(named) != 1)
        return cli_fail("There is no role '%s'", name);
    *ret = mem_strdup(val_str_at(named, 0));
    return NULL;
}

static struct err *change_role(struct cmd *c, const char *message)
{
    _cleanup_(freep) char *subject = NULL, *role = NULL;
    TRY(cmd_need_ref(c, "subject", "uuid", &subject));
    TRY(the_role(c, &role));
    return cmd_call(c, NULL, message, "ss", subject, role);
}

static struct err *subject_role_add(struct cmd *c)
{
    return change_role(c, "subject.add_to_roles");
}

static struct err *subject_role_remove(struct cmd *c)
{
    return change_role(c, "subject.remove_from_roles");
}

static struct err *logout_all(struct cmd *c)
{
    _cleanup_(val_unrefp) struct val *all = NULL;
    TRY(cmd_call(c, &all, "session.get_all_subject_identifiers", ""));
    val_each (sid, all)
        TRY(cmd_call(c, NULL, "session.logout_subject_identifier", "s", sid));
    return NULL;
}

static struct err *appliance_shutdown(struct cmd *c)
{
    bool force;
    _cleanup_(freep) char *appliance = NULL;
    TRY(args_bool(&c->args, "force", false, &force));
    TRY(cmd_need_ref(c, "VM_appliance", "uuid", &appliance));
    return cmd_call(c, NULL, force ? "VM_appliance.hard_shutdown" : "VM_appliance.clean_shutdown",
                    "s", appliance);
}

const struct cmd_impl cmd_misc_table[] = {
    {.name = "event-wait",
     .run = event_wait,
     .help =
         "Wait until an object of class= has the columns given; column=/=text waits for any other.",
     .needs = "event.from"},
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
    {.name = "secret-create", .run = secret_create, .help = "Keep a secret; prints its uuid."},
    {.name = "appliance-create",
     .run = appliance_create,
     .help = "Make an appliance, a group of VMs that start together."},
    {.name = "appliance-shutdown",
     .run = appliance_shutdown,
     .help = "Shut the VMs of an appliance down.",
     .needs = "VM_appliance.clean_shutdown"},
    {.name = "subject-add",
     .run = subject_add,
     .help = "Let a user or group of the directory in.",
     .needs = "auth.get_subject_identifier"},
    {.name = "subject-role-add",
     .run = subject_role_add,
     .help = "Give a role to a user or group.",
     .needs = "subject.add_to_roles"},
    {.name = "subject-role-remove",
     .run = subject_role_remove,
     .help = "Take a role from a user or group.",
     .needs = "subject.remove_from_roles"},
    {.name = "session-subject-identifier-logout-all",
     .run = logout_all,
     .help = "End the sessions of all users.",
     .needs = "session.logout_subject_identifier"},
    {.name = NULL},
};
