/*
 * disk_move.c: the disk of a running guest goes to another image, under cairn-diskd.
 *
 *     mirror ──> finish ──> switch (held) ──> go_on
 *       |          |           |
 *       '──────────┴───────────┴──── drop, resume, switch back: the old image is in use as before
 *
 * The mirror is a task of the guest's own cairn-diskd (docs/diskd.md). When that dies the copy is
 * lost and the disk is not: its successor knows of no mirror. From the switch until go_on the disk
 * is held: disks.json names the new image, and nobody opens it, a successor neither; so whoever
 * takes up the operation after a crash finds the guest waiting, and no byte written to either.
 *
 * Called through host.c on operation threads. Sets are under dc->lock.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "host/diskctl.h"
#include "host/disk_room.h"
#include "host/lvm_group.h"

#define POLL_US    20000
#define BEGIN_WAIT (10 * USEC_PER_SEC)
#define DROP_WAIT  (15 * USEC_PER_SEC)

/* The one who has that image open as his leaf. */
struct place {
    char *owner;
    unsigned device;
};

static void place_done(struct place *p)
{
    free(p->owner);
}

/* False: nobody has. */
static bool find_place(struct diskctl *dc, const char *path, struct place *ret)
{
    *ret = (struct place){0};
    pthread_mutex_lock(&dc->lock);
    vec_each (s, &dc->sets) {
        const struct boot *b = (*s)->record;
        for (size_t i = 0; !ret->owner && i < b->n_disks; i++) {
            if (!lvm_group_is_same(view_of(b->disks[i].image.path), view_of(path)))
                continue;
            ret->owner = mem_strdup((*s)->owner);
            ret->device = b->disks[i].device;
        }
    }
    pthread_mutex_unlock(&dc->lock);
    return ret->owner != NULL;
}

static struct err *need_place(struct diskctl *dc, const char *path, struct place *ret)
{
    return find_place(dc, path, ret)
               ? NULL
               : err_errno(ENOENT, "no guest has the disk '%s' open any more", path);
}

static struct err *ask(struct diskctl *dc, const struct place *p, struct val *request_taken,
                       struct val **ret)
{
    _cleanup_(val_unrefp) struct val *request = request_taken;
    _cleanup_(freep) char *socket = mem_printf("%s/disk/%s/ctl.sock", dc->host->run_dir, p->owner);
    return disk_request(socket, request, ret);
}

static struct val *about(const char *op, const char *path, bool of)
{
    struct val *request = val_map();
    val_put_str(request, "op", op);
    val_put_str(request, "path", path);
    if (of)
        val_put_str(request, "of", "mirror");
    return request;
}

struct state {
    bool pending, ready;
    double done;
};

static int64_t number(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_INT ? val_get_int(v) : 0;
}

static bool flag(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

/* The error it ended with; ENOENT: a cairn-diskd that knows of none. */
static struct err *look(struct diskctl *dc, const struct place *p, const char *to,
                        struct state *ret)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    *ret = (struct state){0};
    TRY(ask(dc, p, about("job", to, true), &answer));
    const struct val *result = val_map_get(answer, "result");
    if (!result || val_kind(result) != VAL_MAP)
        return NULL;
    int64_t total = number(result, "total");
    ret->pending = flag(result, "pending");
    ret->ready = flag(result, "ready");
    ret->done = total > 0 ? (double)number(result, "done") / (double)total : 1;
    return NULL;
}

static struct err *lost(struct err *e, const char *from)
{
    int en = e ? err_get_errno(e) : 0;
    if (en != ENOENT && en != ECONNREFUSED && en != ECONNRESET && en != EPIPE)
        return e;
    err_free(e);
    return err_errno(EIO, "the cairn-diskd that copied '%s' has died; nothing is lost, try again",
                     from);
}

struct err *disk_fill(void *data, const char *path, uint64_t size)
{
    struct diskctl *dc = data;
    return disk_room_fill(dc->host, path, size);
}

/* ---- copying ---- */

static struct val *mirror_request(const struct place *p, const struct image *to, const char *below)
{
    struct image target = *to;
    target.parents = (char *)(uintptr_t)below;
    const struct boot_disk d = {.device = p->device, .image = target};
    _cleanup_(val_unrefp) struct val *activate = disk_activate_request(&d);
    const struct val *parents = val_map_get(activate, "parents");
    struct val *request = diskctl_request("mirror", p->device);
    val_put_str(request, "path", to->path);
    val_put_str(request, "format", to->format);
    if (parents)
        val_put(request, "parents", val_ref(parents));
    return request;
}

/* A disk that is just being opened again, by a successor or behind a pause, soon can. */
static struct err *begin(struct diskctl *dc, const struct verb *v, const struct place *p,
                         const struct image *to)
{
    _cleanup_(freep) char *below = NULL;
    TRY(disk_below(dc, v, to, &below));
    for (usec_t end = clock_now() + BEGIN_WAIT;;) {
        struct err *e = ask(dc, p, mirror_request(p, to, below), NULL);
        int en = e ? err_get_errno(e) : 0;
        bool soon = en == EBUSY || en == ENOENT || en == ECONNREFUSED || en == ECONNRESET;
        if (!soon || clock_now() > end)
            return e;
        err_free(e);
        TRY(verb_check(v, "waiting for a disk to be opened"));
        usleep(POLL_US);
    }
}

static struct err *until_ready(struct diskctl *dc, const struct verb *v, const struct place *p,
                               const char *from, const char *to)
{
    for (;;) {
        struct state s;
        TRY(lost(look(dc, p, to, &s), from));
        if (s.ready)
            return NULL;
        if (!s.pending)
            return err_errno(EIO, "copying '%s' has ended before its time", from);
        verb_progress(v, s.done);
        TRY(verb_check(v, "copying a disk"));
        usleep(POLL_US);
    }
}

struct err *disk_mirror(void *data, const struct verb *v, const char *from, const struct image *to)
{
    struct diskctl *dc = data;
    _cleanup_(place_done) struct place p = {0};
    TRY(need_place(dc, from, &p));
    TRY(diskctl_need_modules(dc, v, p.owner, to->path));
    TRY(begin(dc, v, &p, to));
    return until_ready(dc, v, &p, from, to->path);
}

static struct err *complete(struct diskctl *dc, const struct verb *v, const struct place *p,
                            const char *from, const char *to)
{
    for (;;) {
        struct err *e = ask(dc, p, about("complete", to, false), NULL);
        if (!e || err_get_errno(e) != EAGAIN)
            return lost(e, from);
        err_free(e);
        TRY(verb_check(v, "copying a disk"));
        usleep(POLL_US);
    }
}

/* The disk has been closed: what it was copied to will be, too. */
static struct err *until_whole(struct diskctl *dc, const struct verb *v, const struct place *p,
                               const char *from, const char *to)
{
    struct state s = {.pending = true};
    while (s.pending) {
        TRY(lost(look(dc, p, to, &s), from));
        TRY(verb_check(v, "copying the last of a disk"));
        if (s.pending)
            usleep(POLL_US);
    }
    return NULL;
}

struct err *disk_mirror_finish(void *data, const struct verb *v, const char *from, const char *to)
{
    struct diskctl *dc = data;
    _cleanup_(place_done) struct place p = {0};
    TRY(need_place(dc, from, &p));
    TRY(complete(dc, v, &p, from, to));
    TRY(disk_pause(dc, v, from));
    return until_whole(dc, v, &p, from, to);
}

/* As a mirror whose source stands still. Another may have the same image open, so it is this
 * owner's disk that is closed, not whoever has the path. */
struct err *disk_copy_out(void *data, const struct verb *v, const char *owner, unsigned device,
                          const struct image *to)
{
    struct diskctl *dc = data;
    _cleanup_(place_done) struct place p = {mem_strdup(owner), device};
    _cleanup_(freep) char *what = mem_printf("disk %u of %s", device, owner);
    TRY(diskctl_need_modules(dc, v, owner, to->path));
    TRY(begin(dc, v, &p, to));
    TRY(until_ready(dc, v, &p, what, to->path));
    TRY(complete(dc, v, &p, what, to->path));
    TRY(diskctl_complete(dc, v, owner, diskctl_request("deactivate", device), NULL));
    return until_whole(dc, v, &p, what, to->path);
}

/* Until it has let go of its target, if that does not take too long. */
struct err *disk_mirror_drop(void *data, const struct verb *v, const char *from, const char *to)
{
    struct diskctl *dc = data;
    _cleanup_(place_done) struct place p = {0};
    struct state s = {.pending = true};
    if (!find_place(dc, from, &p))
        return NULL;
    usec_t end = clock_now() + DROP_WAIT;
    struct err *e = ask(dc, &p, about("cancel", to, true), NULL);
    while (!e && s.pending && clock_now() < end) {
        usleep(POLL_US);
        e = look(dc, &p, to, &s);
    }
    err_free(e); /* it has ended, or its process has */
    return NULL;
}

/* ---- the other image ---- */

struct err *disk_switch(void *data, const struct verb *v, const char *from, const struct image *to,
                        bool held)
{
    struct diskctl *dc = data;
    _cleanup_(place_done) struct place p = {0};
    if (!find_place(dc, from, &p))
        return NULL; /* it has been done before, or the guest has gone */
    _cleanup_(disk_set_unrefp) struct disk_set *s = diskctl_find(dc, p.owner);
    if (!s)
        return NULL;
    pthread_mutex_lock(&dc->lock);
    struct boot_disk *d = boot_disk(s->record, p.device);
    if (d) {
        image_move(&d->image, to);
        d->image.held = held;
    }
    pthread_mutex_unlock(&dc->lock);
    return diskctl_write_record(s);
}

struct err *disk_go_on(void *data, const struct verb *v, const char *path)
{
    struct diskctl *dc = data;
    _cleanup_(place_done) struct place p = {0};
    if (!find_place(dc, path, &p))
        return NULL;
    _cleanup_(disk_set_unrefp) struct disk_set *s = diskctl_find(dc, p.owner);
    if (!s)
        return NULL;
    pthread_mutex_lock(&dc->lock);
    struct boot_disk *d = boot_disk(s->record, p.device);
    if (d)
        d->image.held = false;
    pthread_mutex_unlock(&dc->lock);
    TRY(diskctl_write_record(s));
    return disk_open(s, v, p.device);
}
