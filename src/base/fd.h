/*
 * fd.h: descriptors with an owner, and files that are whole or not there.
 *
 *     _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
 *
 * Functions return 0 or a size, or -errno. They may block: never call the file functions on a loop.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/mem.h"

static inline int fd_take(int *fd)
{
    int got = *fd;
    *fd = -1;
    return got;
}
void fd_close(int fd); /* a negative one is fine; keeps errno */
static inline void fd_closep(int *fd)
{
    fd_close(*fd);
    *fd = -1;
}

int fd_set_nonblocking(int fd);
/* All of it, through EINTR and short writes. */
int fd_write_all(int fd, const void *p, size_t size) _must_use_;
int fd_pwrite_all(int fd, const void *p, size_t size, off_t at) _must_use_;
/* Exactly `size` bytes; -ENODATA at an early end. */
int fd_read_all(int fd, void *p, size_t size) _must_use_;
int fd_pread_all(int fd, void *p, size_t size, off_t at) _must_use_;

/* The whole file, up to `max` bytes (-E2BIG beyond); the buffer must be initialised. */
int fd_read_file(const char *path, size_t max, struct buf *ret) _must_use_;
/* Replaces a file atomically: temporary file beside it, fsync, rename, fsync of the folder. */
int fd_replace_file(const char *path, const void *p, size_t size, mode_t mode) _must_use_;
/* mkdir -p. */
int fd_mkdirs(const char *path, mode_t mode) _must_use_;
/* Removes a folder and all below it, not following links; absent is fine. */
int fd_remove_tree(const char *path);

/* Unix stream sockets by path (at most 107 bytes; longer ones go through the folder's descriptor).
 * fd_listen_unix replaces a stale socket file. Both return a CLOEXEC, blocking descriptor.
 * -ETIMEDOUT: whoever listens takes no connections, and its queue is full. */
int fd_connect_unix(const char *path);
int fd_listen_unix(const char *path, mode_t mode);
/* One message with descriptors over a unix socket. */
int fd_send_fds(int sock, const void *p, size_t size, const int *fds, unsigned n) _must_use_;
/* Returns bytes received (0 at the end); *ret_n is in: room, out: descriptors, owned by caller. */
ssize_t fd_recv_fds(int sock, void *p, size_t size, int *ret_fds, unsigned *ret_n) _must_use_;
