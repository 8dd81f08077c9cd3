/*
 * coalesce.c: see coalesce.h. Called by tasks.c on the loop's thread; owns the two images.
 */
#include "disk/coalesce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/create.h"

#define PAUSE_MAX_MS 1000u

struct coalesce {
    struct job job;
    struct ring *ring;
    struct jobs *jobs;
    struct backend *backend;
    char *child_path, *parent_path;
    enum image_format child_format, parent_format;
    struct image *child, *parent;
    struct merge merge;
    bool is_merging, is_cancelled;
    uint64_t rate, started_us, copied;
    struct ring_op timer;
    bool is_timing;
    uint64_t done, total;
    int err;
    struct image_why why;
    coalesce_fn on_end;
    void *arg;
};

static void open_work(struct job *j);
static void opened(struct job *j);
static bool may_go(void *arg, uint64_t size);
static void on_timer(struct ring_op *op, int res);
static void merged(void *arg, int err);
static void close_work(struct job *j);
static void closed(struct job *j);

struct coalesce *coalesce_new(struct ring *ring, struct jobs *jobs, struct backend *backend,
                              const struct chain_item *child, const struct chain_item *parent,
                              uint64_t rate, coalesce_fn on_end, void *arg)
{
    struct coalesce *c = mem_new(struct coalesce);
    c->ring = ring;
    c->jobs = jobs;
    c->backend = backend;
    c->child_path = mem_strdup(child->path);
    c->child_format = child->format;
    c->parent_path = mem_strdup(parent->path);
    c->parent_format = parent->format;
    c->rate = rate;
    c->on_end = on_end;
    c->arg = arg;
    c->timer.done = on_timer;
    c->job = (struct job){.work = open_work, .done = opened};
    jobs_post(jobs, &c->job);
    return c;
}

void coalesce_free(struct coalesce *c)
{
    if (!c)
        return;
    free(c->child_path);
    free(c->parent_path);
    free(c);
}

static int open_parent(struct coalesce *c)
{
    return image_open(c->parent_path, c->parent_format, IMAGE_MERGE, &c->parent, &c->why);
}

/* A parent that is smaller grows first; its readers know the old size, and need no more. */
static int grow_parent(struct coalesce *c)
{
    uint64_t size;
    int r = image_close(steal(&c->parent), &c->why);
    if (r == 0)
        r = image_grow(c->parent_path, c->parent_format, IMAGE_MERGE, c->child->size, &size,
                       &c->why);
    return r == 0 ? open_parent(c) : r;
}

static void open_work(struct job *j)
{
    struct coalesce *c = (struct coalesce *)j;
    c->err = image_open(c->child_path, c->child_format, IMAGE_READ, &c->child, &c->why);
    if (c->err == 0)
        c->err = open_parent(c);
    if (c->err == 0)
        c->err = chain_check_link(c->child, c->parent, &c->why);
    if (c->err == 0 && c->parent->size < c->child->size)
        c->err = grow_parent(c);
}

static void opened(struct job *j)
{
    struct coalesce *c = (struct coalesce *)j;
    if (c->err == 0 && c->is_cancelled)
        c->err = -ECANCELED;
    c->job = (struct job){.work = close_work, .done = closed};
    if (c->err < 0) {
        jobs_post(c->jobs, &c->job);
        return;
    }
    merge_init(&c->merge, c->child, c->parent, c->backend);
    c->merge.may_go = c->rate ? may_go : NULL;
    c->merge.on_end = merged;
    c->merge.arg = c;
    c->is_merging = true;
    c->started_us = ring_now_us();
    merge_go_on(&c->merge);
}

/* As much as the time since the start allows, and one piece more. */
static bool may_go(void *arg, uint64_t size)
{
    struct coalesce *c = arg;
    uint64_t due_us = (uint64_t)((double)c->copied * 1e6 / (double)c->rate);
    uint64_t now_us = ring_now_us() - c->started_us;
    if (due_us <= now_us) {
        c->copied += size;
        return true;
    }
    uint64_t ms = (due_us - now_us) / 1000 + 1;
    if (!c->is_timing)
        ring_timer(c->ring, &c->timer, ms < PAUSE_MAX_MS ? (unsigned)ms : PAUSE_MAX_MS);
    c->is_timing = true;
    return false;
}

static void on_timer(struct ring_op *op, int res)
{
    struct coalesce *c = (struct coalesce *)((char *)op - offsetof(struct coalesce, timer));
    c->is_timing = false;
    if (c->is_merging)
        merge_go_on(&c->merge);
    else
        jobs_post(c->jobs, &c->job);
}

/* Called from inside the engine, which therefore is freed after closing. */
static void merged(void *arg, int err)
{
    struct coalesce *c = arg;
    c->is_merging = false;
    c->err = err;
    if (err)
        why_set(&c->why, "cannot merge '%s' into '%s': %s", c->child_path, c->parent_path,
                strerror(-err));
    if (c->is_timing)
        ring_cancel(c->ring, &c->timer);
    else
        jobs_post(c->jobs, &c->job);
}

static void close_work(struct job *j)
{
    struct coalesce *c = (struct coalesce *)j;
    int r = image_close(c->parent, c->err < 0 ? NULL : &c->why);
    (void)image_close(c->child, NULL);
    if (c->err == 0)
        c->err = r;
}

static void closed(struct job *j)
{
    struct coalesce *c = (struct coalesce *)j;
    coalesce_progress(c, &c->done, &c->total);
    if (c->merge.from)
        merge_done(&c->merge);
    c->merge.from = NULL;
    c->on_end(c->arg, c->err, c->why.text);
}

void coalesce_cancel(struct coalesce *c)
{
    c->is_cancelled = c->merge.is_cancelled = true;
    if (c->is_merging)
        merge_go_on(&c->merge);
}

void coalesce_progress(const struct coalesce *c, uint64_t *ret_done, uint64_t *ret_total)
{
    *ret_done = c->merge.from ? c->merge.done : c->done;
    *ret_total = c->merge.from ? c->merge.total : c->total;
}
