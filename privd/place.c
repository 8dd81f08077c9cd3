/* place.c: see place.h. Called by privd.c at start, before anybody is listened to, and by plugin.c.
 */
#include "privd/place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "privd/rules.h"

struct err *place_check_owner(int fd, const char *name)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(errno, "cannot look at '%s'", name);
    if (st.st_uid != 0)
        return err_internal("'%s' belongs to uid %u, not to root", name, st.st_uid);
    /* In a folder with the sticky bit nobody can replace what is root's. */
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX)))
        return err_internal("'%s' can be written by others than root", name);
    return NULL;
}

/* No component of the path may be a symbolic link. */
static struct err *open_folder(const char *path, int *ret)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
    if (fd < 0)
        return err_errno(errno, "cannot open the folder '%s'", path);
    *ret = fd;
    return NULL;
}

static struct err *open_trusted(const char *option, const char *path, int *ret)
{
    _cleanup_(fd_closep) int fd = -1;
    const char *complaint = rule_folder(path);
    if (complaint)
        return err_internal("'%s' of %s %s", path, option, complaint);
    TRY(open_folder(path, &fd));
    TRY(place_check_owner(fd, path));
    *ret = fd_take(&fd);
    return NULL;
}

static struct err *check_above(const char *path)
{
    _cleanup_(freep) char *above = mem_strdup(path);
    for (char *slash; (slash = strrchr(above, '/'));) {
        slash[slash == above] = '\0';
        _cleanup_(fd_closep) int fd = -1;
        TRY(open_folder(above, &fd));
        TRY(place_check_owner(fd, above));
        if (slash == above)
            break;
    }
    return NULL;
}

struct err *place_open(struct place *p)
{
    if (!p->mount_dir)
        return NULL;
    if (mkdir(p->mount_dir, 0755) < 0 && errno != EEXIST)
        return err_errno(errno, "cannot make the folder '%s'", p->mount_dir);
    return open_trusted("--mount-dir", p->mount_dir, &p->mount_fd);
}

static struct err *open_programs(const char *option, const char *dir, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = -1;
    if (!dir)
        return err_internal("no folder is configured with %s", option);
    TRY(open_trusted(option, dir, &fd));
    TRY(check_above(dir));
    *ret_fd = fd_take(&fd);
    return NULL;
}

struct err *place_open_plugins(const struct place *p, int *ret_fd)
{
    return open_programs("--plugins-dir", p->plugins_dir, ret_fd);
}

struct err *place_open_extensions(const struct place *p, int *ret_fd)
{
    return open_programs("--extensions-dir", p->extensions_dir, ret_fd);
}

void place_close(struct place *p)
{
    fd_close(p->mount_fd);
}
