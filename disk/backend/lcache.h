/*
 * lcache.h: a copy, on a disk of this host, of what is read of a parent on a server.
 *
 *     read ──> all of it in the copy? ── yes ──> the copy
 *                      └─ no ──> the server ──> answer ──> into the copy ──> its bits
 *
 * All processes of the host that read the parent share one sparse file: a page with who it belongs
 * to, a bit for each 4 KiB of the parent's file, and the bytes at their places behind it. Bits are
 * in shared memory and set when the data is with the kernel, so what they say stays true whoever is
 * killed; of another boot of the host nothing is believed. Nor is it when the parent has another
 * size or time: it then begins anew, as soon as nobody uses it.
 *
 * What the guest can still change is not copied: missing data goes through memory of its own. A
 * copy that is full or fails is no error, the server is asked. Loop's thread, but for opening and
 * closing, which block.
 */
#pragma once

#include "disk/backend/backend.h"

struct lcache;

struct lcache_stats {
    uint64_t hit, miss; /* bytes that came from the copy, and from below */
    uint64_t unkept;    /* of those from below, what the copy did not take: it is full or broken */
};

/* From now on reads of `parent`, which nobody changes while it is open, go through the copy at
 * `path`; `local` serves files of this host. The parent must be closed before it. */
int lcache_open(const char *path, struct file *parent, struct backend *local, struct lcache **ret);
/* Nothing may be under way. NULL is fine. */
void lcache_close(struct lcache *lc);
/* False if nothing is under way; else `idle` is called once nothing is. */
bool lcache_settles(struct lcache *lc, void (*idle)(void *arg), void *arg);
struct lcache_stats lcache_get_stats(const struct lcache *lc);
