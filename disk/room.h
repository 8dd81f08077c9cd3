/*
 * room.h: disks on volumes that grow while they are used.
 *
 * An image on a device takes its blocks from the start on, and its device ends somewhere. Who can
 * make the device larger is asked in time, at a low-water mark, so that no request waits; one that
 * finds no room all the same is parked (park.h) and goes on when the device has grown.
 *
 *     used ........|<-- low -->|end        a block goes beyond the mark: on_want(), once
 *                                          room_grown(): the mark moves along
 *
 * Nothing of this is in the image: who is killed while requests wait finds them in the in-flight
 * area, opens the volume as it is then, and asks again. Loop's thread.
 */
#pragma once

#include "disk/disk.h"

/* A mark must leave room for some blocks. */
#define ROOM_LOW_MIN (8ull << 20)

/* Bytes of the leaf's device, and those that are taken from its start; false: it cannot grow, or no
 * image is open. */
bool room_of(const struct disk *d, uint64_t *ret_size, uint64_t *ret_used);
/* Does the disk want room now? on_want() when that is new. */
void room_look(struct disk *d);
/* The leaf's device, opened anew as `f`, has so many bytes. Parked requests are tried at once.
 * -EBUSY unless the disk is active, -EOPNOTSUPP if its image has no device or cannot use more of
 * it, -EINVAL if that is another volume. A smaller device changes nothing. */
int room_grown(struct disk *d, const struct file *f, uint64_t size);
