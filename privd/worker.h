/*
 * worker.h: one request, in a process of its own: read, check, confine, do, answer.
 *
 * Called by server.c right after the fork. See confine.h for what the process may at which point.
 */
#pragma once

#include "base/buf.h"
#include "privd/place.h"

enum { WORKER_ANSWERED = 0, WORKER_FAILED = 1 };

/* Returns the exit status of the process: answered (or nobody wants an answer), or not. */
int worker_run(const struct place *p, int conn);

/* The line that answers with an error. */
void worker_put_error(struct buf *line, const char *text);
