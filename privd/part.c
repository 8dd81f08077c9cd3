/* part.c: see part.h. Called by mount.c in a worker. */
#include "privd/part.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"

#define TRIES 8 /* somebody else may take the loop device that was free */

static struct err *open_free_loop(int control, int *ret_fd, char **ret_path)
{
    int n = ioctl(control, LOOP_CTL_GET_FREE);
    if (n < 0)
        return err_errno(errno, "there is no free loop device");
    *ret_path = mem_printf("/dev/loop%d", n);
    *ret_fd = open(*ret_path, O_RDWR | O_CLOEXEC);
    return *ret_fd < 0 ? err_errno(errno, "cannot open '%s'", *ret_path) : NULL;
}

static int set_up(int loop, int whole, uint64_t offset, uint64_t size)
{
    struct loop_config c = {.fd = (uint32_t)whole,
                            .info = {.lo_offset = offset,
                                     .lo_sizelimit = size,
                                     .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO}};
    int r = ioctl(loop, LOOP_CONFIGURE, &c);
    if (r < 0 && errno == EINVAL) {
        c.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        r = ioctl(loop, LOOP_CONFIGURE, &c);
    }
    return r < 0 ? -errno : 0;
}

static struct err *make_loop(int whole, const char *name, uint64_t offset, uint64_t size,
                             char **ret_path, int *ret_fd)
{
    _cleanup_(fd_closep) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return err_errno(errno, "the kernel makes no loop devices");
    int r = -EBUSY;
    for (int i = 0; r == -EBUSY && i < TRIES; i++) {
        _cleanup_(fd_closep) int fd = -1;
        _cleanup_(freep) char *path = NULL;
        TRY(open_free_loop(control, &fd, &path));
        r = set_up(fd, whole, offset, size);
        if (r == 0) {
            *ret_path = steal(&path);
            *ret_fd = fd_take(&fd);
        }
    }
    return r < 0 ? err_errno(-r, "cannot make a device of a part of '%s'", name) : NULL;
}

struct err *part_make(const struct device *whole, uint64_t offset, uint64_t size,
                      struct device *ret, int *ret_fd)
{
    if (size == 0) {
        *ret = (struct device){.path = mem_strdup(whole->path), .number = whole->number};
        return NULL;
    }
    _cleanup_(freep) char *path = NULL;
    _cleanup_(fd_closep) int fd = open(whole->path, O_RDWR | O_EXCL | O_CLOEXEC);
    if (fd < 0)
        return err_errno(errno, "cannot open '%s'", whole->path);
    TRY(make_loop(fd, whole->path, offset, size, &path, ret_fd));
    return device_find(path, ret);
}

bool part_is(dev_t number, const struct device *whole, uint64_t offset, uint64_t size)
{
    struct loop_info64 info;
    char path[32];
    if (size == 0 || number == whole->number)
        return number == whole->number;
    if (major(number) != LOOP_MAJOR)
        return false;
    (void)snprintf(path, sizeof(path), "/dev/loop%u", minor(number));
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 &&
           info.lo_rdevice == whole->number && info.lo_offset == offset &&
           info.lo_sizelimit == size;
}
