/*
 * throttle.h: limits of a disk's traffic, in bytes and in requests a second.
 *
 * Each limit is a bucket that fills steadily and holds THROTTLE_BURST_NS of traffic. A request may
 * begin when no bucket is in debt, and then takes what it costs, even more than there is; so one of
 * any size gets through, and the next waits the longer. Pure: the caller has the clock.
 */
#pragma once

#include <stdint.h>

#define THROTTLE_BURST_NS 50000000u

struct throttle {
    uint64_t bytes_per_s, ops_per_s; /* 0: no limit */
    uint64_t bytes_ns, ops_ns;       /* when each bucket is full again, of the caller's clock */
};

/* Starts with full buckets. */
void throttle_set(struct throttle *t, uint64_t bytes_per_s, uint64_t ops_per_s);
/* How long the next request has to wait from now; 0: it may begin. */
uint64_t throttle_wait_ns(const struct throttle *t, uint64_t now_ns);
/* A request of `bytes` begins. */
void throttle_take(struct throttle *t, uint64_t now_ns, uint64_t bytes);
