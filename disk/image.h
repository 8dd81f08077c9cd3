/*
 * image.h: one open image file.
 *
 * Opening and closing block: they belong on the job thread. In between, the engine maps ranges of
 * the disk onto the file with image_map() and does the I/O itself; nothing here reads data.
 *
 *     struct image *im;
 *     struct image_why why;
 *     int r = image_open("/sr/x.vhd", IMAGE_VHD, false, &im, &why);
 *     if (r < 0) … why.text
 *     …
 *     r = image_close(im, &why);
 *
 * The format is told, never guessed: a guest that writes a footer into its raw disk must not turn
 * it into something else. For IMAGE_VHD the footer at offset 0 counts, which no guest can write;
 * for IMAGE_VHD_FIXED the one at the end.
 *
 * An image opened for writing is locked against other openers, one opened for reading against
 * writers (open file description locks, released by death).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "codec/vhd.h"
#include "disk/backend/file.h"
#include "disk/blockmap.h"

enum image_format { IMAGE_RAW, IMAGE_VHD, IMAGE_VHD_FIXED };

/* Why something was refused, for people; with the path. */
struct image_why {
    char text[512];
};

struct image {
    enum image_format format;
    struct file *file;
    char *path;
    bool is_readonly;
    bool is_device;           /* its file is one: what was never written may be anything */
    uint64_t size;            /* of the disk, bytes */
    bool has_parent;          /* a differencing image */
    uint32_t lost_blocks;     /* BAT entries that a crash left pointing behind the end */
    bool is_footer_at_end;    /* the primary footer was in place when the image was opened */
    bool is_footer_same;      /* and it said what the copy at the start says */
    uint64_t footer_at;       /* where it is in a fixed image */
    uint64_t footer_sector;   /* where it was written last since; 0: nowhere */
    bool is_touched;          /* blocks were allocated since the image was opened */
    struct vhd_footer footer; /* VHD only, as header and map: dynamic ones only */
    uint8_t footer_bytes[VHD_FOOTER_SIZE];
    struct vhd_header header;
    struct blockmap map;
    uint64_t batmap_at; /* of the batmap's header; 0: none */
    uint32_t batmap_sectors;
};

/* Names as in the control protocol: raw, vhd, vhd-fixed. */
const char *image_format_name(enum image_format f);
int image_parse_format(const char *name, enum image_format *ret);

/* For what: reading (as a leaf or an ancestor), writing as the only one, or merging a child into it
 * while others read it as an ancestor (file.h says who excludes whom). */
enum image_use { IMAGE_READ, IMAGE_WRITE, IMAGE_MERGE };
int image_open(const char *path, enum image_format format, enum image_use use, struct image **ret,
               struct image_why *why);
/* Writes what was kept back (batmap, primary footer), syncs and frees. An error tells that this
 * failed; the image is closed all the same. NULL is fine. */
int image_close(struct image *im, struct image_why *why);

/* Where a piece of the disk is. */
enum extent_kind {
    EXTENT_DATA, /* in the file at `offset` */
    EXTENT_HOLE, /* not in this image */
    EXTENT_LOAD  /* the bitmap of `block` must be loaded first */
};
struct extent {
    enum extent_kind kind;
    uint64_t size;   /* bytes from the start asked for; at least 1 */
    uint64_t offset; /* in the file */
    uint32_t block;
};
/* The extent that begins at `at`, not longer than `size`; both within the disk, sector-aligned. */
void image_map(struct image *im, uint64_t at, uint64_t size, struct extent *ret);

void why_set(struct image_why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
