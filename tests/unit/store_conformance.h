/*
 * store_conformance.h: what every kind of store must do (state/store.h), as cmocka tests.
 *
 * A test program says how to open its store; each test starts on an empty one.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "state/store.h"

struct conformance {
    /* Opens the store; the same contents each time until `clear`. */
    struct err *(*open)(enum store_mode mode, struct store **ret);
    void (*clear)(void);
};

/* Runs all tests; returns the number that failed. */
int store_conformance_run(const char *name, const struct conformance *c);
