/*
 * pool.h: page-aligned buffers for request data, kept for the next request.
 *
 * Sizes are rounded up to powers of two from 4 KiB to 32 MiB. Up to 64 MiB of free buffers are
 * kept: fresh memory costs a page fault every 4 KiB, which is dearer than the I/O. Loop's thread.
 */
#pragma once

#include <stddef.h>

#define POOL_MAX_BUFFER (32u << 20)

struct pool;
struct pool *pool_new(void);
void pool_free(struct pool *p); /* all buffers must be back */
/* Not zeroed; NULL when there is no memory or size is over the maximum. */
void *pool_get(struct pool *p, size_t size);
void pool_put(struct pool *p, void *buffer, size_t size); /* size as asked for; NULL is fine */
