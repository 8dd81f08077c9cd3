/*
 * examine.h: what a block device carries, asked before anything is written to it.
 *
 * Functions return 0 or -errno and may block.
 */
#pragma once

/* A phrase that says what was found ("carries ext4 labelled 'x'", "is mounted on '/'"), "" if the
 * device is free. Owned by the caller. -ENOTBLK for what is no block device. */
int examine_device(const char *device, char **ret);
/* 0 if the device carries ext4 and is mounted nowhere but, maybe, on `dir`; ret_mounted tells. */
int examine_ext4(const char *device, const char *dir, int *ret_mounted);
