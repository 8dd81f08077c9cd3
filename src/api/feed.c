/* feed.c: see feed.h. */
#include "api/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/lock.h"
#include "base/rstr.h"
#include "loop/loop.h"
#include "state/row.h"

#define ROW_EXTRA 2048 /* what a row's strings and values may weigh */

struct entry {
    uint64_t number, stamp;
    const char *operation;
    const struct row *row; /* counted; of a deletion as it was */
    usec_t time;
};

struct feed {
    struct db *db;
    struct mutex mutex;
    struct entry *ring; /* of `cap`, a power of two */
    size_t first, n, cap, bytes;
    uint64_t last;    /* number */
    uint64_t dropped; /* the highest number that found no room any more */
    unsigned listeners;
};

static void on_change(void *arg, const struct db_change *ch);

struct feed *feed_new(struct db *db)
{
    struct feed *f = mem_new(struct feed);
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    struct token t = snap_token(s);
    f->db = db;
    f->last = t.gen + t.vol; /* numbers do not go back when the daemon starts anew */
    mutex_init(&f->mutex, LOCK_LEAF);
    db_set_feed(db, on_change, f);
    return f;
}

static struct entry *at(const struct feed *f, size_t i)
{
    return &f->ring[(f->first + i) & (f->cap - 1)];
}

static size_t weight_of(const struct entry *e)
{
    return sizeof(*e) + e->row->cls->rec_size + ROW_EXTRA;
}

static void forget(struct feed *f, struct entry *e)
{
    f->bytes -= weight_of(e);
    row_unref(e->row);
    f->n--;
}

static void forget_first(struct feed *f)
{
    struct entry *e = at(f, 0);
    f->dropped = e->number;
    forget(f, e);
    f->first++;
}

void feed_free(struct feed *f)
{
    if (!f)
        return;
    db_set_feed(f->db, NULL, NULL);
    while (f->n)
        forget_first(f);
    mutex_done(&f->mutex);
    free(f->ring);
    free(f);
}

static void grow(struct feed *f)
{
    size_t cap = f->cap ? f->cap * 2 : 64;
    struct entry *ring = mem_new_n(struct entry, cap);
    for (size_t i = 0; i < f->n; i++)
        ring[i] = *at(f, i);
    free(f->ring);
    f->ring = ring;
    f->first = 0;
    f->cap = cap;
}

/* Under the mutex, like what follows. */
static void append(struct feed *f, uint64_t stamp, const char *operation, const struct row *row)
{
    f->last++;
    if (!f->listeners)
        return;
    if (f->n == f->cap)
        grow(f);
    struct entry e = {f->last, stamp, operation, row_ref(row), clock_wall()};
    f->n++;
    *at(f, f->n - 1) = e;
    f->bytes += weight_of(&e);
    while (f->bytes > FEED_BYTES)
        forget_first(f);
}

/* Stamps that come again belonged to transactions that nobody will ever see. */
static void take_back(struct feed *f, uint64_t stamp)
{
    while (f->n && at(f, f->n - 1)->stamp >= stamp)
        forget(f, at(f, f->n - 1));
}

/* On core. */
static void on_change(void *arg, const struct db_change *ch)
{
    struct feed *f = arg;
    const struct row *row = ch->after ? ch->after : ch->before;
    mutex_lock(&f->mutex);
    if (ch->is_first)
        take_back(f, ch->stamp);
    bool told = row && row->cls->flags & CLASS_EVENTS && !(row->cls->flags & CLASS_INTERNAL);
    if (told)
        append(f, ch->stamp, !ch->after ? "del" : ch->before ? "mod" : "add", row);
    mutex_unlock(&f->mutex);
}

void feed_repeat(struct feed *f, const struct row *r)
{
    mutex_lock(&f->mutex);
    if (f->listeners)
        append(f, f->n ? at(f, f->n - 1)->stamp : 0, "mod", r);
    mutex_unlock(&f->mutex);
}

uint64_t feed_listen(struct feed *f)
{
    mutex_lock(&f->mutex);
    f->listeners++;
    uint64_t next = f->last + 1;
    mutex_unlock(&f->mutex);
    return next;
}

void feed_unlisten(struct feed *f)
{
    mutex_lock(&f->mutex);
    if (--f->listeners == 0)
        while (f->n)
            forget_first(f);
    mutex_unlock(&f->mutex);
}

uint64_t feed_last(struct feed *f)
{
    mutex_lock(&f->mutex);
    uint64_t last = f->last;
    mutex_unlock(&f->mutex);
    return last;
}

static struct val *event_of(const struct entry *e)
{
    char number[24], time[32];
    snprintf(number, sizeof(number), "%" PRIu64, e->number);
    snprintf(time, sizeof(time), "%" PRIu64 ".", e->time / USEC_PER_SEC);
    struct val *v = val_map();
    val_put_str(v, "id", number);
    val_put_str(v, "timestamp", time);
    val_put_str(v, "class", e->row->cls->lname);
    val_put_str(v, "operation", e->operation);
    val_put_str(v, "ref", e->row->ref);
    val_put(v, "snapshot", row_record(e->row));
    return v;
}

/* Entries are picked under the mutex and made into values without it. */
static struct entry *pick(struct feed *f, uint64_t shown, const struct watch_set *set,
                          uint64_t *cursor, size_t *ret_n)
{
    struct entry *picked = mem_new_n(struct entry, f->n + 1);
    for (size_t i = 0; i < f->n; i++) {
        const struct entry *e = at(f, i);
        if (e->stamp > shown)
            break;
        if (e->number < *cursor)
            continue;
        *cursor = e->number + 1;
        if (!watch_set_has(set, e->row->cls->num, e->row->ref))
            continue;
        picked[*ret_n] = *e;
        row_ref(e->row);
        ++*ret_n;
    }
    return picked;
}

struct val *feed_collect(struct feed *f, const struct snap *s, const struct watch_set *set,
                         uint64_t *cursor)
{
    struct token t = snap_token(s);
    size_t n = 0;
    mutex_lock(&f->mutex);
    if (*cursor <= f->dropped) {
        *cursor = f->last + 1;
        mutex_unlock(&f->mutex);
        return NULL;
    }
    _cleanup_(freep) struct entry *picked = pick(f, t.gen + t.vol, set, cursor, &n);
    mutex_unlock(&f->mutex);
    struct val *events = val_set();
    for (size_t i = 0; i < n; i++) {
        val_add(events, event_of(&picked[i]));
        row_unref(picked[i].row);
    }
    return events;
}
