/* encode.c: see encode.h. A hash table by the record's address, and a list in order of use. */
#include "api/encode.h"

#include <inttypes.h>
#include <string.h>

#include "base/lock.h"

#define BUCKETS    4096
#define RECORD_MAX (16u << 20)

struct encoding {
    struct encoding *next;          /* in its bucket */
    struct encoding *newer, *older; /* in order of use */
    const struct row *row;          /* a reference */
    enum rpc_format format;
    char *bytes;
    size_t size;
};

struct encodings {
    struct mutex mutex; /* guards all below */
    size_t max_bytes, bytes;
    struct encoding *buckets[BUCKETS];
    struct encoding *newest, *oldest;
    uint64_t hits, misses, dropped;
};

struct encodings *encodings_new(size_t max_bytes)
{
    struct encodings *t = mem_new(struct encodings);
    mutex_init(&t->mutex, LOCK_LEAF);
    t->max_bytes = max_bytes;
    return t;
}

static void encoding_free(struct encoding *e)
{
    row_unref(e->row);
    free(e->bytes);
    free(e);
}

void encodings_free(struct encodings *t)
{
    if (!t)
        return;
    for (struct encoding *e = t->newest, *older; e; e = older) {
        older = e->older;
        encoding_free(e);
    }
    mutex_done(&t->mutex);
    free(t);
}

/* ---- under the mutex ---- */

static struct encoding **find_slot(struct encodings *t, const struct row *r, enum rpc_format format)
{
    struct encoding **slot = &t->buckets[((uintptr_t)r >> 6) % BUCKETS];
    while (*slot && ((*slot)->row != r || (*slot)->format != format))
        slot = &(*slot)->next;
    return slot;
}

static void unlist(struct encodings *t, struct encoding *e)
{
    *(e->newer ? &e->newer->older : &t->newest) = e->older;
    *(e->older ? &e->older->newer : &t->oldest) = e->newer;
}

static void list_newest(struct encodings *t, struct encoding *e)
{
    e->newer = NULL;
    e->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = e;
    t->newest = e;
}

static size_t cost(const struct encoding *e)
{
    return e->size + sizeof(*e);
}

/* Takes the oldest out while there is too much; a chain by `next` that the caller frees. */
static struct encoding *take_surplus(struct encodings *t)
{
    struct encoding *out = NULL;
    while (t->bytes > t->max_bytes) {
        struct encoding *e = t->oldest, **slot = find_slot(t, e->row, e->format);
        unlist(t, e);
        *slot = e->next;
        t->bytes -= cost(e);
        t->dropped++;
        e->next = out;
        out = e;
    }
    return out;
}

/* ---- */

static bool put_kept(struct encodings *t, struct rpc_out *o, const struct row *r)
{
    mutex_guard(&t->mutex);
    struct encoding *e = *find_slot(t, r, o->format);
    if (!e) {
        t->misses++;
        return false;
    }
    t->hits++;
    unlist(t, e);
    list_newest(t, e);
    buf_put(o->b, e->bytes, e->size);
    return true;
}

static void keep(struct encodings *t, struct encoding *e)
{
    mutex_lock(&t->mutex);
    struct encoding **slot = find_slot(t, e->row, e->format);
    struct encoding *out = NULL;
    if (*slot) { /* another thread was as quick */
        out = e;
        out->next = NULL;
    } else {
        *slot = e;
        list_newest(t, e);
        t->bytes += cost(e);
        out = take_surplus(t);
    }
    mutex_unlock(&t->mutex);
    for (struct encoding *next; out; out = next) {
        next = out->next;
        encoding_free(out);
    }
}

void encodings_put(struct encodings *t, struct rpc_out *o, const struct row *r)
{
    if (put_kept(t, o, r))
        return;
    _cleanup_(val_unrefp) struct val *record = row_record(r);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, RECORD_MAX);
    struct rpc_out own = {.b = &b, .format = o->format};
    rpc_put_val(&own, record);
    if (!buf_ok(&b)) {
        rpc_put_val(o, record);
        return;
    }
    buf_put(o->b, b.data, b.size);
    struct encoding *e = mem_new(struct encoding);
    *e = (struct encoding){
        .row = row_ref(r), .format = o->format, .size = b.size, .bytes = mem_dup(b.data, b.size)};
    keep(t, e);
}

void encodings_dump(struct encodings *t, struct buf *out)
{
    mutex_guard(&t->mutex);
    buf_printf(out,
               "encodings bytes %zu of %zu, hits %" PRIu64 ", misses %" PRIu64 ", dropped %" PRIu64
               "\n",
               t->bytes, t->max_bytes, t->hits, t->misses, t->dropped);
}
