/*
 * vhost_int.h: what vhost_blk.c (sockets, messages) and vhost_queue.c (the traffic of the rings)
 * share. Private to them; loop's thread.
 */
#pragma once

#include "disk/disk.h"
#include "disk/front.h"
#include "disk/vhost_proto.h"

#define VHOST_MAX_QUEUES           16u
#define CONTAINER(type, member, p) ((type *)((char *)(p)-offsetof(type, member)))

struct session;
struct request;

struct queue {
    struct session *s;
    struct vring ring;
    struct ring_op kick, call_later;
    struct ring_poller poller; /* while there is traffic */
    int kick_fd, call_fd, err_fd;
    bool is_armed; /* `kick` waits for kick_fd */
    bool is_call_due, is_enabled;
    bool has_left; /* requests are in the in-flight area that nobody works on */
};

struct session {
    struct vhost_front *f;
    int fd;
    int backend_fd; /* what we tell QEMU of our own accord goes here; -1: nothing can be told */
    struct ring_op recv, patience;
    bool is_patient; /* `patience` runs */
    bool is_receiving, is_ending, is_paused, wce, has_talked;
    uint64_t since_us;
    uint64_t features, protocol_features;
    unsigned n_requests;
    unsigned n_left; /* given up, and in the in-flight area of a ring that stands */
    struct vhost_mem mem;
    uint8_t *inflight;
    size_t inflight_size;
    uint16_t inflight_queues, inflight_queue_size;
    struct queue queue[VHOST_MAX_QUEUES];
    struct request *spare;

    /* The message that is being received. */
    uint8_t bytes[VHOST_HEADER_SIZE + VHOST_MAX_PAYLOAD];
    size_t have;
    struct vhost_header head;
    union vhost_payload payload;
    int fds[VHOST_MAX_FDS];
    unsigned n_fds;
    struct msghdr msg;
    struct iovec iov;
    union {
        char bytes[CMSG_SPACE(sizeof(int) * VHOST_MAX_FDS)];
        struct cmsghdr align;
    } control;
};

struct vhost_front {
    struct front front;
    struct ring *ring;
    int listen_fd;
    unsigned n_queues;
    struct ring_op accept;
    bool is_accepting, is_closing;
    struct session *session;
};

/* ---- vhost_queue.c ---- */

void queue_init(struct queue *q, struct session *s);
/* Waits for kicks, if it does not yet. */
void queue_arm(struct queue *q);
void queue_disarm(struct queue *q);
/* Takes what the guest has offered, if the disk is active. */
void queue_process(struct queue *q);
/* Requests that were given up, of a ring that still runs, are the next ones to be taken. */
int queue_take_up(struct queue *q);
bool queue_is_busy(const struct queue *q);
/* Closes its descriptors; nothing may run any more. */
void queue_done(struct queue *q);
/* Frees what session_new() and requests have left. */
void requests_free(struct session *s);

/* ---- vhost_blk.c ---- */

/* No request runs any more: goes on with the message that waited for that. */
void session_is_quiet(struct session *s);
/* Frees a session that has ended and that nothing uses. */
void session_release(struct session *s);
