/*
 * job.h: threads for what blocks: opening, closing, creating, growing images.
 *
 *     struct job { work, done } in the caller's object
 *     jobs_post(jobs, &my->job);     // work() on a job thread, then done() on the loop's
 *
 * Jobs begin in the order they were posted; there are a few threads, so that one hanging storage
 * does not stop the next job at once.
 */
#pragma once

#include "disk/ring.h"

struct job {
    void (*work)(struct job *j); /* job thread */
    void (*done)(struct job *j); /* loop's thread; may free the job */
    struct job *next;
};

struct jobs;
int jobs_new(struct ring *ring, struct jobs **ret);
/* Waits for the jobs that run and ends the threads; what was only posted is left alone. */
void jobs_stop(struct jobs *jobs);
/* After jobs_stop(), when the ring does not run any more. */
void jobs_free(struct jobs *jobs);
void jobs_post(struct jobs *jobs, struct job *j);
