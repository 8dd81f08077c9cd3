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

/* The image of a VDI as a guest gets it; image_done(). */
struct err *move_image(struct op *op, const char *vdi, struct image *ret) _must_use_;
