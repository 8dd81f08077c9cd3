/*
 * file_direct.c: the second, direct descriptor of a file. Blocking; job threads.
 */
#include "disk/backend/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fd.h"

#define SECTOR           512u
#define MEMORY_ALIGN_MAX 4096u

/* 0, too, when it can only with large sectors. */
uint32_t file_direct_align(int fd)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0 || !(st.stx_mask & STATX_DIOALIGN))
        return 0;
    if (st.stx_dio_offset_align == 0 || st.stx_dio_offset_align > SECTOR ||
        st.stx_dio_mem_align > MEMORY_ALIGN_MAX)
        return 0;
    return st.stx_dio_mem_align;
}

static bool is_same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Transfers of a process that was killed hold the descriptor they go through. So this one has a
 * part of the writer's lock, which covers the whole file: the next writer waits for both. */
static int move_lock(int from, int to)
{
    struct flock l = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = FILE_LOCK_DIRECT_AT, .l_len = 1};
    if (fcntl(from, F_OFD_SETLK, &l) < 0)
        return -errno;
    l.l_type = F_WRLCK;
    return fcntl(to, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

static bool is_kernels(const struct file *f)
{
    return f->fd >= 0 && !f->backend && !f->is_memory;
}

void file_go_direct(struct file *f, const char *path)
{
    if (f->ops->go_direct) {
        f->ops->go_direct(f);
        return;
    }
    uint32_t align = is_kernels(f) ? file_direct_align(f->fd) : 0;
    if (!align)
        return;
    _cleanup_(fd_closep) int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || !is_same_file(fd, f->fd) || move_lock(f->fd, fd) < 0)
        return;
    f->direct_fd = fd_take(&fd);
    f->memory_align = align;
}

void file_read_cached(struct file *f)
{
    f->is_cached = is_kernels(f);
}

void file_read_direct(struct file *f, const char *path)
{
    if (f->ops->read_direct) {
        f->ops->read_direct(f);
        return;
    }
    uint32_t align = is_kernels(f) ? file_direct_align(f->fd) : 0;
    if (!align)
        return;
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || !is_same_file(fd, f->fd))
        return;
    f->direct_fd = fd_take(&fd);
    f->memory_align = align;
}
