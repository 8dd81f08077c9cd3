/* dump_write.c: a snapshot as an XML document; see dump.h. */
#include <errno.h>
#include <inttypes.h>
#include <strings.h>

#include "gen/rec.h"
#include "state/dump.h"

#define PIECE_BYTES (64u << 10)
#define ROW_MAX     (64u << 20)
#define REDACTED    "REDACTED"

struct writer {
    const struct snap *snap;
    unsigned flags;
    dump_put_fn put;
    void *arg;
    struct buf out;  /* what was not given to `put` yet */
    struct buf text; /* a column's value */
};

bool dump_has_table(const struct class_desc *cls)
{
    return (cls->flags & CLASS_PERSIST) && cls->num != CLASS_op;
}

bool dump_key_is_secret(const char *key)
{
    static const char *const words[] = {"password", "passwd", "secret", "token", "credential"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcasestr(key, words[i]))
            return true;
    return false;
}

static struct err *flush(struct writer *w)
{
    if (!buf_ok(&w->out))
        return err_internal("a row of the database is larger than %u bytes", ROW_MAX);
    int r = w->put(w->arg, buf_str(&w->out), w->out.size);
    buf_clear(&w->out);
    return r < 0 ? err_errno(-r, "cannot write the database") : NULL;
}

/* Text as an attribute's value: the format's own escapes first, then XML's. Characters that XML
 * cannot carry are dropped. */
static void put_escaped(struct buf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case ' ':
            buf_puts(b, "%.");
            break;
        case '\t':
            buf_puts(b, "%t");
            break;
        case '\n':
            buf_puts(b, "%n");
            break;
        case '\r':
            buf_puts(b, "%r");
            break;
        case '%':
            buf_puts(b, "%%");
            break;
        case '&':
            buf_puts(b, "&amp;");
            break;
        case '<':
            buf_puts(b, "&lt;");
            break;
        case '>':
            buf_puts(b, "&gt;");
            break;
        case '"':
            buf_puts(b, "&quot;");
            break;
        default:
            if ((unsigned char)*p >= ' ')
                buf_putc(b, *p);
        }
    }
}

static void put_attribute(struct writer *w, const char *name, const char *text)
{
    buf_printf(&w->out, " %s=\"", name);
    put_escaped(&w->out, text);
    buf_putc(&w->out, '"');
}

static void put_number(struct writer *w, const char *name, uint64_t n)
{
    buf_printf(&w->out, " %s=\"%" PRIu64 "\"", name, n);
}

/* A map of strings with what its secret keys hold taken out. */
static struct val *masked_map(const struct val *map)
{
    struct val *out = val_map();
    for (size_t i = 0; i < val_count(map); i++) {
        const char *key = val_key_at(map, i);
        if (dump_key_is_secret(key))
            val_put_str(out, key, REDACTED);
        else
            val_put(out, key, val_ref(val_at(map, i)));
    }
    return out;
}

static bool is_text_map(const struct type *t)
{
    return t->kind == TYPE_MAP && t->key->kind == TYPE_STRING && t->elem->kind == TYPE_STRING;
}

static void put_value(struct writer *w, const struct row *r, const struct field_desc *f)
{
    bool masked = w->flags & DUMP_MASKED;
    if (masked && (f->flags & FIELD_SECRET) && f->type->kind == TYPE_STRING) {
        buf_puts(&w->text, REDACTED);
    } else if (masked && is_text_map(f->type)) {
        _cleanup_(val_unrefp) struct val *v = row_get(r, f);
        _cleanup_(val_unrefp) struct val *clean = masked_map(v);
        val_text(clean, f->type, &w->text);
    } else {
        row_text(r, f, &w->text);
    }
}

static struct err *put_row(struct writer *w, const struct row *r)
{
    buf_puts(&w->out, "<row");
    put_attribute(w, "ref", r->ref);
    put_number(w, "__ctime", r->created);
    put_number(w, "__mtime", r->modified);
    put_attribute(w, "_ref", r->ref);
    desc_each_field (f, r->cls) {
        if (!field_is_stored(f))
            continue;
        buf_clear(&w->text);
        put_value(w, r, f);
        put_attribute(w, f->column, buf_str(&w->text));
        w->out.full |= w->text.full;
    }
    buf_puts(&w->out, "/>");
    return w->out.size >= PIECE_BYTES ? flush(w) : NULL;
}

static struct err *put_table(struct writer *w, const struct class_desc *cls)
{
    buf_printf(&w->out, "<table name=\"%s\">", cls->name);
    snap_each (r, w->snap, cls->num)
        TRY(put_row(w, r));
    buf_puts(&w->out, "</table>");
    return NULL;
}

static void put_pair(struct writer *w, const char *key, uint64_t value)
{
    buf_printf(&w->out, "<pair key=\"%s\" value=\"%" PRIu64 "\"/>", key, value);
}

static struct err *put_all(struct writer *w)
{
    buf_puts(&w->out, "<?xml version=\"1.0\"?>\n<database><manifest>");
    put_pair(w, "schema_major_vsn", DUMP_SCHEMA_MAJOR);
    put_pair(w, "schema_minor_vsn", DUMP_SCHEMA_MINOR);
    put_pair(w, "generation_count", snap_generation(w->snap));
    buf_puts(&w->out, "</manifest>");
    for (unsigned i = 0; i < snap_n_classes(w->snap); i++) {
        const struct class_desc *cls = snap_class(w->snap, (int)i);
        if (dump_has_table(cls))
            TRY(put_table(w, cls));
    }
    buf_puts(&w->out, "</database>\n");
    return flush(w);
}

struct err *dump_write(const struct snap *s, unsigned flags, dump_put_fn put, void *arg)
{
    struct writer w = {.snap = s, .flags = flags, .put = put, .arg = arg};
    buf_init(&w.out, ROW_MAX);
    buf_init(&w.text, ROW_MAX);
    struct err *e = put_all(&w);
    buf_done(&w.out);
    buf_done(&w.text);
    return e;
}
