/*
 * zone.h: what the clock on the wall shows in a zone of the world.
 *
 * The C library knows one zone a process; a host has one of its own, which may change while it
 * runs. The zones are read from the machine's zone folder (RFC 9636 files) at each call, so nothing
 * is kept. Any thread but a loop: reads a file.
 *
 *     int64_t shown = now + zone_offset("Europe/Berlin", now);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Seconds east of UTC at a moment (seconds since 1970). 0 for a zone that cannot be read. */
int64_t zone_offset(const char *name, int64_t at);
/* The same of the contents of a zone file; false if it is none. For tests. */
bool zone_offset_in(const void *file, size_t size, int64_t at, int64_t *ret);
