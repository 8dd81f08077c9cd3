/*
 * blob.h: named pieces of data that hang off objects.
 *
 * The record is a row, the data a file STATE_DIR/blobs/UUID, whole or as it was:
 *
 *     _cleanup_(blob_writer_freep) struct blob_writer *w = NULL;
 *     TRY(blob_write_begin(ops, ref, &w));
 *     while (…)
 *         TRY(blob_write(w, p, n));
 *     TRY(blob_write_end(w));       // the file takes its place, then size and last_updated follow
 *
 * A blob ends with blob.destroy or with the object it hangs off; its file then goes, at once or
 * when blob_sweep passes by. A death between file and record is mended by the sweep at the next
 * start. Threads that may block.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct db;
struct ops;
struct blob_writer;

/* What is left free of the state folder's file system: the database lives there, too. */
#define BLOB_RESERVE_BYTES (UINT64_C(256) << 20)
#define BLOB_MAX_BYTES     (UINT64_C(4) << 30)

/* OUT_OF_SPACE if so many bytes cannot be stored. */
struct err *blob_check_space(const struct ops *ops, uint64_t bytes) _must_use_;
/* `ref` is copied. */
struct err *blob_write_begin(struct ops *ops, const char *ref, struct blob_writer **ret) _must_use_;
struct err *blob_write(struct blob_writer *w, const void *p, size_t size) _must_use_;
struct err *blob_write_end(struct blob_writer *w) _must_use_;
/* What was not ended leaves nothing. NULL is fine. */
void blob_writer_free(struct blob_writer *w);
static inline void blob_writer_freep(struct blob_writer **w)
{
    blob_writer_free(*w);
    *w = NULL;
}

/* The data for reading, and its size; it stays as it is whatever is written meanwhile. ENOENT as
 * errno if nothing was ever written. */
struct err *blob_open(const struct ops *ops, const char *uuid, int *ret_fd, uint64_t *ret_size)
    _must_use_;

/* Removes files of nobody, corrects sizes. At start (when no write can be under way: also pieces
 * of writes that were cut off) and now and then. */
struct err *blob_sweep(struct ops *ops, bool at_start) _must_use_;
/* After a restore with the data of blobs: takes in what was kept in STATE_DIR/blobs.staged, as the
 * restored database says in its setting BLOBS_STAGED; else throws away what lies there. At start.
 */
#define BLOBS_STAGED "restore.blobs"
struct err *blob_adopt(struct ops *ops) _must_use_;
/* Blobs go with what they hang off. Once, before anything is written. */
void blob_hook(struct db *db);
