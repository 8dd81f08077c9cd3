/*
 * disk_fixture.h: one disk on temporary files, driven request by request with the sync backend. Of
 * the unit tests test_engine.c and test_chain.c; one thread.
 */
#pragma once

#include <sys/types.h>

#include "disk/backend/sync.h"
#include "disk/engine.h"

#define MIB (1ull << 20)

extern char path[64], child_path[64];

struct disk {
    struct chain *chain;
    struct engine *engine;
    struct sync_backend backend;
};

struct call {
    struct blk_req req;
    struct iovec iov[2];
    bool is_done;
    int err;
};

int disk_set_up(void **state);
int disk_tear_down(void **state);

/* Of requests in a struct call. */
void on_done(struct blk_req *req, int err);
/* The image at `path`; new_disk makes it. */
void open_disk(struct disk *d, enum image_format format, bool readonly);
void new_disk(struct disk *d, enum image_format format, uint64_t size);
void close_disk(struct disk *d);
void kill_disk(struct disk *d);
void start(struct disk *d, struct call *c, enum blk_op op, uint64_t at, void *p, uint64_t size);
int run(struct disk *d, enum blk_op op, uint64_t at, void *p, uint64_t size);
void expect(struct disk *d, uint64_t at, uint64_t size, uint8_t value);
int write_bytes(struct disk *d, uint64_t at, uint64_t size, uint8_t value);
void patch(const char *file, off_t at, const void *p, size_t size);
