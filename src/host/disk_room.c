/*
 * disk_room.c: see disk_room.h. The thread `room` is started by diskctl.c; it keeps no mutex while
 * it waits for anybody.
 *
 * Who asks next is decided anew in every round: a connection to each cairn-diskd that has a disk
 * which grows, on which `wants` waits for its answer; after a failure, a moment without one. A disk
 * that is just opened, paused or moved is left alone: it asks again.
 */
#include "host/disk_room.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/turn.h"
#include "codec/json.h"
#include "host/lvm_group.h"
#include "host/lvm_change.h"
#include "host/sr_lvm.h"
#include "host/sr_thin.h"
#include "task/fault.h"

#undef LOG_MODULE
#define LOG_MODULE "room"

#define ANSWER_MAX (1U << 20)
#define SOON       (100 * USEC_PER_SEC / 1000) /* it is being opened, or started */
#define LATER      USEC_PER_SEC                /* for a group that has nothing left */
#define PATIENCE   (10 * USEC_PER_SEC)
#define LOW_QUANTA 4  /* of the disk that grew, or */
#define LOW_PART   20 /* of the group: less than that is little */
#define HELD_LOOK  10000

/* A cairn-diskd, and what it is asked. */
struct asked {
    char *owner;
    int fd; /* -1: not at the moment */
    usec_t next;
    struct buf in;
    bool is_seen;
};

struct disk_room {
    struct diskctl *dc;
    pthread_t thread;
    int wake;
    _Atomic(bool) is_stopping;
    VEC(char *) low; /* groups of which was told that little is left */
    VEC(struct asked *) all;
};

/* A disk that wants room, as it was when that was heard. */
struct want {
    const char *owner;
    unsigned device;
    uint64_t known; /* as large is its volume to cairn-diskd */
    struct image image;
    bool is_guest; /* whose requests may wait */
};

/* ---- under dc->lock ---- */

static bool grows(const struct boot_disk *d)
{
    return d->image.quantum && !d->image.readonly && !d->cd;
}

static bool has_one(const struct disk_set *s)
{
    for (size_t i = 0; i < s->record->n_disks; i++)
        if (grows(&s->record->disks[i]))
            return true;
    return false;
}

static struct disk_set *find_locked(struct diskctl *dc, const char *owner)
{
    vec_each (s, &dc->sets)
        if (str_eq((*s)->owner, owner))
            return *s;
    return NULL;
}

static bool is_same(const char *a, const char *b)
{
    return lvm_group_is_same(view_of(a), view_of(b));
}

static bool is_being_opened(const struct diskctl *dc, const char *path)
{
    for (size_t i = 0; i < dc->opening.n; i++)
        if (is_same(dc->opening.v[i], path))
            return true;
    return false;
}

bool disk_room_comes(const struct disk_set *s, unsigned device)
{
    const struct boot_disk *d = boot_disk(s->record, device);
    return d && grows(d) && !(s->full[device / 8] & 1u << device % 8);
}

/* Where a test stops a growth, or breaks it: fault.h. */
static struct err *mark(const struct disk_room *room, const char *name)
{
    while (fault_is_held(name) && !room->is_stopping)
        usleep(HELD_LOOK);
    return fault_point(name);
}

/* ---- one volume ---- */

static uint64_t full_size(const struct image *image)
{
    return sr_lvm_full_size("vhd", image->size_bytes);
}

static uint64_t size_of(const struct lvm_volume *v)
{
    return v->lv->extents * v->vg.extent_size;
}

static struct err *cannot_find(const char *path, int r)
{
    return err_errno(-r, "the volume '%s' cannot be found", path);
}

/* All of the group, with commas between them. */
static char *devices_of(const struct lvm_vg *vg)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 65536);
    for (size_t i = 0; i < vg->pvs.n; i++)
        buf_printf(&b, "%s%s", i ? "," : "", vg->pvs.v[i].device);
    return mem_strdup(buf_str(&b));
}

/* ENOSPC: not even one extent. */
static struct err *extend(const struct host *h, const struct lvm_volume *v, uint64_t size)
{
    _cleanup_(freep) char *devices = devices_of(&v->vg);
    if (size <= size_of(v))
        return err_errno(ENOSPC, "the volume group '%s' has no more room", v->vg.name);
    return group_lv_extend(h, devices, v->vg.name, v->lv->name, size);
}

static bool is_known_low(struct disk_room *room, const char *group, bool is_low)
{
    for (size_t i = 0; i < room->low.n; i++) {
        if (!str_eq(room->low.v[i], group))
            continue;
        if (!is_low) {
            free(room->low.v[i]);
            vec_remove(&room->low, i);
        }
        return true;
    }
    return false;
}

/* Told when it becomes true, so again after there was more. */
static void note_left(struct disk_room *room, const struct lvm_vg *vg, uint64_t left,
                      uint64_t quantum)
{
    char reason[48];
    uint64_t all = 0;
    for (size_t i = 0; i < vg->pvs.n; i++)
        all += vg->pvs.v[i].extents * vg->extent_size;
    bool is_low = left < LOW_QUANTA * quantum || left < all / LOW_PART;
    if (is_known_low(room, vg->name, is_low) || !is_low)
        return;
    vec_push(&room->low, mem_strdup(vg->name));
    (void)snprintf(reason, sizeof(reason), "%llu %llu", (unsigned long long)(left >> 20),
                   (unsigned long long)(all >> 20));
    struct host_fact f = {.kind = FACT_SR_LOW, .sr = sr_lvm_sr_in(vg->name), .reason = reason};
    host_post(room->dc->host, &f);
}

/* One that is larger than its user knows need not be larger still: somebody died before he told. */
static struct err *make_room(struct disk_room *room, const struct want *w)
{
    const struct host *h = room->dc->host;
    _cleanup_(lvm_volume_done) struct lvm_volume v = {0};
    int r = lvm_group_volume(w->image.path, &v);
    if (r < 0)
        return cannot_find(w->image.path, r);
    if (size_of(&v) > w->known)
        return NULL;
    uint64_t left = lvm_vg_free(&v.vg) * v.vg.extent_size, has = size_of(&v);
    uint64_t size = sr_thin_next(w->image.quantum, has, full_size(&w->image), left);
    TRY(mark(room, "growth/volume/before"));
    TRY(extend(h, &v, size));
    note_left(room, &v.vg, left - (size - has), w->image.quantum);
    return NULL;
}

struct err *disk_room_fill(const struct host *h, const char *path, uint64_t size)
{
    _cleanup_(lvm_volume_done) struct lvm_volume v = {0};
    uint64_t full = sr_lvm_full_size("vhd", size);
    if (!lvm_group_is_path(path))
        return NULL;
    int r = lvm_group_volume(path, &v);
    if (r < 0)
        return cannot_find(path, r);
    uint64_t has = size_of(&v), free = lvm_vg_free(&v.vg) * v.vg.extent_size;
    if (has >= full)
        return NULL;
    return extend(h, &v, full - has <= free ? full : has);
}

/* ---- telling of it ---- */

static char *record_of(struct diskctl *dc, const char *owner)
{
    pthread_mutex_lock(&dc->lock);
    const struct disk_set *s = find_locked(dc, owner);
    char *json = s ? boot_format(s->record) : NULL;
    pthread_mutex_unlock(&dc->lock);
    return json;
}

/* Others write it, too: what is there in the end must be what was true last. */
static struct err *write_record(struct diskctl *dc, const char *owner)
{
    _cleanup_(freep) char *path = mem_printf("%s/disk/%s/disks.json", dc->host->run_dir, owner);
    _cleanup_(freep) char *json = record_of(dc, owner);
    for (bool same = false; json && !same;) {
        int r = fd_replace_file(path, json, strlen(json), 0600);
        if (r < 0)
            return err_errno(-r, "cannot write '%s'", path);
        char *now = record_of(dc, owner);
        same = now && str_eq(now, json);
        free(json);
        json = now;
    }
    return NULL;
}

static struct err *note_path(struct diskctl *dc, const struct want *w, const char *path)
{
    pthread_mutex_lock(&dc->lock);
    struct disk_set *s = find_locked(dc, w->owner);
    struct boot_disk *d = s ? boot_disk(s->record, w->device) : NULL;
    if (d && is_same(d->image.path, path)) {
        free(d->image.path);
        d->image.path = mem_strdup(path);
    }
    pthread_mutex_unlock(&dc->lock);
    return write_record(dc, w->owner);
}

static struct err *tell(struct diskctl *dc, const struct want *w, const char *path)
{
    struct verb v = {.deadline = clock_now() + PATIENCE};
    struct val *request = diskctl_request("grow", w->device);
    val_put_str(request, "path", path);
    return diskctl_complete(dc, &v, w->owner, request, NULL);
}

/* *ret_stuck: there is no more room, or nobody makes it, whatever the reason: who waits for it is
 * to know. What fails behind that is done again in a moment. */
static struct err *grow(struct disk_room *room, const struct want *w, bool *ret_stuck)
{
    struct diskctl *dc = room->dc;
    _cleanup_(freep) char *path = NULL;
    *ret_stuck = true;
    TRY(make_room(room, w));
    *ret_stuck = false;
    TRY(mark(room, "growth/volume/after"));
    int r = lvm_group_beside(w->image.path, NULL, &path);
    if (r < 0)
        return cannot_find(w->image.path, r);
    TRY(note_path(dc, w, path));
    TRY(mark(room, "growth/record/after"));
    TRY(tell(dc, w, path));
    return mark(room, "growth/told/after");
}

/* A transfer has somebody who wants to hear of a full repository. */
static void refuse(struct diskctl *dc, const struct want *w)
{
    struct verb v = {.deadline = clock_now() + PATIENCE};
    err_free(diskctl_complete(dc, &v, w->owner, diskctl_request("refuse", w->device), NULL));
}

/* False: not now, somebody is at it. */
static bool begin(struct diskctl *dc, struct want *w)
{
    pthread_mutex_lock(&dc->lock);
    const struct disk_set *s = find_locked(dc, w->owner);
    const struct boot_disk *d = s ? boot_disk(s->record, w->device) : NULL;
    bool may = d && grows(d) && !d->image.held && !disk_is_paused(dc, d->image.path) &&
               !is_being_opened(dc, d->image.path);
    if (may) {
        image_copy(&d->image, &w->image);
        w->is_guest = disk_is_vhost(d);
        dc->growing = mem_strdup(d->image.path);
    }
    pthread_mutex_unlock(&dc->lock);
    return may;
}

/* True: it was known to be stuck before. */
static bool end(struct diskctl *dc, struct want *w, bool is_stuck)
{
    uint8_t bit = (uint8_t)(1u << w->device % 8);
    pthread_mutex_lock(&dc->lock);
    freep(&dc->growing);
    struct disk_set *s = find_locked(dc, w->owner);
    const struct boot_disk *d = s ? boot_disk(s->record, w->device) : NULL;
    bool was_stuck = s && s->full[w->device / 8] & bit;
    if (is_stuck && d && is_same(d->image.path, w->image.path))
        s->full[w->device / 8] |= bit;
    else if (s)
        s->full[w->device / 8] &= (uint8_t)~bit;
    pthread_mutex_unlock(&dc->lock);
    image_done(&w->image);
    return was_stuck;
}

/* How long to wait before the next question. */
static usec_t grow_one(struct disk_room *room, struct want *w)
{
    struct diskctl *dc = room->dc;
    if (!begin(dc, w))
        return SOON;
    bool is_stuck;
    _cleanup_(err_freep) struct err *e = grow(room, w, &is_stuck);
    if (is_stuck && !w->is_guest)
        refuse(dc, w);
    bool was_stuck = end(dc, w, is_stuck);
    if (e && err_get_errno(e) != ENOSPC && !was_stuck)
        log_warn("event=not-grown owner=%s disk=%u reason='%s'", w->owner, w->device,
                 err_param(e, 0));
    return e ? LATER : 0;
}

/* ---- questions and answers ---- */

static void hang_up(struct asked *a, usec_t pause)
{
    if (a->fd >= 0)
        fd_close(a->fd);
    a->fd = -1;
    a->next = clock_now() + pause;
    buf_clear(&a->in);
}

static void asked_free(struct asked *a)
{
    hang_up(a, 0);
    buf_done(&a->in);
    free(a->owner);
    free(a);
}

static void ask(struct disk_room *room, struct asked *a)
{
    static const char wants[] = "{\"op\": \"wants\"}\n";
    _cleanup_(freep) char *socket =
        mem_printf("%s/disk/%s/ctl.sock", room->dc->host->run_dir, a->owner);
    if (a->fd < 0)
        a->fd = fd_connect_unix(socket);
    if (a->fd < 0 || send(a->fd, wants, sizeof(wants) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) !=
                         (ssize_t)sizeof(wants) - 1)
        hang_up(a, SOON);
}

static bool read_want(const struct val *disk, struct want *ret)
{
    uint64_t device;
    const struct val *size = val_kind(disk) == VAL_MAP ? val_map_get(disk, "size") : NULL;
    if (!size || val_kind(size) != VAL_INT || val_get_int(size) < 0 ||
        str_u64(view_of(val_map_str(disk, "id", "")), 0, BOOT_DISKS_MAX - 1, &device) < 0)
        return false;
    ret->device = (unsigned)device;
    ret->known = (uint64_t)val_get_int(size);
    return true;
}

static void take_answer(struct disk_room *room, struct asked *a, const char *line)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (json_parse(view_of(line), &answer) < 0 || val_kind(answer) != VAL_MAP) {
        hang_up(a, LATER);
        return;
    }
    const struct val *result = val_map_get(answer, "result");
    const struct val *disks =
        result && val_kind(result) == VAL_MAP ? val_map_get(result, "disks") : NULL;
    usec_t pause = 0;
    for (size_t i = 0; disks && val_kind(disks) == VAL_SET && i < val_count(disks); i++) {
        struct want w = {.owner = a->owner};
        usec_t own = read_want(val_at(disks, i), &w) ? grow_one(room, &w) : LATER;
        pause = own > pause ? own : pause;
    }
    if (pause)
        hang_up(a, pause);
    else
        ask(room, a);
}

static void hear(struct disk_room *room, struct asked *a)
{
    char part[4096], *end_of_line;
    ssize_t got = recv(a->fd, part, sizeof(part), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0)
        buf_put(&a->in, part, (size_t)got);
    if (got <= 0 || !buf_ok(&a->in)) {
        hang_up(a, SOON);
        return;
    }
    while (a->in.size && (end_of_line = memchr(a->in.data, '\n', a->in.size))) {
        size_t size = (size_t)(end_of_line - a->in.data);
        _cleanup_(freep) char *line = mem_strndup(a->in.data, size);
        buf_consume(&a->in, size + 1);
        take_answer(room, a, line);
    }
}

/* ---- the thread ---- */

static struct asked *asked_of(struct disk_room *room, const char *owner)
{
    vec_each (a, &room->all)
        if (str_eq((*a)->owner, owner))
            return *a;
    struct asked *a = mem_new(struct asked);
    a->owner = mem_strdup(owner);
    a->fd = -1;
    buf_init(&a->in, ANSWER_MAX);
    vec_push(&room->all, a);
    return a;
}

/* Who has such disks now. */
static void take_stock(struct disk_room *room)
{
    vec_each (a, &room->all)
        (*a)->is_seen = false;
    pthread_mutex_lock(&room->dc->lock);
    vec_each (s, &room->dc->sets)
        if (has_one(*s))
            asked_of(room, (*s)->owner)->is_seen = true;
    pthread_mutex_unlock(&room->dc->lock);
    for (size_t i = 0; i < room->all.n;) {
        if (room->all.v[i]->is_seen) {
            i++;
            continue;
        }
        asked_free(room->all.v[i]);
        vec_remove(&room->all, i);
    }
}

/* Milliseconds until somebody is to be asked; -1: nobody. */
static int ask_all(struct disk_room *room)
{
    usec_t first = 0;
    vec_each (p, &room->all) {
        struct asked *a = *p;
        if (a->fd < 0 && a->next <= clock_now())
            ask(room, a);
        if (a->fd < 0 && (!first || a->next < first))
            first = a->next;
    }
    usec_t now = clock_now();
    return !first ? -1 : first > now ? (int)((first - now) / 1000 + 1) : 0;
}

static void hear_all(struct disk_room *room, const struct pollfd *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i + 1].revents && !room->is_stopping)
            hear(room, room->all.v[i]);
}

static void *run_room(void *arg)
{
    struct disk_room *room = arg;
    VEC(struct pollfd) fds = {0};
    turn_shorten();
    while (!room->is_stopping) {
        uint64_t n;
        take_stock(room);
        int pause = ask_all(room);
        fds.n = 0;
        vec_push(&fds, ((struct pollfd){.fd = room->wake, .events = POLLIN}));
        vec_each (a, &room->all)
            vec_push(&fds, ((struct pollfd){.fd = (*a)->fd, .events = POLLIN}));
        (void)poll(fds.v, fds.n, pause);
        if (read(room->wake, &n, sizeof(n)) == sizeof(n))
            continue; /* there are others now */
        hear_all(room, fds.v, fds.n - 1);
    }
    vec_done(&fds);
    return NULL;
}

struct err *disk_room_start(struct diskctl *dc)
{
    struct disk_room *room = mem_new(struct disk_room);
    room->dc = dc;
    room->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = room->wake < 0 ? errno : pthread_create(&room->thread, NULL, run_room, room);
    if (!r) {
        dc->room = room;
        return NULL;
    }
    if (room->wake >= 0)
        fd_close(room->wake);
    free(room);
    return err_errno(r, "cannot start the thread that looks after volumes");
}

void disk_room_look(struct diskctl *dc)
{
    uint64_t one = 1;
    if (dc->room && write(dc->room->wake, &one, sizeof(one)) < 0)
        return; /* it is awake: the counter is full */
}

void disk_room_stop(struct diskctl *dc)
{
    struct disk_room *room = dc->room;
    if (!room)
        return;
    room->is_stopping = true;
    disk_room_look(dc);
    pthread_join(room->thread, NULL);
    vec_each (a, &room->all)
        asked_free(*a);
    vec_done(&room->all);
    vec_each (group, &room->low)
        free(*group);
    vec_done(&room->low);
    fd_close(room->wake);
    free(room);
    dc->room = NULL;
}
