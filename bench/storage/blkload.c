/*
 * blkload.c: load on disks behind sockets, without a guest.
 *
 *     blkload [OPTIONS] read|randread|write|randwrite BLOCK DEPTH SECONDS TARGET…
 *     TARGET:  vhost:SOCKET   nbd:SOCKET   nbd:SOCKET=EXPORT
 *
 *     --region=BYTES  only the first BYTES of each disk       --seed=N   of the random offsets
 *     --once          each block once; ends when all were     --spin=US  look this long before
 *                     done, even before SECONDS                          sleeping (default 50)
 *
 * Keeps DEPTH requests of BLOCK bytes in flight on every target for SECONDS and prints one line of
 * JSON: operations, bytes, seconds, latencies in microseconds, and the operations of each target.
 * One thread serves all targets.
 */
#include <err.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "target.h"

#define MAX_TARGETS  128u
#define BUCKETS      (64u * 16u) /* of latencies: powers of two, each in sixteen parts */
#define CONNECT_MS   5000
#define CONNECT_STEP 2
#define FIRST_STEP   37u

/* Where a target's next request goes. */
struct cursor_of_disk {
    uint64_t blocks, next, seed; /* seed: the last of a full-period sequence over `mask` */
    uint64_t mask;
};

struct load {
    bool is_random, is_write, is_once;
    uint64_t block, region, seed, spin_us;
    unsigned depth, n;
    double seconds;
    struct target *target[MAX_TARGETS];
    struct cursor_of_disk cursor[MAX_TARGETS];
    uint64_t start_ns[MAX_TARGETS][TARGET_MAX_SLOTS];
    uint64_t now_ns, in_flight, ops;
    uint64_t histogram[BUCKETS];
};

uint64_t target_now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int target_connect(const char *path)
{
    for (int ms = 0; ms < CONNECT_MS; ms += CONNECT_STEP) {
        int fd = fd_connect_unix(path);
        if (fd >= 0)
            return fd;
        (void)usleep(CONNECT_STEP * 1000);
    }
    errx(1, "cannot connect to %s", path);
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < 16)
        return (unsigned)ns;
    unsigned shift = 59u - (unsigned)__builtin_clzll(ns); /* leaves five bits, the first set */
    return (shift + 1) * 16 + (unsigned)(ns >> shift) % 16;
}

static double percentile_us(const struct load *l, double share)
{
    uint64_t want = (uint64_t)((double)l->ops * share), seen = 0;
    unsigned i = 0;
    while (i < BUCKETS - 1 && (seen += l->histogram[i]) <= want)
        i++;
    uint64_t ns = i < 16 ? i : (uint64_t)(16 + i % 16) << (i / 16 - 1);
    return (double)ns / 1000;
}

static void cursor_init(struct load *l, unsigned i)
{
    struct cursor_of_disk *c = &l->cursor[i];
    uint64_t size = l->target[i]->size;
    c->blocks = (l->region && l->region < size ? l->region : size) / l->block;
    if (c->blocks == 0)
        errx(2, "the disk has no block of that size");
    c->mask = 1;
    while (c->mask < c->blocks)
        c->mask <<= 1;
    c->mask--;
    c->seed = (l->seed * 0x9e3779b97f4a7c15ull + i * 7919) & c->mask;
}

/* The next offset; false when each block had its turn. A linear congruential sequence modulo a
 * power of two visits every number once; those behind the end are skipped. */
static bool cursor_next(const struct load *l, struct cursor_of_disk *c, uint64_t *ret)
{
    if (l->is_once && c->next == c->blocks)
        return false;
    uint64_t block = c->next++ % c->blocks;
    if (l->is_random) {
        do
            c->seed = (c->seed * 6364136223846793005ull + 1442695040888963407ull) & c->mask;
        while (c->seed >= c->blocks);
        block = c->seed;
    }
    *ret = block * l->block;
    return true;
}

static bool start(struct load *l, unsigned i, unsigned slot)
{
    uint64_t offset;
    if (!cursor_next(l, &l->cursor[i], &offset))
        return false;
    l->target[i]->ops->put(l->target[i], slot, offset, l->is_write);
    l->start_ns[i][slot] = l->now_ns;
    l->in_flight++;
    return true;
}

/* What is done on one target, and new requests in its place. */
static bool turn(struct load *l, unsigned i, bool goes_on)
{
    struct target *t = l->target[i];
    unsigned slots[TARGET_MAX_SLOTS];
    unsigned n = t->ops->collect(t, slots);
    if (n == 0)
        return false;
    l->now_ns = target_now_ns();
    bool any = false;
    for (unsigned k = 0; k < n; k++) {
        l->histogram[bucket_of(l->now_ns - l->start_ns[i][slots[k]])]++;
        l->in_flight--;
        any |= goes_on && start(l, i, slots[k]);
    }
    t->done_ops += n;
    l->ops += n;
    if (any)
        t->ops->send(t);
    return true;
}

static void wait_for_any(struct load *l)
{
    struct pollfd fds[MAX_TARGETS];
    if (l->n == 1) {
        l->target[0]->ops->wait(l->target[0]);
        return;
    }
    for (unsigned i = 0; i < l->n; i++) {
        if (!l->target[i]->ops->arm(l->target[i]))
            return;
        fds[i] = (struct pollfd){.fd = l->target[i]->fd, .events = POLLIN};
    }
    (void)poll(fds, l->n, -1);
    for (unsigned i = 0; i < l->n; i++)
        if (fds[i].revents)
            l->target[i]->ops->woken(l->target[i]);
}

static double run(struct load *l)
{
    uint64_t begin = l->now_ns = target_now_ns();
    uint64_t end = begin + (uint64_t)(l->seconds * 1e9);
    for (unsigned i = 0; i < l->n; i++) {
        for (unsigned slot = 0; slot < l->depth; slot++)
            (void)start(l, i, slot);
        l->target[i]->ops->send(l->target[i]);
    }
    /* Somebody else is first each time: a device that serves in bursts gives the first ones more.
     */
    for (unsigned first = 0; l->in_flight; first += FIRST_STEP) {
        bool any = false, goes_on = l->now_ns < end;
        for (unsigned i = 0; i < l->n; i++)
            any |= turn(l, (first + i) % l->n, goes_on);
        if (!any && l->in_flight)
            wait_for_any(l);
    }
    return (double)(target_now_ns() - begin) / 1e9;
}

static void print(const struct load *l, double seconds)
{
    printf("{\"ops\": %llu, \"bytes\": %llu, \"seconds\": %.4f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"targets\": [",
           (unsigned long long)l->ops, (unsigned long long)(l->ops * l->block), seconds,
           percentile_us(l, 0.5), percentile_us(l, 0.99));
    for (unsigned i = 0; i < l->n; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)l->target[i]->done_ops);
    printf("]}\n");
}

static struct target *target_of(const struct load *l, char *name)
{
    char *path = strchr(name, ':');
    char *export = strchr(name, '=');
    if (!path)
        errx(2, "'%s' is no target", name);
    *path++ = '\0';
    if (export)
        *export ++ = '\0';
    if (strcmp(name, "vhost") == 0)
        return vhost_target_new(path, l->depth, (uint32_t)l->block);
    if (strcmp(name, "nbd") == 0)
        return nbd_target_new(path, export ? export : "", l->depth, (uint32_t)l->block);
    errx(2, "a target is vhost:… or nbd:…, not %s:…", name);
}

static _Noreturn void usage(void)
{
    errx(2, "usage: blkload [--region=BYTES] [--once] [--seed=N] [--spin=US] "
            "read|randread|write|randwrite BLOCK DEPTH SECONDS vhost:SOCKET|nbd:SOCKET[=EXPORT]…");
}

static void take_options(struct load *l, int argc, char **argv)
{
    static const struct option options[] = {
        {"region", required_argument, NULL, 'r'},
        {"seed", required_argument, NULL, 's'},
        {"spin", required_argument, NULL, 'p'},
        {"once", no_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        int r = 0;
        if (c == 'o')
            l->is_once = true;
        else if (c == 'r')
            r = str_size(view_of(optarg), &l->region);
        else if (c == 's')
            r = str_u64(view_of(optarg), 0, UINT64_MAX, &l->seed);
        else if (c == 'p')
            r = str_u64(view_of(optarg), 0, 1000000, &l->spin_us);
        if (c == '?' || r < 0)
            usage();
    }
}

int main(int argc, char **argv)
{
    static struct load l = {.seed = 1, .spin_us = 50};
    uint64_t depth;
    take_options(&l, argc, argv);
    char **a = argv + optind;
    int n = argc - optind;
    if (n < 5 || n - 4 > (int)MAX_TARGETS || str_size(view_of(a[1]), &l.block) < 0 ||
        str_u64(view_of(a[2]), 1, TARGET_MAX_SLOTS, &depth) < 0 ||
        str_double(view_of(a[3]), &l.seconds) < 0 || l.block < 512 || l.block % 512 ||
        l.block > 32u << 20)
        usage();
    l.depth = (unsigned)depth;
    l.is_random = str_starts(a[0], "rand");
    l.is_write = str_ends(a[0], "write");
    if (!l.is_write && !str_ends(a[0], "read"))
        usage();
    for (l.n = 0; l.n < (unsigned)n - 4; l.n++) {
        l.target[l.n] = target_of(&l, a[4 + l.n]);
        l.target[l.n]->spin_us = (unsigned)l.spin_us;
        cursor_init(&l, l.n);
    }
    print(&l, run(&l));
    return 0;
}
