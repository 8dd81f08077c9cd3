/*
 * nbd_proto.h: the NBD protocol as bytes: the handshake of a server, requests and reply headers.
 *
 * Pure: bytes in, bytes and decisions out; nbd.c does the I/O. Names and numbers are those of the
 * protocol's specification ("fixed newstyle", "structured replies"). Any thread.
 *
 *     struct nbd_handshake h = {.size = …, .flags = …, .export_name = "x"};
 *     nbd_greet(&h, &out);
 *     while ((r = nbd_handshake_step(&h, p, have, &used, &out)) == NBD_AGAIN) …
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define NBD_MAX_DATA     (32u << 20) /* of one READ or WRITE */
#define NBD_REQUEST_SIZE 28u
#define NBD_CONTEXT_ID   1u /* base:allocation */
#define NBD_BITMAP_ID    2u /* qemu:dirty-bitmap:NAME */

enum {
    NBD_CMD_READ,
    NBD_CMD_WRITE,
    NBD_CMD_DISC,
    NBD_CMD_FLUSH,
    NBD_CMD_TRIM,
    NBD_CMD_CACHE,
    NBD_CMD_WRITE_ZEROES,
    NBD_CMD_BLOCK_STATUS
};
enum {
    NBD_CMD_FLAG_FUA = 1,
    NBD_CMD_FLAG_NO_HOLE = 2,
    NBD_CMD_FLAG_DF = 4,
    NBD_CMD_FLAG_REQ_ONE = 8
};
enum {
    NBD_FLAG_HAS_FLAGS = 1,
    NBD_FLAG_READ_ONLY = 2,
    NBD_FLAG_SEND_FLUSH = 4,
    NBD_FLAG_SEND_FUA = 8,
    NBD_FLAG_SEND_TRIM = 32,
    NBD_FLAG_SEND_WRITE_ZEROES = 64,
    NBD_FLAG_SEND_DF = 128,
    NBD_FLAG_CAN_MULTI_CONN = 256
};
enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 };
enum {
    NBD_REPLY_NONE = 0,
    NBD_REPLY_OFFSET_DATA = 1,
    NBD_REPLY_BLOCK_STATUS = 5,
    NBD_REPLY_ERROR = 32769
};

enum nbd_phase { NBD_CLIENT_FLAGS, NBD_OPTIONS };

struct nbd_handshake {
    const char *export_name;
    const char *bitmap; /* its name; NULL: there is none */
    uint64_t size;
    uint16_t flags; /* transmission flags, without DF */
    enum nbd_phase phase;
    bool no_zeroes;
    bool structured;  /* READ and BLOCK_STATUS are answered in chunks */
    bool has_context; /* base:allocation was asked for */
    bool has_bitmap;  /* and the bitmap */
};

enum nbd_step {
    NBD_MORE,     /* more bytes are needed */
    NBD_AGAIN,    /* `used` bytes are done with, call again */
    NBD_TRANSMIT, /* done; requests follow */
    NBD_END       /* send what is in `out` and close */
};

void nbd_greet(struct nbd_handshake *h, struct buf *out);
enum nbd_step nbd_handshake_step(struct nbd_handshake *h, const uint8_t *p, size_t have,
                                 size_t *ret_used, struct buf *out);

struct nbd_request {
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t size;
};
/* From NBD_REQUEST_SIZE bytes; -EINVAL when this is no request. */
int nbd_request_parse(const uint8_t *p, struct nbd_request *ret);

/* Each returns the bytes put. `error` is an errno, positive. */
size_t nbd_put_simple(uint8_t out[16], uint64_t cookie, int error);
size_t nbd_put_chunk(uint8_t out[20], uint64_t cookie, uint16_t type, uint32_t size);
/* That chunk is not the last of its reply. */
void nbd_more_chunks(uint8_t chunk[20]);
uint32_t nbd_error_of(int error);
