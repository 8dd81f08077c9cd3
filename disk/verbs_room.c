/*
 * verbs_room.c: `grow`, `wants` and `refuse`: what is asked about volumes that grow under their
 * disks (room.h). Loop's thread, but for the look at the larger volume, which a job takes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "control"

#include "base/log.h"
#include "base/mem.h"
#include "disk/backend/lv.h"
#include "disk/control_int.h"
#include "disk/report.h"
#include "disk/room.h"

/* The disk may go while the job runs, so it is known by its name. */
struct growing {
    struct job job;
    struct control *ctl;
    char *id, *path;
    struct file *file;
    uint64_t size; /* of it */
    int err;
    struct waiter *waiters;
};

struct entry *entry_find(struct control *ctl, const char *id)
{
    vec_each (e, &ctl->entries)
        if (strcmp((*e)->d->id, id) == 0)
            return *e;
    return NULL;
}

static void growing_free(struct growing *g)
{
    file_close(g->file);
    free(g->id);
    free(g->path);
    free(g);
}

static void look(struct job *j)
{
    struct growing *g = (struct growing *)j;
    struct file_stat st = {0};
    g->err = file_open(g->path, FILE_READ, &g->file);
    if (g->err == 0)
        g->err = file_stat(g->file, &st);
    g->size = st.size;
}

/* A repetition of the activation has to name what is open now. */
static void remember_path(struct entry *e, const char *path)
{
    json_t *activate = json_copy(e->activate);
    (void)json_object_set_new(activate, "path", json_string(path));
    json_decref(e->activate);
    e->activate = activate;
    free(e->d->path);
    e->d->path = mem_strdup(path);
}

static bool is_same_volume(const char *a, const char *b)
{
    struct view x, y;
    return strcmp(a, b) == 0 ||
           (lv_name(a, &x) && lv_name(b, &y) && x.size == y.size && memcmp(x.p, y.p, x.size) == 0);
}

/* Meanwhile the disk may have gone, and another may have come by its name. */
static int take(struct entry *e, const struct growing *g)
{
    if (!e || (disk_is_active(e->d) && !is_same_volume(g->path, e->d->path)))
        return -ENOENT;
    return room_grown(e->d, g->file, g->size);
}

static void looked(struct job *j)
{
    struct growing *g = (struct growing *)j;
    struct control *ctl = g->ctl;
    struct entry *e = entry_find(ctl, g->id);
    struct failure f = {.err = g->err, .path = g->path};
    if (!f.err)
        f.err = take(e, g);
    if (f.err)
        (void)snprintf(f.text, sizeof(f.text), "the disk '%s' cannot use more of '%s': %s", g->id,
                       g->path, strerror(-f.err));
    json_t *result = NULL;
    if (!f.err) {
        remember_path(e, g->path);
        log_info("event=grown disk=%s size=%llu", g->id, (unsigned long long)g->size);
        result = json_pack("{s:o}", "room", report_room(e->d));
    }
    waiters_end(&g->waiters, result, &f);
    json_decref(result);
    growing_free(g);
    ctl->n_growing--;
    if (ctl->is_ending)
        control_go_on_ending(ctl);
}

json_t *verb_grow(struct call *c)
{
    const char *id, *path;
    if (!unpack(c, "{s:s, s:s}", "id", &id, "path", &path) || !check_path(c, path, 4095))
        return NULL;
    struct entry *e = entry_find(c->ctl, id);
    if (!e)
        return fail(c, -ENOENT, "there is no disk '%s'", id);
    if (!disk_is_active(e->d))
        return fail(c, -EBUSY, "the disk '%s' is %s", id, disk_state_name(e->d->state));
    if (!is_same_volume(path, e->d->path))
        return fail(c, -EINVAL, "'%s' is not what the disk '%s' is on", path, id);
    struct growing *g = mem_new(struct growing);
    g->job = (struct job){.work = look, .done = looked};
    g->ctl = c->ctl;
    g->id = mem_strdup(id);
    g->path = mem_strdup(path);
    c->ctl->n_growing++;
    waiter_add(c, &g->waiters);
    jobs_post(c->ctl->jobs, &g->job);
    return NULL;
}

static json_t *who_wants(struct control *ctl)
{
    json_t *list = json_array();
    vec_each (e, &ctl->entries) {
        const struct disk *d = (*e)->d;
        if (!d->room.wants || d->state != DISK_ACTIVE)
            continue;
        json_t *room = report_room(d);
        (void)json_object_set_new(room, "id", json_string(d->id));
        (void)json_array_append_new(list, room);
    }
    return json_pack("{s:o}", "disks", list);
}

void control_end_wants(struct control *ctl)
{
    struct failure none = {0};
    json_t *result = who_wants(ctl);
    waiters_end(&ctl->room_waiters, result, &none);
    json_decref(result);
}

static void on_want(void *arg)
{
    struct entry *e = arg;
    log_info("event=wants-room disk=%s", e->d->id);
    control_end_wants(e->ctl);
}

void control_asks_room(struct entry *e, uint64_t low)
{
    e->d->room = (struct room){.low = low, .on_want = on_want, .arg = e};
}

/* Nobody makes it larger: who does not want to wait for ever hears of it. */
json_t *verb_refuse(struct call *c)
{
    const char *id;
    if (!unpack(c, "{s:s}", "id", &id))
        return NULL;
    struct entry *e = entry_find(c->ctl, id);
    if (!e)
        return fail(c, -ENOENT, "there is no disk '%s'", id);
    disk_refuse(e->d);
    return json_object();
}

json_t *verb_wants(struct call *c)
{
    if (!unpack(c, "{}"))
        return NULL;
    json_t *now = who_wants(c->ctl);
    if (json_array_size(json_object_get(now, "disks")))
        return now;
    json_decref(now);
    waiters_prune(&c->ctl->room_waiters);
    waiter_add(c, &c->ctl->room_waiters);
    return NULL;
}
