/*
 * create.h: making, growing, changing and describing images that nobody writes.
 *
 * All of it blocks: on the job thread or in a one-shot program. Functions return 0 or -errno and
 * say in *why what went wrong, with the path.
 *
 *     struct image_made made;
 *     r = image_create("/sr/x.vhd", IMAGE_VHD, 10ull << 30, NULL, &made, &why);
 *     struct image_parent parent = {"/sr/base.vhd", IMAGE_VHD};
 *     r = image_create("/sr/y.vhd", IMAGE_VHD, 0, &parent, &made, &why);
 */
#pragma once

#include "disk/image.h"

struct image_made {
    uint64_t size; /* after rounding, bytes */
    uint8_t uuid[16];
};

struct image_parent {
    const char *path;
    enum image_format format;
};

/* A new file (-EEXIST if there is one), or what a block device will hold. With a parent, which is
 * not written any more from now on, a differencing image of its size (`size` 0) or larger. After a
 * failure there is no file. */
int image_create(const char *path, enum image_format format, uint64_t size,
                 const struct image_parent *parent, struct image_made *ret, struct image_why *why);

struct image_change {
    int hidden;                        /* 0 or 1; -1: as it is */
    const struct image_parent *parent; /* NULL: as it is */
    const char *called;                /* the path it will be known by; NULL: its own */
};

/* Changes what an image says of itself; readers may have it open as an ancestor. A new parent must
 * read as the old one did wherever the image has nothing, which is not looked at. A crash leaves
 * the old or the new. */
int image_modify(const char *path, enum image_format format, const struct image_change *change,
                 struct image_why *why);

/* Grows an image to `size`, rounded as at creation; the same size is fine, a smaller one -EINVAL.
 * A crash leaves the old size or the new one. */
int image_resize(const char *path, enum image_format format, uint64_t size, uint64_t *ret_size,
                 struct image_why *why);

/* The same for one who uses the image so. */
int image_grow(const char *path, enum image_format format, enum image_use use, uint64_t size,
               uint64_t *ret_size, struct image_why *why);

struct image_info {
    enum image_format format;
    uint64_t size;      /* of the disk */
    uint64_t file_size; /* bytes from start to end */
    uint64_t allocated; /* bytes that the file takes */
    int64_t mtime;      /* seconds since 1970 */
    bool is_device;
    struct vhd_footer footer;
    bool has_parent, is_hidden;
    uint32_t block_size; /* dynamic images, as all below */
    uint32_t n_blocks, n_allocated;
    uint64_t data_end; /* bytes from the start behind which nothing is but the footer */
    uint8_t parent_uuid[16];
    char parent_name[sizeof(((struct vhd_header *)0)->parent_name)];
    char parent_path[512]; /* as the image has it, mostly relative to its folder; "": none */
    bool has_end_footer;
};

/* Describes an image without locking it. With `format` NULL the kind is recognised by its footers,
 * which is for files that are met for the first time only: what is served has its format told. */
int image_info(const char *path, const enum image_format *format, struct image_info *ret,
               struct image_why *why);
