/*
 * rfb.h: one look at a guest's screen, as a client of its RFB server (RFC 6143).
 *
 *     _cleanup_(picture_done) struct picture p = {0};
 *     TRY(rfb_snapshot(fd, &p));           // p.pixels[(y * p.width + x) * 3]: red, green, blue
 *
 * What the server says is not believed: sizes are bounded, and the whole conversation has a
 * deadline. Blocking; an operation or stream thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct picture {
    unsigned width, height;
    uint8_t *pixels; /* three bytes each, row by row; owned */
};

void picture_done(struct picture *p);
/* The screen behind a connected socket, which stays the caller's. */
struct err *rfb_snapshot(int fd, struct picture *ret) _must_use_;
