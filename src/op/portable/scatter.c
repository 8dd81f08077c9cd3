/* scatter.c: see scatter.h. The operation's thread. */
#include "op/portable/scatter.h"

#include <string.h>

#define PARTS_MAX  (16u << 20)
#define SPOOL_UNIT (256u << 10)

/* ---- a heap, the nearest part on top ---- */

static void swap(struct part *a, struct part *b)
{
    struct part c = *a;
    *a = *b;
    *b = c;
}

static void sift_up(struct part *v, size_t i)
{
    for (; i && v[i].at < v[(i - 1) / 2].at; i = (i - 1) / 2)
        swap(&v[i], &v[(i - 1) / 2]);
}

static void sift_down(struct part *v, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && v[child + 1].at < v[child].at)
            child++;
        if (v[i].at <= v[child].at)
            return;
        swap(&v[i], &v[child]);
    }
}

static struct part pop(struct scatter *s)
{
    struct part p = s->heap.v[0];
    s->heap.v[0] = s->heap.v[--s->heap.n];
    sift_down(s->heap.v, s->heap.n, 0);
    return p;
}

struct err *scatter_add(struct scatter *s, struct part p)
{
    if (s->heap.n + s->late.n >= PARTS_MAX)
        return import_error("the image has too many parts that are not in order");
    if (p.size == 0 || p.size > s->part_max)
        return import_error("a part of the image has an impossible size");
    if (p.keep || p.at < s->in->src.at) {
        vec_push(&s->late, p);
        return NULL;
    }
    vec_push(&s->heap, p);
    sift_up(s->heap.v, s->heap.n - 1);
    return NULL;
}

/* ---- running ---- */

/* What nobody has asked for, up to `end`. */
static struct err *keep_until(struct scatter *s, uint64_t end)
{
    uint64_t at = s->in->src.at;
    size_t want = end - at < SPOOL_UNIT ? (size_t)(end - at) : SPOOL_UNIT, n = 0;
    TRY(source_fill(&s->in->src, s->room, want, &n));
    return n ? scratch_put(s->scratch, s->room, n, at) : NULL;
}

static void show(const struct scatter *s)
{
    if (s->scratch->size)
        op_progress(s->in->op, (double)s->in->src.at / (double)s->scratch->size);
}

static struct err *run_forward(struct scatter *s)
{
    while (!s->in->src.ended) {
        uint64_t at = s->in->src.at, next = s->heap.n ? s->heap.v[0].at : UINT64_MAX;
        show(s);
        if (next < at)
            return import_error("two parts of the image are in one place");
        if (next > at) {
            TRY(keep_until(s, next));
            continue;
        }
        struct part p = pop(s);
        TRY(source_take(&s->in->src, s->room, p.size));
        TRY(s->take(s, &p, s->room));
    }
    return s->heap.n ? err_IMPORT_ERROR_PREMATURE_EOF() : NULL;
}

/* Each may add more. */
static struct err *run_late(struct scatter *s)
{
    for (size_t i = 0; i < s->late.n; i++) {
        struct part p = s->late.v[i];
        uint64_t end = s->in->src.at;
        if (p.at >= end || (!p.keep && p.size > end - p.at))
            return err_IMPORT_ERROR_PREMATURE_EOF();
        size_t there = p.size < end - p.at ? p.size : (size_t)(end - p.at);
        memset(s->room, 0, p.size);
        TRY(op_check(s->in->op));
        TRY(scratch_get(s->scratch, s->room, there, p.at));
        TRY(s->take(s, &p, s->room));
    }
    return NULL;
}

struct err *scatter_run(struct scatter *s)
{
    s->room = mem_try_alloc(s->part_max > SPOOL_UNIT ? s->part_max : SPOOL_UNIT, 1);
    if (!s->room)
        return import_error("the tables of the image are too long");
    TRY(run_forward(s));
    return run_late(s);
}

void scatter_done(struct scatter *s)
{
    vec_done(&s->heap);
    vec_done(&s->late);
    freep(&s->room);
}

struct err *scatter_put(struct scatter *s, const char *p, size_t size, uint64_t at)
{
    if (at >= s->in->size)
        return NULL;
    return disk_put(s->in->disk, p, size < s->in->size - at ? size : (size_t)(s->in->size - at),
                    at);
}
