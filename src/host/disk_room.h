/*
 * disk_room.h: room for disks on volumes that grow while they are used. Private to src/host.
 *
 * One thread, `room`, has every cairn-diskd with such a disk asked which of them want room
 * (docs/diskd.md, *Room*). It makes the volume larger by the image's quantum, notes its extents in
 * disks.json and tells cairn-diskd of them. Whoever dies in between leaves a volume that is larger
 * than its user knows: he asks again, and is told.
 *
 *     TRY(disk_room_start(dc));     // with the first look at what runs
 *     disk_room_look(dc);           // a disk was attached
 *     disk_room_stop(dc);           // before dc goes
 *
 * When the group has nothing left, a guest's requests wait until it has (disk_room_is_full), and a
 * transfer's are refused.
 */
#pragma once

#include "host/diskctl.h"

struct err *disk_room_start(struct diskctl *dc) _must_use_;
void disk_room_stop(struct diskctl *dc); /* never started: nothing */
void disk_room_look(struct diskctl *dc);

/* Under dc->lock: does that disk wait for its volume to grow, which is about to happen? */
bool disk_room_comes(const struct disk_set *s, unsigned device);
/* The volume at a path, if it is one, gets all the room that a VHD of that size can ask for;
 * ENOSPC. For who cannot ask while he writes. Blocks. */
struct err *disk_room_fill(const struct host *h, const char *path, uint64_t size) _must_use_;
