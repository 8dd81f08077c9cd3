/*
 * create.h: making, growing and describing images that nobody has open.
 *
 * All of it blocks: on the job thread or in a one-shot program. Functions return 0 or -errno and
 * say in *why what went wrong, with the path.
 *
 *     struct image_made made;
 *     r = image_create("/sr/x.vhd", IMAGE_VHD, 10ull << 30, &made, &why);
 */
#pragma once

#include "disk/image.h"

struct image_made {
    uint64_t size; /* after rounding, bytes */
    uint8_t uuid[16];
};

/* A new file; -EEXIST if there is one. After a failure there is none. */
int image_create(const char *path, enum image_format format, uint64_t size, struct image_made *ret,
                 struct image_why *why);

/* Grows an image to `size`, rounded as at creation; the same size is fine, a smaller one -EINVAL.
 * A crash leaves the old size or the new one. */
int image_resize(const char *path, enum image_format format, uint64_t size, uint64_t *ret_size,
                 struct image_why *why);

struct image_info {
    enum image_format format;
    uint64_t size;      /* of the disk */
    uint64_t file_size; /* bytes from start to end */
    uint64_t allocated; /* bytes that the file takes */
    struct vhd_footer footer;
    uint32_t block_size; /* dynamic images, as all below */
    uint32_t n_blocks, n_allocated;
    uint8_t parent_uuid[16];
    char parent_name[sizeof(((struct vhd_header *)0)->parent_name)];
    bool has_end_footer;
};

/* Describes an image without locking it. With `format` NULL the kind is recognised by its footers,
 * which is for files that are met for the first time only: what is served has its format told. */
int image_info(const char *path, const enum image_format *format, struct image_info *ret,
               struct image_why *why);
