/*
 * list.c: GET of a collection: ?filter=…&fields=a,b&limit=n&after=cursor.
 *
 * Objects come in the order of their making; the cursor is the number of the last one told, so a
 * page stays right when objects before it come or go. Objects without such a number, which never
 * change, are counted.
 */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/vec.h"
#include "codec/json.h"
#include "gen/error.h"
#include "rest/rest_impl.h"

#define LIMIT_DEFAULT 200
#define LIMIT_MAX     1000

struct page {
    const struct class_desc *cls;
    char *filter_text, *fields_text;
    struct rest_filter *filter;
    bool *wanted; /* by field; NULL: all */
    uint64_t limit, after;
    size_t n;
    uint64_t last;
    bool more;
};

static void page_done(struct page *p)
{
    free(p->filter_text);
    free(p->fields_text);
    rest_filter_free(p->filter);
    free(p->wanted);
}

/* ---- what is asked for ---- */

static struct err *take_fields(struct page *p)
{
    p->wanted = mem_new_n(bool, p->cls->n_fields);
    struct view list = view_of(p->fields_text), item;
    for (bool more = true; more;) {
        more = view_split(&list, ',', &item);
        _cleanup_(freep) char *name = view_dup(view_trim(item));
        const struct field_desc *f = desc_field(p->cls, name);
        if (!f || f->flags & FIELD_INTERNAL) {
            _cleanup_(freep) char *why = mem_printf("'%.60s' is no field", name);
            return err_INVALID_VALUE("fields", why);
        }
        p->wanted[f - p->cls->fields] = true;
    }
    return NULL;
}

static struct err *take_number(const char *name, const char *text, uint64_t min, uint64_t max,
                               uint64_t *ret)
{
    if (str_u64(view_of(text), min, max, ret) == 0)
        return NULL;
    _cleanup_(freep) char *why = mem_printf("a number from %llu to %llu expected",
                                            (unsigned long long)min, (unsigned long long)max);
    return err_INVALID_VALUE(name, why);
}

static struct err *take_option(struct page *p, const char *name, char **value)
{
    if (str_eq(name, "limit"))
        return take_number(name, *value, 1, LIMIT_MAX, &p->limit);
    if (str_eq(name, "after"))
        return take_number(name, *value, 0, UINT64_MAX, &p->after);
    if (str_eq(name, "filter") && !p->filter) {
        p->filter_text = steal(value);
        return rest_filter_parse(p->cls, p->filter_text, &p->filter);
    }
    if (str_eq(name, "fields") && !p->wanted) {
        p->fields_text = steal(value);
        return take_fields(p);
    }
    if (str_eq(name, "session_id"))
        return NULL;
    return err_INVALID_VALUE(name, "this parameter has no meaning here");
}

static struct err *take_options(struct page *p, struct view query)
{
    while (query.size) {
        _cleanup_(freep) char *name = NULL, *value = NULL;
        if (!http_query_next(&query, &name, &value))
            break;
        TRY(take_option(p, name, &value));
    }
    return NULL;
}

/* ---- what is told ---- */

static void show_one(struct page *p, struct rest_show *s, const struct row *r, uint64_t place)
{
    if (p->more || place <= p->after || (p->filter && !rest_filter_match(p->filter, s, r)))
        return;
    if (p->n == p->limit) {
        p->more = true;
        return;
    }
    rest_show_row(s, r, p->wanted);
    p->n++;
    p->last = place;
}

static int by_seq(const void *a, const void *b)
{
    const struct row *const *x = a, *const *y = b;
    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

/* Some classes answer with records instead of rows; each stands in the database all the same. */
static void show_records(struct page *p, struct rest_show *s, const struct val *records)
{
    VEC(const struct row *) rows = {0};
    for (size_t i = 0; i < val_count(records); i++) {
        const struct row *r = api_row(s->api, s->snap, p->cls->num, val_key_at(records, i));
        if (r)
            vec_push(&rows, r);
    }
    if (rows.n)
        qsort(rows.v, rows.n, sizeof(*rows.v), by_seq);
    for (size_t i = 0; i < rows.n; i++)
        show_one(p, s, rows.v[i], rows.v[i]->seq);
    vec_done(&rows);
}

static void put_next(const struct page *p, const struct rest_class *c, struct buf *b)
{
    buf_printf(b, REST_ROOT "/%s?limit=%llu&after=%llu", c->path, (unsigned long long)p->limit,
               (unsigned long long)p->last);
    if (p->filter_text) {
        buf_puts(b, "&filter=");
        http_put_encoded(b, view_of(p->filter_text), "");
    }
    if (p->fields_text) {
        buf_puts(b, "&fields=");
        http_put_encoded(b, view_of(p->fields_text), ",");
    }
}

static void answer_page(struct rest_call *c, struct page *p, struct rest_show *s)
{
    _cleanup_(buf_done) struct buf next, link;
    buf_init(&next, 1 << 17);
    buf_init(&link, 1 << 14); /* of a header; the body has it whole */
    json_end_set(s->b);
    json_put_key(s->b, view_of("next"));
    if (p->more) {
        put_next(p, c->t.cls, &next);
        json_put_str(s->b, (struct view){next.data, next.size});
        buf_printf(&link, "<%s>; rel=\"next\"", buf_str(&next));
    } else {
        json_put_null(s->b);
    }
    json_end_map(s->b);
    struct rest_header header = {"Link", buf_str(&link)};
    rest_answer(c, 200, &header, p->more && buf_ok(&link) ? 1 : 0, s->b);
}

static void show_page(struct rest_call *c, const struct api_answer *a, struct page *p)
{
    _cleanup_(buf_done) struct buf b;
    _cleanup_(snap_unrefp) struct snap *snap = a->snap ? snap_ref(a->snap) : snap_get(c->rest->db);
    buf_init(&b, REST_BODY_MAX);
    struct rest_show s = {.b = &b, .api = c->rest->api, .snap = snap};
    json_begin_map(&b);
    json_put_key(&b, view_of("items"));
    json_begin_set(&b);
    for (size_t i = 0; i < a->n_rows; i++)
        show_one(p, &s, a->rows[i], a->rows[i]->seq ? a->rows[i]->seq : i + 1);
    if (a->value && val_kind(a->value) == VAL_MAP)
        show_records(p, &s, a->value);
    answer_page(c, p, &s);
}

static void got_records(struct rest_call *c, const struct api_answer *a)
{
    struct page p = {.cls = desc_classes[c->t.cls->cls], .limit = LIMIT_DEFAULT};
    struct err *e = a->e ? NULL : take_options(&p, view_of(c->query));
    if (a->e)
        rest_answer_error(c, 0, a->e);
    else if (e)
        rest_fail(c, 0, e);
    else
        show_page(c, a, &p);
    page_done(&p);
}

void rest_get_list(struct rest_call *c)
{
    _cleanup_(freep) char *name =
        mem_printf("%s.get_all_records", desc_classes[c->t.cls->cls]->name);
    rest_ask(c, name, NULL, got_records);
}
