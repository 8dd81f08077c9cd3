/*
 * foreign.h: disks and machines in files of other systems: VHD, qcow2, VMDK, raw; a chain of VHD in
 * an archive; OVA. Private to src/op.
 *
 * What a file is, is known by its content. A machine in one becomes a description as archives of
 * VMs have it (ova.h), so that all that follows is the same; its disks have the ids "disk:0",
 * "disk:1" …
 */
#pragma once

#include "codec/ovf.h"
#include "op/portable/ahead.h"
#include "op/portable/importing.h"
#include "op/portable/scratch.h"
#include "op/portable/tar.h"

/* ---- foreign.c: one disk ---- */

enum foreign_disk { DISK_UNKNOWN, DISK_RAW, DISK_VHD, DISK_QCOW2, DISK_VMDK };

/* By the first bytes (AHEAD_SIZE, if there are as many). DISK_UNKNOWN if they say nothing, DISK_RAW
 * if a boot sector, a partition table or a file system begins there. IMPORT_ERROR that names a
 * format which is known and not read. */
struct err *foreign_look(const char *first, size_t size, enum foreign_disk *ret) _must_use_;
/* The size of the disk. `length` of the file, 0 if that is not known. */
struct err *foreign_measure(enum foreign_disk kind, const char *first, size_t size, uint64_t length,
                            uint64_t *ret) _must_use_;
/* Onto a disk that is new. `scratch` knows the length of the file. */
struct err *foreign_receive(enum foreign_disk kind, struct disk_in *in, struct scratch *scratch)
    _must_use_;
/* VDI_TOO_SMALL if a disk of so many bytes does not fit. */
struct err *foreign_check_size(const struct disk_in *in, uint64_t size) _must_use_;

/* qcow2_in.c, vmdk_in.c */
struct err *qcow2_measure(const char *first, size_t size, uint64_t *ret) _must_use_;
struct err *qcow2_receive(struct disk_in *in, struct scratch *scratch) _must_use_;
struct err *vmdk_measure(const char *first, size_t size, uint64_t *ret) _must_use_;
struct err *vmdk_receive(struct disk_in *in, struct scratch *scratch) _must_use_;

/* ---- foreign_vm.c: a machine ---- */

enum foreign_kind { FOREIGN_NONE, FOREIGN_DISK, FOREIGN_CHAIN, FOREIGN_OVA };

struct foreign {
    const struct vm_in *in;
    enum foreign_kind kind; /* FOREIGN_NONE: an archive of our own, or nothing that is known */
    struct ahead whole;     /* all of the bytes; whoever reads them reads here */
    struct ahead member;    /* of the archive's member that is read */
    struct portable_io member_io;
    struct tar_in *tar;
    struct ovf ovf;
    enum foreign_disk disk;
    uint64_t size; /* of the only disk */
};
void foreign_init(struct foreign *f, const struct vm_in *in);
void foreign_done(struct foreign *f);
/* Looks what comes. Unless that is FOREIGN_NONE, `ret` is its description. */
struct err *foreign_describe(struct foreign *f, struct tar_in *tar, struct ova_in *ret) _must_use_;
/* Fills the volumes of the plan (import_disk()). */
struct err *foreign_receive_disks(struct op *op, struct foreign *f) _must_use_;

/* foreign_text.c: the description; `sizes` of the disks. */
struct ova_vm {
    const char *name, *description;
    uint64_t memory;
    unsigned cpus;
    bool is_uefi;
    const uint64_t *sizes;
    size_t n_disks;
    const struct ovf_nic *nics;
    size_t n_nics;
};
struct val *foreign_document(const struct ova_vm *vm);
