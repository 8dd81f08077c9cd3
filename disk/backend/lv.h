/*
 * lv.h: logical volumes as files: extents of block devices, one after the other.
 *
 *     lv:NAME:/dev/a@11534336+8388608,/dev/b@1048576+4194304
 *
 * names a volume of 12 MiB: 8 MiB of /dev/a from byte 11534336 on, then 4 MiB of /dev/b. NAME is
 * what a child remembers of its parent. The extents are the caller's knowledge, from the volume
 * group's metadata: nothing of it is read here, and device-mapper is not needed. Places and sizes
 * are multiples of 512; whoever has a volume open locks its extents, no others of the device.
 *
 * A device may be a unit of a server ("iscsi://…"), whose module must be loaded; then the lock is a
 * file of this host (remote.h), and no other host is locked out.
 *
 * Volumes are made, grown and removed by others; "creating" an image opens one for writing.
 */
#pragma once

#include "base/str.h"
#include "disk/backend/backend.h"

extern const struct file_kind lv_kind;

/* Transfers of volumes go on to that backend, the process's. Once, before any is open for them. */
void lv_start(struct backend *b);

/* The name in a volume's path; false: it is not one's. */
bool lv_name(const char *path, struct view *ret);
