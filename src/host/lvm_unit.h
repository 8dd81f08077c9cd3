/*
 * lvm_unit.h: volume groups on units of servers ("iscsi://…"), which no block device of this host
 * is, so that lvm2's tools cannot change them (docs/adr/012-volumes-on-units.md).
 *
 * cairn-diskd is asked for bytes, one question a process. A change of metadata is a new text where
 * nothing valid is, made durable, and then one write of the 512 bytes that point to it: whoever
 * dies, the old metadata is there or the new. The unit belongs to this host alone; of this host's
 * processes one changes at a time, and only what it has read.
 *
 *     lvm_unit_start(program, run_dir);      // once, before there are other threads
 *
 * Functions block; operation threads and the mon loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

void lvm_unit_start(const char *diskd, const char *run_dir);
const char *lvm_unit_run_dir(void);

/* Whether a device is such a unit. */
bool lvm_unit_is(const char *device);
/* 0 or -errno; *p is zeroes behind its end. */
int lvm_unit_read(const char *url, uint64_t at, void *p, size_t size);
struct err *lvm_unit_size(const char *url, uint64_t *ret) _must_use_;

enum unit_verb {
    UNIT_CREATE,
    UNIT_EXTEND,
    UNIT_REDUCE,
    UNIT_WRITABLE,
    UNIT_RENAME,
    UNIT_REMOVE,
};
struct unit_change {
    enum unit_verb verb;
    const char *group, *volume, *to;
    uint64_t size; /* bytes */
};
/* As the verbs of priv.h. ENOSPC: there are not so many extents. */
struct err *lvm_unit_change(const char *url, const struct unit_change *c) _must_use_;
/* Without `force` the unit must be blank. */
struct err *lvm_unit_create(const char *url, const char *group, bool force) _must_use_;
struct err *lvm_unit_remove(const char *url, const char *group) _must_use_;
/* "" if nothing is at the beginning and at the end; or what there is: the caller's. */
struct err *lvm_unit_examine(const char *url, char **ret) _must_use_;

/* A plan for `cairn-diskd at commit`, which see (docs/diskd.md): ESTALE, EBUSY: try again. */
struct unit_step {
    uint64_t at;
    const void *bytes;
    size_t size;
};
struct err *lvm_unit_commit(const char *url, const struct unit_step *expect,
                            const struct unit_step *steps, size_t n) _must_use_;
