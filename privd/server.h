/*
 * server.h: connections in, a process for each, answers out.
 *
 * The listening process does nothing that can hang: it accepts, looks at who asks (SO_PEERCRED),
 * forks, and reaps. A worker serves one request and ends, so a mount or a PAM module that hangs
 * keeps nobody else waiting, and one that crashes takes nothing along. If a worker dies or is late,
 * the listening process answers in its place.
 *
 *     accept -> uid? -> fork -> [worker: read, check, confine, do, answer, end]
 *                 \                                                   |
 *                  `-> refused          late, or dead unanswered -> answered for it, killed
 *
 * Nothing is remembered between requests: killed and restarted, it goes on as if nothing was.
 */
#pragma once

#include "privd/place.h"

/* Binds a unix socket that anybody may connect to; who is answered is decided by credentials. A
 * stale socket is replaced. The folder may be the caller's: nothing is done to the path but unlink
 * and bind, so nothing put in its place is changed. */
struct err *server_bind(const char *path, int *ret_fd) _must_use_;
/* The socket that the service manager has made, if it has (LISTEN_PID, LISTEN_FDS): *ret_fd is -1
 * if not. */
struct err *server_inherited(int *ret_fd) _must_use_;

/* Until SIGTERM or SIGINT; then what is under way is finished first. */
struct err *server_run(int listen_fd, const struct place *p) _must_use_;
