/*
 * vdi_cbt.h: changed-block tracking of VDIs: what snapshots, reverts and deletions do about it;
 * private to src/op. The logs themselves are host/sr_cbt.h's.
 *
 * VDI.cbt_enabled says that a VDI has a log: of a disk, one that cairn-diskd writes; of a snapshot,
 * the one the disk had when it was taken. A VDI whose data was destroyed (type cbt_metadata) is a
 * log and a record.
 */
#pragma once

#include "host/sr_cbt.h"
#include "op/world.h"

/* VDI_INCOMPATIBLE_TYPE for one that has no data. */
struct err *cbt_need_data(const struct rec_VDI *vdi) _must_use_;
/* Before the commit of an operation that takes a VDI away: claims the disk whose log comes behind
 * its own, if there is one; waits for who works on it. */
struct err *cbt_claim(struct op *op, const struct snap *s, const struct rec_VDI *vdi) _must_use_;
/* The VDI's volume goes, or is gone: so does its log, and what it tells is added to the next one.
 * The disk that writes that is paused meanwhile. No log: nothing happens. */
struct err *cbt_forget(struct op *op, const struct snap *s, const struct sr_ref *sr,
                       const char *uuid) _must_use_;
/* Behind the commit of a revert, while the disk is paused: its log tells how it differs now, or
 * goes.
 */
struct err *cbt_revert(struct op *op, const struct sr_ref *sr, const char *vdi,
                       const char *snapshot) _must_use_;
/* FACT_CBT_LOST: the record says so, and an alert. */
void cbt_lost(struct ops *ops, const char *uuid);
