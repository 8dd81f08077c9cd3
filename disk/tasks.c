/*
 * tasks.c: verbs that work on images nobody serves here: create, modify, resize, info, coalesce,
 * mirror. Each is a task: work on a job thread (the last two go on by themselves) that those who
 * ask the same wait for, and that `job` tells the end of. Called by verbs.c on the loop's thread;
 * owns the tasks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "control"

#include "base/log.h"
#include "disk/coalesce.h"
#include "disk/control_int.h"
#include "disk/mirror.h"
#include "disk/report.h"

#define KEEP_TASKS 64u

struct task {
    struct job job;
    struct control *ctl;
    const char *op; /* static */
    json_t *args;   /* what was asked: the same again joins; strings below point into it */
    const char *path;
    enum image_format format;
    bool has_format;
    uint64_t size;
    bool has_parent;
    struct image_parent parent;
    const char *called; /* what the parent will be; NULL: what it is */
    int hidden;         /* -1: as it is */
    uint64_t rate;      /* of a coalesce, bytes a second; 0: no limit */
    struct coalesce *coalesce;
    struct mirror *mirror;
    struct image_why why;
    int err;
    bool is_finished;
    json_t *result;
    struct waiter *waiters;
};

static json_t *start(struct call *c, const struct task *like);
static void begin(struct task *t);
static json_t *progress_of(const struct task *t);
static void work(struct job *j);
static void work_done(struct job *j);
static void long_one_ended(void *arg, int err, const char *why);

static struct task *find_task(struct control *ctl, const char *op, const char *path)
{
    for (size_t i = ctl->tasks.n; i-- > 0;)
        if (strcmp(ctl->tasks.v[i]->path, path) == 0 && strcmp(ctl->tasks.v[i]->op, op) == 0)
            return ctl->tasks.v[i];
    return NULL;
}

static void forget_old_tasks(struct control *ctl)
{
    for (size_t i = 0; i < ctl->tasks.n && ctl->tasks.n > KEEP_TASKS;) {
        if (ctl->tasks.v[i]->is_finished) {
            task_free(ctl->tasks.v[i]);
            vec_remove(&ctl->tasks, i);
        } else {
            i++;
        }
    }
}

void task_free(struct task *t)
{
    coalesce_free(t->coalesce);
    mirror_free(t->mirror);
    json_decref(t->result);
    json_decref(t->args);
    free(t);
}

static bool is_open_here(struct call *c, const char *path)
{
    vec_each (e, &c->ctl->entries)
        if ((*e)->d->state != DISK_ATTACHED && strcmp((*e)->d->path, path) == 0)
            return true;
    return false;
}

static bool take_format(struct call *c, const char *name, struct task *t)
{
    t->has_format = name;
    if (!name || image_parse_format(name, &t->format) == 0)
        return true;
    (void)fail(c, -EINVAL, "the format is vhd, vhd-fixed, qcow2 or raw");
    return false;
}

static bool take_parent(struct call *c, json_t *j, struct task *t)
{
    const char *format;
    t->has_parent = j;
    if (!j)
        return true;
    if (json_unpack_ex(j, NULL, JSON_STRICT, "{s:s, s:s, s?s}", "path", &t->parent.path, "format",
                       &format, "called", &t->called) < 0 ||
        image_parse_format(format, &t->parent.format) < 0) {
        (void)fail(c, -EINVAL, "parent has a path and a format");
        return false;
    }
    return check_path(c, t->parent.path, 4095) && (!t->called || check_path(c, t->called, 4095));
}

json_t *verb_create(struct call *c)
{
    struct task t = {.op = "create"};
    const char *format;
    json_int_t size = 0;
    json_t *parent = NULL;
    if (!unpack(c, "{s:s, s:s, s?I, s?o}", "path", &t.path, "format", &format, "size", &size,
                "parent", &parent) ||
        !take_format(c, format, &t) || !take_parent(c, parent, &t))
        return NULL;
    if (size < 0 || (size == 0 && !parent) || t.called)
        return fail(c, -EINVAL, "the size is positive");
    t.size = (uint64_t)size;
    return start(c, &t);
}

json_t *verb_resize(struct call *c)
{
    struct task t = {.op = "resize"};
    const char *format;
    json_int_t size;
    if (!unpack(c, "{s:s, s:s, s:I}", "path", &t.path, "format", &format, "size", &size) ||
        !take_format(c, format, &t))
        return NULL;
    if (size < 0)
        return fail(c, -EINVAL, "the size is positive");
    t.size = (uint64_t)size;
    return is_open_here(c, t.path) ? fail(c, -EBUSY, "'%s' is open here", t.path) : start(c, &t);
}

json_t *verb_modify(struct call *c)
{
    struct task t = {.op = "modify", .hidden = -1};
    const char *format;
    json_t *parent = NULL;
    if (!unpack(c, "{s:s, s:s, s?b, s?o}", "path", &t.path, "format", &format, "hidden", &t.hidden,
                "parent", &parent) ||
        !take_format(c, format, &t) || !take_parent(c, parent, &t))
        return NULL;
    return start(c, &t);
}

json_t *verb_info(struct call *c)
{
    struct task t = {.op = "info"};
    const char *format = NULL;
    if (!unpack(c, "{s:s, s?s}", "path", &t.path, "format", &format) || !take_format(c, format, &t))
        return NULL;
    return start(c, &t);
}

json_t *verb_coalesce(struct call *c)
{
    struct task t = {.op = "coalesce"};
    struct chain_item items[CHAIN_MAX];
    const char *format;
    json_t *parents;
    json_int_t rate = 0;
    unsigned n;
    if (!unpack(c, "{s:s, s:s, s:o, s?I}", "path", &t.path, "format", &format, "parents", &parents,
                "rate", &rate) ||
        read_chain(c, t.path, format, parents, items, &n) < 0)
        return NULL;
    if (n < 2 || !image_ops_of(items[0].format)->can_have_parent || rate < 0)
        return fail(c, -EINVAL, "a growing image and its parent are needed");
    t.format = items[0].format;
    t.parent = (struct image_parent){items[1].path, items[1].format};
    t.rate = (uint64_t)rate;
    return start(c, &t);
}

static void begin(struct task *t)
{
    if (strcmp(t->op, "coalesce") != 0) {
        jobs_post(t->ctl->jobs, &t->job);
        return;
    }
    struct chain_item child = {t->path, t->format}, parent = {t->parent.path, t->parent.format};
    t->coalesce = coalesce_new(t->ctl->ring, t->ctl->jobs, t->ctl->backend, &child, &parent,
                               t->rate, long_one_ended, t);
}

static struct task *add_task(struct call *c, const struct task *like)
{
    struct task *t = mem_new(struct task);
    *t = *like;
    t->job = (struct job){.work = work, .done = work_done};
    t->ctl = c->ctl;
    t->args = json_incref(c->args);
    vec_push(&c->ctl->tasks, t);
    forget_old_tasks(c->ctl);
    return t;
}

/* One under way; *ret_same: it was asked for by the same words. */
static struct task *find_running(struct call *c, const char *op, const char *path, bool *ret_same)
{
    struct task *t = find_task(c->ctl, op, path);
    if (t && t->is_finished)
        t = NULL;
    *ret_same = t && json_equal(t->args, c->args);
    return t;
}

/* The same again waits for the one under way; what has ended is done again. */
static json_t *start(struct call *c, const struct task *like)
{
    bool is_same;
    if (!check_path(c, like->path, 4095))
        return NULL;
    struct task *t = find_running(c, like->op, like->path, &is_same);
    if (t && !is_same)
        return fail(c, -EBUSY, "another %s of '%s' is under way", like->op, like->path);
    if (!t) {
        t = add_task(c, like);
        begin(t);
    }
    waiter_add(c, &t->waiters);
    return NULL;
}

/* The image of a disk that is served here, into one that is open nowhere. It is a task of that
 * one, and answers at once. */
json_t *verb_mirror(struct call *c)
{
    struct task like = {.op = "mirror"};
    struct chain_item items[CHAIN_MAX];
    const char *id, *format;
    json_t *parents = NULL;
    struct disk *d = NULL;
    unsigned n;
    bool is_same;
    if (!unpack(c, "{s:s, s:s, s:s, s?o}", "id", &id, "path", &like.path, "format", &format,
                "parents", &parents) ||
        read_chain(c, like.path, format, parents, items, &n) < 0)
        return NULL;
    vec_each (e, &c->ctl->entries)
        d = strcmp((*e)->d->id, id) == 0 ? (*e)->d : d;
    if (!d)
        return fail(c, -ENOENT, "there is no disk '%s'", id);
    struct task *t = find_running(c, like.op, like.path, &is_same);
    if (is_same)
        return progress_of(t);
    if (t || is_open_here(c, like.path) || !disk_can_be_mirrored(d))
        return fail(c, -EBUSY, "the disk '%s' cannot be copied to '%s' now", id, like.path);
    t = add_task(c, &like);
    t->mirror = mirror_new(t->ctl->ring, t->ctl->jobs, t->ctl->backend, items, n, d->size,
                           long_one_ended, t);
    disk_mirror(d, t->mirror);
    return progress_of(t);
}

/* A mirror that is ready becomes whole when its disk is deactivated next. */
json_t *verb_complete(struct call *c)
{
    const char *path;
    if (!unpack(c, "{s:s}", "path", &path))
        return NULL;
    const struct task *t = find_task(c->ctl, "mirror", path);
    if (!t || t->is_finished)
        return fail(c, -ENOENT, "nothing is copied to '%s'", path);
    int r = mirror_complete(t->mirror);
    return r < 0 ? fail(c, r, "'%s' is not the same yet", path) : json_object();
}

static void do_create(struct task *t)
{
    struct image_made made;
    t->err = image_create(t->path, t->format, t->size, t->has_parent ? &t->parent : NULL, &made,
                          &t->why);
    t->result = t->err ? NULL : report_made(&made, t->format);
}

static void do_resize(struct task *t)
{
    uint64_t size;
    t->err = image_resize(t->path, t->format, t->size, &size, &t->why);
    t->result = t->err ? NULL : json_pack("{s:I}", "size", (json_int_t)size);
}

static void do_modify(struct task *t)
{
    struct image_change change = {
        .hidden = t->hidden, .parent = t->has_parent ? &t->parent : NULL, .called = t->called};
    t->err = image_modify(t->path, t->format, &change, &t->why);
}

static void do_info(struct task *t)
{
    struct image_info info;
    t->err = image_info(t->path, t->has_format ? &t->format : NULL, &info, &t->why);
    t->result = t->err ? NULL : report_info(&info);
}

static void work(struct job *j)
{
    struct task *t = (struct task *)j;
    if (strcmp(t->op, "create") == 0)
        do_create(t);
    else if (strcmp(t->op, "resize") == 0)
        do_resize(t);
    else if (strcmp(t->op, "modify") == 0)
        do_modify(t);
    else
        do_info(t);
}

static void task_failure(const struct task *t, struct failure *f)
{
    *f = (struct failure){.err = t->err, .path = t->path};
    (void)snprintf(f->text, sizeof(f->text), "%s", t->why.text);
}

static void finish(struct task *t)
{
    struct failure f;
    t->is_finished = true;
    task_failure(t, &f);
    if (t->err)
        log_warn("event=%s-failed why=\"%s\"", t->op, t->why.text);
    waiters_end(&t->waiters, t->result, &f);
}

static void work_done(struct job *j)
{
    finish((struct task *)j);
}

static json_t *progress_of(const struct task *t)
{
    uint64_t done = 0, total = 0;
    if (t->mirror) {
        struct mirror_progress p = mirror_get_progress(t->mirror);
        return json_pack("{s:I, s:I, s:b}", "done", (json_int_t)p.done, "total",
                         (json_int_t)p.total, "ready", p.is_ready);
    }
    if (!t->coalesce)
        return json_object();
    coalesce_progress(t->coalesce, &done, &total);
    return json_pack("{s:I, s:I}", "done", (json_int_t)done, "total", (json_int_t)total);
}

static void long_one_ended(void *arg, int err, const char *why)
{
    struct task *t = arg;
    struct control *ctl = t->ctl;
    t->err = err;
    t->result = err ? NULL : progress_of(t);
    why_set(&t->why, "%s", why);
    finish(t);
    if (ctl->is_ending)
        control_go_on_ending(ctl);
}

json_t *verb_job(struct call *c)
{
    const char *path, *of;
    if (!unpack(c, "{s:s, s:s}", "path", &path, "of", &of))
        return NULL;
    const struct task *t = find_task(c->ctl, of, path);
    if (!t)
        return fail(c, -ENOENT, "there was no %s of '%s'", of, path);
    if (!t->is_finished) {
        json_t *j = progress_of(t);
        (void)json_object_set_new(j, "pending", json_true());
        return j;
    }
    task_failure(t, &c->fail);
    return json_incref(t->result);
}

/* It goes on by itself, and can be stopped. */
static bool is_long(const struct task *t)
{
    return t->coalesce || t->mirror;
}

static void stop(struct task *t)
{
    if (t->mirror)
        mirror_cancel(t->mirror);
    else
        coalesce_cancel(t->coalesce);
}

json_t *verb_cancel(struct call *c)
{
    const char *path, *of;
    if (!unpack(c, "{s:s, s:s}", "path", &path, "of", &of))
        return NULL;
    struct task *t = find_task(c->ctl, of, path);
    if (!t || t->is_finished)
        return fail(c, -ENOENT, "there is no %s of '%s'", of, path);
    if (!is_long(t))
        return fail(c, -EOPNOTSUPP, "a %s cannot be cancelled", of);
    stop(t);
    return json_object();
}

json_t *tasks_report(const struct control *ctl)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ctl->tasks.n; i++) {
        const struct task *t = ctl->tasks.v[i];
        if (t->is_finished)
            continue;
        json_t *j = progress_of(t);
        (void)json_object_set_new(j, "op", json_string(t->op));
        (void)json_object_set_new(j, "path", json_string(t->path));
        (void)json_array_append_new(list, j);
    }
    return list;
}

const char *tasks_running(const struct control *ctl)
{
    for (size_t i = 0; i < ctl->tasks.n; i++)
        if (is_long(ctl->tasks.v[i]) && !ctl->tasks.v[i]->is_finished)
            return ctl->tasks.v[i]->path;
    return NULL;
}

void tasks_cancel(struct control *ctl)
{
    vec_each (t, &ctl->tasks)
        if (is_long(*t) && !(*t)->is_finished)
            stop(*t);
}
