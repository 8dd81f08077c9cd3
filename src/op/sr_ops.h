/* sr_ops.h: what first start and facts need of sr_op.c; private to src/op. */
#pragma once

#include "op/world.h"

/* Brings the VDI records of an attached SR in line with what its storage says. */
struct err *sr_follow(struct ops *ops, const struct verb *v, const char *sr) _must_use_;

struct sr_new {
    const char *ref;
    struct sr_ref sr; /* uuid NULL: a fresh one */
    const char *name, *description, *content_type;
    bool shared;
    const struct val *other_config; /* NULL: none */
    const char *host;               /* with an attached PBD there; NULL: none */
};
void sr_add_records(struct txn *t, const struct sr_new *n);

/* A device-config with its passwords as secrets, and the other way round; the caller's. */
struct val *sr_secrets_hide(struct txn *t, const struct val *config);
struct val *sr_secrets_show(const struct snap *s, const struct val *config);
