/*
 * local_cache.h: copies, in a repository of the host, of what is read of disks on servers; private
 * to src/op.
 *
 * A host has at most one repository for that (host.local_cache_sr). What is read of the base copy
 * that a disk with allow_caching is built on is kept there, if its repository can have copies (SM's
 * feature SR_CACHING) and the base copy is built on nothing. Writes go where they always go.
 */
#pragma once

#include "host/boot.h"
#include "op/world.h"

/* Fills in the image's `copies`; from the next start of a VM on. */
void local_cache_choose(struct op *op, const struct snap *s, const struct rec_VDI *vdi,
                        struct image *image);
/* SR_IS_CACHE_SR. */
struct err *local_cache_check_unused(const struct snap *s, const char *sr) _must_use_;
/* Where the host's copies are, the caller's, and their repository's uuid ("" and NULL: there are
 * none), borrowed from the snapshot. */
char *local_cache_folder(struct ops *ops, const struct snap *s, const char **ret_sr);
/* Removes copies of what no disk that may have one is built on. The chores' thread. */
void local_cache_tidy(struct ops *ops, const struct snap *s);
