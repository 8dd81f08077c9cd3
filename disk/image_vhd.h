/*
 * image_vhd.h: reading and finishing the VHD kinds of image. Private to image.c, create.c and
 * their tests; blocking, on the job thread.
 *
 * Functions return 0 or -errno and may name the reason in *ret_why, a static string.
 */
#pragma once

#include "disk/image.h"

int image_vhd_open_fixed(struct image *im, uint64_t file_size, const char **ret_why);
int image_vhd_open_dynamic(struct image *im, uint64_t file_size, const char **ret_why);
/* Batmap and primary footer of a dynamic image that is open for writing. */
int image_vhd_finish(struct image *im);

/* Where its primary footer belongs. */
uint64_t image_vhd_footer_at(const struct image *im);

/* The footer at the end of the file (512 or 511 bytes); -ENOENT if there is none that is valid. */
int image_vhd_end_footer(struct file *f, uint64_t file_size, struct vhd_footer *ret,
                         uint8_t bytes[VHD_FOOTER_SIZE], uint64_t *ret_at, const char **ret_why);
