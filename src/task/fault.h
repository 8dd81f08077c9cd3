/*
 * fault.h: named places where a test can make things go wrong.
 *
 *     TRY(fault_point("vm_start/attach disks/before"));
 *
 * In a normal run a fault point costs a counter. A test arms either the n-th point passed
 * (fault_fail_nth: that one returns an error) or a death (fault_die_at: the process ends there with
 * _exit(FAULT_EXIT), or a hook of the test is called instead). Names of points passed can be
 * recorded, so a test can try all of them. Any thread; arming only while nothing runs.
 *
 * A held point stops whoever comes there until it is released, so that a test can look at a moment
 * in the middle of an operation, cancel it there, or let two meet. Holding is possible at any time:
 * `cairnctl fault hold NAME` in a development run.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define FAULT_EXIT 86

struct err *fault_point(const char *name) _must_use_;
/* The same where nothing can fail, only die. */
void fault_mark(const char *name);

/* One point is held at a time; another name releases the first, NULL releases. */
void fault_hold(const char *name);
bool fault_is_held(const char *name);
bool fault_is_reached(void); /* somebody has come to the point that is held */

void fault_clear(void);
void fault_fail_nth(unsigned n); /* from 1 */
void fault_die_nth(unsigned n);  /* from 1, of all marks and points passed */
void fault_on_death(void (*fn)(const char *name, void *arg), void *arg);
unsigned fault_count(void);       /* points passed since fault_clear */
unsigned fault_count_marks(void); /* marks and points */
const char *fault_last(void);     /* name of the one that struck; "" if none did */

/* Makes all that a command of the control socket: "fault fail N", "fault die N", "fault clear",
 * "fault hold NAME", "fault release", "fault held" ("reached" or "not reached") and "fault" alone,
 * which tells the counts. A daemon offers it in a development run only. */
void fault_control(void);
