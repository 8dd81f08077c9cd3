/*
 * image_vhd.h: reading and finishing the VHD kinds of image. Private to
 * image.c, the other files of the format and their tests; blocking, on the job thread.
 *
 * Functions return 0 or -errno and may name the reason in *ret_why, a static string.
 */
#pragma once

#include "disk/image.h"

extern const struct image_ops image_vhd_ops, image_vhd_fixed_ops;

int image_vhd_open_fixed(struct image *im, uint64_t file_size, const char **ret_why);
int image_vhd_open_dynamic(struct image *im, uint64_t file_size, const char **ret_why);
/* Batmap and primary footer of a dynamic image that is open for writing. */
int image_vhd_finish(struct image *im);

/* Where everything ends that the metadata names. */
uint64_t image_vhd_data_end(const struct image *im, uint64_t file_size);
/* Where its primary footer belongs. */
uint64_t image_vhd_footer_at(const struct image *im);

/* The footer at the end of the file (512 or 511 bytes); -ENOENT if there is none that is valid. */
int image_vhd_end_footer(struct file *f, uint64_t file_size, struct vhd_footer *ret,
                         uint8_t bytes[VHD_FOOTER_SIZE], uint64_t *ret_at, const char **ret_why);

/* Members of struct image_ops, in create_vhd.c, grow_vhd.c, modify_vhd.c and parent.c. */
int image_vhd_fill(struct file *f, const struct parent_facts *parent, struct image_made *made);
int image_vhd_fill_fixed(struct file *f, const struct parent_facts *parent,
                         struct image_made *made);
int image_vhd_grow(struct image *im, uint64_t size, const char **ret_why);
int image_vhd_grow_fixed(struct image *im, uint64_t size, const char **ret_why);
int image_vhd_set_parent(struct image *im, const struct parent_facts *parent);
int image_vhd_set_hidden(struct image *im, bool hidden);
void image_vhd_parent_path(struct image *im, char *ret, size_t max);
