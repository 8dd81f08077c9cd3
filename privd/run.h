/* run.h: running a program with input and collecting what it says. */
#pragma once

#include <stddef.h>

struct run_result {
    int status;      /* exit status, or 128 + signal */
    char *out, *err; /* NUL-terminated, cut at the ceiling */
};

/* argv[0] is an absolute path; the environment is a fixed, small one. `input` NULL: /dev/null.
 * Blocks until the program has ended and closed its outputs. 0 or -errno. */
int run_program(const char *const *argv, const char *input, size_t max, struct run_result *ret);
void run_result_done(struct run_result *r);
