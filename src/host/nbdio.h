/*
 * nbdio.h: moving bytes between descriptors and images that cairn-diskd serves.
 *
 * Images are never written around their data path. A transfer attaches one (host_disk_attach with a
 * name of its own as owner), asks for its NBD socket, and copies.
 *
 *     _cleanup_(nbdio_freep) struct nbdio *n = NULL;
 *     TRY(nbdio_open(path, &n));
 *     TRY(nbdio_from_fd(n, &v, fd, 4096, limit, &size));
 *
 * Functions block; any thread but a loop; one thread at a time per connection.
 */
#pragma once

#include <stdint.h>

#include "host/hypervisor.h"

struct nbdio;

struct err *nbdio_open(const char *socket_path, struct nbdio **ret) _must_use_;
void nbdio_free(struct nbdio *n); /* NULL is fine */
static inline void nbdio_freep(struct nbdio **n)
{
    nbdio_free(*n);
    *n = NULL;
}
uint64_t nbdio_size(const struct nbdio *n);

struct err *nbdio_read(struct nbdio *n, void *p, size_t size, uint64_t at) _must_use_;
struct err *nbdio_write(struct nbdio *n, const void *p, size_t size, uint64_t at) _must_use_;
struct err *nbdio_flush(struct nbdio *n) _must_use_;

/* Copies what the descriptor gives until its end to `at`; more than `limit` bytes are an error.
 * Runs of zeroes become holes. Progress is reported against `expected` (0: unknown). */
struct err *nbdio_from_fd(struct nbdio *n, const struct verb *v, int fd, uint64_t at,
                          uint64_t limit, uint64_t expected, uint64_t *ret_size) _must_use_;
/* Copies `size` bytes from `at` to the descriptor. */
struct err *nbdio_to_fd(struct nbdio *n, const struct verb *v, int fd, uint64_t at, uint64_t size)
    _must_use_;
