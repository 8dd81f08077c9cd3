/*
 * vm_ops.h: steps and kinds that several files of VM operations share; private to src/op.
 *
 * Steps work on op->self, the VM. Each can be repeated.
 */
#pragma once

#include "op/world.h"

struct err *op_boot(struct op *op, struct boot **ret) _must_use_;   /* the stored boot record */
struct err *op_vm_uuid(struct op *op, const char **ret) _must_use_; /* an rstr of the caller's */

/* steps */
struct err *attach_disks(struct op *op) _must_use_;
struct err *detach_disks(struct op *op) _must_use_;
struct err *kill_guest(struct op *op) _must_use_;
struct err *unpause_guest(struct op *op) _must_use_; /* unless the context says paused */
struct err *delete_suspend_image(struct op *op) _must_use_;
struct err *take_domid(struct op *op) _must_use_;    /* into the context */
struct err *mark_rebooted(struct op *op) _must_use_; /* a commit step */
struct err *believe_guest(struct op *op) _must_use_; /* undo of what gave it the domid */
struct err *mark_halted(struct op *op) _must_use_;   /* a commit step */

/* disk_wait.c. An error that names the repository and the remedy while a disk of the VM waits for
 * it: the VM cannot be saved then. */
struct err *need_no_waiting_disk(struct op *op) _must_use_;
void disk_wait_fact(struct ops *ops, const struct host_fact *fact);
void disk_low_fact(struct ops *ops, const struct host_fact *fact);
/* Little is left, in bytes. On core. */
void sr_low_alert(struct txn *t, const struct rec_SR *sr, uint64_t left, uint64_t all);
/* root_device.c: FACT_ROOT_NAMED. Mon loop. */
void root_named(struct ops *ops, const struct host_fact *fact);
void disk_again(struct ops *ops, const struct host_fact *fact);

/* vm_stop.c: steps of saving a running guest: context "image.sr", "image.uuid", "suspend_VDI" */
struct err *image_name(struct op *op) _must_use_;
struct err *image_make(struct op *op) _must_use_;
struct err *image_drop(struct op *op) _must_use_;
struct err *guest_save(struct op *op) _must_use_;
struct err *guest_unsave(struct op *op) _must_use_;

/* The image of the memory: context "suspend_VDI", else the VM's. */
struct err *suspend_image(struct op *op, struct image *ret) _must_use_;
/* Builds the guest, paused, from its boot record and that image. */
struct err *restore_guest(struct op *op) _must_use_;

/* vdi_op.c: a volume and its record, made and taken away; used by provision, suspend, VDI.*. */
struct vdi_make {
    const char *sr; /* ref */
    const char *uuid;
    const char *name, *description;
    enum vdi_type type;
    uint64_t size_bytes;
    const struct val *sm_config, *other_config;
    bool sharable, read_only;
};
struct err *vdi_make(struct op *op, const struct vdi_make *m, const char **ret_ref) _must_use_;
/* By uuid; absent record or volume is fine. `sr` is where it was meant to be. */
struct err *vdi_unmake(struct op *op, const char *uuid, const char *sr) _must_use_;

/* Enlarges a volume that nobody uses, unless it is so large. */
struct err *vdi_grow(struct op *op, const char *vdi, int64_t size) _must_use_;
/* Reads the volume's sizes into the record. */
struct err *vdi_note_size(struct op *op, const char *vdi) _must_use_;

/* sm_config:image-format, of a disk in a repository that keeps disks of several formats. */
void vdi_note_format(struct rec_VDI *vdi, const struct rec_SR *sr, const char *format);
/* The parameters of a volume like that one, elsewhere; strings are borrowed. */
struct vdi_make vdi_make_like(const struct rec_VDI *vdi, const char *sr, const char *uuid);
/* vdi_copy.c: content goes into a new VDI, or into one that has some; as differences from a base,
 * or (`base` is "") as a whole. Cancel is looked at. */
struct vdi_copy {
    const char *from, *base, *to; /* refs */
    bool is_fresh;                /* the target reads as zeroes */
    double first, part; /* of the step's progress: where this begins, and how much it is */
};
struct err *vdi_copy_as(struct op *op, const struct vdi_copy *c) _must_use_;
/* Everything that is in one VDI into another of the same size; cancel is looked at. */
struct err *vdi_copy_content(struct op *op, const char *from, const char *to) _must_use_;
/* Ends the transfer, whatever is left of it: the undo of steps that copy. */
struct err *vdi_copy_end(struct op *op) _must_use_;

/* vm_config.c */
struct err *vm_check_memory(const struct rec_VM *vm) _must_use_;
struct err *vm_check_vcpus(const struct rec_VM *vm) _must_use_;
/* vm_make.c */
void vm_new_mac_seed(struct rec_VM *vm);
void vm_add_metrics(struct txn *t, struct rec_VM *vm);
/* vm_config.c: numbers that are free, as a set of texts, lowest first */
struct val *vm_free_vbd_numbers(const struct snap *s, const struct rec_VM *vm);
struct val *vm_free_vif_numbers(const struct snap *s, const struct rec_VM *vm);
/* vif.c */
void mac_random(char out[18]);
/* Six pairs of hex digits with colons, into lower case; no group address. */
bool mac_parse(const char *text, char out[18]);
/* sr_set.c: the first xapi<N> that no network has. */
void network_free_bridge(struct txn *t, char out[24]);
/* vm_clone.c: a VM like this one with full copies of its disks; sr "": each where it is. */
struct err *vm_copy_to(struct op *op, const char *name, const char *sr, struct val **ret)
    _must_use_;
/* vm_twin.c: a field of class VM that a copy of the VM does not take over. */
bool vm_field_is_own(const char *name);

#define KIND(name) extern const struct op_kind kind_##name;
#include "op/kinds.h"
#undef KIND

/* vdi_op.c: steps: keeps in the context where the volume of op->self is; deletes that one. */
struct err *vdi_note_volume(struct op *op) _must_use_;
struct err *vdi_delete_noted(struct op *op) _must_use_;
/* A volume whose record has gone; NULL: wherever it is. Absent is fine. */
struct err *vdi_delete_volume(struct op *op, const char *sr, const char *uuid, const char *location)
    _must_use_;
/* vdi_op.c: a disk that goes with what owns it: claimed, forgotten, deleted. HANDLE_INVALID. */
struct err *vdi_remove(struct op *op, const char *ref) _must_use_;
