/*
 * child.h: processes that we start, or find still running, and how they end.
 *
 * The only place outside privd that runs programs. A child is watched through a pidfd by a loop,
 * whose thread calls the exit function; nothing here uses SIGCHLD. Children outlive us on purpose:
 * after a restart they are taken up again with child_adopt().
 *
 *     const char *argv[] = {"/usr/bin/qemu-system-x86_64", "-nodefaults", NULL};
 *     const struct child_fd fds[] = {{.parent = sock, .child = 3}};
 *     struct child_spec spec = {.argv = argv, .fds = fds, .n_fds = 1, .log_file = path};
 *     TRY(child_spawn(l, &spec, on_exit, vm, &vm->qemu));
 *
 * Except for child_run, functions are called on the loop's thread, or before the loop runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "loop/loop.h"

struct child;

struct child_fd {
    int parent; /* ours; stays ours */
    int child;  /* its number there; not 0 to 2 when a log file or output is asked for */
};

struct child_spec {
    const char *const *argv;    /* argv[0] is looked up in PATH when it has no slash */
    const char *const *env;     /* NULL: ours */
    const struct child_fd *fds; /* handed over besides 0 to 2; everything else is closed */
    unsigned n_fds;
    const char *log_file; /* stdout and stderr are appended there; NULL: they are ours */
    bool new_session;     /* setsid: our terminal's signals do not reach it */
};

struct child_exit {
    bool known; /* false for adopted ones, whose end is seen but not its reason */
    int code;   /* exit status, or -1 */
    int signal; /* what killed it, or 0 */
};

/* Called once. The child may be freed inside. */
typedef void (*child_exit_fn)(void *arg, const struct child_exit *how);

struct err *child_spawn(struct loop *l, const struct child_spec *spec, child_exit_fn fn, void *arg,
                        struct child **ret) _must_use_;
/* Watches a process that is not our child. `start` is what child_start_time() once told of it: a
 * recycled pid is not adopted. ESRCH in the error's errno when it is gone. */
struct err *child_adopt(struct loop *l, pid_t pid, uint64_t start, child_exit_fn fn, void *arg,
                        struct child **ret) _must_use_;
pid_t child_pid(const struct child *c);
/* Clock ticks from boot to the start of a process; with the pid it names a process for good.
 * -ESRCH when there is none. */
int child_start_time(pid_t pid, uint64_t *ret) _must_use_;
int child_kill(const struct child *c, int sig); /* never hits a recycled pid; -ESRCH */
/* Stops watching; the process lives on. One that was spawned is then reaped by our own end only. */
void child_free(struct child *c); /* NULL is fine */
static inline void child_freep(struct child **c)
{
    child_free(*c);
    *c = NULL;
}

/* Runs a program to its end and collects its stdout (up to the buffer's ceiling; the rest is
 * dropped) and, when `ret_err` is not NULL, its stderr. Blocks: for operation threads, never on a
 * loop. Killed at the deadline (by clock_now of the machine), errno ETIMEDOUT. An exit status
 * other than 0 is no error here. */
struct err *child_run(const struct child_spec *spec, usec_t timeout, struct buf *ret_out,
                      struct buf *ret_err, struct child_exit *ret_exit) _must_use_;
