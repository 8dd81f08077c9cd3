/*
 * scenario.h: what torture breaks: for each step table a way to walk it.
 *
 * `setup` makes the world in which `run` makes sense; it is not disturbed. `run` is.
 */
#pragma once

#include "base/err.h"

struct lab;

struct scenario {
    const char *name;
    const char *kind; /* of the step table it walks */
    struct err *(*setup)(struct lab *w);
    struct err *(*run)(struct lab *w);
};

extern const struct scenario scenarios[]; /* ends with name NULL */
