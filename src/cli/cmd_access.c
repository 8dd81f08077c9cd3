/* cmd_access.c: who may come in, and what they may do: subjects, roles, sessions. */
#include <string.h>

#include "cli/cmd_tables.h"

static struct err *subject_add(struct cmd *c)
{
    const char *name;
    _cleanup_(val_unrefp) struct val *record = val_map(), *sid = NULL, *ref = NULL, *info = NULL;
    TRY(args_need(&c->args, "subject-name", &name));
    TRY(cmd_call(c, &sid, "auth.get_subject_identifier", "s", name));
    TRY(cmd_call(c, &info, "auth.get_subject_information_from_identifier", "s", val_get_str(sid)));
    val_put_str(record, "subject_identifier", val_get_str(sid));
    val_put(record, "other_config", val_ref(info));
    TRY(cmd_call(c, &ref, "subject.create", "v", record));
    return cmd_print_uuid(c, "subject", val_get_str(ref));
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

const struct cmd_impl cmd_access_table[] = {
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
