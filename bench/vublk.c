/*
 * vublk.c: load on a vhost-user-blk socket: the driver's end of one ring, without a guest.
 *
 *     vublk SOCKET read|randread|write|randwrite BLOCK_SIZE DEPTH SECONDS
 *
 * Keeps DEPTH requests of BLOCK_SIZE bytes in flight over the whole disk for SECONDS and prints one
 * line of JSON: operations, bytes, seconds. One thread; every system call that fails ends it.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "codec/bytes.h"

#define RING      256u
#define UVA       0x7f0000000000ull
#define DESC      0u
#define AVAIL     0x2000u
#define USED      0x4000u
#define HEADERS   0x8000u
#define BUFFERS   0x100000u
#define F_NEXT    1
#define F_WRITE   2
#define EVENT_IDX (1ull << 29)
#define PROTOCOL  (1ull << 30)
#define VERSION_1 (1ull << 32)

struct load {
    int sock, mem_fd, kick, call;
    uint8_t *mem;
    size_t mem_size;
    uint64_t sectors, next, block, features;
    unsigned depth;
    bool is_random, is_write;
    uint16_t avail, used;
    uint64_t ops, seed;
};

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Sends a message; size 0 for none. */
static void tell(struct load *l, uint32_t request, const void *payload, uint32_t size, int fd)
{
    uint8_t out[256];
    put_le32(out, request);
    put_le32(out + 4, 1);
    put_le32(out + 8, size);
    if (size)
        memcpy(out + 12, payload, size);
    if (fd_send_fds(l->sock, out, 12 + size, &fd, fd >= 0) < 0)
        errx(1, "message %u cannot be sent", request);
}

static void receive(struct load *l, uint8_t *payload, size_t max)
{
    uint8_t head[12];
    if (fd_read_all(l->sock, head, sizeof(head)) < 0 || get_le32(head + 8) > max ||
        fd_read_all(l->sock, payload, get_le32(head + 8)) < 0)
        errx(1, "the device does not answer");
}

static uint64_t ask(struct load *l, uint32_t request)
{
    uint8_t payload[256];
    tell(l, request, NULL, 0, -1);
    receive(l, payload, sizeof(payload));
    return get_le64(payload);
}

static void tell_u64(struct load *l, uint32_t request, uint64_t v, int fd)
{
    uint8_t b[8];
    put_le64(b, v);
    tell(l, request, b, sizeof(b), fd);
}

static void tell_state(struct load *l, uint32_t request, uint32_t num)
{
    tell_u64(l, request, (uint64_t)num << 32, -1);
}

static void get_capacity(struct load *l)
{
    uint8_t config[12 + 60] = {0};
    put_le32(config + 4, 60);
    tell(l, 24, config, sizeof(config), -1);
    receive(l, config, sizeof(config));
    l->sectors = get_le64(config + 12);
}

static void set_up(struct load *l, const char *path)
{
    l->sock = fd_connect_unix(path);
    if (l->sock < 0)
        errx(1, "cannot connect to %s", path);
    l->mem_size = BUFFERS + l->depth * l->block;
    l->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    l->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->call = eventfd(0, EFD_CLOEXEC);
    if (l->mem_fd < 0 || ftruncate(l->mem_fd, (off_t)l->mem_size) < 0)
        err(1, "memory");
    l->mem =
        mmap(NULL, l->mem_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, l->mem_fd, 0);
    if (l->mem == MAP_FAILED)
        err(1, "memory");
    l->features = ask(l, 1) & (EVENT_IDX | PROTOCOL | VERSION_1 | 1ull << 9);
    tell_u64(l, 16, ask(l, 15) & (1ull << 9), -1);
    get_capacity(l);
    tell_u64(l, 2, l->features, -1);
    uint8_t b[48] = {0};
    put_le32(b, 1);
    put_le64(b + 16, l->mem_size);
    put_le64(b + 24, UVA);
    tell(l, 5, b, 40, l->mem_fd);
    tell_state(l, 8, RING);
    tell_state(l, 10, 0);
    memset(b, 0, sizeof(b));
    put_le64(b + 8, UVA + DESC);
    put_le64(b + 16, UVA + USED);
    put_le64(b + 24, UVA + AVAIL);
    tell(l, 9, b, 40, -1);
    tell_u64(l, 12, 0, l->kick);
    tell_u64(l, 13, 0, l->call);
    tell_state(l, 18, 1);
}

static void put_desc(struct load *l, unsigned i, uint64_t at, uint64_t size, uint16_t flags)
{
    uint8_t *d = l->mem + DESC + i * 16;
    put_le64(d, at);
    put_le32(d + 8, (uint32_t)size);
    put_le16(d + 12, flags);
    put_le16(d + 14, (uint16_t)(i + 1));
}

static uint64_t next_sector(struct load *l)
{
    uint64_t per_block = l->block / 512, blocks = l->sectors / per_block;
    if (!l->is_random)
        return l->next++ % blocks * per_block;
    l->seed = l->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (l->seed >> 20) % blocks * per_block;
}

/* Each slot has three descriptors, a header and a status of its own. */
static void submit(struct load *l, unsigned slot)
{
    uint64_t header = HEADERS + slot * 64ull;
    put_le32(l->mem + header, l->is_write);
    put_le64(l->mem + header + 8, next_sector(l));
    put_desc(l, slot * 3, header, 16, F_NEXT);
    put_desc(l, slot * 3 + 1, BUFFERS + slot * l->block, l->block,
             (uint16_t)(F_NEXT | (l->is_write ? 0 : F_WRITE)));
    put_desc(l, slot * 3 + 2, header + 32, 1, F_WRITE);
    put_le16(l->mem + AVAIL + 4 + l->avail % RING * 2, (uint16_t)(slot * 3));
    l->avail++;
}

static void publish(struct load *l, uint16_t before)
{
    put_le16(l->mem + AVAIL + 4 + RING * 2, l->used); /* signal at the next answer */
    __atomic_store_n((uint16_t *)(void *)(l->mem + AVAIL + 2), l->avail, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t event =
        __atomic_load_n((uint16_t *)(void *)(l->mem + USED + 4 + RING * 8), __ATOMIC_SEQ_CST);
    if ((uint16_t)(l->avail - event - 1) < (uint16_t)(l->avail - before))
        (void)eventfd_write(l->kick, 1);
}

static bool collect(struct load *l, bool goes_on)
{
    uint16_t idx = __atomic_load_n((uint16_t *)(void *)(l->mem + USED + 2), __ATOMIC_ACQUIRE);
    uint16_t before = l->avail;
    bool any = idx != l->used;
    while (l->used != idx) {
        unsigned slot = get_le32(l->mem + USED + 4 + l->used % RING * 8) / 3;
        if (l->mem[HEADERS + slot * 64ull + 32] != 0)
            errx(1, "a request failed");
        l->used++;
        l->ops++;
        if (goes_on)
            submit(l, slot);
    }
    publish(l, before);
    return any;
}

static double run(struct load *l, double seconds)
{
    double start = now(), end = start + seconds;
    for (unsigned i = 0; i < l->depth; i++)
        submit(l, i);
    publish(l, 0);
    while (l->ops < l->depth || now() < end || l->used != l->avail) {
        eventfd_t n;
        if (!collect(l, now() < end) && l->used != l->avail)
            (void)eventfd_read(l->call, &n);
    }
    return now() - start;
}

int main(int argc, char **argv)
{
    uint64_t depth, seconds;
    struct load l = {.seed = 1};
    if (argc != 6 || str_size(view_of(argv[3]), &l.block) < 0 ||
        str_u64(view_of(argv[4]), 1, RING / 3, &depth) < 0 ||
        str_u64(view_of(argv[5]), 1, 3600, &seconds) < 0 || l.block < 512 || l.block % 512)
        errx(2, "usage: vublk SOCKET read|randread|write|randwrite BLOCK_SIZE DEPTH SECONDS");
    l.depth = (unsigned)depth;
    l.is_random = str_starts(argv[2], "rand");
    l.is_write = str_ends(argv[2], "write");
    set_up(&l, argv[1]);
    double took = run(&l, (double)seconds);
    printf("{\"ops\": %llu, \"bytes\": %llu, \"seconds\": %.3f}\n", (unsigned long long)l.ops,
           (unsigned long long)(l.ops * l.block), took);
    return 0;
}
