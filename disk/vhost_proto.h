/*
 * vhost_proto.h: the vhost-user messages that a block device is sent, as bytes.
 *
 * Names and numbers are those of the vhost-user specification. A message is a header (request,
 * flags, size; in the machine's byte order, which here is little-endian) and a payload. Parsing is
 * pure; descriptors travel beside the header. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/vhost_mem.h"
#include "disk/vring.h"

#define VHOST_HEADER_SIZE 12u
#define VHOST_MAX_PAYLOAD 512u
#define VHOST_MAX_FDS     8u

enum vhost_request {
    VHOST_GET_FEATURES = 1,
    VHOST_SET_FEATURES = 2,
    VHOST_SET_OWNER = 3,
    VHOST_RESET_OWNER = 4,
    VHOST_SET_MEM_TABLE = 5,
    VHOST_SET_LOG_BASE = 6,
    VHOST_SET_LOG_FD = 7,
    VHOST_SET_VRING_NUM = 8,
    VHOST_SET_VRING_ADDR = 9,
    VHOST_SET_VRING_BASE = 10,
    VHOST_GET_VRING_BASE = 11,
    VHOST_SET_VRING_KICK = 12,
    VHOST_SET_VRING_CALL = 13,
    VHOST_SET_VRING_ERR = 14,
    VHOST_GET_PROTOCOL_FEATURES = 15,
    VHOST_SET_PROTOCOL_FEATURES = 16,
    VHOST_GET_QUEUE_NUM = 17,
    VHOST_SET_VRING_ENABLE = 18,
    VHOST_SET_BACKEND_REQ_FD = 21,
    VHOST_GET_CONFIG = 24,
    VHOST_SET_CONFIG = 25,
    VHOST_GET_INFLIGHT_FD = 31,
    VHOST_SET_INFLIGHT_FD = 32,
};

/* What the back end sends, on a socket of its own. */
enum vhost_backend_request { VHOST_BACKEND_CONFIG_CHANGE = 2 };

#define VHOST_FLAG_VERSION    1u
#define VHOST_FLAG_REPLY      4u
#define VHOST_FLAG_NEED_REPLY 8u

/* Feature bits of the device and of the transport. */
#define VIRTIO_BLK_F_SIZE_MAX      (1ull << 1)
#define VIRTIO_BLK_F_SEG_MAX       (1ull << 2)
#define VIRTIO_BLK_F_RO            (1ull << 5)
#define VIRTIO_BLK_F_BLK_SIZE      (1ull << 6)
#define VIRTIO_BLK_F_FLUSH         (1ull << 9)
#define VIRTIO_BLK_F_TOPOLOGY      (1ull << 10)
#define VIRTIO_BLK_F_CONFIG_WCE    (1ull << 11)
#define VIRTIO_BLK_F_MQ            (1ull << 12)
#define VIRTIO_BLK_F_DISCARD       (1ull << 13)
#define VIRTIO_BLK_F_WRITE_ZEROES  (1ull << 14)
#define VHOST_F_LOG_ALL            (1ull << 26)
#define VIRTIO_RING_F_INDIRECT     (1ull << 28)
#define VIRTIO_RING_F_EVENT_IDX    (1ull << 29)
#define VHOST_F_PROTOCOL_FEATURES  (1ull << 30)
#define VIRTIO_F_VERSION_1         (1ull << 32)

#define VHOST_PROTOCOL_MQ          (1ull << 0)
#define VHOST_PROTOCOL_LOG_SHMFD   (1ull << 1)
#define VHOST_PROTOCOL_REPLY_ACK   (1ull << 3)
#define VHOST_PROTOCOL_BACKEND_REQ (1ull << 5)
#define VHOST_PROTOCOL_CONFIG      (1ull << 9)
#define VHOST_PROTOCOL_INFLIGHT    (1ull << 12)

struct vhost_header {
    uint32_t request, flags, size;
};

/* A payload, by request. */
union vhost_payload {
    uint64_t u64;
    struct {
        uint32_t index, num;
    } state;
    struct {
        uint32_t index;
        struct vring_addr addr;
    } addr;
    struct {
        uint32_t n;
        struct vhost_region region[VHOST_MAX_REGIONS];
    } mem;
    struct {
        uint64_t size, offset;
    } log;
    struct {
        uint32_t offset, size, flags;
        uint8_t bytes[256];
    } config;
    struct {
        uint64_t size, offset;
        uint16_t n_queues, queue_size;
    } inflight;
};

/* From VHOST_HEADER_SIZE bytes; -EINVAL for a version or a size that cannot be. */
int vhost_header_parse(const uint8_t *p, struct vhost_header *ret);
void vhost_header_put(const struct vhost_header *h, uint8_t *out);
/* The payload of a known request; -EINVAL when its size does not fit, -EOPNOTSUPP for a request
 * that is not known. */
int vhost_payload_parse(uint32_t request, const uint8_t *p, size_t size, union vhost_payload *ret);
