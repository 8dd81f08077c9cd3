/*
 * claim_rules.h: what the model's op rules cannot say; private to claim.c.
 *
 * A rule is a function named in the model (`rule <name>`). It sees the object and, through the
 * view, the objects around it, and says why the operation may not start. Thread: any.
 */
#pragma once

#include "base/err.h"
#include "state/row.h"
#include "task/claim.h"

typedef struct err *(*claim_rule_fn)(const struct claim_view *v, const struct row *row,
                                     int operation);

/* NULL if there is no such rule. */
claim_rule_fn claim_rule_named(const char *name);

/* Can a rule decide by a field of that type? By flags, states, numbers, references and whatever
 * holds such; never by text, dates or fractions, which clients may write as they like. A rule that
 * does otherwise has to be told here, or allowed_operations would not follow. */
bool claim_rule_reads(const struct type *type);

/* Objects of other classes whose rules look at objects of `cls`: the fields of cls that lead to
 * them, ended by NULL. */
const char *const *claim_rule_followers(const char *cls);
