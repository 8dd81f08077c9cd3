/*
 * split.h: one large transfer as several smaller ones at the same time, for devices and memory that
 * do these faster. Any backend; the engine's thread.
 */
#pragma once

#include "disk/backend/backend.h"

/* Submits the io, a READ or WRITE, in parts of `part` bytes; its `done` is called when all of them
 * ended, with the first error. The memory that this takes lives until then. */
void split_submit(struct backend *b, struct io *io, uint64_t part);
