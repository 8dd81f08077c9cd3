/*
 * audit_args.c: what a call is told of in the audit log: which message, which arguments.
 *
 * What may be told is decided by type and name, so that a secret in a new message stays out without
 * anybody thinking of it: references, numbers, switches, enums and dates always; text only under
 * names that are known to be harmless. Pure functions; any thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/audit.h"
#include "api/decode.h"
#include "base/buf.h"
#include "base/rstr.h"
#include "base/str.h"
#include "gen/rec.h"
#include "state/db.h"

#define ARGS_MAX 4096
#define ARG_MAX  1024

bool audit_is_wanted(const struct msg_desc *m)
{
    switch (m->kind) {
    case MSG_SETTER:
    case MSG_ADD:
    case MSG_REMOVE:
    case MSG_MAKE:
    case MSG_DELETE:
        return true;
    case MSG_EXPLICIT:
        break;
    default:
        return false;
    }
    static const char *const reading[] = {"get",      "assert_", "is_",     "compute_",
                                          "estimate", "list_",   "tickle_", "query_"};
    if (m->flags & MSG_INLINE || m->cls == CLASS_event || m->cls == CLASS_role)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(reading); i++)
        if (str_starts(m->name, reading[i]))
            return false;
    return true;
}

/* Bytes that are written as they are. */
static size_t plain_bytes(const char *text)
{
    size_t n = 0;
    while ((unsigned char)text[n] >= ' ' && text[n] != '\'' && text[n] != '\\')
        n++;
    return n;
}

static void put_special(struct buf *b, char c)
{
    static const char control[] = "\nn\rr\tt";
    const char *found = c > 0 && c < ' ' ? strchr(control, c) : NULL;
    if ((unsigned char)c < ' ' && !found)
        return;
    buf_putc(b, '\\');
    buf_putc(b, found ? found[1] : c);
}

void audit_put_text(struct buf *b, const char *text)
{
    buf_putc(b, '\'');
    for (;;) {
        size_t n = plain_bytes(text);
        buf_put(b, text, n);
        text += n;
        if (!*text)
            break;
        put_special(b, *text++);
    }
    buf_putc(b, '\'');
}

static void put_four(struct buf *b, const char *name, const char *label, const char *uuid,
                     const char *ref)
{
    const char *const words[] = {name, label, uuid, ref};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        buf_putc(b, i ? ' ' : '(');
        audit_put_text(b, words[i]);
    }
    buf_putc(b, ')');
}

static const char *text_member(const struct row *r, int field)
{
    if (!r || field < 0)
        return "";
    return *(const char *const *)((const char *)r + r->cls->fields[field].offset);
}

/* Some objects have no name of their own but that of a user. */
static const char *name_of(const struct row *r)
{
    if (r && r->cls->num == CLASS_subject)
        return val_map_str(rec_subject(r)->other_config, "subject-name",
                           rec_subject(r)->subject_identifier);
    return text_member(r, r ? r->cls->field_name_label : -1);
}

void audit_put_ref(struct buf *b, const struct snap *s, const char *name, int cls, const char *ref)
{
    const struct row *r = snap_row(s, cls, ref);
    bool secret = cls == CLASS_session;
    put_four(b, name, name_of(r), secret ? "" : text_member(r, r ? r->cls->field_uuid : -1),
             secret ? "" : ref);
}

/* Text that says what is done and cannot be a secret. */
static bool is_tellable(const char *name)
{
    static const char *const names[] = {"name",
                                        "label",
                                        "description",
                                        "name_label",
                                        "name_description",
                                        "new_name",
                                        "key",
                                        "uuid",
                                        "hostname",
                                        "address",
                                        "device",
                                        "edition",
                                        "subject_identifier",
                                        "plugin",
                                        "fn",
                                        "type",
                                        "class",
                                        "userdevice",
                                        "filename",
                                        "master_address"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(names[i], name))
            return true;
    return str_ends(name, "_uuid");
}

static void put_value(struct buf *b, const struct snap *s, const char *name,
                      const struct type *type, const struct val *v);

static void put_plain(struct buf *b, const char *name, const struct val *v)
{
    char number[32] = "";
    if (val_kind(v) == VAL_DATETIME)
        str_datetime(val_get_int(v), number);
    else if (val_kind(v) == VAL_INT)
        snprintf(number, sizeof(number), "%" PRId64, val_get_int(v));
    else if (val_kind(v) == VAL_FLOAT)
        snprintf(number, sizeof(number), "%g", val_get_float(v));
    else if (val_kind(v) == VAL_BOOL)
        snprintf(number, sizeof(number), "%s", val_get_bool(v) ? "true" : "false");
    put_four(b, name, val_kind(v) == VAL_STRING ? val_get_str(v) : number, "", "");
}

/* The members of a constructor's record as if they were arguments. */
static void put_record(struct buf *b, const struct snap *s, int cls, const struct val *record)
{
    for (size_t i = 0; i < val_count(record); i++) {
        const struct field_desc *f = desc_field(desc_classes[cls], val_key_at(record, i));
        if (f && !(f->flags & FIELD_SECRET))
            put_value(b, s, f->name, f->type, val_at(record, i));
    }
}

static void put_single(struct buf *b, const struct snap *s, const char *name,
                       const struct type *type, const struct val *v)
{
    switch (type->kind) {
    case TYPE_REF:
        audit_put_ref(b, s, name, type->cls, val_get_str(v));
        break;
    case TYPE_BOOL:
    case TYPE_INT:
    case TYPE_FLOAT:
    case TYPE_DATETIME:
    case TYPE_ENUM:
        put_plain(b, name, v);
        break;
    case TYPE_STRING:
        if (is_tellable(name))
            put_plain(b, name, v);
        break;
    default:
        break;
    }
}

/* An expression that does not fit is left out whole. */
static void put_value(struct buf *b, const struct snap *s, const char *name,
                      const struct type *type, const struct val *v)
{
    if (type->kind == TYPE_RECORD) {
        put_record(b, s, type->cls, v);
        return;
    }
    if (type->kind == TYPE_SET) {
        for (size_t i = 0; type->elem->kind == TYPE_REF && i < val_count(v); i++)
            put_value(b, s, name, type->elem, val_at(v, i));
        return;
    }
    _cleanup_(buf_done) struct buf one;
    buf_init(&one, ARG_MAX);
    put_single(&one, s, name, type, v);
    if (!buf_ok(&one) || !one.size || b->size + one.size + 1 > ARGS_MAX)
        return;
    if (b->size)
        buf_putc(b, ' ');
    buf_put(b, one.data, one.size);
}

char *audit_args(const struct snap *s, const struct msg_desc *m, const void *args)
{
    struct buf b;
    buf_init(&b, ARGS_MAX);
    for (unsigned i = 0; args && !(m->flags & MSG_SECRET) && i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];
        bool secret = m->field >= 0 && str_eq(p->name, "value") &&
                      desc_classes[m->cls]->fields[m->field].flags & FIELD_SECRET;
        _cleanup_(val_unrefp) struct val *v = decode_arg(m, args, i);
        if (!secret && v)
            put_value(&b, s, p->name, p->type, v);
    }
    return buf_take(&b);
}
