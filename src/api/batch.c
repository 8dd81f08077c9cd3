/* batch.c: see batch.h. */
#include "api/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/lock.h"
#include "gen/rec.h"

#define SLOTS      8
#define KEPT_BYTES (1u << 20)
#define BATCH_MAX  (256u << 20)
#define TOKEN_SIZE 64

/* A batch that may be asked for again. */
struct kept {
    struct batch *batch; /* a reference; NULL: free */
    struct token since, now;
    uint64_t classes[WATCH_MAX_CLASSES / 64];
    enum rpc_format format;
};

struct batches {
    struct encodings *encodings;
    struct mutex mutex; /* guards all below */
    struct kept slots[SLOTS];
    unsigned next; /* slot to be used */
    size_t bytes;
    uint64_t encoded, shared;
};

struct batches *batches_new(struct encodings *encodings)
{
    struct batches *bs = mem_new(struct batches);
    bs->encodings = encodings;
    mutex_init(&bs->mutex, LOCK_LEAF);
    return bs;
}

void batch_unref(struct batch *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    free((char *)(uintptr_t)b->bytes);
    free(b);
}

static struct batch *batch_ref(struct batch *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void batches_free(struct batches *bs)
{
    if (!bs)
        return;
    for (unsigned i = 0; i < SLOTS; i++)
        batch_unref(bs->slots[i].batch);
    mutex_done(&bs->mutex);
    free(bs);
}

/* ---- events ---- */

enum part { PART_MESSAGES, PART_ADDS, PART_MODS, PART_DELS, PART_N };

static enum part part_of(const struct change *ch)
{
    if (ch->cls == CLASS_message)
        return PART_MESSAGES;
    if (!ch->row)
        return PART_DELS;
    return ch->added ? PART_ADDS : PART_MODS;
}

static const char *operation(const struct change *ch)
{
    if (!ch->row)
        return "del";
    return ch->added ? "add" : "mod";
}

#define EVENT_TEXTS 5

/* The members of an event that are text, in order; behind them stands the snapshot. */
struct event_text {
    const char *key, *text;
};

static void event_texts(const struct change *ch, char id[24], struct event_text *ret)
{
    bool counted = part_of(ch) != PART_MESSAGES;
    snprintf(id, 24, "%" PRIu64, counted ? ch->modified : 0);
    const struct event_text all[EVENT_TEXTS] = {{"id", id},
                                                {"timestamp", "0.0"},
                                                {"class", desc_classes[ch->cls]->lname},
                                                {"operation", operation(ch)},
                                                {"ref", ch->ref}};
    memcpy(ret, all, sizeof(all));
}

typedef void (*change_fn)(void *arg, const struct change *ch);

/* In the order in which clients are told. */
static void each_change(const struct changes *changes, change_fn fn, void *arg)
{
    for (enum part p = 0; p < PART_N; p++)
        for (size_t i = 0; i < changes->n; i++)
            if (part_of(&changes->v[i]) == p)
                fn(arg, &changes->v[i]);
}

static void token_text(struct token t, char ret[TOKEN_SIZE])
{
    snprintf(ret, TOKEN_SIZE, "%020" PRIu64 ",%020" PRIu64, t.gen, t.vol);
}

struct val *token_val(struct token t)
{
    char text[TOKEN_SIZE];
    token_text(t, text);
    return val_str(text);
}

static bool is_counted(const struct class_desc *cls)
{
    return cls->flags & CLASS_DB && !(cls->flags & CLASS_INTERNAL);
}

/* ---- as a value ---- */

static void add_event(void *set, const struct change *ch)
{
    struct event_text texts[EVENT_TEXTS];
    char id[24];
    struct val *e = val_map();
    event_texts(ch, id, texts);
    for (unsigned i = 0; i < EVENT_TEXTS; i++)
        val_put_str(e, texts[i].key, texts[i].text);
    if (ch->row)
        val_put(e, "snapshot", row_record(ch->row));
    val_add(set, e);
}

struct val *batch_val(const struct snap *s, const struct changes *changes)
{
    struct val *batch = val_map(), *events = val_set(), *counts = val_map();
    each_change(changes, add_event, events);
    for (unsigned i = 0; i < desc_n_classes; i++)
        if (is_counted(desc_classes[i]))
            val_put_int(counts, desc_classes[i]->lname, (int64_t)snap_count(s, (int)i));
    val_put(batch, "events", events);
    val_put(batch, "valid_ref_counts", counts);
    val_put(batch, "token", token_val(snap_token(s)));
    return batch;
}

/* ---- as bytes ---- */

struct writing {
    struct rpc_out o;
    struct encodings *encodings;
};

static void put_event(void *arg, const struct change *ch)
{
    struct writing *w = arg;
    struct event_text texts[EVENT_TEXTS];
    char id[24];
    event_texts(ch, id, texts);
    rpc_begin_map(&w->o);
    for (unsigned i = 0; i < EVENT_TEXTS; i++) {
        rpc_put_key(&w->o, texts[i].key);
        rpc_put_str(&w->o, texts[i].text);
    }
    if (ch->row) {
        rpc_put_key(&w->o, "snapshot");
        encodings_put(w->encodings, &w->o, ch->row);
    }
    rpc_end_map(&w->o);
}

/* Over XML the counts are typed integers. */
static void put_counts(struct rpc_out *o, const struct snap *s)
{
    rpc_begin_map(o);
    o->i4 = true;
    for (unsigned i = 0; i < desc_n_classes; i++) {
        if (!is_counted(desc_classes[i]))
            continue;
        rpc_put_key(o, desc_classes[i]->lname);
        rpc_put_int(o, (int64_t)snap_count(s, (int)i));
    }
    o->i4 = false;
    rpc_end_map(o);
}

static void put_batch(struct writing *w, const struct snap *s, const struct changes *changes)
{
    char token[TOKEN_SIZE];
    struct rpc_out *o = &w->o;
    rpc_begin_map(o);
    rpc_put_key(o, "events");
    rpc_begin_set(o);
    each_change(changes, put_event, w);
    rpc_end_set(o);
    rpc_put_key(o, "valid_ref_counts");
    put_counts(o, s);
    rpc_put_key(o, "token");
    token_text(snap_token(s), token);
    rpc_put_str(o, token);
    rpc_end_map(o);
}

/* ---- kept ---- */

static bool same_token(struct token a, struct token b)
{
    return a.gen == b.gen && a.vol == b.vol;
}

static bool fits(const struct kept *k, const struct batch_key *key)
{
    return k->batch && k->format == key->format && same_token(k->since, key->since) &&
           same_token(k->now, snap_token(key->snap)) &&
           memcmp(k->classes, key->set->classes, sizeof(k->classes)) == 0;
}

static struct kept *find(struct batches *bs, const struct batch_key *key)
{
    for (unsigned i = 0; i < SLOTS && !key->set->objects.n; i++)
        if (fits(&bs->slots[i], key))
            return &bs->slots[i];
    return NULL;
}

struct batch *batches_find(struct batches *bs, const struct batch_key *key)
{
    mutex_guard(&bs->mutex);
    const struct kept *k = find(bs, key);
    bs->shared += k != NULL;
    return k ? batch_ref(k->batch) : NULL;
}

static void empty(struct batches *bs, struct kept *k)
{
    if (k->batch)
        bs->bytes -= k->batch->size;
    batch_unref(steal(&k->batch));
}

static void keep(struct batches *bs, const struct batch_key *key, struct batch *b)
{
    mutex_guard(&bs->mutex);
    bs->encoded++;
    if (key->set->objects.n || b->size > KEPT_BYTES)
        return;
    struct kept *k = &bs->slots[bs->next];
    bs->next = (bs->next + 1) % SLOTS;
    empty(bs, k);
    for (unsigned i = 0; i < SLOTS && bs->bytes + b->size > KEPT_BYTES; i++)
        empty(bs, &bs->slots[(bs->next + i) % SLOTS]);
    *k = (struct kept){.batch = batch_ref(b),
                       .since = key->since,
                       .now = snap_token(key->snap),
                       .format = key->format};
    memcpy(k->classes, key->set->classes, sizeof(k->classes));
    bs->bytes += b->size;
}

struct batch *batches_make(struct batches *bs, const struct batch_key *key,
                           const struct changes *changes)
{
    struct buf bytes;
    buf_init(&bytes, BATCH_MAX);
    struct writing w = {{.b = &bytes, .format = key->format}, bs->encodings};
    put_batch(&w, key->snap, changes);
    if (!buf_ok(&bytes)) {
        buf_done(&bytes);
        return NULL;
    }
    struct batch *b = mem_new(struct batch);
    atomic_init(&b->refs, 1);
    b->size = bytes.size;
    b->bytes = buf_take(&bytes);
    keep(bs, key, b);
    return b;
}

void batches_dump(struct batches *bs, struct buf *out)
{
    mutex_guard(&bs->mutex);
    buf_printf(out, "batches encoded %" PRIu64 ", given again %" PRIu64 ", bytes %zu\n",
               bs->encoded, bs->shared, bs->bytes);
}
