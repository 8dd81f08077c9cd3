/*
 * at_copy.c: `cairn-diskd at fetch URL FILE` and `at put URL FILE`: a small file of a server's from
 * or to one of this host. Any kind of file (file.h) will do. Called by at.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "disk/at.h"
#include "disk/backend/file.h"

#define ROOM (1u << 20)
#define MOST (1ull << 30)

static int copy_in(struct file *f, uint64_t size, int fd)
{
    _cleanup_(freep) char *room = mem_zalloc(ROOM, 1);
    int r = 0;
    for (uint64_t at = 0; r == 0 && at < size; at += ROOM) {
        size_t n = size - at < ROOM ? (size_t)(size - at) : ROOM;
        r = file_pread(f, room, n, at);
        if (r == 0)
            r = fd_write_all(fd, room, n);
    }
    return r;
}

static int copy_out(int fd, uint64_t size, struct file *f)
{
    _cleanup_(freep) char *room = mem_zalloc(ROOM, 1);
    int r = 0;
    for (uint64_t at = 0; r == 0 && at < size; at += ROOM) {
        size_t n = size - at < ROOM ? (size_t)(size - at) : ROOM;
        r = fd_read_all(fd, room, n);
        if (r == 0)
            r = file_pwrite(f, room, n, at);
    }
    return r;
}

int at_fetch(const char *url, const char *local)
{
    _cleanup_(file_closep) struct file *f = NULL;
    struct file_stat st;
    int r = file_open(url, FILE_READ, &f);
    if (r == 0)
        r = file_stat(f, &st);
    if (r < 0 || st.size > MOST)
        return r < 0 ? r : -EFBIG;
    _cleanup_(fd_closep) int fd = open(local, O_WRONLY | O_TRUNC | O_CLOEXEC);
    return fd < 0 ? -errno : copy_in(f, st.size, fd);
}

/* Who wants the old one until the new one is there puts it under another name, and renames. */
int at_put(const char *url, const char *local)
{
    _cleanup_(fd_closep) int fd = open(local, O_RDONLY | O_CLOEXEC);
    _cleanup_(file_closep) struct file *f = NULL;
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    if (size < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    int r = file_create(url, &f);
    if (r == -EEXIST) {
        r = file_remove(url);
        if (r == 0)
            r = file_create(url, &f);
    }
    if (r == 0)
        r = copy_out(fd, (uint64_t)size, f);
    if (r == 0)
        r = file_sync(f);
    return r < 0 ? r : file_settle(f, url);
}
