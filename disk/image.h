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

enum image_format { IMAGE_RAW, IMAGE_VHD, IMAGE_VHD_FIXED, IMAGE_QCOW2 };

/* Why something was refused, for people; with the path. */
struct image_why {
    char text[512];
};

/* Where a piece of the disk is. */
enum extent_kind {
    EXTENT_DATA, /* in the file at `offset` */
    EXTENT_HOLE, /* not in this image */
    EXTENT_LOAD, /* the metadata of `block` must be loaded first */
    EXTENT_ZERO  /* in this image, and reads as zeroes */
};
struct extent {
    enum extent_kind kind;
    uint64_t size;   /* bytes from the start asked for; at least 1 */
    uint64_t offset; /* in the file */
    uint32_t block;
};
struct image_ops;
struct image {
    enum image_format format;
    const struct image_ops *ops;
    struct file *file;
    char *path;
    bool is_readonly;
    bool is_device;           /* its file is one: what was never written may be anything */
    bool is_elastic;          /* an elastic one, see file.h */
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
    struct qcow2 *qcow2; /* qcow2 only, and nothing of the above from the footer on; owned */
};

struct image_made;
struct image_parent;
struct parent_facts;

/*
 * What a format is. All but `map` block, on the job thread, and return 0 or -errno; a reason may be
 * named in *ret_why, a static string. A member that a format has no use for is NULL.
 */
struct image_ops {
    const char *name; /* in the control protocol */
    bool has_uuid;    /* children know their parent by it, in footer.uuid */
    int (*open)(struct image *im, uint64_t file_size, const char **ret_why);
    /* Writes out what was kept back, of an image open for writing; a sync follows. */
    int (*finish)(struct image *im);
    void (*free)(struct image *im); /* what `open` made, also when that failed */
    /* Do data and metadata never share a page of 4 KiB? */
    bool (*has_own_pages)(const struct image *im);
    /* As image_map(), which takes whatever has none for its own data. */
    void (*map)(struct image *im, uint64_t at, uint64_t size, struct extent *ret);
    /* The extent at `at` is likely to be asked for soon. */
    void (*expect)(const struct image *im, uint64_t at);
    uint64_t (*allocated)(const struct image *im); /* bytes, about; NULL: all of it */
    bool (*is_child)(const struct image *im, const struct image *parent);

    uint64_t (*round_size)(uint64_t size); /* to what an image can have; 0: it cannot */
    /* Into an empty file; `parent` is NULL where the format has none. */
    int (*fill)(struct file *f, const struct parent_facts *parent, struct image_made *made);
    bool can_have_parent;
    int (*grow)(struct image *im, uint64_t size, const char **ret_why);
    int (*set_parent)(struct image *im, const struct parent_facts *parent);
    int (*set_hidden)(struct image *im, bool hidden);
    bool (*is_hidden)(const struct image *im);
    /* The parent's path as the image has it, mostly relative to its folder; "" if none. */
    void (*parent_path)(struct image *im, char *ret, size_t max);

    /* On a device that may become larger, engine's thread: bytes from its start that are taken, and
     * how many more the image can ever ask for. */
    void (*room)(const struct image *im, uint64_t *ret_used, uint64_t *ret_more);
    void (*device_grown)(struct image *im, uint64_t size); /* it has so many bytes now */
};
const struct image_ops *image_ops_of(enum image_format f);

/* Names as in the control protocol: raw, vhd, vhd-fixed, qcow2. */
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

/* The extent that begins at `at`, not longer than `size`; both within the disk, sector-aligned. */
void image_map(struct image *im, uint64_t at, uint64_t size, struct extent *ret);

void why_set(struct image_why *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
