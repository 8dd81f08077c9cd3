/*
 * disk.h: one disk of the VM: its state, its waiting requests, its front ends, its counters.
 *
 *                disk_activate                       disk_deactivate
 *     ATTACHED ----------------> ACTIVATING -> ACTIVE -----------------> DRAINING -+
 *        ^  ^                        | failed    (requests run)     (begun ones    |
 *        |  +------------------------+                               are finished) |
 *        +-------------------------------------------------------------------------+
 *     requests wait                                                    requests wait
 *
 * Opening and closing images blocks, so it is done by the job thread; the loop goes on. Activation
 * and deactivation end with a call of the function that was given. Loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "disk/backend/lcache.h"
#include "disk/cbt.h"
#include "disk/chain.h"
#include "disk/engine.h"
#include "disk/front.h"
#include "disk/job.h"

enum disk_state { DISK_ATTACHED, DISK_ACTIVATING, DISK_ACTIVE, DISK_DRAINING };
const char *disk_state_name(enum disk_state s);

#define DISK_SERIAL_SIZE 20

#define DISK_LATENCIES   24

/* latency[i]: requests that took less than 2^i microseconds, and not less than half of that. */
struct disk_op_stats {
    uint64_t ops, bytes, us, errors;
    uint64_t latency[DISK_LATENCIES];
};

/* Asking for room in time (room.h). */
struct room {
    uint64_t low; /* bytes that must be left; 0: nobody asks */
    bool wants;   /* fewer are */
    void (*on_want)(void *arg);
    void *arg;
};

/* Whose client stops when it is told that there is no room, and asks again later. */
struct halt {
    bool is_on;
    bool is_asked_again; /* since it was refused last */
    enum blk_op op;      /* what was */
    int why;             /* -errno */
    int64_t since;       /* seconds since 1970; 0: nothing is refused */
};

struct budget;
struct gate;
struct mirror;
struct pace;
struct park;
struct disk_error {
    int code; /* -errno; 0: none yet */
    char text[600];
    int64_t time; /* seconds since 1970 */
};

/* Bytes of images that are only read: found in the page cache, or not. */
struct disk_cache_stats {
    uint64_t hit, miss;
};

typedef void (*disk_fn)(void *arg, int err, const char *why);

struct disk {
    char *id, *vdi;
    uint64_t size; /* bytes */
    bool is_readonly;
    char serial[DISK_SERIAL_SIZE + 1];
    enum disk_state state;
    VEC(struct front *) fronts;

    /* The image: path and format as last activated, and what is open. */
    char *path;
    enum image_format format;
    struct chain *chain;
    struct engine *engine;
    char *cbt_path; /* where a log of changed blocks would be; NULL: nowhere */
    struct cbt *cbt;
    enum cbt_state cbt_state; /* of the last activation */
    char *copy_path;          /* where a copy of the parent is kept on this host; NULL: nowhere */
    struct lcache *lcache;
    unsigned in_flight, n_waiting;
    uint64_t moved_us; /* when a request was done, or the first one begun */
    struct blk_req *waiting, **waiting_end;
    bool is_uncached;      /* what is only read goes around the page cache, too */
    uint32_t split;        /* large requests go to the leaf in parts of so many bytes; 0: whole */
    struct budget *budget; /* for the next activation, or NULL */
    struct pace *pace;     /* in front of the backend while an image is open; NULL: no budget */
    struct gate *gate;     /* NULL while there were never limits */
    struct mirror *mirror; /* that copies it, or NULL; its task's */
    struct park *park;     /* NULL: what storage refuses is answered with an error */
    struct halt halt;      /* or with that one */
    struct room room;      /* on a volume that grows; of the activation */

    struct disk_op_stats stats[BLK_OPS];
    struct engine_stats engine_stats; /* of earlier activations */
    struct disk_cache_stats cache_stats;
    struct lcache_stats copy_stats;
    struct disk_error last_error;

    struct ring *ring;
    struct jobs *jobs;
    struct backend *backend;   /* shared by all disks */
    struct disk_job *job;      /* that opens or closes the image */
    struct ring_op drain;      /* closes the image once the engine is left */
    int held;                  /* the leaf's number with the keeper, while an image is open */
    struct blk_req last_flush; /* of a disk that drains; its `done` is set once it has begun */
    int drain_err;             /* its end */
    disk_fn on_end;            /* told when the activation or deactivation under way ended */
    void *on_end_arg;
};

struct disk *disk_new(const char *id, const char *vdi, uint64_t size, bool readonly,
                      const char *serial, struct ring *ring, struct jobs *jobs,
                      struct backend *backend);
/* ATTACHED only: closes the front ends, ends waiting requests with -ESHUTDOWN, frees. */
void disk_free(struct disk *d);

int disk_add_front(struct disk *d, const char *type, const char *path,
                   const struct front_options *options);

/* From ATTACHED, else -EBUSY. `items` is the chain, leaf first, and is copied. A disk that can be
 * written records changed blocks if there is a log at `cbt_path`. */
int disk_activate(struct disk *d, const struct chain_item *items, unsigned n, disk_fn on_end,
                  void *arg);
/* From ACTIVE, else -EBUSY. */
int disk_deactivate(struct disk *d, disk_fn on_end, void *arg);

/* Active, can be written, and is not copied yet. */
bool disk_can_be_mirrored(const struct disk *d);
/* Has a mirror copy it from now on, until that ends or the image is closed. */
void disk_mirror(struct disk *d, struct mirror *m);

/* Another size, in bytes; its image must have it at the next activation. Clients are told. -EBUSY
 * unless it is attached only. */
int disk_set_size(struct disk *d, uint64_t size);

/* Bytes and requests a second; 0: no limit. */
void disk_limit(struct disk *d, uint64_t bytes_per_s, uint64_t ops_per_s);

/* For so many microseconds nothing has moved although requests are under way; 0: all is well. */
uint64_t disk_stalled_us(const struct disk *d);
/* Is its leaf on a server? A server that is away is waited for without an end. */
bool disk_is_remote(const struct disk *d);
/* From now on requests that a full or unreachable storage refuses wait until it takes them. */
void disk_may_park(struct disk *d);
/* From now on such requests are answered with -ENOSPC, whatever it was. */
void disk_may_halt(struct disk *d);
/* Has parked requests tried at once; of a disk that halts, its client asks again from now on. */
void disk_retry(struct disk *d);
/* Parked requests are answered with the error that they met. */
void disk_refuse(struct disk *d);
/* For front ends: some of their requests do not stay any more (blk_req.stays). */
void disk_sort_out(struct disk *d);

/* ATTACHED only: from the next activation on, data in flight is this disk's share of a budget,
 * which becomes the disk's. NULL: no limit. */
void disk_set_budget(struct disk *d, struct budget *budget);

/* For front ends. The request's offset and size need not be checked before. */
void disk_submit(struct disk *d, struct blk_req *req);
static inline bool disk_is_active(const struct disk *d)
{
    return d->state == DISK_ACTIVE;
}
/* As engine_status; the disk must be active. */
void disk_status(struct disk *d, uint64_t at, uint64_t size, uint64_t *ret_size, bool *ret_hole);
/* Allocation and metadata counters since attach. */
struct engine_stats disk_engine_stats(const struct disk *d);
struct disk_cache_stats disk_get_cache_stats(const struct disk *d);
struct lcache_stats disk_get_copy_stats(const struct disk *d);
