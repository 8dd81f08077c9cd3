/* inflate.h: one piece of an image that is compressed. Private to src/op. Any thread. */
#pragma once

#include "base/err.h"

#include <stddef.h>

enum inflate_how { INFLATE_ZLIB, INFLATE_BARE, INFLATE_ZSTD }; /* bare: deflate without a head */
/* Fills `to` to its end; IMPORT_ERROR if that is not what the bytes say. What follows them in
 * `from` is no matter. */
struct err *inflate_piece(enum inflate_how how, const void *from, size_t from_size, void *to,
                          size_t to_size) _must_use_;
