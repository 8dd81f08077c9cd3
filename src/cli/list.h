/* list.h: <class>-list; for generic.c. Stream thread of the command. */
#pragma once

#include "cli/cmd.h"

/* Prints the objects of a family that pass the filters of the command line. */
struct err *list_run(struct cmd *c, const struct xe_family *f) _must_use_;
