/*
 * full.h: how large a file must be for an image in it. Blocking; the job thread and one-shot
 * commands. Only for files whose room costs nothing until it is written (file_stat.is_elastic):
 * images in them are given all that they can ever need, as if on a device of that size. Others grow
 * while they are written, or are made larger by those who gave them.
 */
#pragma once

#include "disk/image.h"

/* The most bytes that an image takes: `used` of them are, for a disk of `size`. */
uint64_t full_size(enum image_format format, uint64_t used, uint64_t size);

/* Of a file that is empty; of an image that is open for writing and is about to grow. Nothing, of
 * a file of another kind. */
int full_make(struct file *f, enum image_format format, uint64_t size);
int full_grow(struct image *im, uint64_t size);
