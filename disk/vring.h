/*
 * vring.h: one split virtqueue of a vhost-user device, seen from the device.
 *
 * The guest puts chains of descriptors into `avail`; vring_pop() takes one, copies and checks every
 * descriptor once, and gives memory to read from (out) and to write to (in). vring_push() returns
 * the chain through `used`; vring_signal() tells the guest, if it wants to know.
 *
 * The in-flight area is memory that the other end keeps over our death: it says which chains were
 * taken and not returned. After a restart vring_start() finds them, and vring_pop() gives them
 * again, oldest first, before new ones. Its layout is the vhost-user specification's.
 *
 *         avail idx ──pop──> in flight ──push──> used idx ──signal──> guest
 *
 * Nothing the guest writes is trusted: indices, lengths, chains in circles, tables outside of
 * memory end in -EINVAL, and the queue is not touched any more. Loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "disk/vhost_mem.h"

#define VRING_MAX_SIZE 1024u
#define VRING_MAX_IOV  520u /* pieces of a chain */

/* Addresses as told by the other end (uva); the log address is a gpa. */
struct vring_addr {
    uint64_t desc, avail, used, log;
    bool logs_used;
};

/* A chain that was taken. Its pieces lie in room of the ring, which the next one overwrites. */
struct vring_chain {
    uint16_t head;
    unsigned n_out, n_in; /* iov: first the out pieces, then the in pieces */
    struct iovec *iov;
    uint64_t *gpa; /* of each piece, for the log */
};

struct vring {
    uint16_t size;
    struct vring_addr addr;
    bool has_event_idx, is_running, is_broken;
    uint8_t *desc, *avail, *used; /* mapped; NULL unless running */
    uint16_t last_avail, used_idx, signalled_idx;
    bool is_signalled; /* signalled_idx means something */
    uint8_t *inflight; /* this queue's part of the area, or NULL */
    uint64_t counter;
    unsigned in_flight;
    uint16_t *again; /* heads to do again after a restart, oldest first */
    unsigned n_again, next_again;
    struct vring_room *room; /* of the chain that was taken last */
};

/* The in-flight area of one queue of `size` entries, bytes. */
size_t vring_inflight_size(uint16_t size);

/* Maps the ring and takes up the in-flight area; -EINVAL when that is nonsense. */
int vring_start(struct vring *r, const struct vhost_mem *m, uint8_t *inflight);
/* Only finds the ring's places again, after memory was mapped anew. */
int vring_remap(struct vring *r, const struct vhost_mem *m);
void vring_stop(struct vring *r);

/* 1 and a chain, 0 when there is none, or -EINVAL (then the queue is broken). */
int vring_pop(struct vring *r, const struct vhost_mem *m, struct vring_chain *ret);
/* Asks the guest to kick at the next chain; true if one came meanwhile. */
bool vring_rearm(struct vring *r, struct vhost_mem *m);
/* Returns a chain with `written` bytes in its in pieces. */
void vring_push(struct vring *r, struct vhost_mem *m, uint16_t head, uint32_t written);
/* Does the guest want a signal for what was pushed since the last one? */
bool vring_wants_signal(struct vring *r);
