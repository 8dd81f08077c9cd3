/*
 * lvm_change.h: a repository's volume group changed, wherever its device is: on one of this host by
 * lvm2's own tools in cairn-privd (priv.h), on a unit of a server by lvm_unit.h.
 *
 * Sizes are bytes, made whole extents. Functions block; operation threads.
 */
#pragma once

#include "host/host.h"

struct err *group_vg_create(const struct host *h, const char *device, const char *group, bool force)
    _must_use_;
struct err *group_vg_remove(const struct host *h, const char *device, const char *group) _must_use_;
struct err *group_lv_create(const struct host *h, const char *device, const char *group,
                            const char *volume, uint64_t size) _must_use_;
struct err *group_lv_extend(const struct host *h, const char *device, const char *group,
                            const char *volume, uint64_t size) _must_use_;
struct err *group_lv_reduce(const struct host *h, const char *device, const char *group,
                            const char *volume, uint64_t size) _must_use_;
struct err *group_lv_writable(const struct host *h, const char *device, const char *group,
                              const char *volume) _must_use_;
struct err *group_lv_rename(const struct host *h, const char *device, const char *group,
                            const char *volume, const char *to) _must_use_;
struct err *group_lv_remove(const struct host *h, const char *device, const char *group,
                            const char *volume) _must_use_;
/* What a device carries, "" if it is blank: the caller's. */
struct err *group_examine(const struct host *h, const char *device, char **ret) _must_use_;
