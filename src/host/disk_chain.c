/*
 * disk_chain.c: images that are built on others, under cairn-diskd.
 *
 * Which images are below one is asked of the images themselves whenever it is opened, and noted in
 * disks.json, so that a diskd that takes the place of a dead one is told the same. A chain changes
 * under those who use it in two ways:
 *
 *     pause(leaf) … files change … resume(leaf)     the leaf itself becomes another
 *     set_parent(…) … reopen(image) … image goes    something further below
 *
 * pause keeps the leaf closed for everybody, also for who attaches it meanwhile: he waits in
 * disk_open. Who is just opening it is waited for. An opening that overlaps with a change further
 * below looks again afterwards and opens what is there then.
 *
 * Called through sr_chain.c and diskctl.c on operation threads. The lists are under dc->lock.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "host/disk_format.h"
#include "host/disk_room.h"
#include "host/lvm_group.h"

#define LEVELS_MAX 64 /* more are no chain but a mistake */
#define LOOKS      8
#define POLL_US    5000

struct user {
    char *owner;
    unsigned device;
};
struct users {
    struct user *v;
    size_t n, cap;
};

/* --- what is below an image --- */

/* `ret_size`: the image's own size in bytes; 0 where it is not asked. */
static struct err *find_below(struct diskctl *dc, const struct verb *v, const struct image *image,
                              char **ret, uint64_t *ret_size)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 65536);
    _cleanup_(freep) char *path = mem_strdup(image->path);
    *ret_size = 0;
    for (unsigned level = 0; disk_has_chain(image->format) && level < LEVELS_MAX; level++) {
        struct disk_info info = {0};
        TRY(diskctl_info(dc, v, path, &info));
        if (!level)
            *ret_size = info.image.size_bytes;
        else
            buf_printf(&out, "%s%s %s", level > 1 ? "\n" : "", info.image.format, path);
        free(path);
        path = steal(&info.parent);
        disk_info_done(&info);
        if (!path[0]) {
            *ret = mem_strdup(buf_str(&out));
            return NULL;
        }
    }
    if (!disk_has_chain(image->format)) {
        *ret = mem_strdup("");
        return NULL;
    }
    return err_errno(EMLINK, "the chain below '%s' does not end", image->path);
}

struct err *disk_below(struct diskctl *dc, const struct verb *v, const struct image *image,
                       char **ret)
{
    uint64_t size;
    return find_below(dc, v, image, ret, &size);
}

/* --- who may open --- */

/* A volume may have other extents than when it was paused. */
static bool is_same(const char *a, const char *b)
{
    return lvm_group_is_same(view_of(a), view_of(b));
}

static bool has(char *const *list, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (is_same(list[i], path))
            return true;
    return false;
}

bool disk_is_paused(const struct diskctl *dc, const char *path)
{
    return has(dc->paused.v, dc->paused.n, path);
}

static bool is_growing(const struct diskctl *dc, const char *path)
{
    return dc->growing && is_same(dc->growing, path);
}

static struct err *enter(struct diskctl *dc, const struct verb *v, const char *path)
{
    for (;;) {
        pthread_mutex_lock(&dc->lock);
        bool may = !disk_is_paused(dc, path) && !is_growing(dc, path);
        if (may)
            vec_push(&dc->opening, mem_strdup(path));
        pthread_mutex_unlock(&dc->lock);
        if (may)
            return NULL;
        TRY(verb_check(v, "waiting for a snapshot to be taken"));
        usleep(POLL_US);
    }
}

void disk_hold(struct diskctl *dc, const char *path)
{
    for (;;) {
        pthread_mutex_lock(&dc->lock);
        bool may = !is_growing(dc, path);
        if (may)
            vec_push(&dc->opening, mem_strdup(path));
        pthread_mutex_unlock(&dc->lock);
        if (may)
            return;
        usleep(POLL_US);
    }
}

void disk_let_go(struct diskctl *dc, const char *path)
{
    pthread_mutex_lock(&dc->lock);
    for (size_t i = 0; i < dc->opening.n; i++) {
        if (!is_same(dc->opening.v[i], path))
            continue;
        free(dc->opening.v[i]);
        vec_remove(&dc->opening, i);
        break;
    }
    pthread_mutex_unlock(&dc->lock);
}

static struct err *wait_for_openers(struct diskctl *dc, const struct verb *v, const char *path)
{
    for (;;) {
        pthread_mutex_lock(&dc->lock);
        bool busy = has(dc->opening.v, dc->opening.n, path) || is_growing(dc, path);
        pthread_mutex_unlock(&dc->lock);
        if (!busy)
            return NULL;
        TRY(verb_check(v, "waiting for a disk to be opened"));
        usleep(POLL_US);
    }
}

/* --- opening --- */

/* A copy of the disk as the record has it; NULL: it has been detached. */
static struct boot_disk *disk_of(struct disk_set *s, unsigned device)
{
    pthread_mutex_lock(&s->dc->lock);
    const struct boot_disk *d = boot_disk(s->record, device);
    struct boot_disk *copy = d ? boot_disk_copy(d) : NULL;
    pthread_mutex_unlock(&s->dc->lock);
    return copy;
}

static void boot_disk_freep(struct boot_disk **d)
{
    boot_disk_free(*d);
}

static struct err *note_below(struct disk_set *s, const struct boot_disk *d)
{
    pthread_mutex_lock(&s->dc->lock);
    boot_set_disk(s->record, d);
    pthread_mutex_unlock(&s->dc->lock);
    return diskctl_write_record(s);
}

/* A volume's name may be another volume's now, or it may have grown. */
static struct err *find_again(struct disk_set *s, struct boot_disk *d)
{
    _cleanup_(freep) char *now = NULL;
    if (!lvm_group_is_path(d->image.path))
        return NULL;
    int r = lvm_group_beside(d->image.path, NULL, &now);
    if (r < 0)
        return err_errno(-r, "cannot find '%s'", d->image.path);
    if (str_eq(now, d->image.path))
        return NULL;
    free(d->image.path);
    d->image.path = steal(&now);
    return note_below(s, d);
}

void disk_look_again(struct disk_set *s)
{
    for (size_t i = 0; i < s->record->n_disks; i++) {
        _cleanup_(boot_disk_freep) struct boot_disk *d = boot_disk_copy(&s->record->disks[i]);
        err_free(find_again(s, d)); /* opening it says what is wrong */
    }
}

/* An image may have grown while it was closed. */
static struct err *tell_size(struct disk_set *s, const struct verb *v, struct boot_disk *d,
                             uint64_t size)
{
    struct val *request = diskctl_request("size", d->device);
    val_put_int(request, "size", (int64_t)size);
    d->image.size_bytes = size;
    TRY(note_below(s, d));
    return diskctl_complete(s->dc, v, s->owner, request, NULL);
}

/* *ret_same: what is below is still what it was when it was opened. */
static struct err *open_once(struct disk_set *s, const struct verb *v, unsigned device,
                             bool *ret_same)
{
    _cleanup_(boot_disk_freep) struct boot_disk *d = disk_of(s, device);
    _cleanup_(freep) char *below = NULL, *after = NULL;
    uint64_t size;
    *ret_same = true;
    if (!d)
        return NULL;
    TRY(find_again(s, d));
    if (!d->image.readonly && !d->image.quantum && str_eq(d->image.format, "vhd")) {
        TRY(disk_room_fill(s->dc->host, d->image.path, d->image.size_bytes));
        TRY(find_again(s, d));
    }
    TRY(find_below(s->dc, v, &d->image, &below, &size));
    if (!str_eq(below, d->image.parents)) {
        free(d->image.parents);
        d->image.parents = mem_strdup(below);
        TRY(note_below(s, d));
    }
    if (size > d->image.size_bytes)
        TRY(tell_size(s, v, d, size));
    _cleanup_(val_unrefp) struct val *result = NULL;
    TRY(diskctl_complete(s->dc, v, s->owner, disk_activate_request(d), &result));
    if (str_eq(val_map_str(result, "cbt", ""), "lost"))
        diskctl_post(s, FACT_CBT_LOST, d->image.vdi);
    if (!below[0])
        return NULL;
    TRY(find_below(s->dc, v, &d->image, &after, &size));
    *ret_same = str_eq(below, after);
    return NULL;
}

/* Its process dies over the question, or a new one is just opening it: to be asked again. */
static bool is_passing(int en)
{
    return en == EBUSY || en == ECONNRESET || en == EPIPE;
}

static struct err *close_disk(struct disk_set *s, const struct verb *v, unsigned device)
{
    for (;;) {
        struct err *e =
            diskctl_complete(s->dc, v, s->owner, diskctl_request("deactivate", device), NULL);
        int en = e ? err_get_errno(e) : 0;
        if (e && en != ENOENT && en != ECONNREFUSED && !is_passing(en))
            return e;
        err_free(e);
        if (!is_passing(en))
            return NULL; /* or it has been detached, or its process has died */
        TRY(verb_check(v, "waiting for a disk to be opened"));
        usleep(POLL_US);
    }
}

/* An image of the chain may just have gone: then the chain is another one now. */
static struct err *open_disk(struct disk_set *s, const struct verb *v, unsigned device)
{
    bool same = false;
    for (unsigned look = 0; !same && look < LOOKS; look++) {
        struct err *e = open_once(s, v, device, &same);
        if (e && (err_get_errno(e) != ENOENT || look + 1 == LOOKS))
            return e;
        if (!e && !same)
            e = close_disk(s, v, device);
        err_free(e);
    }
    return NULL;
}

struct err *disk_open(struct disk_set *s, const struct verb *v, unsigned device)
{
    _cleanup_(boot_disk_freep) struct boot_disk *d = disk_of(s, device);
    if (!d)
        return NULL;
    TRY(enter(s->dc, v, d->image.path));
    struct err *e = open_disk(s, v, device);
    disk_let_go(s->dc, d->image.path);
    return e;
}

/* --- users --- */

static bool is_below(const struct image *image, const char *path)
{
    struct view rest = view_of(image->parents), line;
    for (bool more = rest.size > 0; more;) {
        more = view_split(&rest, '\n', &line);
        struct view own = line, format;
        if (view_split(&own, ' ', &format) && lvm_group_is_same(own, view_of(path)))
            return true;
    }
    return false;
}

/* Whose leaf it is, or who has it further below. */
static void find_users(struct diskctl *dc, const char *path, bool below, struct users *ret)
{
    pthread_mutex_lock(&dc->lock);
    vec_each (s, &dc->sets) {
        const struct boot *b = (*s)->record;
        for (size_t i = 0; i < b->n_disks; i++) {
            const struct image *image = &b->disks[i].image;
            struct user u = {.device = b->disks[i].device};
            if (below ? !is_below(image, path) : !is_same(image->path, path))
                continue;
            u.owner = mem_strdup((*s)->owner);
            vec_push(ret, u);
        }
    }
    pthread_mutex_unlock(&dc->lock);
}

static void users_done(struct users *list)
{
    vec_each (u, list)
        free(u->owner);
    vec_done(list);
}

typedef struct err *(*user_fn)(struct disk_set *s, const struct verb *v, unsigned device);

/* All of them, whatever fails; the first error. */
static struct err *each_user(struct diskctl *dc, const struct verb *v, const char *path, bool below,
                             user_fn fn)
{
    struct users list = {0};
    struct err *e = NULL;
    find_users(dc, path, below, &list);
    vec_each (u, &list) {
        _cleanup_(disk_set_unrefp) struct disk_set *s = diskctl_find(dc, u->owner);
        if (s)
            e = err_first(e, fn(s, v, u->device));
    }
    users_done(&list);
    return e;
}

struct err *disk_pause(void *data, const struct verb *v, const char *path)
{
    struct diskctl *dc = data;
    pthread_mutex_lock(&dc->lock);
    if (!disk_is_paused(dc, path))
        vec_push(&dc->paused, mem_strdup(path));
    pthread_mutex_unlock(&dc->lock);
    TRY(wait_for_openers(dc, v, path));
    return each_user(dc, v, path, false, close_disk);
}

struct err *disk_resume(void *data, const struct verb *v, const char *path)
{
    struct diskctl *dc = data;
    TRY(each_user(dc, v, path, false, open_disk));
    pthread_mutex_lock(&dc->lock);
    for (size_t i = 0; i < dc->paused.n; i++) {
        if (!is_same(dc->paused.v[i], path))
            continue;
        free(dc->paused.v[i]);
        vec_remove(&dc->paused, i);
        break;
    }
    pthread_mutex_unlock(&dc->lock);
    return NULL;
}

static struct err *open_anew(struct disk_set *s, const struct verb *v, unsigned device)
{
    _cleanup_(boot_disk_freep) struct boot_disk *d = disk_of(s, device);
    if (!d)
        return NULL;
    TRY(enter(s->dc, v, d->image.path));
    struct err *e = close_disk(s, v, device);
    e = err_first(e, open_disk(s, v, device));
    disk_let_go(s->dc, d->image.path);
    return e;
}

struct err *disk_reopen(void *data, const struct verb *v, const char *path)
{
    return each_user(data, v, path, true, open_anew);
}

void disk_chain_done(struct diskctl *dc)
{
    vec_each (path, &dc->paused)
        free(*path);
    vec_each (path, &dc->opening)
        free(*path);
    vec_done(&dc->paused);
    vec_done(&dc->opening);
}

/* --- images that are made and changed --- */

static const char *format_of(const char *path)
{
    const char *format = disk_format_of(path);
    return format ? format : "vhd";
}

static struct val *image_request(const char *op, const char *path)
{
    struct val *request = val_map();
    val_put_str(request, "op", op);
    val_put_str(request, "path", path);
    val_put_str(request, "format", format_of(path));
    return request;
}

/* `called`: what it will be; NULL: what it is. */
static void put_parent(struct val *request, const struct disk_info *parent, const char *called)
{
    struct val *below = val_map();
    val_put_str(below, "path", parent->image.path);
    val_put_str(below, "format", parent->image.format);
    if (called)
        val_put_str(below, "called", called);
    val_put(request, "parent", below);
}

struct err *disk_child(void *data, const struct verb *v, const char *path, const char *parent)
{
    struct disk_info info = {0};
    TRY(diskctl_info(data, v, parent, &info));
    struct val *request = image_request("create", path);
    val_put_int(request, "size", (int64_t)info.image.size_bytes);
    put_parent(request, &info, NULL);
    disk_info_done(&info);
    return diskctl_alone(data, v, request);
}

struct err *disk_set_hidden(void *data, const struct verb *v, const char *path, bool hidden)
{
    struct val *request = image_request("modify", path);
    val_put_bool(request, "hidden", hidden);
    return diskctl_alone(data, v, request);
}

struct err *disk_name_parent(void *data, const struct verb *v, const char *path, const char *parent,
                             const char *called)
{
    struct disk_info info = {0};
    TRY(diskctl_info(data, v, parent, &info));
    struct val *request = image_request("modify", path);
    put_parent(request, &info, called);
    disk_info_done(&info);
    return diskctl_alone(data, v, request);
}

struct err *disk_set_parent(void *data, const struct verb *v, const char *path, const char *parent)
{
    return disk_name_parent(data, v, path, parent, NULL);
}

struct err *disk_coalesce(void *data, const struct verb *v, const char *path, uint64_t rate)
{
    struct image image = {.path = (char *)path, .format = (char *)format_of(path)};
    struct boot_disk d = {.image = image};
    _cleanup_(freep) char *below = NULL;
    uint64_t size;
    TRY(find_below(data, v, &image, &below, &size));
    d.image.parents = below;
    struct val *request = image_request("coalesce", path);
    _cleanup_(val_unrefp) struct val *activate = disk_activate_request(&d);
    const struct val *parents = val_map_get(activate, "parents");
    if (!parents) {
        val_unref(request);
        return err_errno(EINVAL, "'%s' has no parent", path);
    }
    val_put(request, "parents", val_ref(parents));
    if (rate)
        val_put_int(request, "rate", (int64_t)rate);
    return diskctl_alone(data, v, request);
}
