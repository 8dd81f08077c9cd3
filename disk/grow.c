/*
 * grow.c: making images larger, so that a crash leaves the old size or the new one. Blocking; the
 * job thread calls it.
 */
#include <errno.h>
#include <string.h>

#include "disk/image_vhd.h"
#include "disk/layout.h"

static int grow_fixed(struct image *im, uint64_t size);
static int grow_dynamic(struct image *im, uint64_t size);

int image_resize(const char *path, enum image_format format, uint64_t size, uint64_t *ret_size,
                 struct image_why *why)
{
    return image_grow(path, format, IMAGE_WRITE, size, ret_size, why);
}

int image_grow(const char *path, enum image_format format, enum image_use use, uint64_t size,
               uint64_t *ret_size, struct image_why *why)
{
    struct image *im;
    int r = image_open(path, format, use, &im, why);
    if (r < 0)
        return r;
    uint64_t wanted = layout_round_size(format, size);
    const char *reason = NULL;
    if (wanted == 0 || wanted < im->size)
        r = -EINVAL, reason = "an image can only grow, up to the format's limit";
    else if (format == IMAGE_VHD && im->map.block_size != VHD_BLOCK_SIZE)
        r = -EOPNOTSUPP, reason = "this kind of image cannot grow";
    else if (wanted == im->size)
        r = 0;
    else if (format == IMAGE_RAW)
        r = file_truncate(im->file, wanted);
    else
        r = format == IMAGE_VHD ? grow_dynamic(im, wanted) : grow_fixed(im, wanted);
    if (r < 0)
        why_set(why, "cannot grow '%s': %s", path, reason ? reason : strerror(-r));
    int c = image_close(im, r < 0 ? NULL : why);
    if (r == 0)
        r = c;
    if (r == 0)
        *ret_size = wanted;
    return r;
}

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
static int grow_fixed(struct image *im, uint64_t size)
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
static int grow_dynamic(struct image *im, uint64_t size)
{
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
