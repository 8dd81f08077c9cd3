/*
 * ctl.h: the control socket, through which a running program is asked and steered.
 *
 * A client connects to a unix socket, sends one line and reads text until the end: first "ok" or
 * "error <why>" on a line of its own, then whatever the command prints. Only uid 0 and the uid of
 * the program are heard. Words are divided by blanks; "double quotes" hold a word with blanks
 * together (\" and \\ inside).
 *
 *     ctl_register("log", "MODULE|* LEVEL", set_log_level, NULL);
 *     TRY(ctl_listen(l, "/run/cairn/cairnd.ctl", &ctl));
 *     $ cairnctl log qmp debug
 *
 * Commands run on the loop that listens, so they do not block. Built in: `help` lists the
 * commands, `log` sets levels, `loops` shows what the loops did.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

struct ctl;

/* argv[0] is the command's name. What is wrong with the arguments is returned as an error, whose
 * first parameter the client sees. */
typedef struct err *(*ctl_fn)(void *arg, unsigned argc, const char *const *argv, struct buf *out);

/* Both strings are kept by pointer. Before ctl_listen(), or on its loop; a name again replaces. */
void ctl_register(const char *name, const char *usage, ctl_fn fn, void *arg);

struct err *ctl_listen(struct loop *l, const char *path, struct ctl **ret) _must_use_;
void ctl_free(struct ctl *c); /* on the loop's thread; NULL is fine */

/* Runs one line as the socket does and writes the whole answer; what ctl_listen serves, for tests
 * and for a program's own use. */
void ctl_run(struct view line, struct buf *out);

/* The client's side: sends one line and collects the answer, its first line included. Blocks.
 * -errno, or the size of the answer. */
ssize_t ctl_call(const char *path, const char *line, struct buf *ret);
