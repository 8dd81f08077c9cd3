/*
 * Any bytes, as vhost-user messages, and as a guest's memory with a ring at its start: messages are
 * parsed or refused, chains lie inside of the memory or break the ring.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disk/disk.h"
#include "disk/vhost_proto.h"
#include "disk/virtio_blk.h"
#include "tests/fuzz/fuzz.h"

#define MEM_SIZE 65536u
#define UVA      0x100000u

static void messages(const uint8_t *p, size_t size)
{
    struct vhost_header h;
    union vhost_payload payload;
    while (size >= VHOST_HEADER_SIZE && vhost_header_parse(p, &h) == 0 &&
           h.size <= size - VHOST_HEADER_SIZE) {
        (void)vhost_payload_parse(h.request, p + VHOST_HEADER_SIZE, h.size, &payload);
        p += VHOST_HEADER_SIZE + h.size;
        size -= VHOST_HEADER_SIZE + h.size;
    }
}

/* Every piece that was given out must be inside of the memory. */
static void check(const struct vhost_mem *m, const struct virtio_blk_req *r)
{
    const uint8_t *start = m->region[0].map;
    for (unsigned i = 0; i < r->chain.n_out + r->chain.n_in; i++) {
        const struct iovec *iov = &r->chain.iov[i];
        if ((const uint8_t *)iov->iov_base < start ||
            (const uint8_t *)iov->iov_base + iov->iov_len > start + MEM_SIZE)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_blk_req r;
    static struct vhost_mem m;
    static int fd = -1;
    struct disk d = {.size = 1 << 20, .serial = "serial"};
    messages(data, size);
    if (fd < 0) {
        struct vhost_region region = {.gpa = 0, .size = MEM_SIZE, .uva = UVA};
        fd = memfd_create("guest", MFD_CLOEXEC);
        if (ftruncate(fd, MEM_SIZE) < 0 || vhost_mem_set(&m, &region, 1, &fd) < 0)
            abort();
    }
    uint8_t *mem = m.region[0].map;
    memset(mem, 0, MEM_SIZE);
    memcpy(mem, data, size < MEM_SIZE ? size : MEM_SIZE);
    struct vring ring = {.size = 8, .addr = {UVA, UVA + 128, UVA + 256, 0, true}};
    ring.has_event_idx = true;
    if (vring_start(&ring, &m, mem + 512) < 0)
        return 0;
    for (int i = 0; i < 16 && vring_pop(&ring, &m, &r.chain) == 1; i++) {
        check(&m, &r);
        if (virtio_blk_parse(&r, &d, false) == -1)
            while (virtio_blk_next_range(&r)) {
            }
        check(&m, &r);
        vring_push(&ring, &m, r.chain.head, r.written);
    }
    (void)vring_rearm(&ring, &m);
    (void)vring_wants_signal(&ring);
    vring_stop(&ring);
    return 0;
}
