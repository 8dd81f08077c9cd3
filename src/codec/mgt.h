/*
 * mgt.h: XenServer's list of the disks on logical volumes, which is in the volume "MGT", read.
 *
 *     sector 0        "XSSM:<bytes in use, ten characters>:1:<minor>"
 *     sectors 1 … 3   the repository
 *     then            two sectors for each disk, a <vdi> with an element for each of its fields
 *
 * Sectors have 512 bytes and are filled up with blanks or zero bytes. Slots of deleted disks stay.
 * Source: the layout that XenServer's storage manager leaves on a volume. Pure, any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"

#define MGT_SECTOR 512u
#define MGT_MAX    (16u << 20) /* of a list; some 16,000 disks */

struct mgt_vdi {
    char *uuid, *name, *description;
    char *snapshot_of; /* a uuid, or "" */
    bool is_snapshot;
    int64_t snapshot_time; /* seconds since 1970 */
};

struct mgt {
    VEC(struct mgt_vdi) vdis;
};

/* How many bytes of the volume are in use, from its first sector: a multiple of MGT_SECTOR.
 * -EINVAL: it is none, or of a later major version. */
int mgt_parse_size(const void *sector, uint64_t *ret) _must_use_;

/* All of them. What is in a slot that cannot be read, or belongs to a deleted disk, is passed over:
 * a name that is missing is no reason to lose the others. *ret: mgt_done(). */
void mgt_parse(struct view bytes, struct mgt *ret);
void mgt_done(struct mgt *m);

const struct mgt_vdi *mgt_find(const struct mgt *m, const char *uuid); /* NULL */
