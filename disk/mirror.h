/*
 * mirror.h: the content of a disk that is in use, into another image, until both are the same.
 *
 *     opening ──> copying ──> ready ──(mirror_complete, the disk is deactivated)──> whole
 *                    |                                                               |
 *                    '── failed, cancelled, deactivated without that ──> closing <───'──> on_end
 *
 * What is not copied yet, or was changed since, is a set of units in a bitmap. A change of the
 * guest goes to the disk alone and is answered; then its units are in the set again. Whatever
 * happens to the target is no business of the guest: the mirror ends, the disk goes on.
 *
 * So that it comes to an end although the guest writes, changes are answered late once everything
 * has been copied once: the guest may then change half as much as is copied, until so little is
 * left that it can be copied while the guest waits for the last time.
 *
 *     m = mirror_new(ring, jobs, backend, items, n, size, on_end, arg);   // a task
 *     r = disk_mirror(d, m);                                              // from now on it copies
 *     …                                                                   // on_end(arg, 0, "")
 *     mirror_free(m);
 *
 * Loop's thread; opening and closing are done by the job threads. Memory: the bitmap and some
 * megabytes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "disk/chain.h"
#include "disk/engine.h"
#include "disk/job.h"
#include "disk/ring.h"

#define MIRROR_UNIT (64u << 10) /* bytes that a bit stands for */
#define MIRROR_REST (16u << 20) /* so little may be left when it is ready */

struct mirror;
typedef void (*mirror_fn)(void *arg, int err, const char *why);

/* The disk that is copied, as the mirror needs it. All is valid until `left`. */
struct mirror_source {
    struct engine *engine;
    const unsigned *in_flight;                      /* requests of the guest */
    void (*answer)(void *arg, struct blk_req *req); /* one that was held back */
    void (*left)(void *arg);                        /* the mirror does not look at it any more */
    void *arg;
};

/*
 * Copies into an image of `size` bytes (a multiple of 512), leaf first, that is open nowhere. One
 * without parents must be new: what is zero is not written. What differs from its parents is all
 * that is written to one that has some. on_end is called once, never from inside here.
 */
struct mirror *mirror_new(struct ring *ring, struct jobs *jobs, struct backend *backend,
                          const struct chain_item *items, unsigned n, uint64_t size,
                          mirror_fn on_end, void *arg);
/* After on_end. NULL is fine. */
void mirror_free(struct mirror *m);
/* Ends it with -ECANCELED, unless it ends otherwise before. */
void mirror_cancel(struct mirror *m);
/* The next deactivation of the disk makes the copy whole. -EAGAIN unless it is ready. */
int mirror_complete(struct mirror *m);

struct mirror_progress {
    uint64_t done, total; /* bytes; done falls when the guest writes */
    bool is_ready;
};
struct mirror_progress mirror_get_progress(const struct mirror *m);

/* ---- for disk.c ---- */

void mirror_attach(struct mirror *m, const struct mirror_source *from);
/* A change has ended on the disk, maybe halfway. True: its answer is held back until `answer`,
 * which may have come from inside; one that failed is not held back. */
bool mirror_changed(struct mirror *m, struct blk_req *req, int err);
/* Nothing is held back from now on; what is, is answered. */
void mirror_let_go(struct mirror *m);
/* Nothing of the guest is in flight, and nothing will be: `left` follows, also from inside. */
void mirror_drain(struct mirror *m);
