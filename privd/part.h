/*
 * part.h: a piece of a block device as a device of its own: a loop device, which the kernel takes
 * away when nobody uses it any more.
 *
 * For workers: blocks. Needs CAP_SYS_ADMIN.
 */
#pragma once

#include <stdint.h>

#include "privd/device.h"

/* So many bytes from there on; size 0: all of `whole`, and no loop device is made. While *ret_fd is
 * open, or the device is mounted, the piece stays, and nobody else can take `whole`. */
struct err *part_make(const struct device *whole, uint64_t offset, uint64_t size,
                      struct device *ret, int *ret_fd) _must_use_;
/* Whether a device number is that of such a piece, or of `whole` itself. */
bool part_is(dev_t number, const struct device *whole, uint64_t offset, uint64_t size);
