/* proc.h: finding processes and folders that a predecessor has left. Private to src/host. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* The process of ours that has `argument` among its arguments, letter by letter. Reads all of
 * /proc: for the start, and for the unlikely. Zombies do not count. */
bool proc_find(const char *argument, pid_t *ret_pid, uint64_t *ret_start);
/* Does this process have it? */
bool proc_has_argument(pid_t pid, const char *argument);
/* The names of the folders in one, none if it is absent. Array and strings are the caller's. */
struct err *proc_folders(const char *dir, char ***ret, size_t *ret_n) _must_use_;
/* A program that lies beside this one, or the bare name for PATH. Owned by the caller. */
char *proc_beside(const char *name);
