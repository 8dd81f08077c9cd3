/* vm_snapshot.h: what snapshots of VMs share with their schedules; private to src/op. */
#pragma once

#include "op/world.h"

/* vmss.c: for snapshots with a "schedule" (ref) in their context: when one is taken, in the
 * transaction; afterwards, to let the oldest go; and the undo of one that fails. */
void vmss_taken(struct txn *t, const char *vmss);
void vmss_retire(struct op *op);
struct err *vmss_failed(struct op *op) _must_use_;

/* Claims a disk for an operation on its chain; waits for what the house itself does to it. */
struct err *chain_claim(struct op *op, const char *vdi, int operation) _must_use_;

/* Steps of VM.snapshot: which disks, which memory; and the records. */
struct err *snapshot_plan(struct op *op, bool with_memory) _must_use_;
struct err *snapshot_add(struct op *op) _must_use_;
struct err *snapshot_finish(struct op *op) _must_use_; /* disks go on, old snapshots go */
