/*
 * qmp.h: one monitor connection to a QEMU, on the mon loop. Private to src/host and its tests.
 *
 *     TRY(qmp_open(loop, fd, on_event, on_close, guest, &q));      // any thread; shakes hands
 *     TRY(qmp_call(q, "stop", NULL, -1, deadline, NULL));          // any thread but the loop
 *     qmp_close(q);                                                // any thread
 *
 * Requests carry an id and a deadline and may overlap. A late answer is dropped. When the
 * connection ends, what waits fails with the reason, and on_close is called once. Events and
 * on_close come on the loop's thread. Bad input ends the connection: QEMU is believed no further
 * than its syntax.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/val.h"
#include "loop/loop.h"

struct qmp;

typedef void (*qmp_event_fn)(void *arg, const char *event, const struct val *data);
typedef void (*qmp_close_fn)(void *arg);

/* Takes the descriptor over, also on failure. */
struct err *qmp_open(struct loop *l, int fd, qmp_event_fn on_event, qmp_close_fn on_close,
                     void *arg, usec_t deadline, struct qmp **ret) _must_use_;
/* `args` is a map that is taken over, or NULL. `fd` is sent along (getfd) unless negative; it stays
 * the caller's. QEMU's own refusal is an INTERNAL_ERROR with its text. `ret` NULL: not wanted. */
struct err *qmp_call(struct qmp *q, const char *command, struct val *args, int fd, usec_t deadline,
                     struct val **ret) _must_use_;
/* Reads what the dead peer has left, so that its last events are seen; on the loop's thread. */
void qmp_drain(struct qmp *q);
/* Ends the connection and frees it; no callback comes afterwards. NULL is fine. No call may be
 * under way on another thread. */
void qmp_close(struct qmp *q);
/* Ends the connection: calls under way fail, on_close is called. Loop's thread. */
void qmp_hangup(struct qmp *q, const char *why);
