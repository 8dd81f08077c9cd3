/*
 * confine.h: giving power away, early and stepwise.
 *
 *     start      everything root has
 *     listening  the capabilities are kept for the workers, but only CAP_KILL is in force (to end
 *                workers whose programs changed their uid); no core dumps, so no password on disk
 *     worker     reads and checks its request with no capability in force
 *     verb       the capabilities of this verb become all there is, for the programs it runs too;
 *                no new privileges; calls that no verb needs (kernel modules, tracing, clocks,
 * other namespaces …) end the worker, and so does running a program in a verb without one
 *
 * Uid 0 remains: files that belong to root can still be written by it. The verbs that run the
 * administrator's own plugins stay unconfined, as a plugin may be about anything.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define CONFINE_CAP(name) (UINT64_C(1) << (name))

struct err *confine_listening(void) _must_use_;
struct err *confine_worker(void) _must_use_;
struct err *confine_verb(uint64_t caps, bool runs_programs) _must_use_;
/* For an unconfined verb: what was kept since start is in force again. */
struct err *confine_release(void) _must_use_;
