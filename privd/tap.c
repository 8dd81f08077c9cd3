/*
 * tap.c: tap interfaces that last until they are removed and that the caller's uid may open.
 *
 * Called in a worker. Only interfaces that are taps of the caller are touched, whatever their name.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "privd/verbs.h"

#define FACT_MAX 64

/* A number that sysfs tells of an interface; false if it has none. */
static bool fact(const char *name, const char *what, int64_t *ret)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, FACT_MAX);
    _cleanup_(freep) char *path = mem_printf("/sys/class/net/%s/%s", name, what);
    if (fd_read_file(path, FACT_MAX, &text) < 0)
        return false;
    struct view line = {buf_str(&text), strcspn(buf_str(&text), "\n")};
    return str_i64(line, INT64_MIN, INT64_MAX, ret) == 0;
}

static bool exists(const char *name)
{
    _cleanup_(freep) char *path = mem_printf("/sys/class/net/%s", name);
    return access(path, F_OK) == 0;
}

static struct err *check_ours(const struct place *p, const char *name)
{
    int64_t owner;
    if (!fact(name, "owner", &owner))
        return err_internal("'%s' is no tap interface", name);
    if (owner != (int64_t)p->caller.uid)
        return err_internal("'%s' is a tap interface of another uid", name);
    return NULL;
}

/* A descriptor of the interface, which comes into being with it. */
static struct err *open_tap(const char *name, int *ret)
{
    _cleanup_(fd_closep) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_errno(errno, "cannot open '/dev/net/tun'");
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        return err_errno(errno, "cannot open the interface '%s'", name);
    *ret = fd_take(&fd);
    return NULL;
}

struct err *verb_tap_add(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd)
{
    (void)answer, (void)ret_fd;
    const char *name = request_str(r, "name");
    _cleanup_(fd_closep) int fd = -1;
    if (exists(name))
        return check_ours(p, name);
    TRY(open_tap(name, &fd));
    if (ioctl(fd, TUNSETOWNER, (unsigned long)p->caller.uid) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
        return err_errno(errno, "cannot keep the interface '%s'", name);
    return NULL;
}

struct err *verb_tap_del(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd)
{
    (void)answer, (void)ret_fd;
    const char *name = request_str(r, "name");
    _cleanup_(fd_closep) int fd = -1;
    if (!exists(name))
        return NULL;
    TRY(check_ours(p, name));
    TRY(open_tap(name, &fd));
    if (ioctl(fd, TUNSETPERSIST, 0) < 0)
        return err_errno(errno, "cannot remove the interface '%s'", name);
    return NULL;
}
