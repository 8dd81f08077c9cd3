/*
 * Any bytes, sent to a disk that is served: as what an NBD client says, as the messages of a QEMU
 * and the memory of its guest. The real front ends on the real loop, over a disk of 1 MiB: whoever
 * sends rubbish is cut off, nothing hangs, and the image stays as large as it is.
 *
 *     'n' bytes…                 NBD, from the first byte of the client's
 *     'r' { TYPE FLAGS OFFSET(8) LENGTH(4) [data] }…       the same behind a handshake: requests
 *     'v' SIZE(2) memory { REQUEST FLAGS FDS SIZE payload }…     vhost-user; FDS: how many
 *                                descriptors go along, of its memory or, with bit 7, of events
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "codec/bytes.h"
#include "disk/backend/uring.h"
#include "disk/disk.h"
#include "disk/vhost_proto.h"
#include "tests/fuzz/fuzz.h"

#define SIZE         (1u << 20)
#define MEM_SIZE     65536u
#define MESSAGES_MAX 64

static struct {
    struct ring *ring;
    struct disk *disk;
    char folder[32];
    int image, memory;
    bool is_ready;
} w;

static void path_of(const char *name, char out[64])
{
    (void)snprintf(out, 64, "%s/%s", w.folder, name);
}

static void leave(void)
{
    char path[64];
    for (int i = 0; i < 2; i++) {
        path_of(i ? "nbd" : "vhost", path);
        (void)unlink(path);
    }
    (void)rmdir(w.folder);
}

static void ready(void *arg, int err, const char *why)
{
    (void)arg;
    (void)why;
    if (err)
        abort();
    w.is_ready = true;
}

static void start(void)
{
    const struct front_options options = {.export_name = "disk", .queues = 2};
    struct jobs *jobs;
    char path[64];
    log_set_level(NULL, LOG_ERR);
    (void)snprintf(w.folder, sizeof(w.folder), "/tmp/cairn-fuzz-XXXXXX");
    w.image = memfd_create("image", MFD_CLOEXEC);
    w.memory = memfd_create("guest", MFD_CLOEXEC);
    if (!mkdtemp(w.folder) || ftruncate(w.image, SIZE) < 0 || ftruncate(w.memory, MEM_SIZE) < 0 ||
        ring_new(&w.ring) < 0 || jobs_new(w.ring, &jobs) < 0)
        abort();
    (void)atexit(leave);
    w.disk = disk_new("0", "vdi", SIZE, false, "serial", w.ring, jobs, uring_backend_new(w.ring));
    path_of("nbd", path);
    if (disk_add_front(w.disk, "nbd", path, &options) < 0)
        abort();
    path_of("vhost", path);
    if (disk_add_front(w.disk, "vhost-user-blk", path, &options) < 0)
        abort();
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", w.image);
    const struct chain_item item = {path, IMAGE_RAW};
    if (disk_activate(w.disk, &item, 1, ready, NULL) < 0)
        abort();
    while (!w.is_ready)
        if (ring_step(w.ring) < 0)
            abort();
}

/* Until the other side has hung up, and has nothing under way any more. */
static void finish(int fd)
{
    char room[4096];
    (void)shutdown(fd, SHUT_WR);
    for (;;) {
        ssize_t n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        if (n < 0 && ring_step(w.ring) < 0)
            abort();
    }
    fd_close(fd);
    while (w.disk->in_flight)
        if (ring_step(w.ring) < 0)
            abort();
    struct stat st;
    if (fstat(w.image, &st) < 0 || st.st_size != SIZE)
        abort();
}

/* All of it, as far as the other side wants to hear it. */
static void say(int fd, const void *bytes, size_t size)
{
    const char *p = bytes;
    while (size) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return;
        if (n < 0) {
            char room[4096];
            while (recv(fd, room, sizeof(room), MSG_DONTWAIT) > 0) {
            }
            if (ring_step(w.ring) < 0)
                abort();
            continue;
        }
        p += n;
        size -= (size_t)n;
    }
}

/* ---- NBD ---- */

static void handshake(int fd)
{
    static const uint8_t hello[] = {0,   0,   0,   3, /* fixed newstyle, no zeroes */
                                    'I', 'H', 'A', 'V', 'E', 'O', 'P', 'T', 0, 0, 0, 7, /* GO */
                                    0,   0,   0,   6, /* bytes: no name, no wishes */
                                    0,   0,   0,   0,   0,   0};
    say(fd, hello, sizeof(hello));
}

static void requests(int fd, const uint8_t *p, size_t size)
{
    for (uint64_t cookie = 0; size >= 14; cookie++) {
        uint8_t out[28];
        put_be32(out, 0x25609513);
        put_be16(out + 4, p[1]);
        put_be16(out + 6, p[0]);
        put_be64(out + 8, cookie);
        memcpy(out + 16, p + 2, 12);
        say(fd, out, sizeof(out));
        p += 14;
        size -= 14;
        size_t n = p[-14] == 1 ? get_be32(out + 24) : 0; /* a write has data */
        n = n < size ? n : size;
        say(fd, p, n);
        p += n;
        size -= n;
    }
}

/* ---- vhost-user ---- */

static void message(int fd, const uint8_t *p, size_t size)
{
    uint8_t out[VHOST_HEADER_SIZE + 255];
    const struct vhost_header h = {p[0], p[1] | VHOST_FLAG_VERSION, p[3]};
    int fds[VHOST_MAX_FDS], fresh[VHOST_MAX_FDS];
    unsigned n = p[2] & (VHOST_MAX_FDS - 1), n_fresh = 0;
    for (unsigned i = 0; i < n; i++)
        fds[i] = p[2] & 0x80 ? (fresh[n_fresh++] = eventfd(1, EFD_CLOEXEC)) : w.memory;
    vhost_header_put(&h, out);
    memcpy(out + VHOST_HEADER_SIZE, p + 4, size);
    (void)!fd_send_fds(fd, out, VHOST_HEADER_SIZE + size, fds, n);
    while (n_fresh)
        fd_close(fresh[--n_fresh]);
}

static void guest(int fd, const uint8_t *p, size_t size)
{
    static uint8_t zeroes[MEM_SIZE];
    size_t n = size < 2 ? 0 : get_le16(p);
    if (size < 2 || n > size - 2)
        return;
    if (pwrite(w.memory, zeroes, MEM_SIZE, 0) < 0 || pwrite(w.memory, p + 2, n, 0) < 0)
        abort();
    p += 2 + n;
    size -= 2 + n;
    for (int i = 0; size >= 4 && i < MESSAGES_MAX; i++) {
        size_t payload = p[3] < size - 4 ? p[3] : size - 4;
        message(fd, p, payload);
        p += 4 + payload;
        size -= 4 + payload;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    if (size == 0 || size > 65536)
        return 0;
    if (!w.ring)
        start();
    path_of(data[0] == 'v' ? "vhost" : "nbd", path);
    int fd = fd_connect_unix(path);
    if (fd < 0)
        abort();
    if (data[0] == 'v')
        guest(fd, data + 1, size - 1);
    else if (data[0] == 'r')
        handshake(fd);
    if (data[0] == 'r')
        requests(fd, data + 1, size - 1);
    else if (data[0] != 'v')
        say(fd, data + 1, size - 1);
    finish(fd);
    return 0;
}
