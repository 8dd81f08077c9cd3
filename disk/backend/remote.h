/*
 * remote.h: files of servers, known to modules.
 *
 * A path that begins with "nfs://" or the like is spoken of by a module: a shared object beside the
 * program, "cairn-disk-nfs.so", so that a process which serves local files pays for no library. It
 * is loaded before the sandbox is closed, or never.
 *
 *     remote_load("nfs");                      // its kind is known to file.h from now on
 *     remote_start(ring);                      // transfers will run on this loop
 *
 * Functions return 0 or -errno.
 */
#pragma once

#include <stdbool.h>

#include "disk/backend/file.h"

struct ring;
struct json_t;

/* Whether a path names a file of a server. */
bool remote_is(const char *path);
/* Again is fine. */
int remote_load(const char *scheme);
/* The module that a path needs; none for a local one. */
int remote_load_for(const char *path);
/* Whether a module that is loaded makes threads. */
bool remote_has_threads(void);
/* Once, after all modules are loaded. Without it files can only be read and written by calls that
 * block. */
void remote_start(struct ring *ring);

/* `cairn-diskd at VERB PATH [MORE]`: what a repository needs besides images; docs/diskd.md. */
int remote_tool(const char *verb, const char *path, const char *more, struct json_t **ret);

/* Where the files stand that locks on a server's files are put on; NULL: they are not locked. The
 * string must stay. */
void remote_set_lock_dir(const char *dir);
/* For modules: the lock of a path, as a file that must stay open; NULL where none are taken. */
int remote_lock(const char *path, enum file_lock how, struct file **ret);

/* What a module exports. */
struct remote_module {
    const char *scheme; /* "nfs" */
    struct file_kind kind;
    bool has_threads; /* its library makes threads of its own */
    void (*start)(struct ring *ring);
    int (*tool)(const char *verb, const char *path, const char *more, struct json_t **ret);
};
extern const struct remote_module remote_module;
