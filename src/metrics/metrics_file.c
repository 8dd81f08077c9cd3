/*
 * metrics_file.c: databases in files, <dir>/<owner>-<uuid>.rrd. A file is replaced by renaming, but
 * not waited for until it is on the disk: losing ten minutes of history by a power failure is no
 * harm, an fsync for each of a thousand guests would be.
 */
#include "metrics/metrics_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define FILE_MAX (32u << 20)

static char *path_of(const struct metrics *m, enum metrics_owner owner, const char *uuid)
{
    return mem_printf("%s/%s-%s.rrd", m->dir, owner_name(owner), uuid);
}

int file_load(struct metrics *m, enum metrics_owner owner, const char *uuid, struct rrd **ret)
{
    if (!m->dir || !str_is_uuid(uuid))
        return -ENOENT;
    _cleanup_(freep) char *path = path_of(m, owner, uuid);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, FILE_MAX);
    int r = fd_read_file(path, FILE_MAX, &b);
    if (r < 0)
        return r;
    return rrd_load((struct view){b.data, b.size}, m->pool, owner, ret);
}

static int write_file(const char *path, const struct buf *b)
{
    _cleanup_(freep) char *temporary = mem_printf("%s.new", path);
    _cleanup_(fd_closep) int fd =
        open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, b->data, b->size);
    if (r < 0)
        return r;
    return rename(temporary, path) < 0 ? -errno : 0;
}

static int entry_save(struct metrics *m, struct entry *e)
{
    if (!m->dir || !str_is_uuid(e->uuid))
        return 0;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, FILE_MAX);
    mutex_lock(&e->lock);
    rrd_save(e->rrd, &b);
    e->saved = e->rrd->updated;
    mutex_unlock(&e->lock);
    if (!buf_ok(&b))
        return -E2BIG;
    _cleanup_(freep) char *path = path_of(m, e->owner, e->uuid);
    int r = write_file(path, &b);
    if (r != -ENOENT)
        return r;
    r = fd_mkdirs(m->dir, 0700);
    return r < 0 ? r : write_file(path, &b);
}

void metrics_end(struct metrics *m, enum metrics_owner owner, const char *uuid)
{
    _cleanup_(entry_unrefp) struct entry *e = entry_find(m, owner, uuid);
    if (!e)
        return;
    (void)entry_save(m, e);
    entry_remove(m, e);
}

void metrics_drop(struct metrics *m, const char *uuid)
{
    for (int owner = 0; owner < OWNER_N; owner++) {
        _cleanup_(entry_unrefp) struct entry *e = entry_find(m, (enum metrics_owner)owner, uuid);
        if (e)
            entry_remove(m, e);
        if (!m->dir || !str_is_uuid(uuid))
            continue;
        _cleanup_(freep) char *path = path_of(m, (enum metrics_owner)owner, uuid);
        (void)unlink(path);
    }
}

int metrics_save_all(struct metrics *m)
{
    struct entries list = entries_get(m);
    int result = 0;
    for (size_t i = 0; i < list.n; i++) {
        int r = entry_save(m, list.v[i]);
        result = r < 0 ? r : result;
    }
    entries_done(&list);
    return result;
}

static double saved_at(struct entry *e)
{
    mutex_guard(&e->lock);
    return e->saved;
}

int metrics_save_some(struct metrics *m, double now, double age, unsigned n)
{
    struct entries list = entries_get(m);
    int result = 0;
    for (size_t i = 0; i < list.n && n; i++) {
        if (saved_at(list.v[i]) > now - age)
            continue;
        int r = entry_save(m, list.v[i]);
        result = r < 0 ? r : result;
        n--;
    }
    entries_done(&list);
    return result;
}

/* The uuid in the name of a file of ours; false for anything else. */
static bool uuid_in(const char *name, char uuid[UUID_SIZE])
{
    const char *dash = strchr(name, '-');
    if (!dash || strlen(dash + 1) != UUID_SIZE - 1 + strlen(".rrd") || !str_ends(name, ".rrd"))
        return false;
    memcpy(uuid, dash + 1, UUID_SIZE - 1);
    uuid[UUID_SIZE - 1] = '\0';
    return str_is_uuid(uuid);
}

void metrics_sweep(struct metrics *m, bool (*lives)(void *arg, const char *uuid), void *arg)
{
    DIR *d = m->dir ? opendir(m->dir) : NULL;
    if (!d)
        return;
    char uuid[UUID_SIZE];
    for (struct dirent *de; (de = readdir(d));)
        if (uuid_in(de->d_name, uuid) && !lives(arg, uuid))
            (void)unlinkat(dirfd(d), de->d_name, 0);
    closedir(d);
}

int metrics_put_xml(struct metrics *m, enum metrics_owner owner, const char *uuid, struct view text)
{
    struct rrd *rrd = NULL;
    int r = rrd_read_xml(text, m->pool, owner, &rrd);
    if (r < 0)
        return r;
    _cleanup_(entry_unrefp) struct entry *old = entry_find(m, owner, uuid);
    if (old)
        entry_remove(m, old);
    _cleanup_(entry_unrefp) struct entry *e = entry_add(m, owner, uuid, rrd);
    r = entry_save(m, e);
    if (!old)
        entry_remove(m, e); /* of a guest that does not run: it waits in its file */
    return r;
}

/* ---- the whole of one ---- */

int sink_flush(const struct metrics_sink *s, struct buf *b, bool end)
{
    if (!buf_ok(b))
        return -E2BIG;
    return b->size >= SINK_PIECE || (end && b->size) ? s->put(s->arg, b) : 0;
}

static bool put_part(struct entry *e, bool json, struct buf *b, unsigned part)
{
    mutex_guard(&e->lock);
    return json ? rrd_put_json(b, e->rrd, part) : rrd_put_xml(b, e->rrd, part);
}

static struct entry *find_or_load(struct metrics *m, enum metrics_owner owner, const char *uuid)
{
    struct entry *e = entry_find(m, owner, uuid);
    struct rrd *rrd = NULL;
    if (e || file_load(m, owner, uuid, &rrd) < 0)
        return e;
    e = mem_new(struct entry); /* not in the table: nobody else sees it */
    atomic_init(&e->refs, 1);
    e->rrd = rrd;
    mutex_init(&e->lock, LOCK_LEAF);
    return e;
}

int metrics_write_rrd(struct metrics *m, enum metrics_owner owner, const char *uuid, bool json,
                      const struct metrics_sink *sink)
{
    _cleanup_(entry_unrefp) struct entry *e = find_or_load(m, owner, uuid);
    if (!e)
        return -ENOENT;
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, SINK_MAX);
    for (unsigned part = 0; put_part(e, json, &b, part); part++) {
        int r = sink_flush(sink, &b, false);
        if (r < 0)
            return r;
    }
    return sink_flush(sink, &b, true);
}
