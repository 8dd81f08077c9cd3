/*
 * engine_int.h: what the engine shares with the formats' own halves of it: pieces, and how a format
 * writes. Private to engine.c, engine_vhd.c, engine_qcow2.c and
 * commit_qcow2.c; loop's thread.
 *
 *     write, zero    cut the range, allocate, start pieces; each piece ends in piece_done()
 *     load           metadata that image_map() asked for; then start_range() again
 */
#pragma once

#include "disk/commit.h"
#include "disk/engine.h"

#define PIECE_IOV 8

/* One transfer of a request. */
struct piece {
    struct io io;
    struct commit_waiter waiter;
    struct engine *e;
    struct blk_req *req;
    uint64_t at, size;                     /* of the disk */
    void *meta;                            /* of the format: pinned; NULL: no metadata changes */
    void (*wrote)(struct io *io, int err); /* of zeroes: when they are there */
    void *owner;                           /* of the format */
    struct piece *next;
    struct iovec *big; /* when `small` is too small */
    struct iovec small[PIECE_IOV];
};

/* How images of a format are written and loaded; of a format without metadata, all but `write` and
 * `zero` are NULL. */
struct writer {
    void (*begin)(struct engine *e); /* for the leaf; sets e->leaf_state */
    void (*end)(struct engine *e);
    uint64_t (*metadata_writes)(const struct engine *e);
    int (*sync_err)(const struct engine *e);        /* of a sync that failed, for ever */
    void (*keep_ahead)(struct engine *e, int held); /* NULL: it cannot */
    /* Begins to get what is ahead into the file, and ends in engine_settled(); false if there is
     * nothing. NULL: never. */
    bool (*settle)(struct engine *e);
    bool (*is_ahead)(const struct engine *e);
    void (*write)(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
    void (*zero)(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
    /* A piece of a request that waits for `block` of any image of the chain. */
    void (*load)(struct engine *e, struct image *im, uint32_t block, struct blk_req *req,
                 uint64_t at, uint64_t size);
};
extern const struct writer writer_vhd, writer_qcow2;

struct engine {
    struct chain *chain;
    struct image *leaf;
    struct backend *backend;
    const struct writer *writer; /* of the leaf */
    void *leaf_state;            /* the writer's */
    void (*on_done)(struct blk_req *req, int err, void *arg);
    void *arg;
    struct engine_stats stats;
    unsigned in_flight;
    struct piece *spare;
    struct io sync;
    struct blk_req *sync_waiting, *sync_running; /* FLUSH, and FUA requests that were written */
    int sync_err;                                /* of a failed fdatasync, for ever */
    bool answers_early;
    unsigned n_unsettled;     /* pieces that were answered, with metadata under way */
    int settle_err;           /* of one of them, for ever */
    struct blk_req *settling; /* flushes that wait for them */
    int held;                 /* the leaf's number with the keeper; -1: none */
    bool is_settling;         /* what was ahead is on its way */
    struct blk_req *settle_waiting, *settle_running; /* flushes: of the next time, of this time */
};

/* What was ahead when settle() began is in the file, or could not be. */
void engine_settled(struct engine *e, int err);
/* There is no room ahead: has what is there go into the file. */
void engine_make_room(struct engine *e);

void engine_start_range(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
/* Do the ancestors have nothing there? What is not known without a load, or because the chain is
 * not open to its root, counts as something. */
bool engine_is_hole_below(struct engine *e, uint64_t at, uint64_t size);

/* A READ of the engine's own, counted nowhere. */
void engine_read_own(struct engine *e, struct blk_req *req);

struct piece *piece_new(struct engine *e, struct blk_req *req, uint64_t at, uint64_t size);
void piece_start(struct piece *p, enum io_op op, struct file *file, uint64_t offset);
/* Zeroes in place, space given back or not as the request wants; then p->wrote. */
void piece_zero(struct piece *p, struct file *file, uint64_t offset);
void piece_done(struct io *io, int err);
void piece_free(struct piece *p);
/* The data is there, and its metadata will be: may the request go on? If so the piece is only a
 * waiter from now on, and ends in piece_settled(). */
bool piece_answer_early(struct piece *p);
void piece_settled(struct piece *p, int err);
void req_drop(struct engine *e, struct blk_req *req);
/* The pieces of the list begin again, or fail. */
void engine_retry(struct engine *e, struct piece *list, int err);
