/*
 * file.h: where the bytes of an image are: a file or device of this host, or something that only
 * its own backend can reach.
 *
 * Metadata is read and written here by calls that block (job threads: opening, closing, creating);
 * data goes through the backend as `struct io`, which names the file (backend.h). A file without a
 * backend of its own has a descriptor and is served by the process's (io_uring).
 *
 *     struct file *f;
 *     r = file_open("/sr/x.vhd", FILE_READ, &f);
 *     r = file_pread(f, bytes, 512, 0);
 *     …
 *     file_close(f);
 *
 * A kind of file is one struct file_kind, found by how the path begins; "/" is the host's files.
 * Functions return 0 or -errno. Whoever opened a file owns it; one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct backend;
struct file;

enum file_mode { FILE_READ, FILE_WRITE };

/*
 * Who may have an image open together (open file description locks, released by death):
 *
 *                reader   writer   merger
 *     reader       yes      no       yes
 *     writer       no       no       no
 *     merger       yes      no       no
 *
 * A merger writes to what others read as an ancestor: only what their own images hide.
 */
#define FILE_LOCK_DIRECT_AT                                                                        \
    ((off_t)1 << 62) /* a byte behind every file, the direct descriptor's                          \
                      */
/* The next byte is of the writer's lock as well, but when a keeper finishes for a writer that died.
 */
#define FILE_LOCK_KEEPER_AT (FILE_LOCK_DIRECT_AT + 1)
enum file_lock { FILE_LOCK_READER, FILE_LOCK_WRITER, FILE_LOCK_MERGER };

struct file_stat {
    uint64_t size;      /* bytes from start to end */
    uint64_t allocated; /* bytes that it takes */
    int64_t mtime;      /* seconds since 1970 */
    bool is_device;     /* its size is given, and what is behind a write may be anything */
    bool is_elastic;    /* but truncate makes it larger, and what was never written is zeroes */
};

struct file_ops {
    int (*pread)(struct file *f, void *p, size_t size, uint64_t at); /* all of it, else -ENODATA */
    int (*pwrite)(struct file *f, const void *p, size_t size, uint64_t at);
    int (*sync)(struct file *f); /* data and size are durable */
    int (*truncate)(struct file *f, uint64_t size);
    int (*reserve)(struct file *f, uint64_t at, uint64_t size); /* -EOPNOTSUPP is fine */
    int (*stat)(struct file *f, struct file_stat *ret);
    int (*lock)(struct file *f, enum file_lock how); /* -EBUSY after some seconds */
    void (*go_direct)(struct file *f);   /* as file_go_direct(); NULL: by `fd`, or not at all */
    void (*read_direct)(struct file *f); /* as file_read_direct(); NULL: the same */
    /* It is as large as `other` from now on, the same volume opened anew; engine's thread. NULL: it
     * is by itself. */
    int (*extend)(struct file *f, const struct file *other);
    void (*close)(struct file *f); /* frees it */
};

struct file_kind {
    const char *prefix; /* of the paths: "nfs://" */
    int (*open)(const char *path, enum file_mode mode, struct file **ret);
    /* A new one, open for writing; -EEXIST. NULL: this kind cannot. */
    int (*create)(const char *path, struct file **ret);
    /* Makes the name durable. */
    int (*settle)(struct file *f, const char *path);
    int (*remove)(const char *path);
};

struct file {
    const struct file_ops *ops;
    struct backend *backend; /* of its transfers; NULL: the process's, by `fd` */
    int fd;                  /* -1: none */
    int direct_fd;           /* the same with O_DIRECT, for data; -1: none */
    uint32_t memory_align;   /* of memory for that; offsets and sizes are multiples of 512 */
    uint32_t split;          /* direct READs and WRITEs in parts of so many bytes; 0: whole */
    bool is_memory;          /* it lives in memory: a transfer never waits for a device */
    bool is_cached;          /* data is read from the page cache if it is there, and counted: */
    uint64_t hit_bytes, miss_bytes;
};

/* Kinds besides the host's files, before any thread starts; the table lives on. */
void file_kind_add(const struct file_kind *kind);

int file_open(const char *path, enum file_mode mode, struct file **ret);
int file_create(const char *path, struct file **ret);
int file_settle(struct file *f, const char *path);
int file_remove(const char *path);

/*
 * Data of the file, which must be locked for writing, goes around the page cache from now on, where
 * that can be: not on devices with sectors larger than 512 bytes.
 *
 * Metadata stays in the page cache, so that it costs no I/O before a flush. The two may never share
 * a page of 4 KiB, or the cache would write old data back: the caller looks to that.
 */
void file_go_direct(struct file *f, const char *path);

/* Alignment of memory for direct transfers of a descriptor, 0 when it cannot have any. */
uint32_t file_direct_align(int fd);

/* Data of a file that is only read: from the page cache, where all who read it share what is there,
 * or around it. Does nothing for what the kernel does not cache: memory, files on servers. */
void file_read_cached(struct file *f);
void file_read_direct(struct file *f, const char *path);

static inline int file_pread(struct file *f, void *p, size_t size, uint64_t at)
{
    return f->ops->pread(f, p, size, at);
}
static inline int file_pwrite(struct file *f, const void *p, size_t size, uint64_t at)
{
    return f->ops->pwrite(f, p, size, at);
}
static inline int file_sync(struct file *f)
{
    return f->ops->sync(f);
}
static inline int file_truncate(struct file *f, uint64_t size)
{
    return f->ops->truncate(f, size);
}
static inline int file_stat(struct file *f, struct file_stat *ret)
{
    return f->ops->stat(f, ret);
}
static inline int file_lock(struct file *f, enum file_lock how)
{
    return f->ops->lock(f, how);
}
static inline void file_close(struct file *f)
{
    if (f)
        f->ops->close(f);
}
static inline void file_closep(struct file **f)
{
    file_close(*f);
}
