/* portable_impl.h: what the files of this folder share. Private to src/op. */
#pragma once

#include "base/buf.h"
#include "host/diskio.h"
#include "op/portable/portable.h"
#include "op/world.h"

/* ---- io.c: bytes from the other end ---- */

/* Reads that count. */
struct source {
    const struct portable_io *io;
    uint64_t at;
    bool ended;
};
/* Up to `size` bytes, as many as there are before the end; *ret counts also what came before an
 * error. */
struct err *source_fill(struct source *s, void *p, size_t size, size_t *ret) _must_use_;
/* All of them; IMPORT_ERROR_PREMATURE_EOF. */
struct err *source_take(struct source *s, void *p, size_t size) _must_use_;
/* Forward to that place. */
struct err *source_skip_to(struct source *s, uint64_t at) _must_use_;
/* Reads on until the end, so that the client can send all it has; what fails there is no matter. */
void source_drain(struct source *s);

struct err *sink_put(const struct portable_io *io, const void *p, size_t size) _must_use_;
struct err *sink_zeroes(const struct portable_io *io, uint64_t size) _must_use_;

bool is_all_zero(const void *p, size_t size);
/* IMPORT_ERROR with a formatted sentence. */
struct err *import_error(const char *fmt, ...) _printf_(1, 2) _must_use_;

/* ---- walk.c: a disk in pieces, the next ones read ahead ---- */

#define WALK_AHEAD 8 /* pieces, of WALK_BYTES together: as much as a diskio has under way */
#define WALK_BYTES ((size_t)8 * DISKIO_PIECE)
struct piece {
    uint64_t at;
    size_t size;
    bool zero; /* known to be; its bytes were not read */
};
struct walk {
    struct diskio *disk;
    uint64_t size, next;
    size_t unit; /* of a piece; the last may be shorter */
    struct piece ahead[WALK_AHEAD];
    unsigned first, n;
};
void walk_init(struct walk *w, struct diskio *disk, uint64_t size, size_t unit);
/* The next piece, its bytes in `room` (of `unit` bytes) unless it is zero; false at the end. */
struct err *walk_next(struct walk *w, void *room, struct piece *ret, bool *ret_more) _must_use_;
/* Writes bytes anywhere on a disk: zeroes become holes, what is no whole sector is mended. */
struct err *disk_put(struct diskio *d, const void *p, size_t size, uint64_t at) _must_use_;

/* ---- vhd_out.c, vhd_in.c, qcow2_out.c, raw.c ---- */

struct disk_out {
    struct op *op;
    struct diskio *disk, *base; /* base: or NULL */
    uint64_t size;              /* of the disk as its guest sees it */
    const char *uuid, *base_uuid;
    const struct portable_io *io;
    void (*moved)(void *arg, uint64_t size); /* or NULL: so much more has been dealt with */
    void *moved_arg;
};
struct err *vhd_send(const struct disk_out *out) _must_use_;
struct err *qcow2_send(const struct disk_out *out) _must_use_;
struct err *raw_send(const struct disk_out *out) _must_use_;

struct disk_in {
    struct op *op;
    struct diskio *disk;
    uint64_t size;
    uint64_t expected; /* bytes that must come for it, 0 if that is not known */
    bool is_fresh;     /* the disk is new: it reads as zeroes */
    const char *vdi;   /* ref, for errors */
    struct source src;
};
struct err *vhd_receive(struct disk_in *in) _must_use_;
struct err *raw_receive(struct disk_in *in) _must_use_;
struct err *chunked_receive(struct disk_in *in) _must_use_;
/* chunks.c: the same as an archive of this one disk */
struct err *tar_send_disk(const struct disk_out *out) _must_use_;
struct err *tar_receive_disk(struct disk_in *in) _must_use_;

/* ---- vdi.c ---- */

/* Nobody may use a disk that is to be filled, and while it is nobody begins to: VDI_READONLY, or
 * VDI_IN_USE with that use. The operation gets it as "result", and its repository as "sr". */
struct err *vdi_claim_target(struct op *op, const char *ref, const char *use) _must_use_;

/* ---- attach.c: the data path of a transfer ---- */

/* Serves the VDI as `device` of the operation's own transfer. */
struct err *portable_serve(struct op *op, const char *vdi, unsigned device, bool readonly)
    _must_use_;
/* Opens what is served; not before all is, where there are several: see vdi_copy.c. */
struct err *portable_open(struct op *op, unsigned device, struct diskio **ret) _must_use_;
/* Both, for one disk. */
struct err *portable_attach(struct op *op, const char *vdi, unsigned device, bool readonly,
                            struct diskio **ret) _must_use_;
/* Ends all of it: also the undo of steps that attach. */
struct err *portable_detach(struct op *op) _must_use_;
/* OUT_OF_SPACE and TASK_CANCELLED for what their errno says; anything else as it is. */
struct err *portable_error(struct op *op, struct err *e, const char *sr) _must_use_;
