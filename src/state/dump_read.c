/*
 * dump_read.c: the XML form of the database, row by row; see dump.h.
 *
 * The reader is as deep as the format: database, manifest or table, pair or row. An element that
 * stands elsewhere makes the document none of ours. expat keeps a tag until it is whole, so the
 * bytes that come without one ending are bounded.
 */
#define LOG_MODULE "state"
#include <expat.h>
#include <inttypes.h>

#include "gen/error.h"
#include "state/dump.h"

#define TAG_MAX  (64u << 20)
#define FEED_MAX (1u << 20)

enum place { AT_START, IN_DATABASE, IN_MANIFEST, IN_PAIR, IN_TABLE, IN_ROW, AT_END };

struct dump_reader {
    struct dump_reader_config config;
    XML_Parser expat;
    struct err *error; /* the first */
    enum place place;
    bool has_manifest;
    const struct class_desc *cls; /* of the table; NULL: to be left out */
    struct buf text;
    struct dump_counts counts;
    size_t unseen; /* bytes since the last whole tag */
};

static void fail(struct dump_reader *r, struct err *e)
{
    r->error = err_first(r->error, e);
    XML_StopParser(r->expat, XML_FALSE);
}

static void refuse(struct dump_reader *r, const char *why)
{
    fail(r, err_wrap(err_RESTORE_INCOMPATIBLE_VERSION(), "%s", why));
}

static const char *attribute(const char **attributes, const char *name)
{
    for (; attributes[0]; attributes += 2)
        if (str_eq(attributes[0], name))
            return attributes[1];
    return NULL;
}

static uint64_t number(const char **attributes, const char *name)
{
    const char *text = attribute(attributes, name);
    uint64_t n = 0;
    return text && str_u64(view_of(text), 0, INT64_MAX, &n) == 0 ? n : 0;
}

/* ---- manifest ---- */

static void take_pair(struct dump_reader *r, const char **attributes)
{
    struct dump_manifest *m = &r->counts.manifest;
    const struct {
        const char *key;
        uint64_t *value;
    } known[] = {{"schema_major_vsn", &m->schema_major},
                 {"schema_minor_vsn", &m->schema_minor},
                 {"generation_count", &m->generation}};
    const char *key = attribute(attributes, "key");
    for (size_t i = 0; key && i < ARRAY_LEN(known); i++)
        if (str_eq(key, known[i].key))
            *known[i].value = number(attributes, "value");
}

static void check_manifest(struct dump_reader *r)
{
    const struct dump_manifest *m = &r->counts.manifest;
    r->has_manifest = true;
    if (m->schema_major != DUMP_SCHEMA_MAJOR || m->schema_minor > DUMP_SCHEMA_MINOR)
        refuse(r, "the database has another schema");
}

/* ---- rows ---- */

static char unescaped(char c)
{
    switch (c) {
    case '.':
        return ' ';
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    default:
        return c;
    }
}

static void unescape(const char *text, struct buf *ret)
{
    buf_clear(ret);
    for (const char *p = text; *p; p++) {
        if (*p != '%' || !p[1]) {
            buf_putc(ret, *p);
            continue;
        }
        p++;
        if (*p == '_') /* two blanks, in old files */
            buf_puts(ret, "  ");
        else
            buf_putc(ret, unescaped(*p));
    }
}

static void take_column(struct dump_reader *r, struct row *row, const char *name, const char *text)
{
    const struct field_desc *f = desc_field_by_column(row->cls, name);
    bool fits = false;
    if (f && (f->flags & FIELD_DERIVED))
        return; /* follows from the other side */
    if (f && field_is_stored(f)) {
        unescape(text, &r->text);
        fits = row_parse(row, f, (struct view){buf_str(&r->text), r->text.size}) == 0;
    }
    r->counts.unknown_values += !fits;
}

static bool is_own(const char *name)
{
    return str_eq(name, "ref") || str_eq(name, "_ref") || str_starts(name, "__");
}

static void take_row(struct dump_reader *r, const char **attributes)
{
    const char *ref = attribute(attributes, "_ref");
    ref = ref ? ref : attribute(attributes, "ref");
    if (!r->cls) {
        r->counts.unknown_rows++;
        return;
    }
    if (!ref || ref_is_null(ref)) {
        refuse(r, "a row has no reference");
        return;
    }
    struct row *row = row_new(r->cls, rstr_new(ref));
    row->created = number(attributes, "__ctime");
    row->modified = number(attributes, "__mtime");
    for (const char **a = attributes; a[0]; a += 2)
        if (!is_own(a[0]))
            take_column(r, row, a[0], a[1]);
    struct err *e = r->config.row(r->config.arg, row);
    row_unref(row);
    r->counts.rows++;
    if (e)
        fail(r, e);
}

static void begin_table(struct dump_reader *r, const char **attributes)
{
    const char *name = attribute(attributes, "name");
    const struct class_desc *cls = name ? desc_class_by_name(name) : NULL;
    r->cls = cls && dump_has_table(cls) ? cls : NULL;
    if (!r->has_manifest)
        refuse(r, "a table stands before the manifest");
}

/* ---- the document ---- */

/* Which element may begin where, what it leads to, and what is done with it. */
static const struct element {
    enum place in, leads;
    const char *name;
    void (*begin)(struct dump_reader *r, const char **attributes);
    void (*end)(struct dump_reader *r);
} elements[] = {
    {AT_START, IN_DATABASE, "database", NULL, NULL},
    {IN_DATABASE, IN_MANIFEST, "manifest", NULL, check_manifest},
    {IN_MANIFEST, IN_PAIR, "pair", take_pair, NULL},
    {IN_DATABASE, IN_TABLE, "table", begin_table, NULL},
    {IN_TABLE, IN_ROW, "row", take_row, NULL},
};

static void XMLCALL on_start(void *arg, const char *name, const char **attributes)
{
    struct dump_reader *r = arg;
    r->unseen = 0;
    for (size_t i = 0; i < ARRAY_LEN(elements); i++) {
        const struct element *e = &elements[i];
        if (r->error || e->in != r->place || !str_eq(e->name, name))
            continue;
        r->place = e->leads;
        if (e->begin)
            e->begin(r, attributes);
        return;
    }
    if (!r->error)
        refuse(r, "an element stands where none of its kind may");
}

static void XMLCALL on_end(void *arg, const char *name)
{
    struct dump_reader *r = arg;
    (void)name;
    for (size_t i = 0; i < ARRAY_LEN(elements) && !r->error; i++) {
        if (elements[i].leads != r->place)
            continue;
        if (elements[i].end)
            elements[i].end(r);
        r->place = elements[i].in == AT_START ? AT_END : elements[i].in;
        return;
    }
}

static void XMLCALL on_doctype(void *arg, const char *name, const char *system, const char *pub,
                               int internal)
{
    (void)name, (void)system, (void)pub, (void)internal;
    refuse(arg, "the document has a document type");
}

struct dump_reader *dump_reader_new(const struct dump_reader_config *config)
{
    struct dump_reader *r = mem_new(struct dump_reader);
    r->config = *config;
    buf_init(&r->text, TAG_MAX);
    r->expat = XML_ParserCreate(NULL);
    XML_SetUserData(r->expat, r);
    XML_SetElementHandler(r->expat, on_start, on_end);
    XML_SetStartDoctypeDeclHandler(r->expat, on_doctype);
    return r;
}

void dump_reader_free(struct dump_reader *r)
{
    if (!r)
        return;
    XML_ParserFree(r->expat);
    buf_done(&r->text);
    err_free(r->error);
    free(r);
}

static struct err *parse(struct dump_reader *r, const char *p, size_t size, bool last)
{
    r->unseen += size;
    if (r->unseen > TAG_MAX)
        refuse(r, "an element is too large");
    if (!r->error && XML_Parse(r->expat, p, (int)size, last) != XML_STATUS_OK && !r->error)
        r->error = err_wrap(err_RESTORE_INCOMPATIBLE_VERSION(), "line %lu: %s",
                            XML_GetCurrentLineNumber(r->expat),
                            XML_ErrorString(XML_GetErrorCode(r->expat)));
    return r->error ? err_copy(r->error) : NULL;
}

struct err *dump_feed(struct dump_reader *r, const void *p, size_t size)
{
    for (const char *at = p; size > 0;) {
        size_t n = size < FEED_MAX ? size : FEED_MAX;
        TRY(parse(r, at, n, false));
        at += n;
        size -= n;
    }
    return NULL;
}

struct err *dump_finish(struct dump_reader *r, struct dump_counts *ret)
{
    TRY(parse(r, "", 0, true));
    if (!r->has_manifest)
        return err_wrap(err_RESTORE_INCOMPATIBLE_VERSION(), "the database has no manifest");
    *ret = r->counts;
    return NULL;
}
