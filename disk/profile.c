/*
 * profile.c: the sweep over block sizes. Called by diskd.c for the one-shot command; owns its ring,
 * its file and its memory.
 */
#include "disk/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "disk/ring.h"

#define MADE_SIZE ((off_t)256 << 20)
#define MAX_DEPTH 1024u
#define ALIGN     4096u
#define ROUNDS    5u

struct slot {
    struct ring_op op;
    struct iovec iov;
    struct sweep *s;
};

/* One point while it runs. */
struct sweep {
    struct ring *ring;
    int fd;
    uint64_t size, seed, end_us;
    struct profile_point *point;
    unsigned running;
    int err;
    uint8_t *memory;
    struct slot *slot; /* MAX_DEPTH */
};

static int open_target(const char *path, bool *ret_direct, uint64_t *ret_size);
static int run_sizes(struct sweep *s, double seconds, struct profile *p);
static int run_depths(struct sweep *s, double seconds, struct profile *p);
static int run_points(struct sweep *s, double seconds, const struct profile_point *wanted,
                      unsigned n, struct profile_point *ret, unsigned *ret_n);
static int run_point(struct sweep *s, double seconds);
static void start(struct slot *slot);
static void on_read(struct ring_op *op, int res);

int profile_run(const char *path, double seconds, struct profile *ret, const char **ret_what)
{
    struct sweep s = {.seed = 1};
    *ret = (struct profile){0};
    *ret_what = "open it for reading";
    _cleanup_(fd_closep) int fd = open_target(path, &ret->is_direct, &s.size);
    if (fd < 0)
        return fd;
    *ret_what = "use io_uring";
    int r = ring_new(&s.ring);
    if (r < 0)
        return r;
    s.fd = fd;
    s.slot = mem_new_n(struct slot, MAX_DEPTH);
    void *memory = NULL;
    if (posix_memalign(&memory, ALIGN, PROFILE_MOST))
        r = -ENOMEM;
    s.memory = memory;
    *ret_what = "read it";
    if (r == 0)
        r = run_sizes(&s, seconds, ret);
    if (r == 0)
        r = run_depths(&s, seconds, ret);
    ring_free(s.ring);
    free(s.slot);
    free(memory);
    return r == 0 && ret->n == 0 ? -ENODATA : r;
}

static int by_rate(const void *a, const void *b)
{
    double x = profile_mbs(a), y = profile_mbs(b);
    return x < y ? -1 : x > y;
}

/*
 * Points take turns, there and back, and each is what its median round was: a device that others
 * use as well, or that grows slower when its credit is spent, is so for all of them. A point that
 * did nothing is left out.
 */
static int run_points(struct sweep *s, double seconds, const struct profile_point *wanted,
                      unsigned n, struct profile_point *ret, unsigned *ret_n)
{
    struct profile_point rounds[PROFILE_POINTS][ROUNDS];
    for (unsigned k = 0; k < ROUNDS; k++)
        for (unsigned i = 0; i < n; i++) {
            unsigned at = k % 2 ? n - 1 - i : i;
            s->point = &rounds[at][k];
            *s->point = wanted[at];
            int r = wanted[at].block <= s->size ? run_point(s, seconds / ROUNDS) : 0;
            if (r < 0)
                return r;
        }
    for (unsigned i = 0; i < n; i++) {
        qsort(rounds[i], ROUNDS, sizeof(rounds[i][0]), by_rate);
        if (rounds[i][ROUNDS / 2].ops)
            ret[(*ret_n)++] = rounds[i][ROUNDS / 2];
    }
    return 0;
}

static int run_sizes(struct sweep *s, double seconds, struct profile *p)
{
    struct profile_point wanted[PROFILE_POINTS];
    unsigned n = 0;
    for (uint32_t block = PROFILE_OUTSTANDING; block >= PROFILE_MIN_BLOCK; block /= 2) {
        uint32_t depth = PROFILE_OUTSTANDING / block;
        wanted[n++] = (struct profile_point){block, depth < MAX_DEPTH ? depth : MAX_DEPTH, 0, 0};
    }
    return run_points(s, seconds, wanted, n, p->point, &p->n);
}

static int run_depths(struct sweep *s, double seconds, struct profile *p)
{
    struct profile_point wanted[PROFILE_POINTS];
    uint32_t split = profile_split(p), block = split ? split : PROFILE_OUTSTANDING;
    unsigned n = 0;
    for (uint32_t depth = 1; depth <= MAX_DEPTH && depth <= PROFILE_MOST / block; depth *= 2)
        wanted[n++] = (struct profile_point){block, depth, 0, 0};
    return run_points(s, seconds, wanted, n, p->depth, &p->n_depths);
}

/* Not all zeroes, which a device may know without reading. */
static int make_file(const char *folder)
{
    _cleanup_(fd_closep) int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    size_t size = 1 << 20;
    _cleanup_(freep) uint8_t *block = mem_new_n(uint8_t, size);
    for (size_t i = 0; i < size; i++)
        block[i] = (uint8_t)(i * 2654435761u >> 13);
    for (off_t at = 0; at < MADE_SIZE; at += (off_t)size) {
        int r = fd_pwrite_all(fd, block, size, at);
        if (r < 0)
            return r;
    }
    return fdatasync(fd) < 0 ? -errno : fd_take(&fd);
}

static int open_target(const char *path, bool *ret_direct, uint64_t *ret_size)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    _cleanup_(fd_closep) int fd =
        S_ISDIR(st.st_mode) ? make_file(path) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return S_ISDIR(st.st_mode) ? fd : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_size = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, ret_size) < 0)
        return -errno;
    *ret_direct = fcntl(fd, F_SETFL, O_DIRECT) == 0;
    return fd_take(&fd);
}

static int run_point(struct sweep *s, double seconds)
{
    struct profile_point *p = s->point;
    uint64_t begin = ring_now_us();
    s->end_us = begin + (uint64_t)(seconds * 1e6);
    s->err = 0;
    for (unsigned i = 0; i < p->depth; i++) {
        struct slot *slot = &s->slot[i];
        slot->s = s;
        slot->op.done = on_read;
        slot->iov = (struct iovec){s->memory + (size_t)i * p->block, p->block};
        start(slot);
    }
    while (s->running) {
        int r = ring_step(s->ring);
        if (r < 0)
            return r;
    }
    p->seconds = (double)(ring_now_us() - begin) / 1e6;
    /* A device with larger sectors does not read these: the sweep ends above them. */
    if (s->err == -EINVAL && p->block < ALIGN) {
        p->ops = 0;
        return 0;
    }
    return s->err;
}

static void start(struct slot *slot)
{
    struct sweep *s = slot->s;
    s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
    uint64_t at = (s->seed >> 16) % (s->size / s->point->block) * s->point->block;
    s->running++;
    ring_readv(s->ring, &slot->op, s->fd, &slot->iov, 1, at);
}

static void on_read(struct ring_op *op, int res)
{
    struct slot *slot = (struct slot *)op;
    struct sweep *s = slot->s;
    s->running--;
    if (res < 0)
        s->err = res;
    else
        s->point->ops++;
    if (!s->err && ring_now_us() < s->end_us)
        start(slot);
}
