/* fd.c: see fd.h. */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_PATIENCE 1 /* s */

void fd_close(int fd)
{
    if (fd < 0)
        return;
    int saved = errno;
    close(fd);
    errno = saved;
}

int fd_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

int fd_write_all(int fd, const void *p, size_t size)
{
    const char *at = p;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int fd_pwrite_all(int fd, const void *p, size_t size, off_t off)
{
    const char *at = p;
    while (size) {
        ssize_t n = pwrite(fd, at, size, off);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            at += n;
            off += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int fd_read_all(int fd, void *p, size_t size)
{
    char *at = p;
    while (size) {
        ssize_t n = read(fd, at, size);
        if (n == 0)
            return -ENODATA;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int fd_pread_all(int fd, void *p, size_t size, off_t off)
{
    char *at = p;
    while (size) {
        ssize_t n = pread(fd, at, size, off);
        if (n == 0)
            return -ENODATA;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            at += n;
            off += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int fd_read_file(const char *path, size_t max, struct buf *ret)
{
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    char piece[16384];
    for (;;) {
        ssize_t n = read(fd, piece, sizeof(piece));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        if (n < 0)
            continue;
        if ((size_t)n > max - ret->size)
            return -E2BIG;
        buf_put(ret, piece, (size_t)n);
    }
}

static int sync_folder_of(const char *path)
{
    _cleanup_(freep) char *copy = mem_strdup(path);
    _cleanup_(fd_closep) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

int fd_replace_file(const char *path, const void *p, size_t size, mode_t mode)
{
    _cleanup_(freep) char *tmp = mem_printf("%s.XXXXXX", path);
    _cleanup_(fd_closep) int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, p, size);
    if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0))
        r = -errno;
    if (r < 0) {
        unlink(tmp);
        return r;
    }
    return sync_folder_of(path);
}

int fd_mkdirs(const char *path, mode_t mode)
{
    _cleanup_(freep) char *copy = mem_strdup(path);
    for (char *at = copy + 1; *copy; at++) {
        char c = *at;
        if (c && c != '/')
            continue;
        *at = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return -errno;
        *at = c;
        if (!c)
            break;
    }
    return 0;
}

static int remove_at(int dir, const char *name);

static int remove_children(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *d = fdopendir(fd);
    if (!d) {
        fd_close(fd);
        return -ENOMEM;
    }
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = remove_at(fd, e->d_name);
    closedir(d);
    return r;
}

static int remove_at(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int r = remove_children(dir, name);
    if (r < 0)
        return r;
    return unlinkat(dir, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int fd_remove_tree(const char *path)
{
    return remove_at(AT_FDCWD, path);
}

/* Fills an address; a path too long for it is reached through *ret_dir, an open folder. */
static int unix_address(const char *path, struct sockaddr_un *sa, int *ret_dir)
{
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    *ret_dir = -1;
    if (strlen(path) < sizeof(sa->sun_path)) {
        strcpy(sa->sun_path, path);
        return 0;
    }
    _cleanup_(freep) char *a = mem_strdup(path);
    _cleanup_(freep) char *b = mem_strdup(path);
    int dir = open(dirname(a), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    int n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s", dir, basename(b));
    if (n < 0 || (size_t)n >= sizeof(sa->sun_path)) {
        fd_close(dir);
        return -ENAMETOOLONG;
    }
    *ret_dir = dir;
    return 0;
}

/* A full queue of connections waits as long as a send would. */
static int set_patience(int fd, time_t seconds)
{
    struct timeval tv = {.tv_sec = seconds};
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

int fd_connect_unix(const char *path)
{
    struct sockaddr_un sa;
    _cleanup_(fd_closep) int dir = -1;
    int r = unix_address(path, &sa, &dir);
    if (r < 0)
        return r;
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    r = set_patience(fd, CONNECT_PATIENCE);
    if (r == 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        r = errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (r == 0)
        r = set_patience(fd, 0);
    return r < 0 ? r : fd_take(&fd);
}

int fd_listen_unix(const char *path, mode_t mode)
{
    struct sockaddr_un sa;
    _cleanup_(fd_closep) int dir = -1;
    int r = unix_address(path, &sa, &dir);
    if (r < 0)
        return r;
    _cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || chmod(path, mode) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        return -errno;
    return fd_take(&fd);
}

#define MAX_FDS 32

int fd_send_fds(int sock, const void *p, size_t size, const int *fds, unsigned n)
{
    if (n > MAX_FDS || !size)
        return -EINVAL;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    }
    ssize_t sent;
    do
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return -errno;
    return fd_write_all(sock, (const char *)p + sent, size - (size_t)sent);
}

static void take_fds(struct msghdr *msg, int *ret_fds, unsigned room, unsigned *ret_n)
{
    *ret_n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*ret_n < room)
                ret_fds[(*ret_n)++] = fd;
            else
                fd_close(fd);
        }
    }
}

ssize_t fd_recv_fds(int sock, void *p, size_t size, int *ret_fds, unsigned *ret_n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control;
    struct iovec iov = {.iov_base = p, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n;
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    take_fds(&msg, ret_fds, *ret_n, ret_n);
    return n;
}
