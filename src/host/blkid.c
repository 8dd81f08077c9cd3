/*
 * blkid.c: what a block device carries, asked before anything is written to it.
 *
 * Called by sr_file.c on operation threads. Reads the device through libblkid and /proc; opens it
 * exclusively, so that a device the kernel itself uses is noticed, whatever it carries.
 */
#include "host/blkid.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
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
    return mem_strdup("carries a signature that is not unambiguous");
}

static struct err *find_signature(const char *device, char **ret)
{
    blkid_probe probe = blkid_new_probe_from_filename(device);
    if (!probe)
        return err_errno(errno, "cannot read '%s'", device);
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_enable_partitions(probe, 1);
    int r = blkid_do_safeprobe(probe);
    *ret = r == 1 ? mem_strdup("") : describe(probe);
    blkid_free_probe(probe);
    return NULL;
}

struct err *blkid_examine(const char *device, char **ret)
{
    struct stat st;
    if (stat(device, &st) < 0)
        return err_errno(errno, "cannot find '%s'", device);
    if (!S_ISBLK(st.st_mode))
        return err_internal("'%s' is no block device", device);
    _cleanup_(freep) char *dir = mounted_on(&st);
    if (dir) {
        *ret = mem_printf("is mounted on '%s'", dir);
        return NULL;
    }
    _cleanup_(fd_closep) int fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (fd < 0 && errno == EBUSY) {
        *ret = mem_strdup("is in use by the kernel");
        return NULL;
    }
    return find_signature(device, ret);
}
