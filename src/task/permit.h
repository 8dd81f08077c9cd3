/*
 * permit.h: what a caller's roles allow, of messages and of the protected keys of maps.
 *
 * Some keys of maps (VM.other_config:pci) need a higher role than the rest of their map; whatever
 * route an entry takes into a record, its role is asked for.
 *
 * Pure functions; any thread. A superuser is not checked by those that take a caller.
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "state/desc.h"
#include "task/op.h"

/* Do the bits (one per enum role) include `role` or one above it? */
bool permit_has(uint32_t roles, enum role role);
/* RBAC_PERMISSION_DENIED for "Class.message" or, with a key, "Class.message/key:KEY". */
struct err *permit_denied(const char *permission, const char *key) _must_use_;
/* The rule that a key falls under; NULL if none. */
const struct key_role *permit_find_key(const struct key_role *keys, const char *key);

/* A whole map is set by message m: an entry that changes and whose key needs a higher role than
 * the message is refused. */
struct err *permit_map(const struct caller *c, const struct msg_desc *m,
                       const struct key_role *keys, const struct val *old, const struct val *fresh)
    _must_use_;
/* The maps of a record that a new object of that class is made of, by their fields' names, as if
 * each entry came by add_to_FIELD. Members that are no maps are passed over. */
struct err *permit_new(const struct caller *c, const struct class_desc *cls,
                       const struct val *record) _must_use_;
