/*
 * mem_file.h: a storage in memory for the tests of disk/: files "mem:NAME" whose transfers happen
 * in any order, whose writers are killed, and which a power cut leaves as a real one may: of what
 * no sync covers any part is kept, sector by sector.
 *
 * One store a process; seeded, so that a run can be repeated. Folders and names are always durable.
 * One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "disk/backend/file.h"

/* Empties the store; the first call makes "mem:" known. */
void mem_store_reset(uint64_t seed);
uint64_t mem_random(void);
static inline uint32_t mem_below(uint32_t n)
{
    return (uint32_t)(mem_random() % n);
}

/* New files are devices of this size, full of rubbish; 0: ordinary files. */
void mem_store_devices(uint64_t size);
void mem_rename(const char *from, const char *to);

/* Does one of the waiting transfers; false when there is none. */
bool mem_step(void);
/* The process that opened the file is killed: of each of its waiting transfers any part happens,
 * and all of them, and later ones, fail. */
void mem_kill(struct file *f);
/* After n more changes or syncs everybody is killed. */
void mem_fuse(uint32_t n);
/* Kills everybody, and loses what was not synced; the fuse is off. */
void mem_power_cut(void);
/* How many transfers and metadata operations happened since the reset. */
uint64_t mem_clock(void);
