/*
 * coalesce.h: a merge as a job of the process: opening the two images, the rate, the end. Private
 * to the verbs.
 *
 *     opening ──> merging ──> closing ──> on_end(err, why)
 *
 * Loop's thread; opening and closing are done by the job threads.
 */
#pragma once

#include "disk/chain.h"
#include "disk/job.h"
#include "disk/merge.h"
#include "disk/ring.h"

struct coalesce;
typedef void (*coalesce_fn)(void *arg, int err, const char *why);

/* `rate` is in bytes a second; 0: no limit. on_end is called once, never from inside here. */
struct coalesce *coalesce_new(struct ring *ring, struct jobs *jobs, struct backend *backend,
                              const struct chain_item *child, const struct chain_item *parent,
                              uint64_t rate, coalesce_fn on_end, void *arg);
/* After on_end. NULL is fine. */
void coalesce_free(struct coalesce *c);
/* Ends it with -ECANCELED, unless it ends otherwise before. */
void coalesce_cancel(struct coalesce *c);
/* Bytes of the child's blocks: those that are dealt with, and all. */
void coalesce_progress(const struct coalesce *c, uint64_t *ret_done, uint64_t *ret_total);
