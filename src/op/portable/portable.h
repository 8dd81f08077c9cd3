/*
 * portable.h: disks and VMs as streams of bytes, out and in.
 *
 * The handlers of HTTP (and VM.import) give an operation and the two ends of a stream; everything
 * else - which objects are claimed, how they are attached, what is taken back after a failure - is
 * done here, as journaled steps.
 *
 *     struct portable_io io = {.arg = x, .begin = begin, .read = read};
 *     TRY(vdi_import(op, &(struct vdi_stream){.vdi = ref, .format = PORTABLE_VHD, .io = &io},
 * &ret));
 *
 * Memory does not grow with what flows. Functions block; the thread is the operation's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/val.h"

struct op;

/* The other end. `begin` is called once, when everything that could be refused at once has been
 * looked at and the first byte is wanted. */
struct portable_io {
    void *arg;
    struct err *(*begin)(void *arg);
    struct err *(*read)(void *arg, void *p, size_t size, size_t *ret_size); /* 0: the end */
    struct err *(*write)(void *arg, const void *p, size_t size);
};

enum portable_format { PORTABLE_RAW, PORTABLE_VHD, PORTABLE_TAR, PORTABLE_QCOW2, PORTABLE_VMDK };
#define PORTABLE_OUT PORTABLE_QCOW2 /* the last one that is written, too */
/* "raw", "vhd", "tar", "qcow2", "vmdk"; false for others. */
bool portable_format_of(const char *name, enum portable_format *ret);

struct vdi_stream {
    const char *vdi;  /* ref; import: NULL makes a VDI of `size_bytes` in `sr` */
    const char *base; /* export as VHD or qcow2: only what differs from this VDI, as a difference */
    const char *sr;
    const char *name; /* import: of the new VDI; NULL: one is made up. In a library of CD images it
                         is the file's, which ends in .iso or .img */
    uint64_t size_bytes; /* import: of what comes, 0: not known */
    enum portable_format format;
    bool chunked;  /* import, raw: pieces with their offsets instead of the whole */
    bool open_end; /* import, raw: nobody knows the length; an end before the disk's is VDI_IO_ERROR
                    */
    const struct portable_io *io;
};
/* VDI_IN_USE and its like while somebody writes to it. */
struct err *vdi_export(struct op *op, const struct vdi_stream *s) _must_use_;
/* *ret is the VDI's reference. */
struct err *vdi_import(struct op *op, const struct vdi_stream *s, struct val **ret) _must_use_;

/* The VDI over NBD, read-only, on the socket of this host that `serve` is told ("": the disk is
 * simulated), until that returns;
 * the VDI cannot be changed meanwhile. VDI_IN_USE and its like while somebody writes to it. */
struct vdi_nbd {
    const char *vdi; /* ref */
    struct err *(*serve)(void *arg, struct op *op, const char *socket);
    void *arg;
};
struct err *vdi_serve_nbd(struct op *op, const struct vdi_nbd *n) _must_use_;

/* ---- VMs ---- */

enum portable_compression { PORTABLE_PLAIN, PORTABLE_GZIP, PORTABLE_ZSTD };

struct vm_out {
    const char *vm;            /* ref; NULL: all of them, metadata only */
    bool metadata;             /* the description alone, without disks */
    bool keep_state;           /* a suspended VM with its memory image */
    bool with_control_domains; /* of all */
    bool no_disks, no_nics;    /* metadata: leave the devices out */
    bool snapshots;            /* also those of the VM; of all: those, too */
    enum portable_compression compression;
    const struct portable_io *io;
};
/* An archive (XVA) of the VM. */
struct err *vm_export(struct op *op, const struct vm_out *out) _must_use_;

struct vm_in {
    bool metadata;          /* disks are found here, by uuid or by `vdis` */
    bool restore;           /* keeps uuids and MAC addresses */
    bool force;             /* wrong sums and missing disks are no error */
    bool dry_run;           /* metadata: looks whether it could be done */
    const char *sr;         /* ref, for the disks; NULL: the default one */
    const struct val *vdis; /* metadata: exported uuid -> uuid here; NULL: none */
    const char *name;       /* of a VM made for a disk; NULL: one is made up */
    uint64_t length;        /* of all that comes, 0: not known */
    bool raw;               /* it is a disk's bytes, whatever they look like */
    const struct portable_io *io;
};
/* *ret is the set of the new VMs. After a failure nothing is left. What comes may also be a disk of
 * another system's, or an OVA: foreign.h. */
struct err *vm_import(struct op *op, const struct vm_in *in, struct val **ret) _must_use_;
