/*
 * column.h: what a column of a record shows.
 *
 * A column's source is walked from the object (xe_desc.h tells the forms) and its value brought
 * into the form that people read: enums under their shown names, references as uuids or names,
 * times as text. The result is one of three: a string; a set of strings; a map of strings. Filters
 * and param-get look into sets and maps, tables print them joined.
 *
 * For the files of src/cli; stream thread.
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "cli/cmd.h"
#include "cli/xe_desc.h"
#include "state/row.h"

#define NOT_IN_DATABASE "<not in database>"

/* One object of a family. */
struct object {
    const struct xe_record *kind;
    const char *ref;
    const struct val *record; /* as get_record gives it; NULL where plain fields of `row` will do */
    const struct row *row;    /* NULL where there is a record alone */
};

const struct xe_record *record_find(const char *name);
const struct xe_column *column_find(const struct xe_record *r, const char *name); /* or NULL */
bool column_is_map(const struct xe_column *col);
bool column_is_set(const struct xe_column *col);

/* The column's value; the caller's reference. */
struct err *column_get(struct cmd *c, const struct object *o, const struct xe_column *col,
                       struct val **ret) _must_use_;
/* Such a value as one text: sets and maps joined. Caller's (free). */
char *column_text(const struct xe_column *col, const struct val *shown);
/* Both in one. */
struct err *column_get_text(struct cmd *c, const struct object *o, const struct xe_column *col,
                            char **ret) _must_use_;
/* The same at the end of `out`, without making values on the way where the column is a plain field.
 * `field` is column_field() of it: looked up once for many objects. Any other needs a record. */
struct err *column_put(struct cmd *c, const struct object *o, const struct xe_column *col,
                       const struct field_desc *field, struct buf *out) _must_use_;
/* The field that a column shows as it is, without a reference to follow; NULL if it is no such. */
const struct field_desc *column_field(const struct xe_record *r, const struct xe_column *col);
/* "name-label ( RW)"; caller's (free). */
char *column_label(const struct xe_column *col);

/* Brings a field's value into the form that people read, as a column without special format would;
 * for results of messages too. */
struct err *column_show(struct cmd *c, const struct xe_column *how, const struct val *v,
                        const struct type *type, struct val **ret) _must_use_;

/* Prints the columns of a comma-separated list ("all") of one object of a kind ("vbd"). */
struct err *object_print(struct cmd *c, const char *kind, const char *ref, const char *params)
    _must_use_;

/* "~name" sources. */
typedef struct err *(*computed_fn)(struct cmd *c, const struct object *o, struct val **ret);
computed_fn computed_find(const char *name);
