/*
 * audit_file.h: the file behind the audit log, and the older ones beside it.
 *
 * Writing belongs to one thread; reading may go on elsewhere at the same time: it opens the files
 * by name, the oldest first. A turn of the files meanwhile may show some lines twice, never none.
 * Private to api/.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct audit_file {
    char *path;
    uint64_t max_bytes;
    unsigned keep; /* old files */
    int fd;        /* -1: not open */
    uint64_t size;
};

void audit_file_init(struct audit_file *f, const char *path, uint64_t max_bytes, unsigned keep);
void audit_file_done(struct audit_file *f);
/* Appends whole lines, all or none of them. 0 or -errno. */
int audit_file_write(struct audit_file *f, const void *lines, size_t size) _must_use_;
/* See audit_read. */
struct err *audit_file_read(const struct audit_file *f, const char *since,
                            int (*put)(void *arg, const void *p, size_t size), void *arg)
    _must_use_;
