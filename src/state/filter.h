/*
 * filter.h: the query language of get_all_where and get_all_records_where.
 *
 *     expr  := value "=" value | expr "and" expr | expr "or" expr | "not" expr
 *            | "true" | "false" | "(" expr ")"
 *     value := "field" STRING | STRING          STRING := '"' any-but-quote* '"'
 *
 * "and" and "or" bind alike, from the left; "not" binds loosest: not a and b is not(a and b). A
 * field is named by its column (name__label, _ref, uuid) and compared by its canonical text
 * (row.h).
 *
 * Parsing takes text from strangers; it is total, bounded (64 KiB, 1000 levels) and quick. A filter
 * is immutable and may be used by any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "state/row.h"

struct filter;

/* Errors: INVALID_VALUE(text, reason); INTERNAL_ERROR for a column the class does not have. */
struct err *filter_parse(const struct class_desc *cls, const char *text, struct filter **ret)
    _must_use_;
void filter_free(struct filter *f);
static inline void filter_freep(struct filter **f)
{
    filter_free(*f);
    *f = NULL;
}
bool filter_match(const struct filter *f, const struct row *r);
