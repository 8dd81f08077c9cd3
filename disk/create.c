/*
 * create.c: new images, empty or as a child of another. Blocking; the job thread and the one-shot
 * commands of diskd.c call it.
 */
#include "disk/create.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "disk/layout.h"

static int decide_size(const char *path, enum image_format format, uint64_t size,
                       const struct parent_facts *parent, uint64_t *ret, struct image_why *why);
static int fill_new(struct file *f, enum image_format format, const struct parent_facts *parent,
                    struct image_made *made);
static int fill_fixed(struct file *f, const struct vhd_footer *footer);
static int fill_dynamic(struct file *f, const struct vhd_footer *footer,
                        const struct parent_facts *parent);

int image_create(const char *path, enum image_format format, uint64_t size,
                 const struct image_parent *parent, struct image_made *ret, struct image_why *why)
{
    struct image_made made = {0};
    struct parent_facts facts = {0};
    if (parent && format != IMAGE_VHD) {
        why_set(why, "cannot create '%s': only a growing image can have a parent", path);
        return -EINVAL;
    }
    int r = parent ? parent_look(path, parent, &facts, why) : 0;
    if (r == 0)
        r = decide_size(path, format, size, parent ? &facts : NULL, &made.size, why);
    if (r < 0)
        return r;
    _cleanup_(file_closep) struct file *f = NULL;
    r = file_create(path, &f);
    if (r < 0) {
        why_set(why, "cannot create '%s': %s", path, strerror(-r));
        return r;
    }
    r = fill_new(f, format, parent ? &facts : NULL, &made);
    if (r == 0)
        r = file_settle(f, path);
    if (r < 0) {
        (void)file_remove(path);
        why_set(why, "cannot create '%s': %s", path, strerror(-r));
        return r;
    }
    *ret = made;
    return 0;
}

/* A child may be larger than its parent; of the same size, it keeps one that is not round. */
static int decide_size(const char *path, enum image_format format, uint64_t size,
                       const struct parent_facts *parent, uint64_t *ret, struct image_why *why)
{
    if (parent && size == 0)
        size = parent->size;
    *ret = layout_round_size(format, size);
    if (parent && size == parent->size && *ret)
        *ret = size;
    if (*ret && (!parent || *ret >= parent->size))
        return 0;
    why_set(why, "cannot create '%s': %s", path,
            *ret ? "it would be smaller than its parent" : "the size is not possible");
    return -EINVAL;
}

static int fill_new(struct file *f, enum image_format format, const struct parent_facts *parent,
                    struct image_made *made)
{
    if (format == IMAGE_RAW)
        return file_truncate(f, made->size);
    str_random(made->uuid, 16);
    made->uuid[6] = (uint8_t)((made->uuid[6] & 0x0f) | 0x40);
    made->uuid[8] = (uint8_t)((made->uuid[8] & 0x3f) | 0x80);
    struct vhd_footer footer = {
        .data_offset = format == IMAGE_VHD ? VHD_HEADER_AT : UINT64_MAX,
        .timestamp = (uint32_t)(time(NULL) - VHD_UNIX_EPOCH),
        .creator = "tap",
        .creator_version = VHD_CREATOR_VERSION,
        .original_size = made->size,
        .current_size = made->size,
        .geometry = vhd_geometry_of(made->size),
        .type = format == IMAGE_VHD_FIXED ? VHD_FIXED
                : parent                  ? VHD_DIFFERENCING
                                          : VHD_DYNAMIC,
    };
    memcpy(footer.uuid, made->uuid, 16);
    return format == IMAGE_VHD ? fill_dynamic(f, &footer, parent) : fill_fixed(f, &footer);
}

static int fill_fixed(struct file *f, const struct vhd_footer *footer)
{
    int r = f->ops->reserve(f, 0, footer->current_size);
    if (r < 0 && r != -EOPNOTSUPP)
        return r;
    uint8_t bytes[VHD_FOOTER_SIZE];
    vhd_footer_put(footer, bytes);
    return file_pwrite(f, bytes, sizeof(bytes), footer->current_size);
}

static int fill_dynamic(struct file *f, const struct vhd_footer *footer,
                        const struct parent_facts *parent)
{
    struct layout l = layout_of(footer->current_size, VHD_TABLE_AT, parent);
    struct vhd_header h = {
        .table_offset = l.table_at, .max_bat_size = l.n_blocks, .block_size = VHD_BLOCK_SIZE};
    uint8_t bytes[VHD_FOOTER_SIZE + VHD_HEADER_SIZE];
    uint8_t locators[PARENT_LOCATORS * VHD_SECTOR];
    struct file_stat st;
    int r = file_stat(f, &st);
    if (r == 0 && parent)
        r = parent_put(parent, l.locators_at, &h, locators);
    if (r == 0 && st.is_device && st.size < l.end + VHD_FOOTER_SIZE)
        r = -ENOSPC;
    vhd_footer_put(footer, bytes);
    vhd_header_put(&h, bytes + VHD_FOOTER_SIZE);
    if (r == 0)
        r = layout_write(f, &l, footer->current_size, NULL, NULL, 0);
    if (r == 0 && parent)
        r = file_pwrite(f, locators, sizeof(locators), l.locators_at);
    if (r == 0)
        r = file_pwrite(f, bytes, sizeof(bytes), 0);
    uint64_t end = st.is_device ? st.size / VHD_SECTOR * VHD_SECTOR - VHD_FOOTER_SIZE : l.end;
    return r < 0 ? r : file_pwrite(f, bytes, VHD_FOOTER_SIZE, end);
}
