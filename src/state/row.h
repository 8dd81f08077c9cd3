/*
 * row.h: records, as every layer above sees them.
 *
 * A record is a generated struct (gen/rec.h) whose first member is `struct row`. A published record
 * never changes; a transaction works on a private copy (txn.h). What can be said of all classes
 * alike - copying, comparing, turning into a value or text and back - is done here by walking the
 * descriptors. Records are counted; members are owned by the record (rstr and val references).
 *
 * Canonical text of a value, as in the store, in filters (get_all_records_where) and in the
 * database dump: bool true/false, int decimal, float %.18g, datetime as on the wire, enum its name,
 * ref its text, set ('a' 'b'), map (('k' 'v') ('k2' 'v2')) with ' and \ escaped by \.
 *
 * Any thread, except where a function says that the row must be private.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rstr.h"
#include "base/str.h"
#include "base/val.h"
#include "state/desc.h"

struct row {
    const struct class_desc *cls;
    atomic_uint refs;
    const char *ref;   /* rstr, "OpaqueRef:…" */
    uint64_t created;  /* generation */
    uint64_t modified; /* generation of the last durable change; the id of its event */
    /* Kept by db. */
    uint64_t seq;    /* number of creation, unique among all rows; the order of a class */
    uint64_t born;   /* gen + vol of this process at creation */
    uint64_t stamp;  /* gen + vol at the last change; 0: private to an open transaction */
    uint64_t change; /* place in the list of changes */
};

#define REF_NULL "OpaqueRef:NULL"
/* A reference that names nothing: OpaqueRef:NULL or "". */
bool ref_is_null(const char *ref);
/* A fresh reference; the caller owns the rstr. */
const char *ref_new(void);

/* A private record with every field at its default. `ref` is taken over. */
struct row *row_new(const struct class_desc *cls, const char *ref);
struct row *row_copy(const struct row *r); /* private copy; shares strings and values */
/* Takes strings and values that are equal to those of another row of the class from there, so that
 * they exist once. A private row. */
void row_share(struct row *r, const struct row *like);
bool row_is_equal(const struct row *a, const struct row *b); /* all fields */
struct row *row_ref(const struct row *r);
void row_unref(const struct row *r); /* NULL is fine */
static inline void row_unrefp(const struct row **r)
{
    row_unref(*r);
    *r = NULL;
}

/* A field as a value (a new reference), with enums by name. */
struct val *row_get(const struct row *r, const struct field_desc *f);
/* Sets a field of a private row from a value of the fitting kind; the reference stays the caller's.
 * -EINVAL if the kind does not fit or an enum name is unknown. */
int row_set(struct row *r, const struct field_desc *f, const struct val *v) _must_use_;
bool row_field_equal(const struct row *a, const struct row *b, const struct field_desc *f);
/* The whole record as the API shows it (no internal fields). */
struct val *row_record(const struct row *r);
/* These fields of it alone; `keys` are their names as rstr. */
struct val *row_part(const struct row *r, const struct field_desc *const *fields,
                     const char *const *keys, size_t n);

/* Canonical text. row_parse gives -EINVAL for text that is not canonical. */
void row_text(const struct row *r, const struct field_desc *f, struct buf *ret);
/* The text of a bool, enum, reference or string without making any; NULL for other kinds. */
const char *row_word(const struct row *r, const struct field_desc *f);
void text_quote(struct view v, struct buf *ret); /* in single quotes, ' and \ escaped by \ */
void text_escape(struct buf *b, size_t from);    /* what stands in b from there on, in place */
void val_text(const struct val *v, const struct type *t, struct buf *ret);
int val_parse(struct view text, const struct type *t, struct val **ret) _must_use_;
int row_parse(struct row *r, const struct field_desc *f, struct view text) _must_use_;

/* What a store keeps of a row: (('column' 'text') …) of the stored fields that differ from their
 * defaults; volatile and derived fields are left out. */
bool field_is_stored(const struct field_desc *f);
void row_encode(const struct row *r, struct buf *ret);
/* Sets the fields of a fresh row. Columns that the class does not have any more and text that does
 * not fit are left out and counted in *ret_skipped; -EINVAL if `data` is no such list. */
int row_decode(struct row *r, struct view data, unsigned *ret_skipped) _must_use_;
