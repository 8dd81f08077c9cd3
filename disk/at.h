/*
 * at.h: `cairn-diskd at VERB PATH [MORE]`: what a repository on a server needs besides images,
 * which are files among others there. One question a process; docs/diskd.md lists the verbs.
 */
#pragma once

/* Prints the answer, or {"error": {"code", "message"}}; returns the exit code. */
int at_run(const char *verb, const char *path, const char *more);

/* at_copy.c: a file of a server's into one of this host that is there, and the other way; 0 or
 * -errno. */
int at_fetch(const char *url, const char *local);
int at_put(const char *url, const char *local);

/* at_bytes.c: bytes of a block device on a server, and changes of them. */
struct json_t;
int at_read(const char *url, const char *what, struct json_t **ret);
int at_commit(const char *url, const char *local);
