/* crashdump.h: records of the crash folder's entries; see crashdump.c. */
#pragma once

#include "base/err.h"

struct ops;

/* Makes the records agree with the folder. A thread that may block. */
struct err *crashdumps_follow(struct ops *ops) _must_use_;
