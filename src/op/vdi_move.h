/*
 * vdi_move.h: what the two ways of moving a disk share; private to src/op.
 *
 * Context: "to" SR, "format" asked for or "", "image.uuid" and "result" of the new VDI, and what
 * vdi_note_volume() keeps of the old one.
 */
#pragma once

#include "op/world.h"

#define MOVE_LIVE "VDI.pool_migrate live" /* the table of vdi_move_live.c */

/* steps */
struct err *move_note(struct op *op) _must_use_;
struct err *move_make(struct op *op) _must_use_;
struct err *move_unmake(struct op *op) _must_use_;
struct err *move_commit(struct op *op) _must_use_; /* devices show the new one, the old goes */

/* vdi_move_tree.c: snapshots. Claims and notes those that come along; then steps: into the new
 * volume, which is split for each; the disk's own content behind them; what is left of the old. */
struct err *move_plan_snapshots(struct op *op) _must_use_;
struct err *move_copy_snapshots(struct op *op) _must_use_;
struct err *move_drop_snapshots(struct op *op) _must_use_; /* undo */
struct err *move_copy_disk(struct op *op) _must_use_;
struct err *move_delete_old(struct op *op) _must_use_;
/* In the transaction that commits. */
struct err *move_put_snapshots(struct txn *t, struct op *op) _must_use_;

/* What the new record has from the old one besides what vdi_make_like() gives. */
void move_fields(struct rec_VDI *new, const struct rec_VDI *old);
/* `image`: as guests that run or sleep know the new one; NULL: there are none. */
struct err *move_devices(struct txn *t, const struct rec_VDI *old, const char *to,
                         const struct image *image) _must_use_;

/* The image of a VDI as a guest gets it; image_done(). */
struct err *move_image(struct op *op, const char *vdi, struct image *ret) _must_use_;
