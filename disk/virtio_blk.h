/*
 * virtio_blk.h: virtio-blk's own part of the vhost-user front end: the configuration space, and
 * requests between a ring's chain and a blk_req.
 *
 *     chain:  [ header 16 | data … ] out   [ data … | status 1 ] in      cut anywhere
 *
 * Names are those of the virtio specification (§5.2). Loop's thread.
 */
#pragma once

#include "disk/engine.h"
#include "disk/vring.h"

#define VIRTIO_BLK_CONFIG_SIZE 60u
#define VIRTIO_BLK_WCE_AT      32u
#define VIRTIO_BLK_SEGMENTS    64u /* ranges of one DISCARD or WRITE_ZEROES */

struct disk;

void virtio_blk_config(const struct disk *d, unsigned queues, bool wce,
                       uint8_t out[VIRTIO_BLK_CONFIG_SIZE]);

struct virtio_blk_range {
    uint64_t sector;
    uint32_t sectors, flags;
};

/* A request on its way. */
struct virtio_blk_req {
    struct blk_req blk;
    struct vring_chain chain; /* in pieces shortened by the status byte */
    uint8_t *status;
    uint64_t status_gpa;
    uint32_t written;               /* bytes put into the in pieces, without the status */
    struct virtio_blk_range *range; /* VIRTIO_BLK_SEGMENTS, made when needed; the caller frees it */
    unsigned n_ranges, next_range;
};

enum { VIRTIO_BLK_S_OK, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP };

/* Reads the chain: fills blk for the disk and returns -1, or a status when there is nothing for
 * the disk to do; -EINVAL (less than -1) when the chain has no header or no status byte. */
int virtio_blk_parse(struct virtio_blk_req *r, const struct disk *d, bool writethrough);
/* The next range of a DISCARD or WRITE_ZEROES into blk; false when there is none. */
bool virtio_blk_next_range(struct virtio_blk_req *r);
