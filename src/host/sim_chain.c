/*
 * sim_chain.c: chains of the simulated data path.
 *
 * Called through sr_file.c on operation threads. A simulated image holds all that is read through
 * it: a child is born as a copy of its parent, and writing a child into its parent is copying it
 * there. What is below an image, and whether it is hidden, is kept in the world under the number of
 * its inode, so that it follows the file when it is renamed. Who is paused is a file of the world
 * too: it must be gone when nothing is under way.
 *
 *     <world>/<inode>.chain  {"parent": path, "hidden": bool, "born": mtime of an unwritten child}
 *     <world>/<name>.paused
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "codec/json.h"
#include "host/sim_world.h"

#define CHAIN_MAX 8192
#define PIECE     (1U << 20)

static struct err *chain_path(const struct sim *s, const char *image, char **ret)
{
    struct stat st;
    if (stat(image, &st) < 0)
        return err_errno(errno, "cannot open '%s'", image);
    *ret = mem_printf("%s/%llu.chain", s->dir, (unsigned long long)st.st_ino);
    return NULL;
}

static struct err *load(const struct sim *s, const char *image, struct val **ret)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, CHAIN_MAX);
    TRY(chain_path(s, image, &path));
    if (fd_read_file(path, CHAIN_MAX, &text) < 0 || json_parse(view_of(buf_str(&text)), ret) < 0)
        *ret = val_map();
    return NULL;
}

static struct err *save(const struct sim *s, const char *image, const struct val *chain)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, CHAIN_MAX);
    TRY(chain_path(s, image, &path));
    json_put_val(&text, chain);
    int r = fd_replace_file(path, text.data, text.size, 0600);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

void sim_chain_forget(const struct sim *s, const char *image)
{
    _cleanup_(freep) char *path = NULL;
    struct err *e = chain_path(s, image, &path);
    if (!e)
        (void)unlink(path);
    err_free(e);
}

static int64_t mtime_ns(const char *image)
{
    struct stat st;
    return stat(image, &st) < 0 ? 0 : st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

static bool get_bool(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

struct err *sim_chain_info(const struct sim *s, struct disk_info *info)
{
    _cleanup_(val_unrefp) struct val *chain = NULL;
    TRY(load(s, info->image.path, &chain));
    const struct val *born = val_map_get(chain, "born");
    info->parent = mem_strdup(val_map_str(chain, "parent", ""));
    info->hidden = get_bool(chain, "hidden");
    info->is_written = !born || val_get_int(born) != mtime_ns(info->image.path);
    return NULL;
}

/* Makes `to` hold what `from` holds; runs of zeroes become holes. */
static int copy_all(int from, int to)
{
    _cleanup_(freep) char *room = mem_zalloc(PIECE, 1);
    static const char zeroes[4096];
    off_t end = lseek(from, 0, SEEK_END);
    if (end < 0 || ftruncate(to, 0) < 0 || ftruncate(to, end) < 0)
        return -errno;
    for (off_t at = lseek(from, 0, SEEK_DATA); at >= 0 && at < end;) {
        ssize_t got = pread(from, room, PIECE, at);
        if (got <= 0)
            return got < 0 ? -errno : 0;
        bool zero = memcmp(room, zeroes, got < 4096 ? (size_t)got : 4096) == 0 &&
                    (got <= 4096 || memcmp(room, room + 4096, (size_t)got - 4096) == 0);
        if (!zero && pwrite(to, room, (size_t)got, at) != got)
            return errno ? -errno : -EIO;
        at = lseek(from, at + got, SEEK_DATA);
    }
    return 0;
}

static struct err *copy_image(const char *from, const char *to, int flags)
{
    _cleanup_(fd_closep) int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return err_errno(errno, "cannot open '%s'", from);
    _cleanup_(fd_closep) int out = open(to, O_RDWR | O_CLOEXEC | flags, 0600);
    if (out < 0)
        return err_errno(errno, "cannot make '%s'", to);
    int r = copy_all(in, out);
    return r < 0 ? err_errno(-r, "cannot copy '%s' to '%s'", from, to) : NULL;
}

struct err *sim_copy(const char *from, const char *to)
{
    return copy_image(from, to, 0);
}

struct err *sim_child(void *disks, const struct verb *v, const char *path, const char *parent)
{
    struct sim *s = disks;
    TRY(sim_fault(s, "child"));
    TRY(copy_image(parent, path, O_CREAT | O_EXCL));
    _cleanup_(val_unrefp) struct val *chain = val_map();
    val_put_str(chain, "parent", parent);
    val_put_int(chain, "born", mtime_ns(path));
    return save(s, path, chain);
}

struct err *sim_set_hidden(void *disks, const struct verb *v, const char *path, bool hidden)
{
    struct sim *s = disks;
    _cleanup_(val_unrefp) struct val *chain = NULL;
    TRY(sim_fault(s, "set_hidden"));
    TRY(load(s, path, &chain));
    val_put_bool(chain, "hidden", hidden);
    return save(s, path, chain);
}

struct err *sim_set_parent(void *disks, const struct verb *v, const char *path, const char *parent)
{
    struct sim *s = disks;
    _cleanup_(val_unrefp) struct val *chain = NULL;
    TRY(sim_fault(s, "set_parent"));
    TRY(load(s, path, &chain));
    val_put_str(chain, "parent", parent);
    return save(s, path, chain);
}

struct err *sim_coalesce(void *disks, const struct verb *v, const char *path, uint64_t rate)
{
    struct sim *s = disks;
    _cleanup_(val_unrefp) struct val *chain = NULL;
    TRY(sim_fault(s, "coalesce"));
    TRY(load(s, path, &chain));
    const char *parent = val_map_str(chain, "parent", "");
    if (!parent[0])
        return err_errno(EINVAL, "'%s' has no parent", path);
    return copy_image(path, parent, 0);
}

/* ---- waiting ---- */

static char *paused_path(const struct sim *s, const char *image)
{
    const char *slash = strrchr(image, '/');
    return mem_printf("%s/%s.paused", s->dir, slash ? slash + 1 : image);
}

bool sim_is_paused(const struct sim *s, const char *image)
{
    _cleanup_(freep) char *path = paused_path(s, image);
    return access(path, F_OK) == 0;
}

struct err *sim_disk_pause(void *disks, const struct verb *v, const char *image)
{
    struct sim *s = disks;
    TRY(sim_fault(s, "disk_pause"));
    _cleanup_(freep) char *path = paused_path(s, image);
    int r = fd_replace_file(path, "", 0, 0600);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

struct err *sim_disk_resume(void *disks, const struct verb *v, const char *image)
{
    struct sim *s = disks;
    TRY(sim_fault(s, "disk_resume"));
    _cleanup_(freep) char *path = paused_path(s, image);
    (void)unlink(path);
    return NULL;
}

struct err *sim_disk_reopen(void *disks, const struct verb *v, const char *image)
{
    return sim_fault(disks, "disk_reopen");
}
