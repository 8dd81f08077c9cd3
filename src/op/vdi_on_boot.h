/*
 * vdi_on_boot.h: disks that forget at each start of their VM; private to src/op.
 *
 * A disk with on_boot=reset is an empty child of a base copy. What was written into it goes when
 * its VM starts, or starts again: another empty child of the same takes its place. These are steps
 * of the operations that do so; op->self is the VM.
 *
 *     {"plan resets", resets_plan, NULL}, {"reset disks", resets_run, resets_undo},
 *
 * A start that fails afterwards leaves them empty: nobody would have seen their content again.
 */
#pragma once

#include "op/world.h"

/* Claims the disks, and names what is made. Waits while one is just being tidied. */
struct err *resets_plan(struct op *op) _must_use_;
/* Empties those that were written. No guest may run on them. */
struct err *resets_run(struct op *op) _must_use_;
/* Takes away what did not get its place. */
struct err *resets_undo(struct op *op) _must_use_;

/* Has the VM such a disk? */
bool vm_has_resets(const struct snap *s, const struct rec_VM *vm);
/* VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION if it has: its disks' content does not last. */
struct err *vm_need_no_resets(const struct snap *s, const char *vm) _must_use_;
