/*
 * vhost_target.c: the driver's end of one vhost-user-blk ring, without a guest: a memfd as the
 * guest's memory, the handshake as QEMU does it, and a split virtqueue with event indices.
 *
 *     memory:  descriptors | avail | used | headers and status bytes | a buffer a slot
 */
#include "target.h"

#include <err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
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
#define FLUSH     (1ull << 9)
#define CONFIG    (1ull << 9) /* of the protocol's features */

enum {
    GET_FEATURES = 1,
    SET_FEATURES,
    SET_OWNER,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR,
    SET_VRING_BASE,
    SET_VRING_KICK = 12,
    SET_VRING_CALL,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES,
    SET_VRING_ENABLE = 18,
    GET_CONFIG = 24
};

struct vhost {
    struct target t;
    int sock, mem_fd, kick;
    uint8_t *mem;
    size_t mem_size;
    uint16_t avail, told, used; /* ours, told to the device, seen from it */
};

/* Sends a message; size 0 for none. */
static void tell(struct vhost *v, uint32_t request, const void *payload, uint32_t size, int fd)
{
    uint8_t out[256];
    put_le32(out, request);
    put_le32(out + 4, 1);
    put_le32(out + 8, size);
    if (size)
        memcpy(out + 12, payload, size);
    if (fd_send_fds(v->sock, out, 12 + size, &fd, fd >= 0) < 0)
        errx(1, "message %u cannot be sent", request);
}

static void receive(struct vhost *v, uint8_t *payload, size_t max)
{
    uint8_t head[12];
    if (fd_read_all(v->sock, head, sizeof(head)) < 0 || get_le32(head + 8) > max ||
        fd_read_all(v->sock, payload, get_le32(head + 8)) < 0)
        errx(1, "the device does not answer");
}

static uint64_t ask(struct vhost *v, uint32_t request)
{
    uint8_t payload[256];
    tell(v, request, NULL, 0, -1);
    receive(v, payload, sizeof(payload));
    return get_le64(payload);
}

static void tell_u64(struct vhost *v, uint32_t request, uint64_t value, int fd)
{
    uint8_t b[8];
    put_le64(b, value);
    tell(v, request, b, sizeof(b), fd);
}

/* About ring 0. */
static void tell_state(struct vhost *v, uint32_t request, uint32_t num)
{
    tell_u64(v, request, (uint64_t)num << 32, -1);
}

static void get_capacity(struct vhost *v)
{
    uint8_t config[12 + 60] = {0};
    put_le32(config + 4, 60);
    tell(v, GET_CONFIG, config, sizeof(config), -1);
    receive(v, config, sizeof(config));
    v->t.size = get_le64(config + 12) * 512;
}

static void make_memory(struct vhost *v)
{
    v->mem_size = BUFFERS + (size_t)v->t.slots * v->t.block;
    v->mem_fd = memfd_create("guest", MFD_CLOEXEC);
    v->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    v->t.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (v->mem_fd < 0 || v->kick < 0 || v->t.fd < 0 || ftruncate(v->mem_fd, (off_t)v->mem_size) < 0)
        err(1, "memory");
    v->mem =
        mmap(NULL, v->mem_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, v->mem_fd, 0);
    if (v->mem == MAP_FAILED)
        err(1, "memory");
    /* No zeroes: what is written shall cost what data costs. */
    memset(v->mem + BUFFERS, 0x5a, v->mem_size - BUFFERS);
}

static void set_up(struct vhost *v)
{
    uint8_t b[48] = {0};
    tell(v, SET_OWNER, NULL, 0, -1);
    uint64_t features = ask(v, GET_FEATURES) & (EVENT_IDX | PROTOCOL | VERSION_1 | FLUSH);
    tell_u64(v, SET_PROTOCOL_FEATURES, ask(v, GET_PROTOCOL_FEATURES) & CONFIG, -1);
    get_capacity(v);
    tell_u64(v, SET_FEATURES, features, -1);
    put_le32(b, 1);
    put_le64(b + 16, v->mem_size);
    put_le64(b + 24, UVA);
    tell(v, SET_MEM_TABLE, b, 40, v->mem_fd);
    tell_state(v, SET_VRING_NUM, RING);
    tell_state(v, SET_VRING_BASE, 0);
    memset(b, 0, sizeof(b));
    put_le64(b + 8, UVA + DESC);
    put_le64(b + 16, UVA + USED);
    put_le64(b + 24, UVA + AVAIL);
    tell(v, SET_VRING_ADDR, b, 40, -1);
    tell_u64(v, SET_VRING_KICK, 0, v->kick);
    tell_u64(v, SET_VRING_CALL, 0, v->t.fd);
    tell_state(v, SET_VRING_ENABLE, 1);
}

static uint16_t load16(const struct vhost *v, uint32_t at)
{
    return __atomic_load_n((const uint16_t *)(const void *)(v->mem + at), __ATOMIC_SEQ_CST);
}

static void put_desc(struct vhost *v, unsigned i, uint64_t at, uint32_t size, unsigned flags)
{
    uint8_t *d = v->mem + DESC + i * 16;
    put_le64(d, at);
    put_le32(d + 8, size);
    put_le16(d + 12, (uint16_t)flags);
    put_le16(d + 14, (uint16_t)(i + 1));
}

/* Each slot has three descriptors, a header and a status of its own. */
static void vhost_put(struct target *t, unsigned slot, uint64_t offset, bool is_write)
{
    struct vhost *v = (struct vhost *)t;
    uint64_t header = HEADERS + slot * 64ull;
    put_le32(v->mem + header, is_write);
    put_le64(v->mem + header + 8, offset / 512);
    put_desc(v, slot * 3, header, 16, F_NEXT);
    put_desc(v, slot * 3 + 1, BUFFERS + (uint64_t)slot * t->block, t->block,
             is_write ? F_NEXT : F_NEXT | F_WRITE);
    put_desc(v, slot * 3 + 2, header + 32, 1, F_WRITE);
    put_le16(v->mem + AVAIL + 4 + v->avail % RING * 2, (uint16_t)(slot * 3));
    v->avail++;
}

static void vhost_send(struct target *t)
{
    struct vhost *v = (struct vhost *)t;
    __atomic_store_n((uint16_t *)(void *)(v->mem + AVAIL + 2), v->avail, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t event = load16(v, USED + 4 + RING * 8);
    if ((uint16_t)(v->avail - event - 1) < (uint16_t)(v->avail - v->told))
        (void)eventfd_write(v->kick, 1);
    v->told = v->avail;
}

static unsigned vhost_collect(struct target *t, unsigned *slots)
{
    struct vhost *v = (struct vhost *)t;
    uint16_t idx = load16(v, USED + 2);
    unsigned n = 0;
    while (v->used != idx && n < TARGET_MAX_SLOTS) {
        unsigned slot = get_le32(v->mem + USED + 4 + v->used % RING * 8) / 3;
        if (slot >= t->slots || v->mem[HEADERS + slot * 64ull + 32] != 0)
            errx(1, "a request failed");
        v->used++;
        slots[n++] = slot;
    }
    return n;
}

static bool vhost_arm(struct target *t)
{
    struct vhost *v = (struct vhost *)t;
    __atomic_store_n((uint16_t *)(void *)(v->mem + AVAIL + 4 + RING * 2), v->used,
                     __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load16(v, USED + 2) == v->used;
}

static void vhost_woken(struct target *t)
{
    eventfd_t n;
    (void)eventfd_read(t->fd, &n);
}

static void vhost_wait(struct target *t)
{
    struct vhost *v = (struct vhost *)t;
    uint64_t end = target_now_ns() + t->spin_us * 1000ull;
    do {
        for (int i = 0; i < 32; i++) {
            if (load16(v, USED + 2) != v->used)
                return;
            __builtin_ia32_pause();
        }
    } while (target_now_ns() < end);
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    if (vhost_arm(t) && poll(&p, 1, -1) > 0)
        vhost_woken(t);
}

static const struct target_ops vhost_ops = {
    .put = vhost_put,
    .send = vhost_send,
    .collect = vhost_collect,
    .arm = vhost_arm,
    .woken = vhost_woken,
    .wait = vhost_wait,
};

struct target *vhost_target_new(const char *path, unsigned slots, uint32_t block)
{
    struct vhost *v = mem_new(struct vhost);
    v->t = (struct target){.ops = &vhost_ops, .slots = slots, .block = block};
    v->sock = target_connect(path);
    make_memory(v);
    set_up(v);
    return &v->t;
}
