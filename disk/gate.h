/*
 * gate.h: holds a disk's requests back while it is over its limits (throttle.h), in order.
 *
 * Only what moves or changes data is held; a FLUSH passes, for it orders nothing but what was
 * answered. Loop's thread.
 *
 *     disk_submit ──gate_hold()──> held ──time──> pass(req, arg)
 */
#pragma once

#include "disk/engine.h"
#include "disk/ring.h"

struct gate;
struct gate *gate_new(struct ring *ring, void (*pass)(struct blk_req *req, void *arg), void *arg);
/* 0: no limit. Held requests go by the new limits. */
void gate_set(struct gate *g, uint64_t bytes_per_s, uint64_t ops_per_s);
/* False: the request may begin, and is counted. True: it is the gate's until pass(). */
bool gate_hold(struct gate *g, struct blk_req *req);
unsigned gate_held(const struct gate *g);
void gate_limits(const struct gate *g, uint64_t *ret_bytes_per_s, uint64_t *ret_ops_per_s);
/* Passes what is held; NULL is fine. */
void gate_free(struct gate *g);
