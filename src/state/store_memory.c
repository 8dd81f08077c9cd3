/*
 * store_memory.c: a store whose disk is memory (store.h). For tests, with faults as inputs.
 */
#include <assert.h>
#include <string.h>

#include "base/lock.h"
#include "base/pmap.h"
#include "base/vec.h"
#include "state/store.h"
#include "state/txn.h"

/* A row with its own strings. */
struct kept {
    struct store_row row;
    char *strings[4];
};

struct store_disk {
    struct mutex lock;
    pthread_cond_t changed;
    VEC(struct kept *) rows; /* in no order */
    struct store_head head;
    uint64_t epoch;
    unsigned skip, fail, commits;
    bool held;
};

struct store_memory {
    struct store base;
    struct store_disk *disk;
};

static struct kept *kept_new(const struct store_row *r)
{
    struct kept *k = mem_new(struct kept);
    k->row = *r;
    k->row.cls = k->strings[0] = mem_strdup(r->cls);
    k->row.ref = k->strings[1] = mem_strdup(r->ref);
    k->row.uuid = k->strings[2] = mem_strdup(r->uuid);
    k->row.data.p = k->strings[3] = mem_dup(r->data.p, r->data.size);
    return k;
}

static void kept_free(struct kept *k)
{
    for (size_t i = 0; i < ARRAY_LEN(k->strings); i++)
        free(k->strings[i]);
    free(k);
}

struct store_disk *store_disk_new(void)
{
    struct store_disk *d = mem_new(struct store_disk);
    mutex_init(&d->lock, LOCK_STORE);
    pthread_cond_init(&d->changed, NULL);
    return d;
}

void store_disk_free(struct store_disk *d)
{
    if (!d)
        return;
    vec_each (k, &d->rows)
        kept_free(*k);
    vec_done(&d->rows);
    pthread_cond_destroy(&d->changed);
    mutex_done(&d->lock);
    free(d);
}

void store_disk_fail(struct store_disk *d, unsigned skip, unsigned times)
{
    mutex_guard(&d->lock);
    d->skip = skip;
    d->fail = times;
}

void store_disk_hold(struct store_disk *d, bool held)
{
    mutex_guard(&d->lock);
    d->held = held;
    pthread_cond_broadcast(&d->changed);
}

unsigned store_disk_commits(struct store_disk *d)
{
    mutex_guard(&d->lock);
    return d->commits;
}

static size_t find(const struct store_disk *d, const char *cls, const char *ref)
{
    for (size_t i = 0; i < d->rows.n; i++)
        if (strcmp(d->rows.v[i]->row.ref, ref) == 0 && strcmp(d->rows.v[i]->row.cls, cls) == 0)
            return i;
    return d->rows.n;
}

static void drop(struct store_disk *d, const char *cls, const char *ref)
{
    size_t i = find(d, cls, ref);
    if (i == d->rows.n)
        return;
    kept_free(d->rows.v[i]);
    vec_remove(&d->rows, i);
}

static int by_seq(const void *a, const void *b)
{
    uint64_t x = (*(struct kept *const *)a)->row.seq, y = (*(struct kept *const *)b)->row.seq;
    return x < y ? -1 : x > y;
}

static int by_generation(const void *a, const void *b)
{
    const struct store_row *x = &(*(struct kept *const *)a)->row;
    const struct store_row *y = &(*(struct kept *const *)b)->row;
    if (x->modified != y->modified)
        return x->modified < y->modified ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void sort(struct store_disk *d, int (*order)(const void *, const void *))
{
    if (d->rows.n)
        qsort(d->rows.v, d->rows.n, sizeof(*d->rows.v), order);
}

static struct err *memory_load(struct store *s, store_row_fn fn, void *arg, struct store_head *ret)
{
    struct store_disk *d = ((struct store_memory *)s)->disk;
    mutex_guard(&d->lock);
    sort(d, by_seq);
    vec_each (k, &d->rows)
        TRY(fn(arg, &(*k)->row));
    *ret = d->head;
    return NULL;
}

static struct err *memory_commit(struct store *s, const struct store_batch *b, bool *ret_lost)
{
    struct store_disk *d = ((struct store_memory *)s)->disk;
    mutex_guard(&d->lock);
    while (d->held)
        cond_wait(&d->changed, &d->lock);
    if (d->epoch != s->epoch || d->head.generation != b->from) {
        *ret_lost = true;
        return NULL;
    }
    if (d->skip)
        d->skip--;
    else if (d->fail && d->fail--)
        return err_internal("the store was told to fail");
    for (size_t i = 0; i < b->n_drops; i++)
        drop(d, b->drops[i].cls, b->drops[i].ref);
    for (size_t i = 0; i < b->n_puts; i++) {
        drop(d, b->puts[i].cls, b->puts[i].ref);
        vec_push(&d->rows, kept_new(&b->puts[i]));
    }
    d->head = b->head;
    d->commits++;
    pthread_cond_broadcast(&d->changed);
    return NULL;
}

static struct err *memory_follow(struct store *s, uint64_t since, usec_t deadline, store_row_fn fn,
                                 void *arg, uint64_t *ret_generation)
{
    struct store_disk *d = ((struct store_memory *)s)->disk;
    mutex_guard(&d->lock);
    while (d->head.generation <= since)
        if (!clock_wait(&d->changed, &d->lock.m, deadline))
            break;
    sort(d, by_generation);
    vec_each (k, &d->rows)
        if ((*k)->row.modified > since)
            TRY(fn(arg, &(*k)->row));
    *ret_generation = d->head.generation;
    return NULL;
}

static struct err *memory_compact(struct store *s)
{
    (void)s;
    return NULL;
}

static void memory_close(struct store *s)
{
    free(s);
}

static const struct store_ops memory_ops = {
    .name = "memory",
    .load = memory_load,
    .commit = memory_commit,
    .follow = memory_follow,
    .compact = memory_compact,
    .close = memory_close,
};

struct err *store_memory_open(struct store_disk *d, enum store_mode mode, struct store **ret)
{
    struct store_memory *s = mem_new(struct store_memory);
    mutex_guard(&d->lock);
    s->base = (struct store){.ops = &memory_ops,
                             .epoch = mode == STORE_WRITE ? ++d->epoch : 0,
                             .max_rows = 2 * TXN_MAX_ROWS,
                             .max_bytes = 2 * TXN_MAX_BYTES};
    s->disk = d;
    *ret = &s->base;
    return NULL;
}
