/*
 * target.h: something blkload puts load on: one disk behind a socket, with a number of slots.
 *
 * A slot is one request with memory of its own. put() prepares a request in a free slot, send()
 * lets everything prepared go out at once, collect() tells which slots are done and never waits.
 * Whoever finds nothing done may wait() for one target, or, of many, arm() each and poll its `fd`.
 *
 * One thread. What fails ends the program with a word on stderr: a benchmark of a broken server is
 * no benchmark.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARGET_MAX_SLOTS 64u

struct target;
struct target_ops {
    void (*put)(struct target *t, unsigned slot, uint64_t offset, bool is_write);
    void (*send)(struct target *t);
    /* Slots that are done, their number; room for TARGET_MAX_SLOTS. */
    unsigned (*collect)(struct target *t, unsigned *slots);
    /* Asks for `fd` to become readable; false when there is something to collect already. */
    bool (*arm)(struct target *t);
    /* After `fd` was readable. */
    void (*woken)(struct target *t);
    /* Arms, and waits for `fd`. */
    void (*wait)(struct target *t);
};

struct target {
    const struct target_ops *ops;
    uint64_t size; /* of the disk, bytes */
    int fd;
    unsigned slots;
    uint32_t block;    /* bytes of a request */
    unsigned spin_us;  /* wait() looks this long before it sleeps */
    uint64_t done_ops; /* blkload's count */
};

uint64_t target_now_ns(void);
/* A unix socket of a vhost-user-blk device; waits a moment for the file to appear. */
struct target *vhost_target_new(const char *path, unsigned slots, uint32_t block);
/* A unix socket of an NBD server (fixed newstyle) and the name of the export. */
struct target *nbd_target_new(const char *path, const char *name, unsigned slots, uint32_t block);
/* A connected socket, for both. */
int target_connect(const char *path);
