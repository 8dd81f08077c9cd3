/* blkid.h: what a block device or image file carries. Private to src/host. */
#pragma once

#include "base/err.h"

/* A sentence that names what was found ("carries ext4 labelled 'x'", "is mounted on '/'", "is a
 * partition table with 3 partitions"), "" if the device is free. Owned by the caller. Blocks. */
struct err *blkid_examine(const char *device, char **ret) _must_use_;
