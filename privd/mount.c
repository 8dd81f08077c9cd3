/*
 * mount.c: ext4 file systems, on devices or in parts of them, on folders of the mount folder.
 *
 * Called in a worker. A mount point is one name in the mount folder, which root alone can write, so
 * nothing can be put in its way; it is made at mount and removed at umount. Mounts are nosuid,
 * nodev and noexec.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "privd/part.h"
#include "privd/verbs.h"

/* The name of a folder in the mount folder. */
static struct err *name_in(const struct place *p, const char *folder, const char **ret)
{
    if (!p->mount_dir)
        return err_internal("no mount folder is configured");
    size_t size = strlen(p->mount_dir);
    if (strncmp(folder, p->mount_dir, size) != 0 || folder[size] != '/' ||
        strchr(folder + size + 1, '/'))
        return err_internal("the folder is not one below '%s'", p->mount_dir);
    *ret = folder + size + 1;
    return NULL;
}

/* A device, or a part of one. */
struct wanted {
    struct device whole;
    uint64_t offset, size; /* 0: all of it */
};

/* *ret_mounted: the device is mounted there already. Something else there is an error. */
static struct err *check_mount_point(const struct place *p, const char *name,
                                     const struct wanted *w, bool *ret_mounted)
{
    struct stat above, st;
    if (mkdirat(p->mount_fd, name, 0755) < 0 && errno != EEXIST)
        return err_errno(errno, "cannot make '%s/%s'", p->mount_dir, name);
    if (fstat(p->mount_fd, &above) < 0 || fstatat(p->mount_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_errno(errno, "cannot look at '%s/%s'", p->mount_dir, name);
    if (!S_ISDIR(st.st_mode))
        return err_internal("'%s/%s' is no folder", p->mount_dir, name);
    *ret_mounted = st.st_dev != above.st_dev && part_is(st.st_dev, &w->whole, w->offset, w->size);
    if (!*ret_mounted && st.st_dev != above.st_dev)
        return err_internal("something else is mounted on '%s/%s'", p->mount_dir, name);
    return NULL;
}

/* What guests discard is to reach the device; one that takes no discards is mounted all the same.
 */
static struct err *open_file_system(const struct device *d, int *ret)
{
    _cleanup_(fd_closep) int context = fsopen("ext4", FSOPEN_CLOEXEC);
    if (context < 0)
        return err_errno(errno, "the kernel cannot mount ext4");
    if (fsconfig(context, FSCONFIG_SET_STRING, "source", d->path, 0) < 0 ||
        fsconfig(context, FSCONFIG_SET_FLAG, "discard", NULL, 0) < 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_errno(errno, "cannot mount '%s' as ext4", d->path);
    int fd =
        fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (fd < 0)
        return err_errno(errno, "cannot mount '%s'", d->path);
    *ret = fd;
    return NULL;
}

static struct err *check_ext4(const struct device *d)
{
    _cleanup_(freep) char *content = NULL;
    bool ext4;
    TRY(device_content(d, &content, &ext4));
    return ext4 ? NULL : err_internal("'%s' carries no ext4", d->path);
}

static struct err *mount_device(const struct place *p, const char *name, const struct device *d)
{
    _cleanup_(fd_closep) int fd = -1;
    TRY(check_ext4(d));
    TRY(open_file_system(d, &fd));
    /* The caller works in it, whoever has formatted it. */
    if (fchownat(fd, "", p->caller.uid, (gid_t)-1, AT_EMPTY_PATH) < 0)
        return err_errno(errno, "cannot hand '%s' over", d->path);
    if (move_mount(fd, "", p->mount_fd, name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_errno(errno, "cannot mount '%s' on '%s/%s'", d->path, p->mount_dir, name);
    return NULL;
}

static struct err *mount_on(const struct place *p, const char *name, const struct wanted *w)
{
    _cleanup_(device_done) struct device d = {0};
    _cleanup_(fd_closep) int held = -1;
    TRY(device_check_free(&w->whole));
    TRY(part_make(&w->whole, w->offset, w->size, &d, &held));
    return mount_device(p, name, &d);
}

static void wanted_done(struct wanted *w)
{
    device_done(&w->whole);
}

struct err *verb_mount(const struct place *p, const struct request *r, struct val *answer,
                       int *ret_fd)
{
    (void)answer, (void)ret_fd;
    const char *name;
    bool mounted;
    _cleanup_(wanted_done) struct wanted w = {.offset = (uint64_t)request_int(r, "offset"),
                                              .size = (uint64_t)request_int(r, "size")};
    TRY(name_in(p, request_str(r, "folder"), &name));
    TRY(device_find(request_str(r, "device"), &w.whole));
    TRY(check_mount_point(p, name, &w, &mounted));
    struct err *e = mounted ? NULL : mount_on(p, name, &w);
    if (e)
        (void)unlinkat(p->mount_fd, name, AT_REMOVEDIR); /* only if it is empty */
    return e;
}

struct err *verb_umount(const struct place *p, const struct request *r, struct val *answer,
                        int *ret_fd)
{
    (void)answer, (void)ret_fd;
    const char *name;
    TRY(name_in(p, request_str(r, "folder"), &name));
    if (fchdir(p->mount_fd) < 0)
        return err_errno(errno, "cannot enter '%s'", p->mount_dir);
    /* EINVAL: it is no mount point. */
    if (umount2(name, UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        return err_errno(errno, "cannot unmount '%s/%s'", p->mount_dir, name);
    (void)unlinkat(p->mount_fd, name, AT_REMOVEDIR);
    return NULL;
}
