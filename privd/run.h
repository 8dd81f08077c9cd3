/*
 * run.h: a program run to its end, with limits on what it may write and how long it may take.
 *
 * For workers: blocks. The program gets a fixed environment, "/" as its folder and nothing of ours
 * but its three standard descriptors. What passes a limit ends it, and is an error.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct run_spec {
    const char *const *argv; /* argv[0] is an absolute path */
    const char *input;       /* given on stdin; NULL: stdin is empty */
    unsigned seconds;        /* deadline */
};

/* What was written is put into the buffers, up to their ceilings. *ret_status is the exit status,
 * or 128 and the signal that ended it. */
struct err *run_program(const struct run_spec *spec, struct buf *out, struct buf *err,
                        int *ret_status) _must_use_;

/* The same for a program whose output does not matter; when it fails, the first line that it
 * complains in becomes the error, as far as it is printable, and it is called `name` there. */
struct err *run_tool(const struct run_spec *spec, const char *name) _must_use_;
