/*
 * options.h: the command line of cairnd.
 *
 * Settings of the command line win over the file's. --help, --version, --hash-password and wrong
 * words end the program here (exit codes 0, 1, 2).
 */
#pragma once

#include "base/err.h"
#include "config.h"

enum options_mode {
    OPTIONS_RUN,
    OPTIONS_CHECK, /* print the settings and end */
};

struct err *options_read(struct config *c, int argc, char **argv, enum options_mode *ret_mode)
    _must_use_;
