/*
 * uring.h: the backend that does its transfers on the loop's io_uring. Any alignment of memory is
 * fine: what O_DIRECT cannot take is copied. What was written is the kernel's when `done` is
 * called. Loop's thread.
 */
#pragma once

#include "disk/backend/backend.h"
#include "disk/ring.h"

struct backend *uring_backend_new(struct ring *ring);
/* Nothing may be in flight. */
void uring_backend_free(struct backend *b);
