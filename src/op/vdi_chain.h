/*
 * vdi_chain.h: disks that share what they have in common; private to src/op.
 *
 * Snapshots, clones and reverts are all made of one thing: the content of some disks is kept as
 * base copies, and new disks are built on them. A set of such disks is part of the context of the
 * operation, and its functions are steps:
 *
 *     chain_add(op, vdi, CHAIN_SNAPSHOT)   in a planning step, for each disk
 *     {"pause disks", chain_pause, chain_resume},       guests' writes wait
 *     {"split volumes", chain_split, chain_unsplit},    all at the same moment of the guest
 *     {"add records", …, .commit = true}                calls chain_put_records()
 *     {"resume disks", chain_resume},
 *
 *        before        split                     beside (a disk that was not written since)
 *        leaf        base <- leaf                parent <- leaf
 *                         <- new                        <- new
 *
 * The base copy is a VDI of its own, `managed` is false. sm_config:vhd-parent of a VDI names the
 * uuid of what it is built on.
 */
#pragma once

#include "op/world.h"

enum chain_use {
    CHAIN_SNAPSHOT, /* the new VDI is a snapshot of the old one */
    CHAIN_CLONE,    /* it is a disk of its own */
    CHAIN_BACK,     /* it will take the place of another (VM.revert) */
    CHAIN_ALONE,    /* there is no new one: the old VDI becomes an empty child of a base copy */
};

/* Can this VDI be built upon? SR_OPERATION_NOT_SUPPORTED, VDI_NOT_MANAGED, a chain that is too
 * long. */
struct err *chain_check(const struct snap *s, const struct rec_VDI *vdi) _must_use_;
/* Adds a disk to the set; the new VDI has its ref and uuid from now on. */
struct err *chain_add(struct op *op, const char *vdi, enum chain_use use) _must_use_;
size_t chain_count(struct op *op);
/* "vdi": ref of the old VDI, "ref", "uuid": of the new one, and what a caller has put. */
const char *chain_get(struct op *op, size_t i, const char *what);
void chain_put(struct op *op, size_t i, const char *what, const char *value);
/* The ref of the new VDI for that one; NULL if it is not in the set. */
const char *chain_new_of(struct op *op, const char *vdi);

struct err *chain_pause(struct op *op) _must_use_;
struct err *chain_resume(struct op *op) _must_use_;
struct err *chain_split(struct op *op) _must_use_;
struct err *chain_unsplit(struct op *op) _must_use_;
/* Of a set that grows, of a disk that nobody uses: the one that was added last. */
struct err *chain_split_last(struct op *op) _must_use_;
struct err *chain_shrink_last(struct op *op) _must_use_; /* what it is built on now */
/* Base copies give back what they need no more while nobody reads them, then all go on: behind the
 * commit. chain_finish also reads sizes into the records. */
struct err *chain_go_on(struct op *op) _must_use_;
struct err *chain_finish(struct op *op) _must_use_;
struct err *chain_note_sizes(struct op *op) _must_use_;
/* In the transaction that commits: base copies and new VDIs; of CHAIN_BACK with an "old" VDI, that
 * its content is now built on the same. */
void chain_put_records(struct txn *t, struct op *op);

/* What a VDI is built on, NULL if nothing is known. */
const struct rec_VDI *chain_parent(const struct snap *s, const struct rec_VDI *vdi);
/* How many are built on it directly. */
unsigned chain_children(const struct snap *s, const struct rec_VDI *vdi);
/* A new value of sm_config:vhd-parent; "" takes it away. */
void chain_set_parent(struct rec_VDI *vdi, const char *uuid);
/* The record of a base copy of that uuid and location, on which `old` is built from now on. */
void chain_put_base(struct txn *t, struct rec_VDI *old, const char *uuid, const char *at);

/* Keys of sm_config: what a VDI is built on; how often it has shed what it had, to be joined. */
#define CHAIN_PARENT "vhd-parent"
#define CHAIN_SHED   "leaf-shed"
