/* loop_impl.h: what loop.c and clock.c share. Private to this folder. */
#pragma once

#include "loop/loop.h"

/* Wakes all loops, so that they look at the clock again. Any thread. */
void loop_wake_all(void);
/* The monotonic clock of the machine, whatever is faked; for measuring callbacks. */
usec_t clock_machine(void);
bool clock_is_fake(void);
