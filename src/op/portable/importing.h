/* importing.h: one import under way, for vm_import.c and vm_add.c. Private to src/op. */
#pragma once

#include "op/portable/ova.h"
#include "op/portable/portable.h"
#include "op/portable/tar.h"

/* What the process that is called knows; what undo needs stands in the operation's context:
 * "disks", disk.<i>.id (in the archive), .uuid, .sr, .vdi (ref of the new VDI). */
struct foreign;
struct importing {
    const struct vm_in *in;
    struct tar_in *tar;
    struct ova_in ova;
    struct foreign *foreign; /* the file, whatever is in it */
    struct val *vms;         /* set of the new references, for the result */
};

const char *import_disk(struct op *op, size_t i, const char *what); /* "" if there is none */

/* vm_add.c: a VM that is the host itself, or a class that is not taken, is left out. */
bool import_takes_vm(const struct ova_object *obj);
/* The record of a disk of a VM that is taken: a VBD of type Disk with a VDI outside of ISO
 * repositories. False if it is another VBD. */
bool import_disk_of(const struct ova_in *o, const struct ova_object *vbd, struct ova_object *ret);
/* vm_tree.c: a snapshot of a VM that is taken, too. */
bool import_is_snapshot(const struct ova_in *o, const struct ova_object *vm);
/* Makes snapshots of those that are, once `refs` (ova_take()) has all VMs and disks. */
struct err *import_link(struct txn *t, const struct ova_in *o, const struct val *refs) _must_use_;
/* vm_asleep.c: a VM that was suspended and travels with its memory image. */
bool import_is_asleep(const struct ova_object *vm);
/* IMPORT_ERROR if nothing here could wake it. */
struct err *import_check_asleep(const struct ova_object *vm) _must_use_;
/* Notes one for the step behind the commit that makes them Suspended. */
void import_note_asleep(struct op *op, const char *vm, const char *boot, const char *vdi);
struct err *import_put_asleep(struct op *op) _must_use_;
/* Adds all records, in one transaction. `arg` is the operation, which lends the struct importing.
 */
struct err *import_add_txn(struct txn *t, void *arg) _must_use_;
