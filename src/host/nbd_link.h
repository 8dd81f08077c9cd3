/*
 * nbd_link.h: requests to an image's NBD server, moved by a thread of their own.
 *
 * The bytes of what was posted go over the socket while whoever posted it does something else, as
 * waiting for a client:
 *
 *     struct nbd_ask a = {.what = NBD_READ, .at = 0, .size = sizeof(room), .room = room};
 *     nbd_link_post(l, &a);
 *     ...
 *     while (!nbd_link_is_done(l, &a))
 *         nbd_link_wait(l, 250);
 *     if (a.error) ...
 *
 * A request belongs to the link, with its room, from post until it is done; answers come in any
 * order. nbd_link_free() may be called in the middle. The owner is one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum nbd_what { NBD_READ, NBD_WRITE, NBD_ZERO, NBD_STATUS, NBD_FLUSH };

/* From the end of the one before to `to` the image is all zeroes, or may be data. */
struct nbd_extent {
    uint64_t to;
    bool zero;
};

#define NBD_EXTENTS_MAX 4096u

struct nbd_ask {
    enum nbd_what what;
    uint64_t at, size;
    char *room; /* of READ and WRITE: `size` bytes */
    /* of STATUS: room for NBD_EXTENTS_MAX; neighbours differ */
    struct nbd_extent *extents;
    size_t n_extents;
    int error; /* errno, when done */
    /* the link's */
    bool done;
    struct nbd_ask *next, *all_next;
};

struct nbd_link;

struct err *nbd_link_open(const char *socket_path, struct nbd_link **ret) _must_use_;
void nbd_link_free(struct nbd_link *l); /* NULL is fine; what is under way is dropped */
uint64_t nbd_link_size(const struct nbd_link *l);
/* Can it say what is zero? */
bool nbd_link_has_status(const struct nbd_link *l);

void nbd_link_post(struct nbd_link *l, struct nbd_ask *a);
bool nbd_link_is_done(struct nbd_link *l, const struct nbd_ask *a);
/* Until something more is done than at the last look, at most that long. */
void nbd_link_wait(struct nbd_link *l, unsigned ms);
