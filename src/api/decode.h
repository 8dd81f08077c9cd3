/*
 * decode.h: arguments as they came, brought into the types that the model declares.
 *
 * Clients differ: integers come as numbers or text, enums in any case, dates in many spellings,
 * records with too many or too few members. What comes out is canonical: the kind of each value is
 * that of its type, enums are spelled as in the model, a record given to a constructor has exactly
 * the members it may have.
 *
 * Pure functions; any thread. Private to api/.
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "state/desc.h"

/* How many of `params` (the session included, if the message takes one) are too many or missing:
 * MESSAGE_PARAMETER_COUNT_MISMATCH. */
struct err *decode_check_count(const struct msg_desc *m, const char *name, const struct val *params)
    _must_use_;

/* Fills a new argument struct of the message (gen/msg.h) from params[first…], which were counted;
 * what is left out takes its default. Drop it with decode_free. */
struct err *decode_args(const struct msg_desc *m, const struct val *params, size_t first,
                        void **ret) _must_use_;
void decode_free(void *args); /* NULL is fine */

/* The argument of that number as it is in the struct, for strings and refs. */
const char *decode_str(const struct msg_desc *m, const void *args, unsigned i);
/* Any argument as a value, with a new reference. */
struct val *decode_arg(const struct msg_desc *m, const void *args, unsigned i);
