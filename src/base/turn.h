/*
 * turn.h: how long a thread's turns on a CPU are.
 *
 * The kernel gives every thread its fair share of a busy CPU in turns of some milliseconds, and one
 * that wakes up waits for the turn of whoever runs. A thread that mostly sleeps and then has little
 * to do may ask for short turns instead: it is let in at once as long as it uses less than its
 * share. Its share, and what others get, stays the same: this is no priority.
 *
 *     turn_shorten();    // first thing in a thread that answers people
 *
 * Processes and threads that it starts have the usual turns again. Kernels before 6.12 know no such
 * thing and ignore it.
 */
#pragma once

void turn_shorten(void);
