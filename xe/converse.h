/*
 * converse.h: one command, asked of a host: the request, then the thin protocol until Exit.
 * Used by xe and xn; one thread.
 */
#pragma once

#include <stdio.h>

#include "xe/transfer.h"

/* Sends the words of `o` (asking for a password where one is needed) and does what the server says.
 * Its text goes to `out`, complaints to the standard error. The exit status. */
int converse_run(struct options *o, FILE *out);
