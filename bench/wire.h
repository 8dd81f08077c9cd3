/*
 * wire.h: what the load generators share: connections on loopback, requests, replies, times.
 *
 * Not for the product: a broken reply is reported on stderr and told to the caller as such.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define WIRE_BODY_MAX  (1 << 20)
#define WIRE_REPLY_MAX ((size_t)256 << 20)

uint64_t wire_now_ns(void);
/* Address in digits and port; false, with a word on stderr, for what is no loopback address. */
bool wire_address(const char *host, const char *port, struct sockaddr_in *ret);
/* A connection without delay; -1 with a word on stderr. */
int wire_connect(const struct sockaddr_in *to);
/* A POST of the body, kept alive, appended to `out`. */
void wire_request(struct buf *out, const char *path, const char *body, size_t size);
/* Size of a whole reply once its head is there, else 0; `*bad` for one that is not a 200. */
size_t wire_reply_size(const struct buf *in, bool *bad);
/* Sends a request and reads the whole reply into `in`. */
bool wire_exchange(int fd, const struct buf *request, struct buf *in);
/* The p-th percentile (0 … 100) of n values, which are sorted in place. */
uint32_t wire_percentile(uint32_t *v, size_t n, double p);
