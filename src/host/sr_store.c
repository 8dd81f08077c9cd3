/* sr_store.c: see sr_store.h. Nothing is kept between calls. */
#include "host/sr_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

bool store_is_remote(const char *path)
{
    return strstr(path, "://") && path[0] != '/';
}

static int64_t number(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_INT ? val_get_int(v) : 0;
}

static bool truth(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

/* `ret` NULL: nobody asks for the answer. */
static int ask(struct host *h, const char *verb, const char *path, const char *more,
               struct val **ret)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (!h->disks->at)
        return -EOPNOTSUPP;
    _cleanup_(err_freep) struct err *e = h->disks->at(h->disks_data, verb, path, more, &answer);
    if (e)
        return err_get_errno(e) ? -err_get_errno(e) : -EIO;
    if (ret)
        *ret = steal(&answer);
    return 0;
}

static int done(int r)
{
    return r < 0 ? -errno : 0;
}

/* ---- what there is ---- */

struct facts {
    uint64_t size, taken, inode, device;
};

static int look(struct host *h, const char *path, struct facts *ret)
{
    struct stat st;
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (!store_is_remote(path)) {
        if (stat(path, &st) < 0)
            return -errno;
        *ret = (struct facts){.size = (uint64_t)st.st_size,
                              .taken = (uint64_t)st.st_blocks * 512,
                              .inode = st.st_ino,
                              .device = st.st_dev};
        return 0;
    }
    int r = ask(h, "stat", path, NULL, &answer);
    if (r == 0)
        *ret = (struct facts){.size = (uint64_t)number(answer, "size"),
                              .taken = (uint64_t)number(answer, "allocated"),
                              .inode = (uint64_t)number(answer, "inode"),
                              .device = 0};
    return r;
}

bool store_exists(struct host *h, const char *path)
{
    struct facts f;
    return look(h, path, &f) == 0;
}

bool store_is_one(struct host *h, const char *a, const char *b)
{
    struct facts x, y;
    return look(h, a, &x) == 0 && look(h, b, &y) == 0 && x.inode == y.inode && x.device == y.device;
}

int store_size(struct host *h, const char *path, uint64_t *ret_bytes)
{
    struct facts f;
    int r = look(h, path, &f);
    if (r == 0)
        *ret_bytes = f.size;
    return r;
}

int store_taken(struct host *h, const char *path, uint64_t *ret_bytes)
{
    struct facts f;
    int r = look(h, path, &f);
    if (r == 0)
        *ret_bytes = f.taken < f.size ? f.taken : f.size;
    return r;
}

int store_space(struct host *h, const char *folder, struct sr_stat *ret)
{
    struct statvfs st;
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (!store_is_remote(folder)) {
        if (statvfs(folder, &st) < 0)
            return -errno;
        uint64_t size = (uint64_t)st.f_blocks * st.f_frsize;
        *ret = (struct sr_stat){size, size - (uint64_t)st.f_bavail * st.f_frsize};
        return 0;
    }
    int r = ask(h, "space", folder, NULL, &answer);
    if (r == 0)
        *ret =
            (struct sr_stat){(uint64_t)number(answer, "size"),
                             (uint64_t)number(answer, "size") - (uint64_t)number(answer, "free")};
    return r;
}

static int list_local(const char *folder, struct store_list *ret)
{
    DIR *d = opendir(folder);
    if (!d)
        return -errno;
    struct dirent *entry;
    while ((entry = readdir(d))) {
        struct stat st;
        if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, "..") ||
            fstatat(dirfd(d), entry->d_name, &st, 0) < 0)
            continue;
        struct store_entry e = {mem_strdup(entry->d_name), (uint64_t)st.st_size,
                                S_ISDIR(st.st_mode)};
        vec_push(&ret->entries, e);
    }
    closedir(d);
    return 0;
}

int store_list(struct host *h, const char *folder, struct store_list *ret)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (!store_is_remote(folder))
        return list_local(folder, ret);
    int r = ask(h, "list", folder, NULL, &answer);
    const struct val *list = r == 0 ? val_map_get(answer, "entries") : NULL;
    for (size_t i = 0; list && i < val_count(list); i++) {
        const struct val *item = val_at(list, i);
        struct store_entry e = {mem_strdup(val_map_str(item, "name", "")),
                                (uint64_t)number(item, "size"), truth(item, "folder")};
        vec_push(&ret->entries, e);
    }
    return r;
}

void store_list_done(struct store_list *l)
{
    vec_each (e, &l->entries)
        free(e->name);
    vec_done(&l->entries);
}

/* ---- changes ---- */

int store_rename(struct host *h, const char *from, const char *to)
{
    return store_is_remote(from) ? ask(h, "rename", from, to, NULL) : done(rename(from, to));
}

int store_link(struct host *h, const char *from, const char *to)
{
    return store_is_remote(from) ? ask(h, "link", from, to, NULL) : done(link(from, to));
}

int store_unlink(struct host *h, const char *path)
{
    return store_is_remote(path) ? ask(h, "unlink", path, NULL, NULL) : done(unlink(path));
}

int store_mkdir(struct host *h, const char *folder)
{
    return store_is_remote(folder) ? ask(h, "mkdir", folder, NULL, NULL)
                                   : done(mkdir(folder, 0755));
}

int store_rmdir(struct host *h, const char *folder)
{
    return store_is_remote(folder) ? ask(h, "rmdir", folder, NULL, NULL) : done(rmdir(folder));
}

/* ---- whole files ---- */

/* A file of this host that goes with its name. */
struct passing {
    char *path;
    int fd;
};

static void passing_end(struct passing *p)
{
    if (p->fd >= 0)
        (void)unlink(p->path);
    fd_close(p->fd);
    free(p->path);
}

static int passing_begin(struct host *h, struct passing *ret)
{
    ret->path = mem_printf("%s/passing.XXXXXX", h->run_dir);
    ret->fd = mkostemp(ret->path, O_CLOEXEC);
    return ret->fd < 0 ? -errno : 0;
}

int store_read(struct host *h, const char *path, struct buf *ret)
{
    if (!store_is_remote(path))
        return fd_read_file(path, ret->max, ret);
    _cleanup_(passing_end) struct passing p = {.fd = -1};
    int r = passing_begin(h, &p);
    if (r == 0)
        r = ask(h, "fetch", path, p.path, NULL);
    return r < 0 ? r : fd_read_file(p.path, ret->max, ret);
}

int store_replace(struct host *h, const char *path, const void *bytes, size_t size)
{
    if (!store_is_remote(path))
        return fd_replace_file(path, bytes, size, 0600);
    _cleanup_(passing_end) struct passing p = {.fd = -1};
    _cleanup_(freep) char *part = mem_printf("%s.part", path);
    int r = passing_begin(h, &p);
    if (r == 0)
        r = fd_write_all(p.fd, bytes, size);
    if (r == 0)
        r = ask(h, "put", part, p.path, NULL);
    return r < 0 ? r : store_rename(h, part, path);
}
