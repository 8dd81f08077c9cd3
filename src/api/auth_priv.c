/*
 * auth_priv.c: accounts of the machine, for installed hosts: PAM, asked by cairn-privd.
 *
 * A right password is not enough to use a host: root and the members of the group cairn-admin are
 * superusers, others have the roles that a subject gives them, or none.
 */
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "api/auth.h"
#include "host/priv.h"
#include "state/desc.h"

#define ADMIN_GROUP "cairn-admin"
#define NAMES_MAX   (64 << 10)
#define GROUPS_MAX  1024

static bool in_group(const struct passwd *user, gid_t group)
{
    gid_t groups[GROUPS_MAX];
    int n = GROUPS_MAX;
    if (getgrouplist(user->pw_name, user->pw_gid, groups, &n) < 0)
        return false;
    for (int i = 0; i < n; i++)
        if (groups[i] == group)
            return true;
    return false;
}

static bool is_administrator(const char *name)
{
    _cleanup_(freep) char *names = mem_zalloc(2, NAMES_MAX);
    struct passwd user, *found_user = NULL;
    struct group group, *found_group = NULL;
    getpwnam_r(name, &user, names, NAMES_MAX, &found_user);
    if (!found_user || user.pw_uid == 0)
        return found_user;
    getgrnam_r(ADMIN_GROUP, &group, names + NAMES_MAX, NAMES_MAX, &found_group);
    return found_group && in_group(&user, group.gr_gid);
}

static struct err *priv_check(void *arg, const char *user, const char *password,
                              struct auth_facts *ret)
{
    bool accepted;
    TRY(priv_authenticate(arg, user, password, &accepted));
    if (!accepted)
        return auth_refused(user);
    *ret = (struct auth_facts){0};
    if (is_administrator(user))
        *ret = (struct auth_facts){.superuser = true, .roles = (1u << ROLE_N) - 1};
    return NULL;
}

static void priv_free(void *arg)
{
    free(arg);
}

struct auth *auth_new_priv(const char *socket)
{
    static const struct auth_ops ops = {.check = priv_check, .free = priv_free};
    return auth_new(&ops, mem_strdup(socket));
}
