/*
 * lvm_edit.h: LVM2's metadata changed, and made anew, for devices that lvm2's tools cannot see.
 *
 *     struct lvm_edit e;
 *     TRY(lvm_edit_open(text, &e, &why));         // which lvm_vg_parse() found sound, and must
 * stay r = lvm_edit_create(&e, &lv, 10); lvm_edit_write(&e, &out);                    // with the
 * next number of the sequence lvm_edit_done(&e);
 *
 * The text is kept as a tree, so that what we do not know is written as it was read. Groups on one
 * physical volume are changed, no others. A new text never lies where the valid one does, so that
 * the header (512 bytes, one write) decides between them; see lvm_mda_next().
 *
 * Functions return 0 or -errno: -ENOSPC no extents, -ENOENT, -EEXIST, -EBUSY a volume that others
 * are made of, -EINVAL with the reason in *ret_why, a static string. Sizes of volumes are counted
 * in extents. Pure, any thread.
 */
#pragma once

#include "base/buf.h"
#include "codec/lvm.h"

struct lvm_node;

struct lvm_edit {
    struct lvm_node *root, *group, *pv;
    VEC(char *) texts; /* that parts of the tree point into */
};
int lvm_edit_open(struct view text, struct lvm_edit *ret, const char **ret_why);
void lvm_edit_done(struct lvm_edit *e);

/* Without characters that a string of lvm.conf(5) escapes. */
struct lvm_new_lv {
    const char *name, *id, *host;
    int64_t now; /* seconds since 1970 */
};
int lvm_edit_create(struct lvm_edit *e, const struct lvm_new_lv *lv, uint64_t extents);
/* To so many extents; fewer than it has, or more: -EINVAL. */
int lvm_edit_extend(struct lvm_edit *e, const char *name, uint64_t extents);
int lvm_edit_reduce(struct lvm_edit *e, const char *name, uint64_t extents);
int lvm_edit_rename(struct lvm_edit *e, const char *name, const char *to);
int lvm_edit_remove(struct lvm_edit *e, const char *name);
int lvm_edit_writable(struct lvm_edit *e, const char *name);
/* Raises the number of the sequence. */
void lvm_edit_write(struct lvm_edit *e, struct buf *out);

/* ---- lvm_new.c: what stands around the text ---- */

#define LVM_NEW_MDA_AT 4096u /* of groups that are made here */

struct lvm_new_vg {
    const char *name, *id, *pv_id, *host;
    uint64_t device_size; /* bytes */
    int64_t now;
};
/* A group without volumes, as XenServer makes them; `label` stands at the device's beginning, what
 * the text is to lie in at *mda. -ENOSPC: the device has not one extent. */
int lvm_new_group(const struct lvm_new_vg *n, uint8_t label[LVM_LABEL_BYTES], struct lvm_area *mda,
                  struct buf *text);
/* Random ids, as lvm2's tools write them. */
void lvm_new_id(char ret[LVM_ID_SIZE]);
/* Where a text of so many bytes goes, `old` (size 0: there is none) being valid until it is there:
 * -ENOSPC. It does not run over the area's end. */
int lvm_mda_next(const struct lvm_area *mda, const struct lvm_place *old, size_t size,
                 struct lvm_place *ret);
/* The header of the area that says so; with size 0 there is no group. */
void lvm_mda_put(const struct lvm_area *mda, const struct lvm_place *text,
                 uint8_t out[LVM_MDA_BYTES]);
