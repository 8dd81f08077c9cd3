/*
 * dump.h: the whole database as one XML document, and back: the form that XenAPI hosts serve at
 * /pool/xmldbdump, keep as backup and take for a restore.
 *
 *     <?xml version="1.0"?>
 *     <database>
 *       <manifest><pair key="schema_major_vsn" value="5"/> …</manifest>
 *       <table name="VM">
 *         <row ref="OpaqueRef:…" __ctime="12" __mtime="40" _ref="OpaqueRef:…" name__label="a%.b"
 * …/>
 *       </table>
 *     </database>
 *
 * Attributes are columns under their database names, in canonical text (row.h) with blanks, TAB,
 * LF, CR and % written as %. %t %n %r %%. Every stored table is there, the house's own ones (boot
 * records) too, but not the journal; volatile and derived columns are left out. Both directions
 * go row by row, in constant memory.
 *
 *     TRY(dump_write(snap, 0, put, stream));
 *
 *     struct dump_reader *r = dump_reader_new(&(struct dump_reader_config){.row = take, .arg = a});
 *     while ((n = read(…)) > 0)
 *         TRY(dump_feed(r, p, n));
 *     TRY(dump_finish(r, &counts));
 *
 * What a reader is given comes from outside: no document types, bounded depth and sizes; tables and
 * columns that the model does not have are left out and counted; what is no such document, or of
 * another major version of the schema, is RESTORE_INCOMPATIBLE_VERSION. Any thread.
 */
#pragma once

#include "base/err.h"
#include "state/db.h"

#define DUMP_SCHEMA_MAJOR 5
#define DUMP_SCHEMA_MINOR 909

enum {
    /* Secrets, and what looks like one in a map, become REDACTED: for reports. */
    DUMP_MASKED = 1 << 0,
};

/* Takes a piece; 0 or -errno, which ends the dump. */
typedef int (*dump_put_fn)(void *arg, const void *p, size_t size);

struct err *dump_write(const struct snap *s, unsigned flags, dump_put_fn put, void *arg) _must_use_;

struct dump_manifest {
    uint64_t schema_major, schema_minor, generation;
};

struct dump_counts {
    struct dump_manifest manifest;
    uint64_t rows;           /* given to `row` */
    uint64_t unknown_rows;   /* of tables that the model does not have, or does not store */
    uint64_t unknown_values; /* columns it does not have, and text that does not fit */
};

struct dump_reader_config {
    /* A private row, dropped afterwards; ref, created, modified and its stored fields are set. */
    struct err *(*row)(void *arg, struct row *r);
    void *arg;
};

struct dump_reader;
struct dump_reader *dump_reader_new(const struct dump_reader_config *config);
void dump_reader_free(struct dump_reader *r); /* NULL is fine */
static inline void dump_reader_freep(struct dump_reader **r)
{
    dump_reader_free(*r);
    *r = NULL;
}
struct err *dump_feed(struct dump_reader *r, const void *p, size_t size) _must_use_;
struct err *dump_finish(struct dump_reader *r, struct dump_counts *ret) _must_use_;

/* Does a key of a map name something secret (password, chapsecret, …)? */
bool dump_key_is_secret(const char *key);
/* Is this table part of a dump? */
bool dump_has_table(const struct class_desc *cls);
