/*
 * engine.h: requests against a chain of images.
 *
 * A request is cut where the map changes; its pieces go to the backend at once, in no order, and
 * the request is done when all of them are. Requests that overlap in time may happen in any order.
 *
 *     write:  data ──> bitmap ──> BAT ──> answer     the last two only where they change, in
 *                                                    commits that gather all who wait
 *     flush:  fdatasync ──> answer                   those who come meanwhile share the next one
 *
 * So an answered write is with the kernel, data and metadata, and a flush only has to make durable
 * what was written. With a keeper it is enough that the bits are with that:
 *
 *     write:  data ──> BAT of a new block ──> bits ahead ──> answer
 *     flush:  [fdatasync ──> bitmaps] ──> fdatasync ──> answer
 *
 * A failed fdatasync is remembered: no later flush succeeds.
 *
 * The engine neither logs nor waits; one thread. A request and its memory belong to the caller
 * until `done`, which may be called from inside engine_submit().
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "disk/backend/backend.h"
#include "disk/chain.h"

/* STATUS does nothing but wait for the disk: the front end then asks engine_status(). */
enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZEROES, BLK_STATUS };
#define BLK_OPS 6

struct blk_req {
    enum blk_op op;
    bool fua;        /* durable before the answer */
    bool keep;       /* ZEROES: do not give the space back */
    uint64_t offset; /* bytes, multiples of 512, within the disk */
    uint64_t size;
    struct iovec *iov; /* READ, WRITE: exactly `size` bytes; not changed */
    int n_iov;
    void (*done)(struct blk_req *req, int err); /* 0 or -errno */
    /* Where requests may be parked (park.h): whether its client still waits for this one. NULL:
     * always. */
    bool (*stays)(const struct blk_req *req);

    /* Of the disk and the engine. */
    struct blk_req *next;
    uint64_t started_us;
    unsigned pending;
    int err;
    void *owner; /* of a request of the engine itself; NULL of all others */
};

/* The end of a parked request whose client does not stay: it was not answered, and may be done
 * again. */
#define BLK_ABANDONED (-EOWNERDEAD)

struct engine_stats {
    uint64_t blocks_allocated;
    uint64_t metadata_writes;
};

struct engine;
/* The chain stays the caller's and must outlive the engine. `on_done` sees every finished request
 * and calls its `done`; NULL: that is called directly. */
struct engine *engine_new(struct chain *chain, struct backend *backend,
                          void (*on_done)(struct blk_req *req, int err, void *arg), void *arg);
/* From now on a write may be answered before its metadata is in the file; a flush waits for that,
 * and tells what failed. For who can do it all again: merging. At the end a flush is a must. */
void engine_answer_early(struct engine *e);
/* From now on bits of sector bitmaps may be ahead of the file, which the keeper holds under this
 * number (keeper.h; -1: they may not): a write waits for no sync. A flush gets them there first; so
 * one is due before the engine is freed while engine_is_ahead(). */
void engine_keep_ahead(struct engine *e, int held);
bool engine_is_ahead(const struct engine *e);
/* Nothing may be in flight. */
void engine_free(struct engine *e);
void engine_submit(struct engine *e, struct blk_req *req);
bool engine_is_idle(const struct engine *e);
const struct engine_stats *engine_get_stats(const struct engine *e);

/* How the range at `at` reads, for NBD's block status: data or hole, for how long (at most size).
 * Looks only at what is in memory: a block whose bitmap is not known counts as data. */
void engine_status(struct engine *e, uint64_t at, uint64_t size, uint64_t *ret_size,
                   bool *ret_hole);
