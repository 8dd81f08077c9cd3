/* permit.c: see permit.h. */
#include "task/permit.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"
#include "gen/error.h"

bool permit_has(uint32_t roles, enum role role)
{
    uint32_t at_least = ~((1u << role) - 1) & ((1u << ROLE_N) - 1);
    return roles & at_least;
}

struct err *permit_denied(const char *permission, const char *key)
{
    _cleanup_(freep) char *name =
        key ? mem_printf("%s/key:%s", permission, key) : mem_strdup(permission);
    for (char *c = name; *c && !(key && *c == '/'); c++)
        *c = (char)tolower((unsigned char)*c);
    return err_RBAC_PERMISSION_DENIED(name, "the session's roles do not include this permission");
}

const struct key_role *permit_find_key(const struct key_role *keys, const char *key)
{
    for (const struct key_role *k = keys; k && k->key; k++) {
        size_t n = strlen(k->key);
        bool prefix = n && k->key[n - 1] == '*';
        if (prefix ? strncmp(key, k->key, n - 1) == 0 : str_eq(key, k->key))
            return k;
    }
    return NULL;
}

static bool is_same_entry(const struct val *a, const struct val *b, const char *key)
{
    const struct val *x = val_map_get(a, key), *y = val_map_get(b, key);
    return x && y ? val_equal(x, y) : x == y;
}

static struct err *check_keys_of(const struct caller *c, const struct msg_desc *m,
                                 const struct key_role *keys, const struct val *of,
                                 const struct val *other)
{
    for (size_t i = 0; i < val_count(of); i++) {
        const char *key = val_key_at(of, i);
        const struct key_role *k = permit_find_key(keys, key);
        if (!k || k->role <= m->role || permit_has(c->roles, k->role) ||
            is_same_entry(of, other, key))
            continue;
        _cleanup_(freep) char *name = mem_printf("%s.%s", desc_classes[m->cls]->name, m->name);
        return permit_denied(name, k->key);
    }
    return NULL;
}

struct err *permit_map(const struct caller *c, const struct msg_desc *m,
                       const struct key_role *keys, const struct val *old, const struct val *fresh)
{
    if (c->superuser)
        return NULL;
    TRY(check_keys_of(c, m, keys, old, fresh));
    return check_keys_of(c, m, keys, fresh, old);
}

struct err *permit_new(const struct caller *c, const struct class_desc *cls,
                       const struct val *record)
{
    if (c->superuser)
        return NULL;
    desc_each_field (f, cls) {
        const struct val *map = f->key_roles ? val_map_get(record, f->name) : NULL;
        if (!map || val_kind(map) != VAL_MAP)
            continue;
        _cleanup_(freep) char *name = mem_printf("%s.add_to_%s", cls->name, f->name);
        const struct msg_desc *add = desc_msg(name);
        if (add)
            TRY(check_keys_of(c, add, f->key_roles, map, val_empty_map()));
    }
    return NULL;
}
