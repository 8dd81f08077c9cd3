/*
 * cbt.h: recording which blocks of a disk are written, in the log beside its image
 * (codec/cbtlog.h).
 *
 * The log is opened with the image and marked as open; from then on each write sets its bits before
 * it begins; closing writes the log out and marks it as whole. So after a crash of the machine the
 * log is found open, and is not believed again. One on this host is mapped, so that its bits
 * outlive the process: whoever opens it in the same boot of the machine goes on with it.
 *
 *     struct cbt *c;
 *     int r = cbt_open("/sr/x.cbtlog", size, &c, &why);    // job thread, behind chain_open
 *     if (r == 0) cbt_mark(c, offset, size);               // loop's thread
 *     r = cbt_close(c);                                    // job thread, behind chain_close
 */
#pragma once

#include "disk/image.h"

struct cbt;

/* What a log told when it was read, for those who look at the disk at rest. */
struct cbt_bitmap {
    uint64_t disk_size;
    uint8_t *bits;
};
/* -ENOENT; -ESTALE: it does not tell everything, or is of a disk of another size. Blocks. */
int cbt_read(const char *path, uint64_t disk_size, struct cbt_bitmap **ret);
void cbt_bitmap_free(struct cbt_bitmap *b); /* NULL is fine */
/* Whether there was written at `at`, and for how long that is so, at most `size`. */
bool cbt_bitmap_at(const struct cbt_bitmap *b, uint64_t at, uint64_t size, uint64_t *ret_size);

/* What became of the log of an open disk. */
enum cbt_state {
    CBT_NONE,     /* there is none */
    CBT_TRACKING, /* what is written is recorded */
    CBT_LOST      /* there is one, but it does not tell everything: it is left alone */
};
const char *cbt_state_name(enum cbt_state s);

/* -ENOENT: there is none; -ESTALE: it was not closed, or is of another disk; blocks. A log of a
 * smaller disk grows. */
int cbt_open(const char *path, uint64_t disk_size, struct cbt **ret, struct image_why *why);
/* Before the write begins. NULL is fine. */
void cbt_mark(struct cbt *c, uint64_t offset, uint64_t size);
/* The log is whole again, if this is 0; freed all the same. NULL is fine; blocks. */
int cbt_close(struct cbt *c);
