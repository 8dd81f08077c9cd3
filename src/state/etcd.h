/*
 * etcd.h: speaking to etcd over its JSON gateway (v3), for store_etcd.c alone.
 *
 * Calls are JSON texts posted with libcurl; byte strings in them are base64. A call goes to one of
 * the endpoints; when that cannot be reached, the next call goes to another. One thread at a time;
 * calls block, with deadlines.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/val.h"
#include "loop/loop.h"
#include "state/store.h"

#define ETCD_MAX_REPLY (64u << 20)

struct etcd;

struct err *etcd_open(const struct store_etcd_config *config, struct etcd **ret) _must_use_;
void etcd_close(struct etcd *e);           /* NULL is fine */
usec_t etcd_timeout(const struct etcd *e); /* of a call */

/* Posts a body to e.g. "/v3/kv/range". *ret_again: it may be tried again, and it is not known
 * whether it was done. */
struct err *etcd_call(struct etcd *e, const char *path, struct buf *body, struct val **ret,
                      bool *ret_again) _must_use_;

/* Watches keys from a revision on; one watch at a time. */
struct err *etcd_watch_start(struct etcd *e, const char *key, const char *range_end,
                             uint64_t revision) _must_use_;
bool etcd_watch_is_on(const struct etcd *e);
/* The next message of the watch, NULL at the deadline. An error, also the end of the connection,
 * ends the watch. */
struct err *etcd_watch_next(struct etcd *e, usec_t deadline, struct val **ret) _must_use_;
void etcd_watch_stop(struct etcd *e);

/* Writing requests. */
void etcd_put_bytes(struct buf *b, const char *name, struct view bytes); /* "name":"base64" */
void etcd_put_number(struct buf *b, const char *name, uint64_t n);       /* "name":"12" */
/* Reading replies: numbers come as text; what is absent is 0 or empty. */
uint64_t etcd_number(const struct val *map, const char *name);
int etcd_bytes(const struct val *map, const char *name, struct buf *ret) _must_use_;
/* An object or array in an object; the empty one if absent. */
const struct val *etcd_map(const struct val *map, const char *name);
const struct val *etcd_set(const struct val *map, const char *name);
