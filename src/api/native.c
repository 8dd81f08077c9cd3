/*
 * native.c: messages that the API layer answers itself, because they park the call or reach into
 * the layer's own tables. The model marks them `native`; all others have handlers.
 */
#include <string.h>

#include "api/call.h"
#include "api/event.h"
#include "api/role.h"
#include "api/session.h"
#include "api/subject.h"
#include "api/limit.h"
#include "api/timing.h"

struct native {
    const char *cls, *name;
    call_fn fn;
};

static const struct native natives[] = {
    {"Caller", "query_all_usage", caller_query_all_usage},
    {"Caller", "query_call_count", caller_query_call_count},
    {"Caller", "query_group_call_count", caller_query_group_call_count},
    {"Caller", "query_group_token_usage", caller_query_group_token_usage},
    {"Caller", "query_token_usage", caller_query_token_usage},
    {"event", "from", event_from},
    {"event", "get_current_id", event_get_current_id},
    {"event", "inject", event_inject},
    {"event", "next", event_next},
    {"event", "register", event_register},
    {"event", "unregister", event_unregister},
    {"host", "get_diagnostic_timing_stats", host_get_diagnostic_timing_stats},
    {"host", "get_tracked_user_agents", host_get_tracked_user_agents},
    {"host", "list_methods", host_list_methods},
    {"pool", "set_local_auth_max_threads", pool_set_local_auth_max_threads},
    {"role", "get_by_permission", role_get_by_permission},
    {"role", "get_by_permission_name_label", role_get_by_permission_name_label},
    {"role", "get_permissions", role_get_permissions},
    {"role", "get_permissions_name_label", role_get_permissions_name_label},
    {"session", "change_password", session_change_password},
    {"session", "get_all_subject_identifiers", session_get_all_subject_identifiers},
    {"session", "local_logout", session_local_logout},
    {"session", "login_with_password", session_login},
    {"session", "logout", session_logout},
    {"session", "logout_subject_identifier", session_logout_subject_identifier},
    {"session", "slave_local_login_with_password", session_local_login},
    {"subject", "add_to_roles", subject_change_roles},
    {"subject", "get_permissions_name_label", subject_get_permissions_name_label},
    {"subject", "remove_from_roles", subject_change_roles},
};

call_fn native_find(const struct msg_desc *m)
{
    if (!(m->flags & MSG_NATIVE))
        return NULL;
    const char *cls = desc_classes[m->cls]->name;
    for (unsigned i = 0; i < ARRAY_LEN(natives); i++)
        if (str_eq(natives[i].cls, cls) && str_eq(natives[i].name, m->name))
            return natives[i].fn;
    return NULL;
}
