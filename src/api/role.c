/* role.c: see role.h. The rows are rbac's. */
#include "api/role.h"

#include "api/rbac.h"
#include "gen/error.h"
#include "gen/msg.h"
#include "gen/rec.h"

static struct err *find_role(const struct call *c, const char *ref, const struct rec_role **ret)
{
    *ret = rec_role(rbac_row(c->api->rbac, ref));
    return *ret ? NULL : err_HANDLE_INVALID("role", ref);
}

void role_get_permissions(struct call *c)
{
    const struct args_role_get_permissions *a = c->args;
    const struct rec_role *role;
    struct err *e = find_role(c, a->self, &role);
    call_end(c, e, e ? NULL : val_ref(role->subroles));
}

void role_get_permissions_name_label(struct call *c)
{
    const struct args_role_get_permissions_name_label *a = c->args;
    const struct rec_role *role;
    struct err *e = find_role(c, a->self, &role);
    if (e) {
        call_end(c, e, NULL);
        return;
    }
    struct val *names = val_set();
    val_each (ref, role->subroles)
        val_add(names, val_rstr(rec_role(rbac_row(c->api->rbac, ref))->name_label));
    call_end(c, NULL, names);
}

/* The roles that include a permission. */
static struct val *roles_with(const struct rbac *r, const char *permission)
{
    struct val *set = val_set();
    for (size_t i = 0; i < rbac_count(r); i++) {
        const struct rec_role *role = rec_role(rbac_row_at(r, i));
        if (rbac_is_role(r, &role->row) && val_set_has(role->subroles, permission))
            val_add(set, val_rstr(role->row.ref));
    }
    return set;
}

void role_get_by_permission(struct call *c)
{
    const struct args_role_get_by_permission *a = c->args;
    call_end(c, NULL, roles_with(c->api->rbac, a->permission));
}

void role_get_by_permission_name_label(struct call *c)
{
    const struct args_role_get_by_permission_name_label *a = c->args;
    struct val *set = NULL;
    for (size_t i = 0; i < rbac_count(c->api->rbac) && !set; i++) {
        const struct rec_role *role = rec_role(rbac_row_at(c->api->rbac, i));
        if (!rbac_is_role(c->api->rbac, &role->row) && str_eq(role->name_label, a->label))
            set = roles_with(c->api->rbac, role->row.ref);
    }
    call_end(c, NULL, set ? set : val_set());
}
