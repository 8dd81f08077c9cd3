/*
 * park.h: requests that storage refuses for a while, kept until it takes them.
 *
 * A full repository, or one that is out of reach, is no reason to tell a guest that its disk is
 * broken. Such a request is parked: its client gets no answer, for vhost-user-blk it stays in the
 * in-flight area. After a pause the oldest is tried again, every time a longer pause; when it comes
 * through, all others follow.
 *
 *     refused ──park_put()──> parked ──time, park_retry()──> one is tried ──┬─ refused: a longer
 * pause └─ done: all go on
 *
 * A client that leaves takes its requests along: blk_req.stays. Loop's thread.
 */
#pragma once

#include <stdbool.h>

#include "disk/engine.h"
#include "disk/ring.h"

struct park;
/* `again` has a request tried; `can_try` says whether that makes sense now. */
struct park *park_new(struct ring *ring, void (*again)(struct blk_req *req, void *arg),
                      bool (*can_try)(void *arg), void *arg);
/* Parked requests end with BLK_ABANDONED. NULL is fine. */
void park_free(struct park *p);

/* Is that an error that may go away? `is_remote`: of storage that is reached over a network. */
bool park_is_for(int err, bool is_remote);
/* The request's client is not told, or has its request back when it does not stay. */
void park_put(struct park *p, struct blk_req *req, int err);
/* To be called for every request that was answered. */
void park_seen(struct park *p, const struct blk_req *req);
/* At once, if that makes sense. */
void park_retry(struct park *p);
/* Gives back the requests whose clients do not stay. */
void park_sort_out(struct park *p);
/* Those that wait will not be tried again: answer(), with the error that they met. */
void park_refuse(struct park *p, void (*answer)(struct blk_req *req, int err, void *arg));
/* How many are kept; why: -errno of the last refusal, and since when (seconds since 1970). */
unsigned park_count(const struct park *p);
int park_why(const struct park *p, int64_t *ret_since);
