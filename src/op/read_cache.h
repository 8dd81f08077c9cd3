/*
 * read_cache.h: whether what a disk is built on is read through the page cache of the host; private
 * to src/op.
 *
 * cairn-diskd reads images that are never written (base copies, disks that are attached read-only)
 * through the page cache, so that many disks of one parent share it, and leaves around it. A
 * repository or a disk may say no; some have nothing to cache. While a disk is attached its
 * sm_config says so, in the keys that clients know:
 *
 *     read-caching-enabled-on-<host uuid>  "true", "false"
 *     read-caching-reason-<host uuid>      why not
 */
#pragma once

#include "host/boot.h"
#include "op/world.h"

/* "SR_NOT_SUPPORTED", "SR_OVERRIDE", "VDI_OVERRIDE", "RO_WITH_NO_PARENT" (it is written, and built
 * on nothing); NULL: it is. */
const char *read_cache_why_not(const struct snap *s, const struct rec_VDI *vdi, bool is_written);
/* Fills in the image's `uncached`. */
void read_cache_choose(const struct rec_SR *sr, const struct rec_VDI *vdi, struct image *image);
/* Writes the keys anew, as the VBDs say that it is attached or not. */
void read_cache_note(struct txn *t, const char *vdi);
/* The map without them: for records that are made like another. */
struct val *read_cache_strip(const struct val *sm_config);
