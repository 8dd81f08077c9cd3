/*
 * kernel_log.h: the messages of the machine's kernel.
 *
 * They are read by ourselves where the kernel lets us, else by cairn-privd. A development run
 * never touches the machine: it reads, but what it clears is only its own view (a file of its
 * machine folder remembers how far).
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct host;

/* The text is the caller's, valid UTF-8. With `clear` later calls tell only what came since. Any
 * thread but a loop. */
struct err *host_kernel_log(struct host *h, bool clear, char **ret) _must_use_;
