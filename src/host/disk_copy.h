/*
 * disk_copy.h: copies of what is read of parents on servers, in a repository of this host.
 *
 * A copy is `<uuid of the parent>.vhdcache` in that repository's folder; cairn-diskd makes, fills
 * and shares it (docs/diskd.md, "Copies"). Here: where it is, and its end. Any thread.
 */
#pragma once

#include "base/val.h"
#include "host/boot.h"

/* Adds where the copy is to an `activate`, if there is to be one: of a parent with none itself. */
void disk_copy_request(const struct image *image, struct val *activate);
/* Removes the copies in a folder whose parents `is_wanted` does not know. Who reads one goes on,
 * without others. */
void disk_copies_clear(const char *folder, bool (*is_wanted)(const char *parent, const void *arg),
                       const void *arg);
/* Bytes that the copies of a folder take. */
uint64_t disk_copies_size(const char *folder);
