/*
 * control.h: the control socket of diskd: lines of JSON in, lines of JSON out. docs/diskd.md is the
 * contract.
 *
 * Every request is answered within a second: what waits for storage runs on a job thread, and its
 * caller is told "pending" when it takes longer. Owns the disks. Loop's thread.
 *
 *     control_new(ring, jobs, backend, listen_fd, &ctl);
 *     ring_run(ring);                  // until `quit` or control_end()
 *     control_hang_up(ctl);
 *     ring_settle(ring);               // what was on the way ends
 *     control_free(ctl);
 */
#pragma once

#include "disk/backend/backend.h"
#include "disk/job.h"
#include "disk/ring.h"

struct control;
struct control *control_new(struct ring *ring, struct jobs *jobs, struct backend *backend,
                            int listen_fd);
/* Drains and closes every disk, then stops the ring. */
void control_end(struct control *ctl);
/* After the ring has stopped: closes the connections and forgets the disks; what is on the way ends
 * with the ring's next rounds. */
void control_hang_up(struct control *ctl);
void control_free(struct control *ctl);

/* One line for the control protocol without a socket, for tests and the fuzzer: returns the answer
 * (caller frees) or NULL when it comes later. */
char *control_line(struct control *ctl, const char *line, size_t size);
