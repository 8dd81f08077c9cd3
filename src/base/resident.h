/*
 * resident.h: the memory of this process that the machine holds, and giving back what is free.
 *
 * malloc keeps what is freed in the middle of its heaps, pages and all: after a burst of large
 * answers a daemon would hold its peak for ever.
 *
 *     struct resident r = {0};
 *     resident_trim(&r, 4u << 20);    // now and then
 *
 * resident_bytes may be called from any thread; a struct resident is its caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Bytes, 0 where /proc does not tell. */
uint64_t resident_bytes(void);

struct resident {
    uint64_t least; /* bytes after the last trim */
};

/* Gives free pages back if the process has grown by more than `growth` bytes since the last time
 * (the first time: if it has that much); true if it did. Takes milliseconds, in which a malloc may
 * have to wait. */
bool resident_trim(struct resident *r, uint64_t growth);
