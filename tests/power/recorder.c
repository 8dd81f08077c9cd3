/*
 * recorder.c: a file system in memory that writes down everything that is done to it.
 *
 *     power-recorder LOG MOUNTPOINT
 *
 * One folder, through FUSE, one request at a time: so what is in the log is what the programs above
 * it had been told was done when the next thing happened. What is written to the file "mark" is a
 * remark in the log. Runs until it is unmounted.
 */
#define FUSE_USE_VERSION 31
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/vec.h"
#include "record.h"

#define FILE_MAX (1ull << 30)
#define SECTOR   512u

/* The kernel cuts a write where the writer's memory changes pages; the rest of the last sector is
 * on its way. A disk writes whole sectors. */
struct begun {
    uint64_t at, size;
    uint8_t *bytes;
};

struct node {
    char *name; /* NULL: deleted */
    uint32_t number;
    uint8_t *bytes;
    uint64_t size, room;
    VEC(struct begun) begun;
};

static struct {
    VEC(struct node *) nodes;
    FILE *log;
} fs;

static void put(enum record_kind kind, uint32_t file, uint64_t at, uint64_t length,
                const void *bytes, size_t size)
{
    struct record r = {kind, file, at, length, size};
    if (fwrite(&r, sizeof(r), 1, fs.log) != 1 || (size && fwrite(bytes, size, 1, fs.log) != 1))
        err(1, "the log");
}

static struct node *find(const char *path)
{
    vec_each (n, &fs.nodes)
        if ((*n)->name && strcmp((*n)->name, path + 1) == 0)
            return *n;
    return NULL;
}

static struct node *of(const char *path, struct fuse_file_info *fi)
{
    return fi ? (struct node *)(uintptr_t)fi->fh : find(path);
}

static int resize(struct node *n, uint64_t size)
{
    if (size > FILE_MAX)
        return -EFBIG;
    if (size > n->room) {
        uint64_t room = (size + (1 << 20)) * 3 / 2;
        n->bytes = realloc(n->bytes, room);
        if (!n->bytes)
            err(1, "memory");
        memset(n->bytes + n->room, 0, room - n->room);
        n->room = room;
    }
    if (size < n->size)
        memset(n->bytes + size, 0, n->size - size);
    n->size = size;
    return 0;
}

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    memset(st, 0, sizeof(*st));
    if (path && strcmp(path, "/") == 0) {
        st->st_mode = S_IFDIR | 0755;
        st->st_nlink = 2;
        return 0;
    }
    const struct node *n = of(path, fi);
    if (!n)
        return -ENOENT;
    st->st_mode = S_IFREG | 0644;
    st->st_nlink = n->name != NULL;
    st->st_size = (off_t)n->size;
    st->st_blocks = (blkcnt_t)((n->size + 511) / 512);
    st->st_ino = n->number + 1;
    return 0;
}

static int fs_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t at,
                      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
    (void)at, (void)fi, (void)flags;
    if (strcmp(path, "/") != 0)
        return -ENOTDIR;
    vec_each (n, &fs.nodes)
        if ((*n)->name && fill(buf, (*n)->name, NULL, 0, 0))
            return -ENOMEM;
    return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
    struct node *n = find(path);
    if (!n)
        return -ENOENT;
    fi->fh = (uintptr_t)n;
    return 0;
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)mode;
    struct node *n = mem_new(struct node);
    n->name = mem_strdup(path + 1);
    n->number = (uint32_t)fs.nodes.n;
    vec_push(&fs.nodes, n);
    put(RECORD_CREATE, n->number, 0, 0, n->name, strlen(n->name));
    fi->fh = (uintptr_t)n;
    return 0;
}

static int fs_read(const char *path, char *buf, size_t size, off_t at, struct fuse_file_info *fi)
{
    const struct node *n = of(path, fi);
    uint64_t from = (uint64_t)at;
    if (from >= n->size)
        return 0;
    if (size > n->size - from)
        size = n->size - from;
    memcpy(buf, n->bytes + from, size);
    return (int)size;
}

static void add(struct begun *b, const void *bytes, size_t size)
{
    b->bytes = realloc(b->bytes, b->size + size);
    if (!b->bytes)
        err(1, "memory");
    memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
}

static void put_write(struct node *n, const char *buf, size_t size, uint64_t at)
{
    struct begun whole = {.at = at};
    for (size_t i = 0; i < n->begun.n; i++)
        if (n->begun.v[i].at + n->begun.v[i].size == at) {
            whole = n->begun.v[i];
            vec_remove(&n->begun, i);
            break;
        }
    add(&whole, buf, size);
    if (whole.at % SECTOR == 0 && whole.size % SECTOR) {
        vec_push(&n->begun, whole);
        return;
    }
    put(RECORD_WRITE, n->number, whole.at, whole.size, whole.bytes, whole.size);
    free(whole.bytes);
}

/* A mark ends with a line feed. */
static void put_mark(struct node *n, const char *buf, size_t size)
{
    struct begun line = {0};
    if (n->begun.n) {
        line = n->begun.v[0];
        vec_remove(&n->begun, 0);
    }
    add(&line, buf, size);
    if (line.bytes[line.size - 1] != '\n') {
        vec_push(&n->begun, line);
        return;
    }
    put(RECORD_MARK, n->number, 0, 0, line.bytes, line.size);
    free(line.bytes);
}

static int fs_write(const char *path, const char *buf, size_t size, off_t at,
                    struct fuse_file_info *fi)
{
    struct node *n = of(path, fi);
    uint64_t from = (uint64_t)at, end = from + size;
    if (n->name && strcmp(n->name, RECORD_MARKS) == 0) {
        put_mark(n, buf, size);
        return (int)size;
    }
    int r = end > n->size ? resize(n, end) : 0;
    if (r < 0)
        return r;
    memcpy(n->bytes + from, buf, size);
    put_write(n, buf, size, from);
    return (int)size;
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    struct node *n = of(path, fi);
    if (!n)
        return -ENOENT;
    int r = resize(n, (uint64_t)size);
    if (r == 0)
        put(RECORD_SIZE, n->number, (uint64_t)size, 0, NULL, 0);
    return r;
}

static int fs_fallocate(const char *path, int mode, off_t at, off_t length,
                        struct fuse_file_info *fi)
{
    struct node *n = of(path, fi);
    uint64_t from = (uint64_t)at, end = from + (uint64_t)length;
    if (!(mode & FALLOC_FL_KEEP_SIZE) && end > n->size) {
        int r = resize(n, end);
        if (r < 0)
            return r;
        put(RECORD_SIZE, n->number, end, 0, NULL, 0);
    }
    if (!(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) || from >= n->size)
        return 0;
    if (end > n->size)
        end = n->size;
    memset(n->bytes + from, 0, end - from);
    put(RECORD_ZERO, n->number, from, end - from, NULL, 0);
    return 0;
}

static int fs_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)data_only;
    put(RECORD_SYNC, of(path, fi)->number, 0, 0, NULL, 0);
    return 0;
}

static int fs_fsyncdir(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)path, (void)data_only, (void)fi;
    put(RECORD_SYNC_DIR, 0, 0, 0, NULL, 0);
    return 0;
}

static int fs_unlink(const char *path)
{
    struct node *n = find(path);
    if (!n)
        return -ENOENT;
    put(RECORD_UNLINK, n->number, 0, 0, n->name, strlen(n->name));
    free(n->name);
    n->name = NULL;
    return 0;
}

static int fs_rename(const char *from, const char *to, unsigned flags)
{
    struct node *n = find(from), *old = find(to);
    char names[512];
    if (flags)
        return -EINVAL;
    if (!n)
        return -ENOENT;
    int size = snprintf(names, sizeof(names), "%s%c%s", from + 1, 0, to + 1);
    put(RECORD_RENAME, n->number, 0, 0, names, (size_t)size);
    if (old) {
        free(old->name);
        old->name = NULL;
    }
    free(n->name);
    n->name = mem_strdup(to + 1);
    return 0;
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)mode;
    return of(path, fi) ? 0 : -ENOENT;
}

static int fs_statfs(const char *path, struct statvfs *st)
{
    (void)path;
    *st = (struct statvfs){.f_bsize = 4096,
                           .f_frsize = 4096,
                           .f_blocks = 1 << 20,
                           .f_bfree = 1 << 20,
                           .f_bavail = 1 << 20,
                           .f_namemax = 200};
    return 0;
}

static void *fs_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
    (void)conn;
    cfg->hard_remove = 1;
    cfg->nullpath_ok = 1;
    cfg->use_ino = 1;
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct fuse_operations ops = {
        .init = fs_init,
        .getattr = fs_getattr,
        .readdir = fs_readdir,
        .open = fs_open,
        .create = fs_create,
        .read = fs_read,
        .write = fs_write,
        .truncate = fs_truncate,
        .fallocate = fs_fallocate,
        .fsync = fs_fsync,
        .fsyncdir = fs_fsyncdir,
        .unlink = fs_unlink,
        .rename = fs_rename,
        .chmod = fs_chmod,
        .statfs = fs_statfs,
    };
    if (argc != 3)
        errx(2, "usage: power-recorder LOG MOUNTPOINT");
    fs.log = fopen(argv[1], "we");
    if (!fs.log)
        err(1, "%s", argv[1]);
    char *const own[] = {argv[0], (char *)"-f", (char *)"-s", argv[2], NULL};
    int r = fuse_main(4, (char **)own, &ops, NULL);
    return fclose(fs.log) != 0 || r != 0;
}
