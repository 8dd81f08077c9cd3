/* control.h: the control socket of the daemon on this machine. For cairnctl and xn. */
#pragma once

/* CAIRN_CONTROL, else the socket of the development run that XE_EXTRA_ARGS leads to, else that of
 * an installed host. The caller's (free). */
char *control_socket(void);
/* Sends a line, prints the answer; 0, or 1 after saying what is wrong. */
int control_ask(const char *socket, const char *line);
/* The same, but the answer goes to *ret; only what is wrong is printed. */
struct buf;
int control_get(const char *socket, const char *line, struct buf *ret);
