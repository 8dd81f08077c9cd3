/*
 * device.h: what a block device carries and who has it, asked of the kernel and of libblkid.
 *
 * For workers: blocks. Nothing that the caller found out about a device counts here.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct device {
    char *path; /* below /dev/, without symbolic links */
    dev_t number;
};

/* Finds the block device behind a path below /dev/, following links as /dev/disk/ is made of. */
struct err *device_find(const char *path, struct device *ret) _must_use_;
void device_done(struct device *d);

/* A phrase that names where it is mounted, or says that the kernel has it in use; "" if neither. */
struct err *device_user(const struct device *d, char **ret) _must_use_;
/* A phrase that names what it carries: a file system, a partition table, any signature. "" if it
 * is blank. *ret_ext4, if not NULL: it is a file system that the driver of ext4 mounts, of
 * that or of the type before it. */
struct err *device_content(const struct device *d, char **ret, bool *ret_ext4) _must_use_;
/* An error unless device_user() has nothing to say. */
struct err *device_check_free(const struct device *d) _must_use_;
/* Removes every signature that libblkid knows. */
struct err *device_wipe(const struct device *d) _must_use_;
