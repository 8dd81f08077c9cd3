/*
 * select.h: which objects a command line means.
 *
 * A filter is "column=value", "map-column:key=value" (older: "map-column-key=value") or
 * "set-column:contains=value". Commands with selectors also take vm= (host=, sr=) with a uuid or a
 * name, and more than one object only with --multiple. For the files of src/cli; stream thread.
 */
#pragma once

#include "cli/column.h"

/* What a parameter's name says about a record's columns. */
struct param_name {
    const struct xe_column *column;
    const char *key; /* behind the colon (or dash): of a map, or "contains"; NULL: the column
                        itself. Points into the name. */
};
/* CLI_FAILURE: Unknown field. */
struct err *param_name_parse(const struct xe_record *r, const char *name, struct param_name *ret)
    _must_use_;

/* Objects of a kind, and the records or rows that they borrow from. */
struct selection {
    struct val *all; /* map ref -> record, or NULL */
    struct api_rows rows;
    VEC(struct object) v;
};
void selection_done(struct selection *s);

/* An expression of get_all_records_where that keeps what `where` keeps and has the uuid and name
 * that the arguments ask for, so that few records are fetched; the filters still have to be
 * applied. `either` (may be NULL) is a parameter that gives a uuid or a name. Caller's (free). */
char *selection_where(const struct xe_record *r, const struct args *a, const char *where,
                      const char *either);
/* All of the class; `where` is an expression of get_all_records_where. */
struct err *selection_all(struct cmd *c, const struct xe_record *r, const char *where,
                          struct selection *ret) _must_use_;
/* The same as rows, without records; of a class that is kept elsewhere, records. */
struct err *selection_rows(struct cmd *c, const struct xe_record *r, const char *where,
                           struct selection *ret) _must_use_;
/* Gives objects that have none records of at least these fields (a list that ends with NULL; NULL:
 * all). */
void selection_make_records(struct selection *s, const struct field_desc *const *fields);
/* Keeps the objects to which "name=value" applies. */
struct err *selection_filter(struct cmd *c, struct selection *s, const struct xe_record *r,
                             const char *name, const char *value) _must_use_;

/* The objects meant by the selectors of the running command. What its table entry declares as
 * parameters selects nothing. `flag` is XE_VM_SELECTORS, XE_HOST_SELECTORS or XE_SR_SELECTORS.
 * CLI_FAILURE if there is none, or more than one without multiple=true. */
struct err *select_objects(struct cmd *c, unsigned flag, struct selection *ret) _must_use_;
/* Runs `fn` on each; one failure among several does not stop the others. */
struct err *select_each(struct cmd *c, unsigned flag,
                        struct err *(*fn)(struct cmd *c, const struct object *o, void *arg),
                        void *arg) _must_use_;
