/* chunks.h: a disk as numbered members of an archive. Private to src/op. */
#pragma once

#include "op/portable/portable_impl.h"
#include "op/portable/tar.h"

/* Sends the disk as members PREFIX/00000000 … with their sums. */
struct err *chunks_send(struct tar_out *t, const char *prefix, const struct disk_out *out)
    _must_use_;

/* One for a whole archive: the first chunk says how long they are. Drop with chunks_done(). */
struct chunks_in {
    struct tar_in *tar;
    bool force;    /* wrong sums are no error */
    uint64_t unit; /* 0 before the first chunk */
    char *room;
    size_t room_size;
    void (*moved)(void *arg, uint64_t at); /* or NULL: the disk is filled up to there */
    void *moved_arg;
};
void chunks_done(struct chunks_in *c);
/* Takes all members of that prefix that come now, and fills the disk to its end.
 * IMPORT_ERROR_SOME_CHECKSUMS_FAILED. */
struct err *chunks_receive(struct chunks_in *c, const char *prefix, struct disk_in *in) _must_use_;
