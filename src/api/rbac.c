/*
 * rbac.c: see rbac.h.
 *
 * The uuid of a permission is the MD5 of its name as the model spells it; its label is that name in
 * lower case.
 */
#include "api/rbac.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/rstr.h"
#include "base/vec.h"
#include "gen/error.h"
#include "gen/rec.h"
#include "task/permit.h"

#define REF_PREFIX "OpaqueRef:"

struct rbac {
    VEC(const struct row *) rows;    /* the roles, then the permissions */
    const struct row **by_ref;       /* the same, sorted by ref */
    struct val *permissions[ROLE_N]; /* labels */
};

/* ---- checks ---- */

struct err *rbac_check_role(bool superuser, uint32_t roles, enum role role, const char *permission)
{
    if (superuser || role == ROLE_UNCHECKED)
        return NULL;
    if (role == ROLE_LOCAL_ROOT || !permit_has(roles, role))
        return permit_denied(permission, NULL);
    return NULL;
}

static const char *key_argument(const struct msg_desc *m, const void *args)
{
    for (unsigned i = 0; i < m->n_params; i++)
        if (str_eq(m->params[i].name, "key") && m->params[i].type->kind == TYPE_STRING)
            return *(const char *const *)((const char *)args + m->params[i].offset);
    return NULL;
}

struct err *rbac_check(const struct caller *c, const struct msg_desc *m, const void *args)
{
    if (m->flags & MSG_POOL_INTERNAL && !c->pool)
        return err_internal("'%s.%s' is for members of the pool only", desc_classes[m->cls]->name,
                            m->name);
    if (c->superuser || m->role == ROLE_UNCHECKED)
        return NULL;
    const char *key = m->key_roles ? key_argument(m, args) : NULL;
    const struct key_role *k = key ? permit_find_key(m->key_roles, key) : NULL;
    enum role need = k ? k->role : m->role;
    /* client-cert stands beside the others: only read-only messages and those marked for it */
    bool certificate_only = !permit_has(c->roles, ROLE_CLIENT_CERT + 1);
    if (m->flags & MSG_CLIENT_CERT && certificate_only && permit_has(c->roles, ROLE_CLIENT_CERT))
        return NULL;
    if (need != ROLE_LOCAL_ROOT && permit_has(c->roles, need))
        return NULL;
    _cleanup_(freep) char *name = mem_printf("%s.%s", desc_classes[m->cls]->name, m->name);
    return permit_denied(name, k ? k->key : NULL);
}

enum role rbac_role_of(const char *ref)
{
    for (enum role i = 0; i < ROLE_N; i++)
        if (str_starts(ref, REF_PREFIX) && str_eq(ref + strlen(REF_PREFIX), desc_roles[i].uuid))
            return i;
    return ROLE_N;
}

/* client-cert stands beside the others: it includes what is below it and is included above. */
uint32_t rbac_roles(const struct val *refs)
{
    uint32_t bits = 0;
    val_each (ref, refs) {
        enum role r = rbac_role_of(ref);
        if (r < ROLE_N)
            bits |= (2u << r) - 1;
    }
    return bits;
}

/* ---- rows ---- */

static const char *md5_uuid(const char *name)
{
    unsigned char h[EVP_MAX_MD_SIZE];
    EVP_Digest(name, strlen(name), h, NULL, EVP_md5(), NULL);
    return rstr_printf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", h[0],
                       h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12],
                       h[13], h[14], h[15]);
}

static struct rec_role *add_row(struct rbac *r, const char *uuid, const char *label,
                                const char *description)
{
    struct row *row = row_new(desc_classes[CLASS_role], rstr_printf("OpaqueRef:%s", uuid));
    struct rec_role *rec = (struct rec_role *)row;
    rstr_set(&rec->uuid, uuid);
    rstr_set(&rec->name_label, label);
    rstr_set(&rec->name_description, description);
    vec_push(&r->rows, row);
    return rec;
}

/* Makes the permission and enters it into all roles that have it. */
static void add_permission(struct rbac *r, const char *name, enum role role)
{
    if (role >= ROLE_N)
        return;
    _cleanup_(rstr_unrefp) const char *uuid = md5_uuid(name);
    _cleanup_(freep) char *label = mem_strdup(name);
    for (char *c = label; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    struct rec_role *p = add_row(r, uuid, label, "A permission");
    _cleanup_(val_unrefp) struct val *ref = val_rstr(p->row.ref), *shown = val_rstr(p->name_label);
    for (enum role has = role; has < ROLE_N; has++) {
        struct rec_role *owner = (struct rec_role *)r->rows.v[has];
        val_add((struct val *)owner->subroles, val_ref(ref));
        val_add(r->permissions[has], val_ref(shown));
    }
}

static void add_message(struct rbac *r, const struct msg_desc *m)
{
    _cleanup_(freep) char *name = mem_printf("%s.%s", desc_classes[m->cls]->name, m->name);
    add_permission(r, name, m->role);
    for (const struct key_role *k = m->key_roles; k && k->key; k++) {
        _cleanup_(freep) char *with_key = mem_printf("%s/key:%s", name, k->key);
        add_permission(r, with_key, k->role);
    }
}

static int by_ref(const void *a, const void *b)
{
    return strcmp((*(const struct row *const *)a)->ref, (*(const struct row *const *)b)->ref);
}

struct rbac *rbac_new(void)
{
    struct rbac *r = mem_new(struct rbac);
    for (enum role i = 0; i < ROLE_N; i++) {
        struct rec_role *rec =
            add_row(r, desc_roles[i].uuid, desc_roles[i].name, "A role and all that it may do");
        rec->is_internal = desc_roles[i].internal;
        val_assign(&rec->subroles, val_set());
        r->permissions[i] = val_set();
    }
    for (unsigned i = 0; i < desc_n_msgs; i++)
        if (!(desc_classes[desc_msgs[i]->cls]->flags & CLASS_INTERNAL))
            add_message(r, desc_msgs[i]);
    for (unsigned i = 0; i < desc_n_permissions; i++)
        add_permission(r, desc_permissions[i].name, desc_permissions[i].role);
    r->by_ref = mem_dup(r->rows.v, r->rows.n * sizeof(*r->rows.v));
    qsort(r->by_ref, r->rows.n, sizeof(*r->by_ref), by_ref);
    return r;
}

void rbac_free(struct rbac *r)
{
    if (!r)
        return;
    vec_each (row, &r->rows)
        row_unref(*row);
    vec_done(&r->rows);
    for (unsigned i = 0; i < ROLE_N; i++)
        val_unref(r->permissions[i]);
    free(r->by_ref);
    free(r);
}

const struct val *rbac_permissions(const struct rbac *r, uint32_t roles)
{
    for (int i = ROLE_N - 1; i >= 0; i--)
        if (roles & (1u << i))
            return r->permissions[i];
    return val_empty_set();
}

size_t rbac_count(const struct rbac *r)
{
    return r->rows.n;
}

const struct row *rbac_row_at(const struct rbac *r, size_t i)
{
    return r->rows.v[i];
}

const struct row *rbac_row(const struct rbac *r, const char *ref)
{
    struct row wanted = {.ref = ref};
    const struct row *key = &wanted;
    const struct row **found = bsearch(&key, r->by_ref, r->rows.n, sizeof(*r->by_ref), by_ref);
    return found ? *found : NULL;
}

const struct row *rbac_row_by_uuid(const struct rbac *r, const char *uuid)
{
    _cleanup_(freep) char *ref = mem_printf("OpaqueRef:%s", uuid);
    return rbac_row(r, ref);
}

bool rbac_is_role(const struct rbac *r, const struct row *row)
{
    for (unsigned i = 0; i < ROLE_N; i++)
        if (r->rows.v[i] == row)
            return true;
    return false;
}
