/*
 * front.h: what a front end is: something that turns a client's requests into blk_req.
 *
 * A front end listens on a unix socket, answers what it can from the disk's facts (size, serial,
 * readonly) at any time, and hands requests to disk_submit(), which keeps them while no image is
 * open. The memory of requests belongs to the front end: NBD has buffers, vhost-user the guest's.
 *
 *     struct front *f;
 *     r = front_open("nbd", disk, ring, path, &options, &f);
 *     …
 *     front_close(f);      // clients are cut off; the object frees itself when the last is gone
 *
 * A kind of front end is one struct front_ops in one file, named in front.c. Loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "disk/ring.h"

struct disk;
struct front;

struct front_options {
    const char *export_name;               /* nbd */
    const char *bitmap_name, *bitmap_path; /* nbd: what has changed, from a log; or NULL */
    unsigned queues;                       /* vhost-user-blk */
};

struct front_ops {
    const char *type;
    /* `listen_fd` is bound and listening and becomes the front end's. */
    struct front *(*open)(struct disk *disk, struct ring *ring, int listen_fd,
                          const struct front_options *options);
    /* The disk became active: requests left with the client may be fetched. */
    void (*wake)(struct front *f);
    /* NULL, or the disk has another size now. */
    void (*resized)(struct front *f);
    unsigned (*clients)(const struct front *f);
    /* NULL, or whether a client has been there for a second and has not said anything. */
    bool (*is_silent)(const struct front *f);
    /* NULL, or how many parked requests were given up and will be done when the client goes on. */
    unsigned (*left)(const struct front *f);
    void (*close)(struct front *f);
};

/* Embedded first in each kind. */
struct front {
    const struct front_ops *ops;
    struct disk *disk; /* NULL after close */
    struct ring *ring;
    char *path;
};

/* -EINVAL for an unknown type, or what listening failed with. A stale socket file is replaced. */
int front_open(const char *type, struct disk *disk, struct ring *ring, const char *path,
               const struct front_options *options, struct front **ret);
/* Removes the socket file, cuts the clients off. NULL is fine. */
void front_close(struct front *f);

extern const struct front_ops nbd_front_ops;
extern const struct front_ops vhost_front_ops;
