/*
 * image.c: opening, mapping and closing images. Open and close block and run on the job thread;
 * image_map runs on the engine's. An image belongs to the chain that opened it.
 */
#include "disk/image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/create.h"
#include "disk/image_qcow2.h"
#include "disk/image_vhd.h"

#define SECTOR 512u

static bool packs_nothing(const struct image *im);
static uint64_t raw_round_size(uint64_t size);
static int raw_open(struct image *im, uint64_t file_size, const char **ret_why);
static int raw_fill(struct file *f, const struct parent_facts *parent, struct image_made *made);
static int raw_grow(struct image *im, uint64_t size, const char **ret_why);

static const struct image_ops raw_ops = {
    .name = "raw",
    .has_uuid = false,
    .open = raw_open,
    .finish = NULL,
    .free = NULL,
    .has_own_pages = packs_nothing,
    .map = NULL,
    .expect = NULL,
    .allocated = NULL,
    .is_child = NULL,
    .round_size = raw_round_size,
    .fill = raw_fill,
    .can_have_parent = false,
    .grow = raw_grow,
    .set_parent = NULL,
    .set_hidden = NULL,
    .is_hidden = NULL,
    .parent_path = NULL,
    .room = NULL,
    .device_grown = NULL,
};

static const struct image_ops *const formats[] = {[IMAGE_RAW] = &raw_ops,
                                                  [IMAGE_VHD] = &image_vhd_ops,
                                                  [IMAGE_VHD_FIXED] = &image_vhd_fixed_ops,
                                                  [IMAGE_QCOW2] = &image_qcow2_ops};

static int open_file(struct image *im, enum image_use use, struct image_why *why);
static void image_free(struct image *im);
static void image_freep(struct image **im);

const struct image_ops *image_ops_of(enum image_format f)
{
    return formats[f];
}

const char *image_format_name(enum image_format f)
{
    return formats[f]->name;
}

int image_parse_format(const char *name, enum image_format *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strcmp(name, formats[i]->name) == 0) {
            *ret = (enum image_format)i;
            return 0;
        }
    return -EINVAL;
}

int image_open(const char *path, enum image_format format, enum image_use use, struct image **ret,
               struct image_why *why)
{
    _cleanup_(image_freep) struct image *im = mem_new(struct image);
    *im = (struct image){.format = format,
                         .ops = formats[format],
                         .path = mem_strdup(path),
                         .is_readonly = use == IMAGE_READ};
    int r = open_file(im, use, why);
    if (r < 0)
        return r;
    struct file_stat st;
    r = file_stat(im->file, &st);
    if (r < 0) {
        why_set(why, "cannot tell the size of '%s'", path);
        return r;
    }
    const char *reason = "";
    im->is_device = st.is_device;
    im->is_elastic = st.is_elastic;
    r = im->ops->open(im, st.size, &reason);
    if (r < 0) {
        why_set(why, "cannot open '%s': %s", path, *reason ? reason : strerror(-r));
        return r;
    }
    if (use == IMAGE_WRITE && im->ops->has_own_pages(im))
        file_go_direct(im->file, path);
    *ret = steal(&im);
    return 0;
}

int image_close(struct image *im, struct image_why *why)
{
    if (!im)
        return 0;
    int r = 0;
    if (!im->is_readonly) {
        if (im->ops->finish)
            r = im->ops->finish(im);
        int s = file_sync(im->file);
        if (r == 0)
            r = s;
        if (r < 0)
            why_set(why, "cannot finish '%s': %s", im->path, strerror(-r));
    }
    image_free(im);
    return r;
}

void image_map(struct image *im, uint64_t at, uint64_t size, struct extent *ret)
{
    if (im->ops->map)
        im->ops->map(im, at, size, ret);
    else
        *ret = (struct extent){.kind = EXTENT_DATA, .size = size, .offset = at};
}

static int open_file(struct image *im, enum image_use use, struct image_why *why)
{
    static const enum file_lock locks[] = {[IMAGE_READ] = FILE_LOCK_READER,
                                           [IMAGE_WRITE] = FILE_LOCK_WRITER,
                                           [IMAGE_MERGE] = FILE_LOCK_MERGER};
    int r = file_open(im->path, use == IMAGE_READ ? FILE_READ : FILE_WRITE, &im->file);
    if (r < 0) {
        why_set(why, "cannot open '%s': %s", im->path, strerror(-r));
        return r;
    }
    r = file_lock(im->file, locks[use]);
    if (r < 0)
        why_set(why, "cannot lock '%s': %s", im->path,
                r == -EBUSY ? "another process has it open" : strerror(-r));
    return r;
}

static void image_free(struct image *im)
{
    if (im->ops->free)
        im->ops->free(im);
    file_close(im->file);
    free(im->path);
    free(im);
}

static void image_freep(struct image **im)
{
    if (*im)
        image_free(*im);
}

static int raw_open(struct image *im, uint64_t file_size, const char **ret_why)
{
    im->size = file_size / SECTOR * SECTOR;
    return 0;
}

static bool packs_nothing(const struct image *im)
{
    return true;
}

static uint64_t raw_round_size(uint64_t size)
{
    if (size == 0 || size > INT64_MAX - SECTOR)
        return 0;
    return (size + SECTOR - 1) / SECTOR * SECTOR;
}

static int raw_fill(struct file *f, const struct parent_facts *parent, struct image_made *made)
{
    return file_truncate(f, made->size);
}

static int raw_grow(struct image *im, uint64_t size, const char **ret_why)
{
    return file_truncate(im->file, size);
}

void why_set(struct image_why *why, const char *fmt, ...)
{
    if (!why)
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why->text, sizeof(why->text), fmt, ap);
    va_end(ap);
}
