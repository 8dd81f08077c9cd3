/*
 * console.h: the serial console of one guest. Private to src/host.
 *
 * cairnd keeps one connection to the guest's serial port and the last 64 KiB it said, in a file
 * that is mapped, so that they outlive cairnd too. Any number of clients attach: each gets a
 * descriptor that begins with what was kept and goes on with what is said; what it writes goes to
 * the guest. A client that reads too slowly is cut off rather than waited for.
 */
#pragma once

#include "base/err.h"
#include "loop/loop.h"

#define CONSOLE_RING (64U << 10)

struct console;

/* Takes the connected descriptor over, also on failure. Mon loop's thread. */
struct err *console_new(struct loop *l, int fd, const char *ring_path, struct console **ret)
    _must_use_;
/* fn is told, once, if the guest says that its root is on a disk of Xen's (root_hint.h). Mon loop's
 * thread. */
void console_watch_root(struct console *c, void (*fn)(void *arg, const char *device), void *arg);
/* Closes the connection and all clients. Mon loop's thread; NULL is fine. */
void console_free(struct console *c);
/* Mon loop's thread. */
struct err *console_attach(struct console *c, int *ret_fd) _must_use_;
