/*
 * rbac.h: who may send which message.
 *
 * The model gives each message its lowest role, and protected keys of maps roles of their own. A
 * superuser is not checked. Roles and permissions (one per message and protected key) are also
 * objects of the API: rows of class role that stand in no database and are made here at start.
 *
 * After rbac_new nothing changes: any thread. Private to api/.
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "state/desc.h"
#include "state/row.h"
#include "task/op.h"

struct rbac;

struct rbac *rbac_new(void);
void rbac_free(struct rbac *); /* NULL is fine */

/* RBAC_PERMISSION_DENIED, or INTERNAL_ERROR for what only members of the pool may send. */
struct err *rbac_check(const struct caller *c, const struct msg_desc *m, const void *args)
    _must_use_;
/* The same for a permission that belongs to no message, such as "http/get_export". */
struct err *rbac_check_role(bool superuser, uint32_t roles, enum role role, const char *permission)
    _must_use_;
/* The permissions that a session with these roles has, lower case; borrowed. */
const struct val *rbac_permissions(const struct rbac *r, uint32_t roles);

/* The bits of a set of role references, each with all roles below it. */
uint32_t rbac_roles(const struct val *refs);
/* The role that has this reference, ROLE_N if none: permissions are not meant. */
enum role rbac_role_of(const char *ref);

/* ---- rows of class role ---- */
size_t rbac_count(const struct rbac *r);
const struct row *rbac_row_at(const struct rbac *r, size_t i);     /* the roles first */
const struct row *rbac_row(const struct rbac *r, const char *ref); /* NULL if none */
const struct row *rbac_row_by_uuid(const struct rbac *r, const char *uuid);
bool rbac_is_role(const struct rbac *r, const struct row *row); /* else it is a permission */
