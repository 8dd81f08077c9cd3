/*
 * keeper.h: a second process that finishes what was answered ahead when this one is killed.
 *
 * A bit of a sector bitmap must not be durable before its data, and no write shall wait for a sync.
 * So the bits of an answered write may be ahead of the file: in memory that is shared with the
 * keeper, until a flush, or the end of the disk, has synced the data and written them.
 *
 *     hold ──> note (ahead) ──renew──> … ──the bits are in the file──> forget ──> drop
 *                 └── we die: the keeper syncs the file, writes the bits, lets the lock go
 *
 * The keeper has the file's descriptor, and with it the lock: whoever opens the image next waits
 * until its bits are there. A power cut takes what was not flushed, as it may.
 *
 * hold and drop block: job threads. note, renew and forget: the loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/backend/file.h"

#define KEEPER_BITS 512u

struct keeper_note;

/* Before there are threads; `sandboxed`: the keeper closes its own sandbox. `argv` is the
 * program's, which the keeper overwrites in its memory to have a name of its own, or NULL. 0 or
 * -errno. */
int keeper_start(bool sandboxed, char **argv);
/* Ends the keeper, which does first what a death would make it do. */
void keeper_stop(void);

/* A number for the file, which must be locked for writing; -1: without a keeper, or not such a
 * file. */
int keeper_hold(const struct file *f);
/* The keeper has closed its descriptor when this returns. -1 is fine. */
void keeper_drop(int held);

/* The sector at `at` shall read as `bits`. NULL: no room. */
struct keeper_note *keeper_note(int held, uint64_t at, const uint8_t bits[KEEPER_BITS]);
/* Bits are only ever added. */
void keeper_renew(struct keeper_note *n, const uint8_t bits[KEEPER_BITS]);
void keeper_forget(struct keeper_note *n);
