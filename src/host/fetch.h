/*
 * fetch.h: reads what a URL gives, http or https, as a stream; or gives it something.
 *
 *     _cleanup_(fetch_freep) struct fetch *f = NULL;
 *     TRY(fetch_open(url, stop, arg, &f));
 *     do
 *         TRY(fetch_read(f, room, sizeof(room), &n));
 *     while (n);
 *
 * Redirections are followed; certificates are checked. Functions block, `stop` is asked while they
 * wait (ECANCELED). A server that says nothing for a minute is given up. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct fetch;

struct err *fetch_open(const char *url, bool (*stop)(void *arg), void *arg, struct fetch **ret)
    _must_use_;
void fetch_free(struct fetch *f); /* NULL is fine */
static inline void fetch_freep(struct fetch **f)
{
    fetch_free(*f);
    *f = NULL;
}
/* Up to `size` bytes; 0 at the end. IMPORT_ERROR naming what the server or the network said. */
struct err *fetch_read(struct fetch *f, void *p, size_t size, size_t *ret_size) _must_use_;

/* Sends a body to a URL and waits for an answer below 400, ten seconds at most. */
struct err *fetch_post(const char *url, const char *type, const struct buf *body,
                       bool (*stop)(void *arg), void *arg) _must_use_;
