/*
 * store_etcd.c: the store of a pool (store.h), in etcd.
 *
 *   <prefix>meta/epoch, …/generation, …/floor, …/commit      decimal
 *   <prefix>row/<class>/<ref>      "seq created modified deleted_at uuid\ndata"
 *
 * A commit is one transaction of etcd that compares epoch and generation and writes everything.
 * When its answer is lost it is sent again: if its number (epoch and count) is found then, the
 * first one was done. If we give up before and etcd does it, the next commit finds a generation
 * that we do not know, which is as good as another writer. etcd must allow as much:
 * --max-txn-ops=4096,
 * --max-request-bytes=8388608.
 *
 * A follower reads everything once and then lives from a watch; when that breaks (or etcd compacted
 * what it needed), it reads everything again and gives what is newer.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/vec.h"
#include "codec/json.h"
#include "state/etcd.h"
#include "state/txn.h"

#define PAGE        256
#define PAUSE_US    100000
#define MAX_REQUEST (16u << 20)

struct store_etcd {
    struct store base;
    struct etcd *etcd;
    char *prefix;
    uint64_t commit;   /* number of the last one sent */
    uint64_t followed; /* generation that the watch goes on from */
};

/* A row with its own memory. */
struct etcd_row {
    struct store_row row;
    char *key, *text;
};

struct etcd_rows {
    VEC(struct etcd_row) list;
    uint64_t revision, epoch, generation, floor, commit;
    bool has_epoch, has_generation;
};

static struct store_etcd *etcd_of(struct store *s)
{
    return (struct store_etcd *)s;
}

static void rows_done(struct etcd_rows *rows)
{
    vec_each (r, &rows->list) {
        free(r->key);
        free(r->text);
    }
    vec_done(&rows->list);
}

/* --- keys and values --- */

static char *key_of(const struct store_etcd *s, const char *kind, const char *a, const char *b)
{
    return mem_printf("%s%s%s%s%s", s->prefix, kind, a, *b ? "/" : "", b);
}

/* The end of the range of all keys that begin with a text: its last byte plus one. */
static char *end_of(const char *prefix)
{
    char *end = mem_strdup(prefix);
    end[strlen(end) - 1]++;
    return end;
}

static void put_row_value(struct buf *b, const struct store_row *r)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, MAX_REQUEST);
    buf_printf(&text, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", r->seq, r->created,
               r->modified, r->deleted_at, r->uuid);
    buf_put(&text, r->data.p ? r->data.p : "", r->data.size);
    etcd_put_bytes(b, "value", (struct view){buf_str(&text), text.size});
    b->full |= text.full;
}

static bool take_number(struct view *v, uint64_t *ret)
{
    struct view head;
    return view_split(v, ' ', &head) && str_u64(head, 0, UINT64_MAX, ret) == 0;
}

/* Splits key and text of a row in place. */
static bool read_row(struct etcd_row *r, size_t key_from, size_t text_size)
{
    struct view v = {r->text, text_size}, uuid;
    char *slash = strchr(r->key + key_from, '/');
    if (!slash || !take_number(&v, &r->row.seq) || !take_number(&v, &r->row.created) ||
        !take_number(&v, &r->row.modified) || !take_number(&v, &r->row.deleted_at) ||
        !view_split(&v, '\n', &uuid))
        return false;
    *slash = 0;
    r->text[uuid.p + uuid.size - r->text] = 0;
    r->row.cls = r->key + key_from;
    r->row.ref = slash + 1;
    r->row.uuid = uuid.p;
    r->row.data = v;
    return true;
}

static void read_meta(struct etcd_rows *rows, const char *name, const char *text)
{
    uint64_t n;
    if (str_u64(view_of(text), 0, UINT64_MAX, &n) < 0)
        return;
    if (strcmp(name, "epoch") == 0) {
        rows->epoch = n;
        rows->has_epoch = true;
    } else if (strcmp(name, "generation") == 0) {
        rows->generation = n;
        rows->has_generation = true;
    } else if (strcmp(name, "floor") == 0) {
        rows->floor = n;
    } else if (strcmp(name, "commit") == 0) {
        rows->commit = n;
    }
}

/* Takes over one key and value of a reply. */
static struct err *read_kv(struct store_etcd *s, const struct val *kv, struct etcd_rows *rows)
{
    _cleanup_(buf_done) struct buf key;
    _cleanup_(buf_done) struct buf value;
    buf_init(&key, 4096);
    buf_init(&value, ETCD_MAX_REPLY);
    if (val_kind(kv) != VAL_MAP || etcd_bytes(kv, "key", &key) < 0 ||
        etcd_bytes(kv, "value", &value) < 0 || !str_starts(buf_str(&key), s->prefix))
        return err_internal("etcd sends a key that was not asked for");
    const char *name = buf_str(&key) + strlen(s->prefix);
    if (str_starts(name, "meta/")) {
        read_meta(rows, name + strlen("meta/"), buf_str(&value));
        return NULL;
    }
    size_t size = value.size, from = strlen(s->prefix) + strlen("row/");
    (void)buf_str(&value);
    struct etcd_row r = {.key = buf_take(&key), .text = buf_take(&value)};
    if (!str_starts(r.key + strlen(s->prefix), "row/") || !read_row(&r, from, size)) {
        struct err *e = err_internal("the store's key '%s' cannot be read", r.key);
        free(r.key);
        free(r.text);
        return e;
    }
    vec_push(&rows->list, r);
    return NULL;
}

/* --- calls --- */

/* A call that may be repeated, until it is answered or the time is over. */
static struct err *call(struct store_etcd *s, const char *path, struct buf *body, struct val **ret)
{
    usec_t deadline = clock_now() + etcd_timeout(s->etcd);
    for (;;) {
        bool again = false;
        struct err *e = etcd_call(s->etcd, path, body, ret, &again);
        if (!e || !again || clock_now() >= deadline)
            return e;
        err_free(e);
        usleep(PAUSE_US);
    }
}

/* One page of keys from `key` on; *ret_next is where the next begins, NULL after the last. */
static struct err *read_page(struct store_etcd *s, const char *key, const char *end,
                             struct etcd_rows *rows, char **ret_next)
{
    _cleanup_(buf_done) struct buf body;
    _cleanup_(val_unrefp) struct val *reply = NULL;
    buf_init(&body, 1 << 16);
    json_begin_map(&body);
    etcd_put_bytes(&body, "key", view_of(key));
    etcd_put_bytes(&body, "range_end", view_of(end));
    etcd_put_number(&body, "limit", PAGE);
    if (rows->revision)
        etcd_put_number(&body, "revision", rows->revision);
    json_end_map(&body);
    TRY(call(s, "/v3/kv/range", &body, &reply));
    if (!rows->revision)
        rows->revision = etcd_number(etcd_map(reply, "header"), "revision");
    const struct val *kvs = etcd_set(reply, "kvs");
    for (size_t i = 0; i < val_count(kvs); i++)
        TRY(read_kv(s, val_at(kvs, i), rows));
    const struct val *more = val_map_get(reply, "more");
    if (!more || val_kind(more) != VAL_BOOL || !val_get_bool(more) || !val_count(kvs))
        return NULL;
    _cleanup_(buf_done) struct buf last;
    buf_init(&last, 4096);
    if (etcd_bytes(val_at(kvs, val_count(kvs) - 1), "key", &last) < 0)
        return err_internal("etcd sends a key that is no base64");
    buf_putc(&last, '\x01'); /* no key of ours lies between */
    *ret_next = buf_take(&last);
    return NULL;
}

/* All keys below the prefix and `kind`, at one revision. */
static struct err *read_all(struct store_etcd *s, const char *kind, struct etcd_rows *rows)
{
    _cleanup_(freep) char *key = key_of(s, kind, "", "");
    _cleanup_(freep) char *end = end_of(key);
    while (key) {
        char *next = NULL;
        struct err *e = read_page(s, key, end, rows, &next);
        free(key);
        key = next;
        TRY(e);
    }
    return NULL;
}

static int by_seq(const void *a, const void *b)
{
    const struct store_row *x = &((const struct etcd_row *)a)->row;
    const struct store_row *y = &((const struct etcd_row *)b)->row;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int by_generation(const void *a, const void *b)
{
    const struct store_row *x = &((const struct etcd_row *)a)->row;
    const struct store_row *y = &((const struct etcd_row *)b)->row;
    if (x->modified != y->modified)
        return x->modified < y->modified ? -1 : 1;
    return by_seq(a, b);
}

static struct err *give_rows(struct etcd_rows *rows, int (*order)(const void *, const void *),
                             uint64_t since, store_row_fn fn, void *arg)
{
    if (rows->list.n)
        qsort(rows->list.v, rows->list.n, sizeof(*rows->list.v), order);
    vec_each (r, &rows->list)
        if (r->row.modified > since)
            TRY(fn(arg, &r->row));
    return NULL;
}

static struct err *etcd_load(struct store *base, store_row_fn fn, void *arg, struct store_head *ret)
{
    _cleanup_(rows_done) struct etcd_rows rows = {0};
    TRY(read_all(etcd_of(base), "", &rows));
    TRY(give_rows(&rows, by_seq, 0, fn, arg));
    *ret = (struct store_head){rows.generation, rows.floor};
    return NULL;
}

/* --- writing --- */

static void put_compare(struct store_etcd *s, struct buf *b, const char *name, uint64_t n)
{
    _cleanup_(freep) char *key = key_of(s, "meta/", name, "");
    _cleanup_(freep) char *text = mem_printf("%" PRIu64, n);
    json_begin_map(b);
    json_put_key(b, view_of("target"));
    json_put_str(b, view_of("VALUE"));
    json_put_key(b, view_of("result"));
    json_put_str(b, view_of("EQUAL"));
    etcd_put_bytes(b, "key", view_of(key));
    etcd_put_bytes(b, "value", view_of(text));
    json_end_map(b);
}

static void begin_request(struct buf *b, const char *what)
{
    json_begin_map(b);
    json_put_key(b, view_of(what));
    json_begin_map(b);
}

static void end_request(struct buf *b)
{
    json_end_map(b);
    json_end_map(b);
}

static void put_meta(struct store_etcd *s, struct buf *b, const char *name, uint64_t n)
{
    _cleanup_(freep) char *key = key_of(s, "meta/", name, "");
    _cleanup_(freep) char *text = mem_printf("%" PRIu64, n);
    begin_request(b, "request_put");
    etcd_put_bytes(b, "key", view_of(key));
    etcd_put_bytes(b, "value", view_of(text));
    end_request(b);
}

static void put_reading_of_meta(struct store_etcd *s, struct buf *b)
{
    _cleanup_(freep) char *key = key_of(s, "meta/", "", "");
    _cleanup_(freep) char *end = end_of(key);
    begin_request(b, "request_range");
    etcd_put_bytes(b, "key", view_of(key));
    etcd_put_bytes(b, "range_end", view_of(end));
    end_request(b);
}

static void put_batch(struct store_etcd *s, struct buf *b, const struct store_batch *batch)
{
    for (size_t i = 0; i < batch->n_puts; i++) {
        const struct store_row *r = &batch->puts[i];
        _cleanup_(freep) char *key = key_of(s, "row/", r->cls, r->ref);
        begin_request(b, "request_put");
        etcd_put_bytes(b, "key", view_of(key));
        put_row_value(b, r);
        end_request(b);
    }
    for (size_t i = 0; i < batch->n_drops; i++) {
        _cleanup_(freep) char *key = key_of(s, "row/", batch->drops[i].cls, batch->drops[i].ref);
        begin_request(b, "request_delete_range");
        etcd_put_bytes(b, "key", view_of(key));
        end_request(b);
    }
    if (batch->head.generation != batch->from)
        put_meta(s, b, "generation", batch->head.generation);
    put_meta(s, b, "floor", batch->head.floor);
    put_meta(s, b, "commit", s->commit);
}

/* What the failed branch of a transaction read. */
static struct err *read_failed(struct store_etcd *s, const struct val *reply,
                               struct etcd_rows *rows)
{
    const struct val *responses = etcd_set(reply, "responses");
    for (size_t i = 0; i < val_count(responses); i++) {
        const struct val *r = val_at(responses, i);
        if (val_kind(r) != VAL_MAP)
            continue;
        const struct val *kvs = etcd_set(etcd_map(r, "response_range"), "kvs");
        for (size_t k = 0; k < val_count(kvs); k++)
            TRY(read_kv(s, val_at(kvs, k), rows));
    }
    return NULL;
}

static bool succeeded(const struct val *reply)
{
    const struct val *v = val_map_get(reply, "succeeded");
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

static struct err *etcd_commit(struct store *base, const struct store_batch *b, bool *ret_lost)
{
    struct store_etcd *s = etcd_of(base);
    _cleanup_(buf_done) struct buf body;
    _cleanup_(val_unrefp) struct val *reply = NULL;
    _cleanup_(rows_done) struct etcd_rows meta = {0};
    buf_init(&body, MAX_REQUEST);
    s->commit++;
    json_begin_map(&body);
    json_put_key(&body, view_of("compare"));
    json_begin_set(&body);
    put_compare(s, &body, "epoch", base->epoch);
    put_compare(s, &body, "generation", b->from);
    json_end_set(&body);
    json_put_key(&body, view_of("success"));
    json_begin_set(&body);
    put_batch(s, &body, b);
    json_end_set(&body);
    json_put_key(&body, view_of("failure"));
    json_begin_set(&body);
    put_reading_of_meta(s, &body);
    json_end_set(&body);
    json_end_map(&body);
    TRY(call(s, "/v3/kv/txn", &body, &reply));
    if (succeeded(reply))
        return NULL;
    TRY(read_failed(s, reply, &meta));
    *ret_lost = meta.commit != s->commit;
    return NULL;
}

static struct err *etcd_compact(struct store *base)
{
    struct store_etcd *s = etcd_of(base);
    _cleanup_(rows_done) struct etcd_rows meta = {0};
    _cleanup_(buf_done) struct buf body;
    _cleanup_(val_unrefp) struct val *reply = NULL;
    _cleanup_(val_unrefp) struct val *defragmented = NULL;
    buf_init(&body, 4096);
    TRY(read_all(s, "meta/", &meta));
    json_begin_map(&body);
    etcd_put_number(&body, "revision", meta.revision);
    json_end_map(&body);
    TRY(call(s, "/v3/kv/compaction", &body, &reply));
    buf_clear(&body);
    buf_puts(&body, "{}");
    return call(s, "/v3/maintenance/defragment", &body, &defragmented);
}

/* --- following --- */

/* Reads everything and starts the watch behind it. */
static struct err *catch_up(struct store_etcd *s, uint64_t since, store_row_fn fn, void *arg,
                            uint64_t *ret_generation)
{
    _cleanup_(rows_done) struct etcd_rows rows = {0};
    _cleanup_(freep) char *end = end_of(s->prefix);
    TRY(read_all(s, "", &rows));
    TRY(etcd_watch_start(s->etcd, s->prefix, end, rows.revision + 1));
    TRY(give_rows(&rows, by_generation, since, fn, arg));
    *ret_generation = s->followed = rows.generation > since ? rows.generation : since;
    return NULL;
}

static struct err *read_events(struct store_etcd *s, const struct val *result,
                               struct etcd_rows *rows)
{
    const struct val *events = etcd_set(result, "events");
    for (size_t i = 0; i < val_count(events); i++) {
        const struct val *event = val_at(events, i);
        if (val_kind(event) == VAL_MAP && strcmp(val_map_str(event, "type", "PUT"), "PUT") == 0)
            TRY(read_kv(s, etcd_map(event, "kv"), rows));
    }
    return NULL;
}

/* Waits for one message of the watch and gives what it brings. *ret_again: the watch is over. */
static struct err *follow_watch(struct store_etcd *s, usec_t deadline, store_row_fn fn, void *arg,
                                bool *ret_again)
{
    _cleanup_(rows_done) struct etcd_rows rows = {0};
    _cleanup_(val_unrefp) struct val *message = NULL;
    struct err *e = etcd_watch_next(s->etcd, deadline, &message);
    const struct val *result = message ? etcd_map(message, "result") : val_empty_map();
    if (e || etcd_number(result, "compact_revision") || val_map_get(result, "canceled") ||
        (message && val_map_get(message, "error"))) {
        err_free(e);
        etcd_watch_stop(s->etcd);
        *ret_again = true;
        return NULL;
    }
    TRY(read_events(s, result, &rows));
    TRY(give_rows(&rows, by_generation, s->followed, fn, arg));
    if (rows.has_generation && rows.generation > s->followed)
        s->followed = rows.generation;
    return NULL;
}

static struct err *etcd_follow(struct store *base, uint64_t since, usec_t deadline, store_row_fn fn,
                               void *arg, uint64_t *ret_generation)
{
    struct store_etcd *s = etcd_of(base);
    *ret_generation = since;
    if (s->followed != since)
        etcd_watch_stop(s->etcd);
    while (*ret_generation <= since) {
        bool again = false;
        if (!etcd_watch_is_on(s->etcd))
            TRY(catch_up(s, since, fn, arg, ret_generation));
        else if (clock_now() >= deadline)
            break;
        else
            TRY(follow_watch(s, deadline, fn, arg, &again));
        if (!again)
            *ret_generation = s->followed;
    }
    return NULL;
}

/* --- opening and closing --- */

static void etcd_close_store(struct store *base)
{
    struct store_etcd *s = etcd_of(base);
    etcd_close(s->etcd);
    free(s->prefix);
    free(s);
}

/* Raises the epoch if it is still what was read; false if somebody was quicker. */
static struct err *raise_epoch(struct store_etcd *s, const struct etcd_rows *meta, bool *ret_done)
{
    _cleanup_(buf_done) struct buf body;
    _cleanup_(val_unrefp) struct val *reply = NULL;
    _cleanup_(freep) char *key = key_of(s, "meta/", "epoch", "");
    buf_init(&body, 1 << 16);
    json_begin_map(&body);
    json_put_key(&body, view_of("compare"));
    json_begin_set(&body);
    if (meta->has_epoch) {
        put_compare(s, &body, "epoch", meta->epoch);
    } else {
        json_begin_map(&body);
        json_put_key(&body, view_of("target"));
        json_put_str(&body, view_of("CREATE"));
        etcd_put_bytes(&body, "key", view_of(key));
        etcd_put_number(&body, "create_revision", 0);
        json_end_map(&body);
    }
    json_end_set(&body);
    json_put_key(&body, view_of("success"));
    json_begin_set(&body);
    put_meta(s, &body, "epoch", meta->epoch + 1);
    if (!meta->has_generation)
        put_meta(s, &body, "generation", 0);
    json_end_set(&body);
    json_end_map(&body);
    TRY(call(s, "/v3/kv/txn", &body, &reply));
    *ret_done = succeeded(reply);
    return NULL;
}

static struct err *take_epoch(struct store_etcd *s)
{
    for (bool done = false; !done;) {
        _cleanup_(rows_done) struct etcd_rows meta = {0};
        TRY(read_all(s, "meta/", &meta));
        TRY(raise_epoch(s, &meta, &done));
        s->base.epoch = meta.epoch + 1;
        s->commit = s->base.epoch << 32;
    }
    return NULL;
}

static const struct store_ops etcd_ops = {
    .name = "etcd",
    .load = etcd_load,
    .commit = etcd_commit,
    .follow = etcd_follow,
    .compact = etcd_compact,
    .close = etcd_close_store,
};

struct err *store_etcd_open(const struct store_etcd_config *config, enum store_mode mode,
                            struct store **ret)
{
    struct store_etcd *s = mem_new(struct store_etcd);
    s->base = (struct store){
        .ops = &etcd_ops, .max_rows = 2 * TXN_MAX_ROWS, .max_bytes = 2 * TXN_MAX_BYTES};
    s->prefix = mem_strdup(config->prefix);
    struct err *e = *s->prefix ? etcd_open(config, &s->etcd) : err_internal("no prefix of keys");
    if (!e && mode == STORE_WRITE)
        e = take_epoch(s);
    if (e) {
        etcd_close_store(&s->base);
        return e;
    }
    *ret = &s->base;
    return NULL;
}
