/*
 * claim_class.h: what the op rules of a class come to, worked out once; private to claim.c and
 * allowed.c.
 *
 * The tables are made at the first question and kept for ever. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "state/desc.h"

#define CLAIM_OPS_MAX 128 /* as many as op_desc.along has bits */

struct claim_class {
    const struct field_desc *blocked;          /* blocked_operations; NULL if it has none */
    const struct field_desc *const *followers; /* lead to objects whose rules look at this one */
    unsigned n_followers;
    /* A change of anything else changes nothing that is allowed, here or around. */
    const struct field_desc *const *inputs;
    unsigned n_inputs;
    /* Bit per operation that a call can begin: some message for it has a handler, or it has no
     * message of its own (it is claimed by operations on other objects). */
    uint64_t offered[CLAIM_OPS_MAX / 64];
    bool has_rules; /* its allowed_operations are kept by allowed.c */
};

const struct claim_class *claim_class(const struct class_desc *c);

/* claim.c: the part of claim_check that looks at the state alone. */
struct row;
bool claim_state_fits(const struct row *row, const struct op_desc *rule);
