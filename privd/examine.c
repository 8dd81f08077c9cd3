/*
 * examine.c: what a block device carries.
 *
 * Called by verbs.c in the child that serves one request. Reads the device through libblkid and
 * /proc; opens it exclusively, so that a device the kernel itself uses is noticed, whatever it
 * carries.
 */
#include "privd/examine.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

static bool same_device(const char *path, const struct stat *want)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == want->st_rdev;
}

/* Where it is mounted, or NULL. Owned by the caller. */
static char *mounted_on(const struct stat *device)
{
    FILE *f = setmntent("/proc/self/mounts", "r");
    char room[4096];
    struct mntent entry;
    char *found = NULL;
    while (f && !found && getmntent_r(f, &entry, room, sizeof(room)))
        if (same_device(entry.mnt_fsname, device))
            found = mem_strdup(entry.mnt_dir);
    if (f)
        endmntent(f);
    return found;
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
    if (type[0])
        return label[0] ? mem_printf("carries %s labelled '%s'", type, label)
                        : mem_printf("carries %s", type);
    if (table[0])
        return mem_printf("carries a partition table (%s)", table);
    return mem_strdup("carries signatures that contradict each other");
}

static int probe_device(const char *device, blkid_probe *ret, int *ret_result)
{
    blkid_probe probe = blkid_new_probe_from_filename(device);
    if (!probe)
        return errno ? -errno : -EIO;
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_enable_partitions(probe, 1);
    *ret_result = blkid_do_safeprobe(probe);
    *ret = probe;
    return 0;
}

static int stat_device(const char *device, struct stat *ret)
{
    if (stat(device, ret) < 0)
        return -errno;
    return S_ISBLK(ret->st_mode) ? 0 : -ENOTBLK;
}

int examine_device(const char *device, char **ret)
{
    struct stat st;
    int r = stat_device(device, &st), result = 0;
    if (r < 0)
        return r;
    _cleanup_(freep) char *dir = mounted_on(&st);
    if (dir) {
        *ret = mem_printf("is mounted on '%s'", dir);
        return 0;
    }
    _cleanup_(fd_closep) int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (fd < 0 && errno == EBUSY) {
        *ret = mem_strdup("is in use by the kernel");
        return 0;
    }
    blkid_probe probe = NULL;
    r = probe_device(device, &probe, &result);
    if (r < 0)
        return r;
    *ret = result == 1 ? mem_strdup("") : describe(probe);
    blkid_free_probe(probe);
    return 0;
}

int examine_ext4(const char *device, const char *dir, int *ret_mounted)
{
    struct stat st;
    int r = stat_device(device, &st), result = 0;
    if (r < 0)
        return r;
    _cleanup_(freep) char *where = mounted_on(&st);
    *ret_mounted = where != NULL;
    if (where)
        return str_eq(where, dir) ? 0 : -EBUSY;
    blkid_probe probe = NULL;
    r = probe_device(device, &probe, &result);
    if (r < 0)
        return r;
    r = result == 0 && str_eq(lookup(probe, "TYPE"), "ext4") ? 0 : -EMEDIUMTYPE;
    blkid_free_probe(probe);
    return r;
}
