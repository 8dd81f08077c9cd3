/*
 * lvm_group.h: the volume group of a repository, read from its device.
 *
 * Read anew whenever it is asked for: other tools change it, too. What changes it is cairn-privd's
 * (priv.h); extents are looked up here and handed to the data path as a path (disk/backend/lv.h).
 * Functions block; 0 or -errno, with the reason in *ret_why, a static string.
 */
#pragma once

#include "codec/lvm.h"

/* -ENODEV: no physical volume, or one without a group. The group: lvm_vg_done(). */
int lvm_group_read(const char *device, struct lvm_vg *ret, const char **ret_why);

/* The path of a volume for cairn-diskd: the caller's. NULL: a volume that is neither linear nor
 * striped by whole extents, lies on other devices, or in too many pieces. */
char *lvm_group_path(const struct lvm_vg *vg, const struct lvm_lv *lv, const char *device);
