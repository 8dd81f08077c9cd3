/*
 * runner.h: threads that run operations, made when there is work and ended when there is none.
 *
 *     struct runner *r = runner_new("op", 64);
 *     runner_submit(r, run_call, call);      // never blocks; waits in a queue if all are busy
 *     runner_free(r);                        // after what was submitted has run
 *
 * Work is begun in the order it came. Any thread may submit, also one of the runner's own.
 */
#pragma once

#include <stddef.h>

struct runner;

struct runner *runner_new(const char *name, unsigned max_threads);
void runner_submit(struct runner *r, void (*fn)(void *arg), void *arg);
size_t runner_queued(struct runner *r); /* submitted and not begun */
/* Waits for the queue to empty and the threads to end; NULL is fine. */
void runner_free(struct runner *r);
