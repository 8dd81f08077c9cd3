/*
 * timing.h: how long calls of each message took, since the start of the daemon.
 *
 * Any thread; counters without a lock, so a reader may see a call in one of them and not yet in
 * another. Private to api/.
 */
#pragma once

#include "api/call.h"

struct timing;

struct timing *timing_new(void);
void timing_free(struct timing *); /* NULL is fine */
void timing_add(struct timing *, const struct msg_desc *m, usec_t took);

/* The message that is answered here. */
void host_get_diagnostic_timing_stats(struct call *c);
