/*
 * split.h: one large transfer as several smaller ones at the same time, for devices and memory that
 * do these faster. Any backend; the engine's thread.
 */
#pragma once

#include "disk/backend/backend.h"

/* Cuts the part that begins `skip` bytes behind the start of the whole: `part` is what is left of
 * it; the cut makes its size smaller, and may send it to another file or place. */
typedef void split_cut(const void *arg, uint64_t skip, struct io *part);

/* Submits the io in the parts that `cut` makes; its `done` is called when all of them ended, with
 * the first error. The memory that this takes lives until then. */
void split_by(struct backend *b, struct io *io, split_cut *cut, const void *arg);

/* A READ or WRITE in parts of `part` bytes. */
void split_submit(struct backend *b, struct io *io, uint64_t part);
