/* device.c: see device.h. Called by format.c and mount.c in a worker. */
#include "privd/device.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define MOUNTINFO_MAX (16u << 20)

struct err *device_find(const char *path, struct device *ret)
{
    struct stat st;
    _cleanup_(freep) char *found = realpath(path, NULL);
    if (!found || stat(found, &st) < 0)
        return err_errno(errno, "cannot find '%s'", path);
    if (!str_starts(found, "/dev/"))
        return err_internal("'%s' leads out of /dev, to '%s'", path, found);
    if (!S_ISBLK(st.st_mode))
        return err_internal("'%s' is no block device", path);
    *ret = (struct device){.path = steal(&found), .number = st.st_rdev};
    return NULL;
}

void device_done(struct device *d)
{
    freep(&d->path);
}

/* Line of mountinfo(5): "id parent major:minor root mount-point …"; true if it is of the device. */
static bool is_mount_of(struct view line, const char *number, struct view *ret_dir)
{
    struct view field;
    for (unsigned i = 0; i < 2; i++)
        if (!view_split(&line, ' ', &field))
            return false;
    if (!view_split(&line, ' ', &field) || !view_eq(field, number))
        return false;
    return view_split(&line, ' ', &field) && view_split(&line, ' ', ret_dir);
}

/* The folder, or NULL. Owned by the caller. */
static struct err *mounted_on(const struct device *d, char **ret)
{
    _cleanup_(buf_done) struct buf text;
    char number[32];
    buf_init(&text, MOUNTINFO_MAX);
    int r = fd_read_file("/proc/self/mountinfo", MOUNTINFO_MAX, &text);
    if (r < 0)
        return err_errno(-r, "cannot read what is mounted");
    snprintf(number, sizeof(number), "%u:%u", major(d->number), minor(d->number));
    struct view all = {buf_str(&text), text.size}, line, dir;
    *ret = NULL;
    for (bool more = true; more && !*ret;) {
        more = view_split(&all, '\n', &line);
        if (is_mount_of(line, number, &dir))
            *ret = view_dup(dir);
    }
    return NULL;
}

struct err *device_user(const struct device *d, char **ret)
{
    _cleanup_(freep) char *dir = NULL;
    TRY(mounted_on(d, &dir));
    if (dir) {
        *ret = mem_printf("is mounted on '%s'", dir);
        return NULL;
    }
    /* Also of other mount namespaces, of swap, RAID and device-mapper. */
    _cleanup_(fd_closep) int fd = open(d->path, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (fd < 0 && errno != EBUSY)
        return err_errno(errno, "cannot open '%s'", d->path);
    *ret = mem_strdup(fd < 0 ? "is in use by the kernel" : "");
    return NULL;
}

struct err *device_check_free(const struct device *d)
{
    _cleanup_(freep) char *user = NULL;
    TRY(device_user(d, &user));
    return user[0] ? err_internal("'%s' %s", d->path, user) : NULL;
}

static void blkid_done(blkid_probe *probe)
{
    if (*probe)
        blkid_free_probe(*probe);
}

static struct err *new_probe(const struct device *d, int mode, int *ret_fd, blkid_probe *ret)
{
    *ret_fd = open(d->path, mode | O_EXCL | O_CLOEXEC);
    if (*ret_fd < 0)
        return err_errno(errno, "cannot open '%s'", d->path);
    *ret = blkid_new_probe();
    if (!*ret || blkid_probe_set_device(*ret, *ret_fd, 0, 0) < 0)
        return err_internal("cannot examine '%s'", d->path);
    blkid_probe_enable_superblocks(*ret, 1);
    blkid_probe_set_superblocks_flags(*ret, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL |
                                                BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
    blkid_probe_enable_partitions(*ret, 1);
    blkid_probe_set_partitions_flags(*ret, BLKID_PARTS_MAGIC);
    return NULL;
}

static const char *lookup(blkid_probe probe, const char *name)
{
    const char *value = NULL;
    return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 && value ? value : "";
}

static char *describe(blkid_probe probe)
{
    const char *type = lookup(probe, "TYPE"), *table = lookup(probe, "PTTYPE");
    const char *label = lookup(probe, "LABEL");
    if (type[0] && label[0])
        return mem_printf("carries %s labelled '%s'", type, label);
    if (type[0])
        return mem_printf("carries %s", type);
    if (table[0])
        return mem_printf("carries a partition table (%s)", table);
    return mem_strdup("carries a signature");
}

struct err *device_content(const struct device *d, char **ret, bool *ret_ext4)
{
    _cleanup_(fd_closep) int fd = -1;
    _cleanup_(blkid_done) blkid_probe probe = NULL;
    TRY(new_probe(d, O_RDONLY, &fd, &probe));
    /* The first of what may be several. */
    int r = blkid_do_probe(probe);
    if (r < 0)
        return err_internal("cannot examine '%s'", d->path);
    *ret = r == 0 ? describe(probe) : mem_strdup("");
    if (ret_ext4)
        *ret_ext4 = r == 0 && (str_eq(lookup(probe, "TYPE"), "ext4") ||
                               str_eq(lookup(probe, "TYPE"), "ext3"));
    return NULL;
}

struct err *device_wipe(const struct device *d)
{
    _cleanup_(fd_closep) int fd = -1;
    _cleanup_(blkid_done) blkid_probe probe = NULL;
    TRY(new_probe(d, O_RDWR, &fd, &probe));
    int r;
    while ((r = blkid_do_probe(probe)) == 0)
        if (blkid_do_wipe(probe, 0) < 0)
            return err_internal("cannot wipe '%s'", d->path);
    if (r < 0 || fsync(fd) < 0)
        return err_internal("cannot wipe '%s'", d->path);
    return NULL;
}
