/*
 * info.c: what an image says of itself. Blocking; the job thread and the one-shot command of
 * diskd.c call it.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "disk/image_vhd.h"
#include "disk/create.h"

static int guess_format(struct file *f, uint64_t file_size, enum image_format *ret)
{
    uint8_t bytes[VHD_FOOTER_SIZE];
    struct vhd_footer footer;
    const char *reason;
    uint64_t at;
    *ret = IMAGE_RAW;
    int r = image_vhd_end_footer(f, file_size, &footer, bytes, &at, &reason);
    if (r == -ENOENT || r == -EINVAL)
        r = file_size < sizeof(bytes) ? -EINVAL : file_pread(f, bytes, sizeof(bytes), 0);
    else if (r == 0)
        vhd_footer_put(&footer, bytes);
    if (r == -EINVAL)
        return 0;
    if (r < 0)
        return r;
    if (vhd_footer_parse(bytes, sizeof(bytes), &footer, &reason) == 0)
        *ret = footer.type == VHD_FIXED ? IMAGE_VHD_FIXED : IMAGE_VHD;
    return 0;
}

static int fill_info(struct file *f, const enum image_format *format, struct image_info *info)
{
    struct file_stat st;
    int r = file_stat(f, &st);
    if (r < 0)
        return r;
    info->file_size = st.size;
    info->allocated = st.allocated;
    info->mtime = st.mtime;
    info->is_device = st.is_device;
    if (format)
        info->format = *format;
    else
        return guess_format(f, info->file_size, &info->format);
    return 0;
}

/* image_open without a lock: reading a footer under a writer is harmless. */
static int inspect(struct image *im, struct image_info *info, const char **ret_why)
{
    int r = im->ops->open(im, info->file_size, ret_why);
    if (r < 0)
        return r;
    info->size = im->size;
    info->footer = im->footer;
    info->has_end_footer = im->is_footer_at_end;
    info->block_size = im->map.block_size;
    info->n_blocks = im->map.n_blocks;
    info->n_allocated = im->map.n_allocated;
    if (im->format == IMAGE_VHD)
        info->data_end = image_vhd_data_end(im, info->file_size);
    memcpy(info->parent_uuid, im->header.parent_uuid, 16);
    memcpy(info->parent_name, im->header.parent_name, sizeof(info->parent_name));
    info->has_parent = im->has_parent;
    info->is_hidden = im->ops->is_hidden && im->ops->is_hidden(im);
    if (im->has_parent)
        im->ops->parent_path(im, info->parent_path, sizeof(info->parent_path));
    return 0;
}

int image_info(const char *path, const enum image_format *format, struct image_info *ret,
               struct image_why *why)
{
    struct image_info info = {0};
    const char *reason = NULL;
    _cleanup_(file_closep) struct file *f = NULL;
    int r = file_open(path, FILE_READ, &f);
    if (r == 0)
        r = fill_info(f, format, &info);
    if (r == 0) {
        struct image im = {.format = info.format,
                           .ops = image_ops_of(info.format),
                           .file = f,
                           .is_readonly = true,
                           .is_device = info.is_device};
        r = inspect(&im, &info, &reason);
        if (im.ops->free)
            im.ops->free(&im);
    }
    if (r < 0) {
        why_set(why, "cannot read '%s': %s", path, reason && *reason ? reason : strerror(-r));
        return r;
    }
    *ret = info;
    return 0;
}
