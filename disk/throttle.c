/*
 * throttle.c: token buckets, kept as the time when each is full again. Called by disk.c; pure.
 */
#include "disk/throttle.h"

#define NS 1000000000ull

void throttle_set(struct throttle *t, uint64_t bytes_per_s, uint64_t ops_per_s)
{
    *t = (struct throttle){.bytes_per_s = bytes_per_s, .ops_per_s = ops_per_s};
}

static uint64_t wait_of(uint64_t rate, uint64_t full_ns, uint64_t now_ns)
{
    return rate && full_ns > now_ns + THROTTLE_BURST_NS ? full_ns - now_ns - THROTTLE_BURST_NS : 0;
}

uint64_t throttle_wait_ns(const struct throttle *t, uint64_t now_ns)
{
    uint64_t a = wait_of(t->bytes_per_s, t->bytes_ns, now_ns);
    uint64_t b = wait_of(t->ops_per_s, t->ops_ns, now_ns);
    return a > b ? a : b;
}

static void take(uint64_t rate, uint64_t *full_ns, uint64_t now_ns, uint64_t n)
{
    if (!rate)
        return;
    /* n seconds' worth and the rest apart, so that nothing overflows. */
    uint64_t cost = n / rate * NS + n % rate * NS / rate;
    *full_ns = (*full_ns > now_ns ? *full_ns : now_ns) + cost;
}

void throttle_take(struct throttle *t, uint64_t now_ns, uint64_t bytes)
{
    take(t->bytes_per_s, &t->bytes_ns, now_ns, bytes);
    take(t->ops_per_s, &t->ops_ns, now_ns, 1);
}
