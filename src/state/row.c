/*
 * row.c: see row.h. Records as memory: each field is a member at an offset, whose C type follows
 * from the kind of its model type.
 */
#include "state/row.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "gen/rec.h"

/* The members a field can be. Packed: a bool stands where the record has it, not where a union
 * would have to begin; strings and trees are aligned all the same. */
union __attribute__((packed)) member {
    bool b;
    int64_t i; /* also datetimes */
    double d;
    unsigned e;
    const char *s;
    const struct val *v;
};

static void *member_at(const struct row *r, const struct field_desc *f)
{
    return (char *)(uintptr_t)r + f->offset;
}

static union member *member(const struct row *r, const struct field_desc *f)
{
    return member_at(r, f);
}

static bool is_string(const struct type *t)
{
    return t->kind == TYPE_STRING || t->kind == TYPE_REF;
}

static bool is_tree(const struct type *t)
{
    return t->kind >= TYPE_SET;
}

bool ref_is_null(const char *ref)
{
    return !*ref || strcmp(ref, REF_NULL) == 0;
}

const char *ref_new(void)
{
    char uuid[UUID_SIZE];
    str_uuid(uuid);
    return rstr_printf("OpaqueRef:%s", uuid);
}

/* --- life --- */

static void hold(const struct row *r, const struct field_desc *f)
{
    if (is_string(f->type))
        rstr_ref(member(r, f)->s);
    else if (is_tree(f->type))
        val_ref(member(r, f)->v);
}

static void drop(const struct row *r, const struct field_desc *f)
{
    if (is_string(f->type))
        rstr_unref(member(r, f)->s);
    else if (is_tree(f->type))
        val_unref(member(r, f)->v);
}

static void set_zero(struct row *r, const struct field_desc *f)
{
    static const char *null_ref;
    const char *made = NULL, *got = NULL;
    switch (f->type->kind) {
    case TYPE_REF:
        if (!__atomic_load_n(&null_ref, __ATOMIC_ACQUIRE)) {
            made = rstr_new(REF_NULL);
            if (!__atomic_compare_exchange_n(&null_ref, &got, made, false, __ATOMIC_ACQ_REL,
                                             __ATOMIC_ACQUIRE))
                rstr_unref(made);
        }
        member(r, f)->s = rstr_ref(null_ref);
        break;
    case TYPE_STRING:
        member(r, f)->s = rstr_empty();
        break;
    case TYPE_SET:
        member(r, f)->v = val_ref(val_empty_set());
        break;
    case TYPE_MAP:
        member(r, f)->v = val_ref(val_empty_map());
        break;
    case TYPE_RECORD:
    case TYPE_OPTION:
        member(r, f)->v = val_ref(val_void());
        break;
    default:
        break;
    }
}

static struct row *make_default(const struct class_desc *cls)
{
    struct row *r = mem_zalloc(1, cls->rec_size);
    r->cls = cls;
    atomic_init(&r->refs, 1);
    r->ref = rstr_empty();
    desc_each_field (f, cls) {
        set_zero(r, f);
        if (f->deflt && row_parse(r, f, view_of(f->deflt)) < 0)
            assert(!"a default does not fit its type");
    }
    return r;
}

/* The record of defaults of a class, made once; it is what new records are copied from. */
static const struct row *defaults(const struct class_desc *cls)
{
    static struct row *made[256];
    assert(cls->num >= 0 && (size_t)cls->num < ARRAY_LEN(made));
    struct row **slot = &made[cls->num];
    struct row *old = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (old)
        return old;
    struct row *fresh = make_default(cls);
    if (__atomic_compare_exchange_n(slot, &old, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return fresh;
    row_unref(fresh);
    return old;
}

struct row *row_new(const struct class_desc *cls, const char *ref)
{
    struct row *r = row_copy(defaults(cls));
    rstr_unref(r->ref);
    r->ref = ref;
    return r;
}

struct row *row_copy(const struct row *r)
{
    size_t from = offsetof(struct row, ref); /* others are counting meanwhile */
    struct row *c = mem_zalloc(1, r->cls->rec_size);
    memcpy((char *)c + from, (const char *)r + from, r->cls->rec_size - from);
    c->cls = r->cls;
    atomic_init(&c->refs, 1);
    rstr_ref(c->ref);
    desc_each_field (f, c->cls)
        hold(c, f);
    return c;
}

struct row *row_ref(const struct row *cr)
{
    struct row *r = (struct row *)(uintptr_t)cr;
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void row_unref(const struct row *cr)
{
    struct row *r = (struct row *)(uintptr_t)cr;
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    desc_each_field (f, r->cls)
        drop(r, f);
    rstr_unref(r->ref);
    free(r);
}

/* --- comparing --- */

static bool same_string(const char *a, const char *b)
{
    return a == b || (rstr_size(a) == rstr_size(b) && memcmp(a, b, rstr_size(a)) == 0);
}

bool row_field_equal(const struct row *a, const struct row *b, const struct field_desc *f)
{
    const union member *x = member(a, f), *y = member(b, f);
    switch (f->type->kind) {
    case TYPE_VOID:
        return true;
    case TYPE_BOOL:
        return x->b == y->b;
    case TYPE_INT:
    case TYPE_DATETIME:
        return x->i == y->i;
    case TYPE_FLOAT: /* by bits: NaN equals itself */
        return memcmp(&x->d, &y->d, sizeof(x->d)) == 0;
    case TYPE_ENUM:
        return x->e == y->e;
    case TYPE_STRING:
    case TYPE_REF:
        return same_string(x->s, y->s);
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
        return x->v == y->v || val_equal(x->v, y->v);
    }
    return false;
}

bool row_is_equal(const struct row *a, const struct row *b)
{
    desc_each_field (f, a->cls)
        if (!row_field_equal(a, b, f))
            return false;
    return true;
}

void row_share(struct row *r, const struct row *like)
{
    desc_each_field (f, r->cls) {
        if (!row_field_equal(r, like, f))
            continue;
        if (is_string(f->type))
            rstr_assign(member_at(r, f), member(like, f)->s);
        else if (is_tree(f->type))
            val_assign(member_at(r, f), val_ref(member(like, f)->v));
    }
}

/* --- values --- */

struct val *row_get(const struct row *r, const struct field_desc *f)
{
    const union member *m = member(r, f);
    switch (f->type->kind) {
    case TYPE_BOOL:
        return val_bool(m->b);
    case TYPE_INT:
        return val_int(m->i);
    case TYPE_DATETIME:
        return val_datetime(m->i);
    case TYPE_FLOAT:
        return val_float(m->d);
    case TYPE_ENUM:
        return val_str(f->type->enm->values[m->e]);
    case TYPE_STRING:
    case TYPE_REF:
        return val_rstr(m->s);
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
        return val_ref(m->v);
    case TYPE_VOID:
        break;
    }
    return val_ref(val_void());
}

const char *row_word(const struct row *r, const struct field_desc *f)
{
    const union member *m = member(r, f);
    switch (f->type->kind) {
    case TYPE_BOOL:
        return m->b ? "true" : "false";
    case TYPE_ENUM:
        return f->type->enm->values[m->e];
    case TYPE_STRING:
    case TYPE_REF:
        return m->s;
    default:
        return NULL;
    }
}

static bool fits(const struct val *v, const struct type *t);

static bool items_fit(const struct val *v, const struct type *t)
{
    for (size_t i = 0; i < val_count(v); i++)
        if (!fits(val_at(v, i), t->elem))
            return false;
    return true;
}

static bool fits(const struct val *v, const struct type *t)
{
    enum val_kind k = val_kind(v);
    switch (t->kind) {
    case TYPE_VOID:
        return k == VAL_VOID;
    case TYPE_BOOL:
        return k == VAL_BOOL;
    case TYPE_INT:
        return k == VAL_INT;
    case TYPE_FLOAT:
        return k == VAL_FLOAT;
    case TYPE_DATETIME:
        return k == VAL_DATETIME;
    case TYPE_STRING:
    case TYPE_REF:
        return k == VAL_STRING;
    case TYPE_ENUM:
        return k == VAL_STRING && desc_enum_value(t->enm, val_get_str(v)) >= 0;
    case TYPE_SET:
        return k == VAL_SET && items_fit(v, t);
    case TYPE_MAP:
        return k == VAL_MAP && items_fit(v, t);
    case TYPE_RECORD:
        return k == VAL_MAP || k == VAL_VOID;
    case TYPE_OPTION:
        return k == VAL_VOID || fits(v, t->elem);
    }
    return false;
}

int row_set(struct row *r, const struct field_desc *f, const struct val *v)
{
    if (!fits(v, f->type))
        return -EINVAL;
    union member *m = member(r, f);
    switch (f->type->kind) {
    case TYPE_VOID:
        break;
    case TYPE_BOOL:
        m->b = val_get_bool(v);
        break;
    case TYPE_INT:
    case TYPE_DATETIME:
        m->i = val_get_int(v);
        break;
    case TYPE_FLOAT:
        m->d = val_get_float(v);
        break;
    case TYPE_ENUM:
        m->e = (unsigned)desc_enum_value(f->type->enm, val_get_str(v));
        break;
    case TYPE_STRING:
    case TYPE_REF:
        rstr_assign(member_at(r, f), val_get_str(v));
        break;
    case TYPE_SET:
    case TYPE_MAP:
    case TYPE_RECORD:
    case TYPE_OPTION:
        val_assign(member_at(r, f), val_ref(v));
        break;
    }
    return 0;
}

#define SHOWN_MAX 256

/* What the records of a class look like; made at the first one. */
static const struct val_shape *record_shape(const struct class_desc *cls)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static _Atomic(const struct val_shape *) shapes[CLASS_N];
    const struct val_shape *shape = atomic_load(&shapes[cls->num]);
    if (shape)
        return shape;
    const char *keys[SHOWN_MAX];
    size_t n = 0;
    pthread_mutex_lock(&lock);
    desc_each_field (f, cls)
        if (!(f->flags & FIELD_INTERNAL)) {
            assert(n < SHOWN_MAX);
            keys[n++] = f->name;
        }
    if (!shapes[cls->num])
        shapes[cls->num] = val_shape_new(keys, n);
    pthread_mutex_unlock(&lock);
    return shapes[cls->num];
}

struct val *row_record(const struct row *r)
{
    struct val *items[SHOWN_MAX];
    size_t n = 0;
    desc_each_field (f, r->cls)
        if (!(f->flags & FIELD_INTERNAL))
            items[n++] = row_get(r, f);
    return val_shaped(record_shape(r->cls), items);
}

struct val *row_part(const struct row *r, const struct field_desc *const *fields,
                     const char *const *keys, size_t n)
{
    struct val *part = val_map();
    for (size_t i = 0; i < n; i++)
        val_put_shared(part, keys[i], row_get(r, fields[i]));
    return part;
}

/* --- what a store keeps --- */

bool field_is_stored(const struct field_desc *f)
{
    return !(f->flags & (FIELD_VOLATILE | FIELD_DERIVED));
}

void row_text(const struct row *r, const struct field_desc *f, struct buf *ret)
{
    const union member *m = member(r, f);
    switch (f->type->kind) {
    case TYPE_BOOL:
        buf_puts(ret, m->b ? "true" : "false");
        return;
    case TYPE_INT:
        buf_put_int(ret, m->i);
        return;
    case TYPE_ENUM:
        buf_puts(ret, f->type->enm->values[m->e]);
        return;
    case TYPE_STRING:
    case TYPE_REF:
        buf_put(ret, m->s, rstr_size(m->s));
        return;
    default:
        break;
    }
    _cleanup_(val_unrefp) struct val *v = row_get(r, f);
    val_text(v, f->type, ret);
}

void row_encode(const struct row *r, struct buf *ret)
{
    const struct row *deflt = defaults(r->cls);
    const char *gap = "('";
    buf_putc(ret, '(');
    desc_each_field (f, r->cls) {
        if (!field_is_stored(f) || row_field_equal(r, deflt, f))
            continue;
        buf_puts(ret, gap);
        buf_puts(ret, f->column);
        buf_puts(ret, "' '");
        size_t from = ret->size;
        row_text(r, f, ret);
        text_escape(ret, from);
        buf_puts(ret, "')");
        gap = " ('";
    }
    buf_putc(ret, ')');
}

static const struct type string_type = {.kind = TYPE_STRING, .cls = -1};
static const struct type string_map = {
    .kind = TYPE_MAP, .cls = -1, .key = &string_type, .elem = &string_type};

int row_decode(struct row *r, struct view data, unsigned *ret_skipped)
{
    _cleanup_(val_unrefp) struct val *columns = NULL;
    int ret = val_parse(data, &string_map, &columns);
    if (ret < 0)
        return ret;
    unsigned skipped = 0;
    for (size_t i = 0; i < val_count(columns); i++) {
        const struct field_desc *f = desc_field_by_column(r->cls, val_key_at(columns, i));
        if (!f || !field_is_stored(f) || row_parse(r, f, view_of(val_str_at(columns, i))) < 0)
            skipped++;
    }
    *ret_skipped = skipped;
    return 0;
}
