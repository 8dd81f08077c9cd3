/*
 * tar.h: archives as they flow, over libarchive, which shows in tar.c alone. Private to src/op.
 *
 * A writer makes plain ustar members; a reader takes any tar, compressed with gzip, zstd or not at
 * all, whatever it finds. Errors of the stream itself come through unchanged.
 */
#pragma once

#include "op/portable/portable.h"

enum tar_compression { TAR_PLAIN, TAR_GZIP, TAR_ZSTD };

struct tar_out;
struct err *tar_out_new(const struct portable_io *io, enum tar_compression compression,
                        struct tar_out **ret) _must_use_;
/* A whole member. */
struct err *tar_out_put(struct tar_out *t, const char *name, const void *p, size_t size) _must_use_;
/* The end of the archive; without it there is none. */
struct err *tar_out_end(struct tar_out *t) _must_use_;
void tar_out_free(struct tar_out *t); /* NULL is fine */
static inline void tar_out_freep(struct tar_out **t)
{
    tar_out_free(*t);
    *t = NULL;
}

struct tar_in;
struct tar_in *tar_in_new(const struct portable_io *io);
void tar_in_free(struct tar_in *t); /* NULL is fine */
static inline void tar_in_freep(struct tar_in **t)
{
    tar_in_free(*t);
    *t = NULL;
}
/* The member that is read next; *ret_name NULL at the end. The same again until tar_in_take() or
 * tar_in_skip(). The name lives until then. IMPORT_ERROR, IMPORT_ERROR_PREMATURE_EOF. */
struct err *tar_in_peek(struct tar_in *t, const char **ret_name, uint64_t *ret_size) _must_use_;
/* All of its bytes, `size` of them as was told, and on to the next one. */
struct err *tar_in_take(struct tar_in *t, void *p, size_t size) _must_use_;
/* Some of its bytes, 0 at its end; then, or before, tar_in_skip(). */
struct err *tar_in_read(struct tar_in *t, void *p, size_t size, size_t *ret_size) _must_use_;
void tar_in_skip(struct tar_in *t);
/* Bytes taken from the stream so far, for a progress bar. */
uint64_t tar_in_seen(const struct tar_in *t);
