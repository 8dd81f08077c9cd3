/*
 * grow_vhd.c: making VHDs larger, so that a crash leaves the old size or the new one. Called by
 * grow.c on the job thread.
 */
#include <errno.h>
#include <string.h>

#include "disk/image_vhd.h"
#include "disk/layout.h"

static void set_size(struct image *im, uint64_t size)
{
    im->footer.current_size = size;
    im->footer.geometry = vhd_geometry_of(size);
    /* Only then do all readers take the size itself. */
    memcpy(im->footer.creator, "tap", 4);
    im->footer.creator_version = VHD_CREATOR_VERSION;
    im->footer.creator_os = 0;
    im->size = size;
    vhd_footer_put(&im->footer, im->footer_bytes);
}

/* The new footer first, then zeroes over the old one: a crash in between shows either size. */
int image_vhd_grow_fixed(struct image *im, uint64_t size, const char **ret_why)
{
    static const uint8_t zeroes[VHD_FOOTER_SIZE];
    uint64_t old = im->size;
    struct file_stat st;
    int r = file_stat(im->file, &st);
    if (r == 0 && (st.is_device || st.size - old > VHD_FOOTER_SIZE))
        r = -EOPNOTSUPP;
    if (r < 0)
        return r;
    set_size(im, size);
    r = im->file->ops->reserve(im->file, old, size - old);
    if (r < 0 && r != -EOPNOTSUPP)
        return r;
    r = file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, size);
    if (r == 0)
        r = file_sync(im->file);
    return r < 0 ? r : file_pwrite(im->file, zeroes, sizeof(zeroes), old);
}

/*
 * New tables are written behind everything else and made durable. Then the header's first sector
 * switches over to them, and after it the footer takes the size: each is one sector, which a crash
 * leaves old or new, and a table that is larger than the disk is fine. The old tables' place is
 * lost. A batmap is checked with the disk's size, so in between there is none that counts.
 */
int image_vhd_grow(struct image *im, uint64_t size, const char **ret_why)
{
    *ret_why = "this kind of image cannot grow";
    if (im->map.block_size != VHD_BLOCK_SIZE)
        return -EOPNOTSUPP;
    *ret_why = NULL;
    uint64_t at = im->map.next_free * VHD_SECTOR;
    struct layout l = layout_of(size, at, false);
    uint8_t bytes[VHD_HEADER_SIZE];
    if (im->map.end && l.end > im->map.end * VHD_SECTOR)
        return -ENOSPC;
    int r = layout_write(im->file, &l, size, im->map.bat, im->map.full, im->map.n_blocks);
    if (r == 0)
        r = file_pread(im->file, bytes, sizeof(bytes), im->footer.data_offset);
    if (r < 0)
        return r;
    set_size(im, size);
    im->map.next_free = l.end / VHD_SECTOR;
    r = file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, image_vhd_footer_at(im));
    if (r == 0)
        r = file_sync(im->file);
    vhd_header_move(bytes, l.table_at, l.n_blocks);
    if (r == 0)
        r = file_pwrite(im->file, bytes, VHD_SECTOR, im->footer.data_offset);
    if (r == 0)
        r = file_sync(im->file);
    return r < 0 ? r : file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, 0);
}
