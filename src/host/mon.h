/* mon.h: working on the mon loop from other threads. Private to src/host. */
#pragma once

#include "loop/loop.h"

/* Runs fn(arg) on the loop's thread and waits for its end; at once when that is the caller's. */
void mon_run(struct loop *l, loop_fn fn, void *arg);
