/*
 * show.c: records and values as JSON of REST.
 *
 * A reference becomes the path of what it names, null if it names nothing; a date is RFC 3339; an
 * integer is a number. Everything else is as in JSON-RPC. Any thread.
 */
#include <math.h>
#include <string.h>

#include "base/str.h"
#include "codec/json.h"
#include "gen/rec.h"
#include "rest/rest_impl.h"

static const char *uuid_of(const struct row *r)
{
    int n = r->cls->field_uuid;
    if (n < 0)
        return "";
    return *(const char *const *)((const char *)r + r->cls->fields[n].offset);
}

void rest_put_path(struct buf *b, const struct rest_class *c, const struct row *r, const char *ref)
{
    const char *uuid = r ? uuid_of(r) : "";
    buf_printf(b, REST_ROOT "/%s/%s", c->path, *uuid ? uuid : ref);
}

void rest_put_link(struct rest_show *s, int cls, const char *ref)
{
    const struct rest_class *c = cls >= 0 ? rest_class_by_num(cls) : NULL;
    const struct row *r = cls >= 0 ? api_row(s->api, s->snap, cls, ref) : NULL;
    /* The reference of a session is its secret. */
    bool hidden = cls == CLASS_session && !r;
    if (ref_is_null(ref) || hidden) {
        json_put_null(s->b);
        return;
    }
    char text[512];
    struct buf path = {.data = text, .cap = sizeof(text), .max = sizeof(text) - 1};
    if (c)
        rest_put_path(&path, c, r, ref);
    json_put_str(s->b, c ? (struct view){text, path.size} : view_of(ref));
}

void rest_put_datetime(struct buf *b, int64_t seconds)
{
    char t[DATETIME_SIZE], text[32];
    str_datetime(seconds, t);
    struct buf out = {.data = text, .cap = sizeof(text), .max = sizeof(text) - 1};
    buf_printf(&out, "%.4s-%.2s-%s", t, t + 4, t + 6);
    json_put_str(b, (struct view){text, out.size});
}

void rest_etag(const struct row *r, char out[REST_ETAG_SIZE])
{
    struct buf b = {.data = out, .cap = REST_ETAG_SIZE, .max = REST_ETAG_SIZE - 1};
    buf_printf(&b, "\"%llu-%llu\"", (unsigned long long)r->modified, (unsigned long long)r->stamp);
}

/* ---- values ---- */

static void show_set(struct rest_show *s, const struct type *elem, const struct val *v)
{
    json_begin_set(s->b);
    for (size_t i = 0; i < val_count(v); i++)
        rest_show_val(s, elem, val_at(v, i));
    json_end_set(s->b);
}

/* A key that is a reference is spelled as a link, too. */
static void put_key(struct rest_show *s, const struct type *t, const char *key)
{
    if (t->kind != TYPE_REF || ref_is_null(key)) {
        json_put_key(s->b, view_of(key));
        return;
    }
    rest_put_link(s, t->cls, key);
    buf_putc(s->b, ':');
}

static void show_map(struct rest_show *s, const struct type *t, const struct val *v)
{
    json_begin_map(s->b);
    for (size_t i = 0; i < val_count(v); i++) {
        put_key(s, t->key, val_key_at(v, i));
        rest_show_val(s, t->elem, val_at(v, i));
    }
    json_end_map(s->b);
}

static bool fits(const struct type *t, const struct val *v)
{
    static const enum val_kind kinds[] = {
        [TYPE_VOID] = VAL_VOID,   [TYPE_BOOL] = VAL_BOOL,     [TYPE_INT] = VAL_INT,
        [TYPE_FLOAT] = VAL_FLOAT, [TYPE_STRING] = VAL_STRING, [TYPE_DATETIME] = VAL_DATETIME,
        [TYPE_ENUM] = VAL_STRING, [TYPE_REF] = VAL_STRING,    [TYPE_SET] = VAL_SET,
        [TYPE_MAP] = VAL_MAP,     [TYPE_RECORD] = VAL_MAP,    [TYPE_OPTION] = VAL_SET,
    };
    return kinds[t->kind] == val_kind(v);
}

static void show_record(struct rest_show *s, int cls, const struct val *v)
{
    if (cls < 0)
        json_put_val(s->b, v);
    else
        rest_show_record(s, desc_classes[cls], NULL, v);
}

void rest_show_val(struct rest_show *s, const struct type *t, const struct val *v)
{
    if (!fits(t, v)) { /* what a handler says beside its type stands as it is */
        json_put_val(s->b, v);
        return;
    }
    switch (t->kind) {
    case TYPE_FLOAT:
        if (isfinite(val_get_float(v)))
            json_put_float(s->b, val_get_float(v));
        else
            json_put_null(s->b);
        break;
    case TYPE_DATETIME:
        rest_put_datetime(s->b, val_get_int(v));
        break;
    case TYPE_REF:
        rest_put_link(s, t->cls, val_get_str(v));
        break;
    case TYPE_SET:
        show_set(s, t->elem, v);
        break;
    case TYPE_MAP:
        show_map(s, t, v);
        break;
    case TYPE_RECORD:
        show_record(s, t->cls, v);
        break;
    case TYPE_OPTION:
        if (val_count(v))
            rest_show_val(s, t->elem, val_at(v, 0));
        else
            json_put_null(s->b);
        break;
    default:
        json_put_val(s->b, v);
    }
}

/* ---- records ---- */

/* What each object has beside its fields: where it is, and its reference in XenAPI. */
static void put_identity(struct rest_show *s, const struct class_desc *cls, const char *ref)
{
    json_put_key(s->b, view_of("href"));
    rest_put_link(s, cls->num, ref);
    if (cls->num == CLASS_session)
        return;
    json_put_key(s->b, view_of("ref"));
    json_put_str(s->b, view_of(ref));
}

/* A task's result is text of XML-RPC; where it is one object of ours, say which. */
static bool show_task_result(struct rest_show *s, const char *text)
{
    size_t size = strlen(text), open = strlen("<value>"), close = strlen("</value>");
    if (!str_starts(text, "<value>OpaqueRef:") || !str_ends(text, "</value>"))
        return false;
    _cleanup_(freep) char *ref = mem_strndup(text + open, size - open - close);
    for (unsigned i = 0; i < rest_n_classes; i++) {
        if (!api_row(s->api, s->snap, rest_classes[i].cls, ref))
            continue;
        rest_put_link(s, rest_classes[i].cls, ref);
        return true;
    }
    return false;
}

static void show_field(struct rest_show *s, const struct class_desc *cls,
                       const struct field_desc *f, const struct val *v)
{
    json_put_key(s->b, view_of(f->name));
    bool is_result = cls->num == CLASS_task && str_eq(f->name, "result");
    if (!is_result || val_kind(v) != VAL_STRING || !show_task_result(s, val_get_str(v)))
        rest_show_val(s, f->type, v);
}

void rest_show_row(struct rest_show *s, const struct row *r, const bool *wanted)
{
    json_begin_map(s->b);
    put_identity(s, r->cls, r->ref);
    desc_each_field (f, r->cls) {
        if (f->flags & FIELD_INTERNAL || (wanted && !wanted[f - r->cls->fields]))
            continue;
        _cleanup_(val_unrefp) struct val *v = row_get(r, f);
        show_field(s, r->cls, f, v);
    }
    json_end_map(s->b);
}

void rest_show_record(struct rest_show *s, const struct class_desc *cls, const char *ref,
                      const struct val *record)
{
    json_begin_map(s->b);
    if (ref)
        put_identity(s, cls, ref);
    desc_each_field (f, cls) {
        const struct val *v = val_map_get(record, f->name);
        if (v)
            show_field(s, cls, f, v);
    }
    json_end_map(s->b);
}
