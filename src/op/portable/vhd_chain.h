/*
 * vhd_chain.h: several VHDs, each of which is the difference to the next one (or to the one
 * before), joined on one disk. Private to src/op.
 *
 *     struct vhd_chain c = {0};
 *     for each file: TRY(vhd_chain_level(&c, &in));
 *     TRY(vhd_chain_check(&c));
 *     vhd_chain_done(&c);
 *
 * Where children come before their parents, what has been written is remembered: at most a 4096th
 * of what the files hold.
 */
#pragma once

#include "op/portable/portable_impl.h"

struct cover; /* which sectors of a disk have been written */

struct vhd_chain {
    uint8_t uuid[16], parent[16]; /* of the last level */
    unsigned levels;
    bool upwards;  /* parents come first */
    bool has_root; /* a level without a parent was there */
    struct cover *cover;
};
/* IMPORT_ERROR if the image is no neighbour of the last one. */
struct err *vhd_chain_level(struct vhd_chain *c, struct disk_in *in) _must_use_;
/* IMPORT_ERROR if the root is missing. */
struct err *vhd_chain_check(const struct vhd_chain *c) _must_use_;
void vhd_chain_done(struct vhd_chain *c);

/* cover.c */
struct cover *cover_new(uint64_t size);
void cover_free(struct cover *c); /* NULL is fine */
/* How far, from `at` on, sectors are all written or all not: *ret_there. At most `size`. */
size_t cover_run(const struct cover *c, uint64_t at, size_t size, bool *ret_there);
void cover_add(struct cover *c, uint64_t at, size_t size);
