/*
 * image_qcow2.h: an open qcow2 image. Private to the files of the format and their tests.
 *
 * While an image is open for writing it is marked as dirty: its reference counts are written when
 * it is closed, and whoever finds the mark counts anew. So writing data costs L2 entries only, and
 * a crash needs no order between them and the counts. Nothing is ever allocated in a hole: a
 * cluster that nobody refers to any more stays one.
 */
#pragma once

#include "codec/qcow2.h"
#include "disk/image.h"
#include "disk/qcow2_map.h"

#define Q2_BITS    16u
#define Q2_CLUSTER (1ull << Q2_BITS)

struct qcow2 {
    struct qcow2_header header;
    struct q2_map map;
    uint64_t counted_to; /* byte in the file up to which the counts are right, unless… */
    bool needs_count;    /* …all of them must be made anew */
    bool was_lazy;
};

extern const struct image_ops image_qcow2_ops;

int qcow2_write_header(struct image *im);

/* refcount_qcow2.c: blocking, job thread. */

/* Finds what is referred to: *ret_end is the byte behind it. -EINVAL when two things share a
 * cluster. */
int qcow2_find_end(struct image *im, uint64_t *ret_end, const char **ret_why);
/* Brings the counts up to what is in the file; may move map.next_free. */
int qcow2_write_counts(struct image *im);

/* create_qcow2.c, grow_qcow2.c: members of struct image_ops. */
int image_qcow2_fill(struct file *f, const struct parent_facts *parent, struct image_made *made);
int image_qcow2_grow(struct image *im, uint64_t size, const char **ret_why);
int image_qcow2_set_parent(struct image *im, const struct parent_facts *parent);
int image_qcow2_set_hidden(struct image *im, bool hidden);
