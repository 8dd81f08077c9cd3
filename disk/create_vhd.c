/*
 * create_vhd.c: a new VHD's first bytes. Called by create.c on the job thread; owns nothing.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "disk/image_vhd.h"
#include "disk/layout.h"

static int fill_dynamic(struct file *f, const struct vhd_footer *footer,
                        const struct parent_facts *parent);

/* A new uuid and the footer with it. */
static struct vhd_footer new_footer(struct image_made *made, enum vhd_type type)
{
    str_random(made->uuid, 16);
    made->uuid[6] = (uint8_t)((made->uuid[6] & 0x0f) | 0x40);
    made->uuid[8] = (uint8_t)((made->uuid[8] & 0x3f) | 0x80);
    struct vhd_footer footer = {
        .data_offset = type == VHD_FIXED ? UINT64_MAX : VHD_HEADER_AT,
        .timestamp = (uint32_t)(time(NULL) - VHD_UNIX_EPOCH),
        .creator = "tap",
        .creator_version = VHD_CREATOR_VERSION,
        .original_size = made->size,
        .current_size = made->size,
        .geometry = vhd_geometry_of(made->size),
        .type = type,
    };
    memcpy(footer.uuid, made->uuid, 16);
    return footer;
}

int image_vhd_fill(struct file *f, const struct parent_facts *parent, struct image_made *made)
{
    if (parent && parent->format == IMAGE_QCOW2)
        return -EOPNOTSUPP;
    struct vhd_footer footer = new_footer(made, parent ? VHD_DIFFERENCING : VHD_DYNAMIC);
    return fill_dynamic(f, &footer, parent);
}

int image_vhd_fill_fixed(struct file *f, const struct parent_facts *parent, struct image_made *made)
{
    struct vhd_footer footer = new_footer(made, VHD_FIXED);
    int r = f->ops->reserve(f, 0, made->size);
    if (r < 0 && r != -EOPNOTSUPP)
        return r;
    uint8_t bytes[VHD_FOOTER_SIZE];
    vhd_footer_put(&footer, bytes);
    return file_pwrite(f, bytes, sizeof(bytes), made->size);
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
