/*
 * pack.h: an archive as it is made, in constant memory: tar, compressed or not, and zip.
 *
 *     _cleanup_(pack_freep) struct pack *p = NULL;
 *     TRY(pack_new(PACK_TAR_GZ, put, stream, &p));
 *     TRY(pack_text(p, "a/version", text, size));
 *     TRY(pack_fd(p, "a/log", fd));
 *     TRY(pack_end(p));                              // without it there is none
 *
 * libarchive shows in pack.c alone. Threads that may block; one at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum pack_form { PACK_TAR, PACK_TAR_GZ, PACK_TAR_BZ2, PACK_ZIP };

/* Takes a piece; 0 or -errno, which ends the archive. */
typedef int (*pack_put_fn)(void *arg, const void *p, size_t size);

struct pack;
struct err *pack_new(enum pack_form form, pack_put_fn put, void *arg, struct pack **ret) _must_use_;
struct err *pack_text(struct pack *p, const char *name, const void *text, size_t size) _must_use_;
/* A regular file from where the descriptor stands to the end that it has now. */
struct err *pack_fd(struct pack *p, const char *name, int fd) _must_use_;
struct err *pack_end(struct pack *p) _must_use_;
void pack_free(struct pack *p); /* NULL is fine */
static inline void pack_freep(struct pack **p)
{
    pack_free(*p);
    *p = NULL;
}
