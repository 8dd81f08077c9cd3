/*
 * verbs.c: what can be asked over the control socket. One function a verb; control.c calls them
 * through verb_run() on the loop's thread. Creates, opens and ends the disks.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "control"

#include "base/log.h"
#include "disk/backend/lv.h"
#include "disk/backend/remote.h"
#include "disk/budget.h"
#include "disk/control_int.h"
#include "disk/report.h"
#include "disk/room.h"

#define MAX_DISKS  256u
#define MAX_QUEUES 16

typedef json_t *verb_fn(struct call *c);

static void on_disk_end(void *arg, int err, const char *why);
static void entry_remove(struct entry *e);

json_t *fail(struct call *c, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    c->fail.err = err;
    (void)vsnprintf(c->fail.text, sizeof(c->fail.text), fmt, ap);
    va_end(ap);
    return NULL;
}

bool unpack(struct call *c, const char *fmt, ...)
{
    json_error_t e;
    va_list ap;
    va_start(ap, fmt);
    int r = json_vunpack_ex(c->args, &e, JSON_STRICT, fmt, ap);
    va_end(ap);
    if (r < 0)
        (void)fail(c, -EINVAL, "%s", e.text);
    return r == 0;
}

static struct entry *find(struct call *c, const char *id)
{
    struct entry *e = entry_find(c->ctl, id);
    if (e)
        return e;
    (void)fail(c, -ENOENT, "there is no disk '%s'", id);
    return NULL;
}

static json_t *state_of(const struct disk *d)
{
    json_t *j = json_pack("{s:s}", "state", disk_state_name(d->state));
    if (d->cbt_state != CBT_NONE && d->state == DISK_ACTIVE)
        (void)json_object_set_new(j, "cbt", json_string(cbt_state_name(d->cbt_state)));
    return j;
}

bool check_path(struct call *c, const char *path, size_t max)
{
    struct view volume;
    if ((path[0] == '/' || remote_is(path) || lv_name(path, &volume)) && strlen(path) <= max)
        return true;
    (void)fail(c, -EINVAL, "'%s' is not an absolute path of at most %zu bytes", path, max);
    return false;
}

static bool add_front(struct call *c, struct disk *d, json_t *j)
{
    const char *type, *path, *export_name = d->vdi, *bitmap = NULL, *log = NULL;
    int queues = MAX_QUEUES;
    json_error_t e;
    if (json_unpack_ex(j, &e, JSON_STRICT, "{s:s, s:s, s?s, s?i, s?{s:s, s:s}}", "type", &type,
                       "path", &path, "export", &export_name, "queues", &queues, "bitmap", "name",
                       &bitmap, "path", &log) < 0) {
        (void)fail(c, -EINVAL, "fronts: %s", e.text);
        return false;
    }
    if (queues < 1 || queues > MAX_QUEUES || strlen(export_name) > 255 ||
        (bitmap && strlen(bitmap) > 255)) {
        (void)fail(c, -EINVAL, "fronts: queues or export is out of range");
        return false;
    }
    if (!check_path(c, path, 107) || (log && !check_path(c, log, 4095)))
        return false;
    struct front_options options = {.export_name = export_name,
                                    .bitmap_name = bitmap,
                                    .bitmap_path = log,
                                    .queues = (unsigned)queues};
    int r = disk_add_front(d, type, path, &options);
    if (r < 0) {
        (void)fail(c, r, "cannot serve %s on '%s': %s", type, path, strerror(-r));
        c->fail.path = path;
    }
    return r == 0;
}

/* `limit` of attach and the verb: {bytes?, ops?}, a second; what is not there is not limited. */
static bool set_limit(struct call *c, struct disk *d, json_t *limit)
{
    json_int_t bytes = 0, ops = 0;
    json_error_t e;
    if (json_unpack_ex(limit, &e, JSON_STRICT, "{s?I, s?I}", "bytes", &bytes, "ops", &ops) < 0 ||
        bytes < 0 || ops < 0) {
        (void)fail(c, -EINVAL, "limit: bytes and ops are numbers a second, 0 for none");
        return false;
    }
    disk_limit(d, (uint64_t)bytes, (uint64_t)ops);
    return true;
}

static json_t *verb_limit(struct call *c)
{
    const char *id;
    json_t *limit;
    if (!unpack(c, "{s:s, s:o}", "id", &id, "limit", &limit))
        return NULL;
    struct entry *e = find(c, id);
    return e && set_limit(c, e->d, limit) ? json_object() : NULL;
}

/* Of one disk or of all. */
static json_t *verb_retry(struct call *c)
{
    const char *id = NULL;
    if (!unpack(c, "{s?s}", "id", &id) || (id && !find(c, id)))
        return NULL;
    vec_each (e, &c->ctl->entries)
        if (!id || strcmp(id, (*e)->d->id) == 0)
            disk_retry((*e)->d);
    return json_object();
}

static bool is_size(json_int_t size)
{
    return size > 0 && size % 512 == 0;
}

/* A disk whose image has grown while it was closed. */
static json_t *verb_size(struct call *c)
{
    const char *id;
    json_int_t size;
    if (!unpack(c, "{s:s, s:I}", "id", &id, "size", &size))
        return NULL;
    struct entry *e = find(c, id);
    if (!e || !is_size(size))
        return e ? fail(c, -EINVAL, "size is a positive multiple of 512") : NULL;
    int r = disk_set_size(e->d, (uint64_t)size);
    if (r < 0)
        return fail(c, r, "the disk '%s' is %s", id, disk_state_name(e->d->state));
    json_t *attach = json_copy(e->attach);
    (void)json_object_set_new(attach, "size", json_integer(size));
    json_decref(e->attach);
    e->attach = attach;
    return state_of(e->d);
}

static json_t *verb_attach(struct call *c)
{
    const char *id, *vdi, *serial = NULL;
    json_int_t size;
    int readonly = 0, parks = 0, halts = 0;
    json_t *fronts, *limit = NULL;
    if (!unpack(c, "{s:s, s:s, s:I, s:o, s?b, s?s, s?o, s?b, s?b}", "id", &id, "vdi", &vdi, "size",
                &size, "fronts", &fronts, "readonly", &readonly, "serial", &serial, "limit", &limit,
                "parks", &parks, "halts", &halts))
        return NULL;
    struct entry *old = find(c, id);
    c->fail.err = 0;
    if (old)
        return json_equal(old->attach, c->args)
                   ? state_of(old->d)
                   : fail(c, -EEXIST, "the disk '%s' is attached otherwise", id);
    if (!is_size(size) || !*id || strlen(id) > 255 || strlen(vdi) > 255)
        return fail(c, -EINVAL, "size is a positive multiple of 512; id and vdi are short");
    if (!json_is_array(fronts) || c->ctl->entries.n >= MAX_DISKS)
        return fail(c, -EINVAL, "fronts is no list, or there are too many disks");
    struct disk *d = disk_new(id, vdi, (uint64_t)size, readonly, serial ? serial : vdi,
                              c->ctl->ring, c->ctl->jobs, c->ctl->backend);
    if (parks)
        disk_may_park(d);
    if (halts)
        disk_may_halt(d);
    bool is_fine = !limit || set_limit(c, d, limit);
    size_t i;
    json_t *front;
    json_array_foreach(fronts, i, front) is_fine = is_fine && add_front(c, d, front);
    if (!is_fine) {
        disk_free(d);
        return NULL;
    }
    struct entry *e = mem_new(struct entry);
    e->ctl = c->ctl;
    e->d = d;
    e->attach = json_incref(c->args);
    vec_push(&c->ctl->entries, e);
    log_info("event=attached disk=%s vdi=%s", id, vdi);
    return state_of(d);
}

int read_chain(struct call *c, const char *path, const char *format, json_t *parents,
               struct chain_item *items, unsigned *ret_n)
{
    unsigned n = 1;
    size_t i;
    json_t *p;
    items[0].path = path;
    int r = image_parse_format(format, &items[0].format);
    if (!check_path(c, path, 4095))
        return -EINVAL;
    json_array_foreach(parents, i, p)
    {
        const char *parent_format;
        if (n == CHAIN_MAX || json_unpack_ex(p, NULL, JSON_STRICT, "{s:s, s:s}", "path",
                                             &items[n].path, "format", &parent_format) < 0)
            r = -EINVAL;
        else if (r == 0)
            r = image_parse_format(parent_format, &items[n++].format);
    }
    *ret_n = n;
    if (r < 0)
        (void)fail(c, r, "path, format or parents make no sense");
    return r;
}

/* `budget` of activate: {path, bytes}. A disk without its share works, but is not held back. */
static bool set_budget(struct call *c, struct disk *d, json_t *j)
{
    const char *path;
    json_int_t bytes;
    struct budget *b = NULL;
    if (json_unpack_ex(j, NULL, JSON_STRICT, "{s:s, s:I}", "path", &path, "bytes", &bytes) < 0 ||
        path[0] != '/' || bytes <= 0) {
        (void)fail(c, -EINVAL, "budget: path is absolute, bytes is a positive number");
        return false;
    }
    int r = budget_open(path, (uint64_t)bytes, &b);
    if (r < 0)
        log_warn("event=no-budget disk=%s path=%s why=\"%s\"", d->id, path, strerror(-r));
    disk_set_budget(d, b);
    return true;
}

static json_t *verb_activate(struct call *c)
{
    const char *id, *path, *format, *cbt = NULL, *copy = NULL;
    json_t *parents = NULL, *budget = NULL;
    int split = 0, is_cached = true;
    json_int_t low = 0;
    if (!unpack(c, "{s:s, s:s, s:s, s?o, s?i, s?s, s?o, s?I, s?b, s?s}", "id", &id, "path", &path,
                "format", &format, "parents", &parents, "split", &split, "cbt", &cbt, "budget",
                &budget, "low_water", &low, "read_cache", &is_cached, "copy", &copy) ||
        (cbt && !check_path(c, cbt, 4095)) || (copy && !check_path(c, copy, 4095)))
        return NULL;
    struct entry *e = find(c, id);
    struct chain_item items[CHAIN_MAX];
    unsigned n;
    if (split < 0 || split % 512)
        return fail(c, -EINVAL, "split is a multiple of 512");
    if (low && low < (json_int_t)ROOM_LOW_MIN)
        return fail(c, -EINVAL, "low_water is 0 or at least %llu",
                    (unsigned long long)ROOM_LOW_MIN);
    if (!e || read_chain(c, path, format, parents, items, &n) < 0)
        return NULL;
    bool is_same = json_equal(e->activate, c->args);
    if (e->d->state == DISK_ACTIVE)
        return is_same ? state_of(e->d) : fail(c, -EEXIST, "the disk '%s' is active otherwise", id);
    if (e->d->state == DISK_ACTIVATING && !is_same)
        return fail(c, -EEXIST, "the disk '%s' is being activated otherwise", id);
    if (e->d->state == DISK_DRAINING)
        return fail(c, -EBUSY, "the disk '%s' is draining", id);
    if (e->d->state == DISK_ATTACHED) {
        disk_set_budget(e->d, NULL);
        if (budget && !set_budget(c, e->d, budget))
            return NULL;
        e->d->split = (uint32_t)split;
        control_asks_room(e, (uint64_t)low);
        e->d->is_uncached = !is_cached;
        free(e->d->cbt_path);
        e->d->cbt_path = cbt ? mem_strdup(cbt) : NULL;
        free(e->d->copy_path);
        e->d->copy_path = copy ? mem_strdup(copy) : NULL;
        int r = disk_activate(e->d, items, n, on_disk_end, e);
        if (r < 0)
            return fail(c, r, "the disk '%s' cannot be activated", id);
        json_decref(e->activate);
        e->activate = json_incref(c->args);
    }
    waiter_add(c, &e->waiters);
    return NULL;
}

static json_t *verb_deactivate(struct call *c)
{
    const char *id;
    if (!unpack(c, "{s:s}", "id", &id))
        return NULL;
    struct entry *e = find(c, id);
    if (!e)
        return NULL;
    if (e->d->state == DISK_ATTACHED)
        return state_of(e->d);
    if (e->d->state == DISK_ACTIVATING)
        return fail(c, -EBUSY, "the disk '%s' is being activated", id);
    if (e->d->state == DISK_ACTIVE)
        (void)disk_deactivate(e->d, on_disk_end, e);
    waiter_add(c, &e->waiters);
    return NULL;
}

/* An activation or deactivation ended. */
static void on_disk_end(void *arg, int err, const char *why)
{
    struct entry *e = arg;
    struct failure f = {.err = err, .path = e->d->path};
    (void)snprintf(f.text, sizeof(f.text), "%s", why);
    if (err)
        log_warn("event=disk-failed disk=%s state=%s why=\"%s\"", e->d->id,
                 disk_state_name(e->d->state), why);
    else
        log_info("event=%s disk=%s path=%s", disk_state_name(e->d->state), e->d->id, e->d->path);
    if (e->detach_after && e->d->state == DISK_ACTIVE) {
        (void)disk_deactivate(e->d, on_disk_end, e);
        return;
    }
    json_t *result = state_of(e->d);
    waiters_end(&e->waiters, result, &f);
    json_decref(result);
    struct control *ctl = e->ctl;
    if (e->detach_after)
        entry_remove(e);
    if (ctl->is_ending)
        control_go_on_ending(ctl);
}

static json_t *verb_detach(struct call *c)
{
    const char *id;
    int force = 0;
    if (!unpack(c, "{s:s, s?b}", "id", &id, "force", &force))
        return NULL;
    struct entry *e = find(c, id);
    if (!e)
        return NULL;
    if (e->d->state == DISK_ATTACHED) {
        entry_remove(e);
        return json_object();
    }
    if (!force)
        return fail(c, -EBUSY, "the disk '%s' is %s", id, disk_state_name(e->d->state));
    e->detach_after = true;
    if (e->d->state == DISK_ACTIVE)
        (void)disk_deactivate(e->d, on_disk_end, e);
    waiter_add(c, &e->waiters);
    return NULL;
}

static void entry_remove(struct entry *e)
{
    struct control *ctl = e->ctl;
    for (size_t i = 0; i < ctl->entries.n; i++)
        if (ctl->entries.v[i] == e) {
            vec_remove(&ctl->entries, i);
            break;
        }
    log_info("event=detached disk=%s", e->d->id);
    entry_free(e);
}

void entry_free(struct entry *e)
{
    if (e->d->state == DISK_ATTACHED)
        disk_free(e->d);
    json_decref(e->attach);
    json_decref(e->activate);
    free(e);
}

/* `query` and `stats`: one disk or all. */
static json_t *each_disk(struct call *c, json_t *(*describe)(const struct disk *d))
{
    const char *id = NULL;
    if (!unpack(c, "{s?s}", "id", &id) || (id && !find(c, id)))
        return NULL;
    json_t *list = json_array();
    vec_each (e, &c->ctl->entries)
        if (!id || strcmp(id, (*e)->d->id) == 0)
            (void)json_array_append_new(list, describe((*e)->d));
    return json_pack("{s:o}", "disks", list);
}

static json_t *verb_query(struct call *c)
{
    json_t *j = each_disk(c, report_disk);
    if (j) {
        (void)json_object_set_new(j, "jobs", tasks_report(c->ctl));
        (void)json_object_set_new(j, "pid", json_integer(getpid()));
    }
    return j;
}

static json_t *verb_stats(struct call *c)
{
    return each_disk(c, report_stats);
}

static json_t *verb_log(struct call *c)
{
    const char *level, *module = NULL;
    enum log_level l;
    if (!unpack(c, "{s:s, s?s}", "level", &level, "module", &module))
        return NULL;
    if (log_parse_level(level, &l) < 0)
        return fail(c, -EINVAL, "the level is err, warn, info or debug");
    log_set_level(module, l);
    return json_object();
}

static json_t *verb_ping(struct call *c)
{
    if (!unpack(c, "{}"))
        return NULL;
    return json_pack("{s:i, s:s}", "pid", (int)getpid(), "version", CAIRN_VERSION);
}

static json_t *verb_quit(struct call *c)
{
    int force = 0;
    if (!unpack(c, "{s?b}", "force", &force))
        return NULL;
    vec_each (e, &c->ctl->entries)
        if ((*e)->d->state != DISK_ATTACHED && !force)
            return fail(c, -EBUSY, "the disk '%s' is %s", (*e)->d->id,
                        disk_state_name((*e)->d->state));
    const char *path = tasks_running(c->ctl);
    if (path && !force)
        return fail(c, -EBUSY, "'%s' is being written", path);
    c->conn->quits_after_send = true;
    return json_object();
}

void control_go_on_ending(struct control *ctl)
{
    bool is_busy = false;
    vec_each (e, &ctl->entries) {
        if ((*e)->d->state == DISK_ACTIVE)
            (void)disk_deactivate((*e)->d, on_disk_end, *e);
        is_busy |= (*e)->d->state != DISK_ATTACHED;
    }
    tasks_cancel(ctl);
    control_end_wants(ctl);
    is_busy |= ctl->n_growing > 0;
    if (!is_busy && !tasks_running(ctl))
        ring_stop(ctl->ring);
}

json_t *verb_run(struct call *call, const char *op)
{
    static const struct {
        const char *name;
        verb_fn *fn;
    } verbs[] = {
        {"activate", verb_activate}, {"attach", verb_attach},
        {"cancel", verb_cancel},     {"coalesce", verb_coalesce},
        {"complete", verb_complete}, {"mirror", verb_mirror},
        {"create", verb_create},     {"deactivate", verb_deactivate},
        {"detach", verb_detach},     {"info", verb_info},
        {"job", verb_job},           {"limit", verb_limit},
        {"grow", verb_grow},         {"wants", verb_wants},
        {"log", verb_log},           {"modify", verb_modify},
        {"ping", verb_ping},         {"query", verb_query},
        {"quit", verb_quit},         {"resize", verb_resize},
        {"retry", verb_retry},       {"size", verb_size},
        {"stats", verb_stats},       {"refuse", verb_refuse},
    };
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, op) == 0)
            return verbs[i].fn(call);
    return fail(call, -EINVAL, "there is no '%s'", op);
}
