/*
 * record.h: what the recorder writes down and the replay reads: one entry for each thing that
 * happened to the file system, in the order in which it happened.
 *
 * An entry is a `struct record` in host order, and `size` bytes behind it for those that have some.
 */
#pragma once

#include <stdint.h>

enum record_kind {
    RECORD_CREATE = 1, /* bytes: the name */
    RECORD_WRITE,      /* bytes: the data */
    RECORD_SIZE,       /* the file is `at` bytes long now */
    RECORD_ZERO,       /* `length` bytes read as zeroes; the file's size stays */
    RECORD_SYNC,       /* fsync or fdatasync has been done */
    RECORD_RENAME,     /* bytes: the old name, NUL, the new name */
    RECORD_UNLINK,     /* bytes: the name */
    RECORD_SYNC_DIR,   /* the folder */
    RECORD_MARK        /* bytes: a line of whoever makes the load; see replay.c */
};

struct record {
    uint32_t kind;
    uint32_t file; /* a number that is never given again */
    uint64_t at, length;
    uint64_t size; /* of what follows */
};

#define RECORD_SIZE_MAX (1u << 20)
#define RECORD_MARKS    "mark" /* the file whose writes are marks */
/* A file whose name begins so stands for a device of that size: what was never written is not zero.
 */
#define RECORD_DEVICE      "device"
#define RECORD_DEVICE_SIZE (28ull << 20)
