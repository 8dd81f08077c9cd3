/*
 * modify_vhd.c: the hidden flag and the parent of a VHD. Called by modify.c on the job thread.
 */
#include <errno.h>
#include <string.h>

#include "disk/image_vhd.h"
#include "disk/layout.h"

/* The copy at the start counts, and is one sector: it is changed or not. */
static int write_footers(struct image *im)
{
    vhd_footer_put(&im->footer, im->footer_bytes);
    if (im->format == IMAGE_VHD_FIXED)
        return file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, im->footer_at);
    int r = file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, 0);
    if (r == 0)
        r = file_sync(im->file);
    if (r == 0)
        r = file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, image_vhd_footer_at(im));
    return r < 0 ? r : file_sync(im->file);
}

static int switch_header(struct image *im, uint64_t at)
{
    im->footer.data_offset = at;
    return write_footers(im);
}

static int write_header(struct image *im, const struct parent_facts *facts, uint64_t header_at,
                        uint64_t locators_at)
{
    uint8_t bytes[VHD_HEADER_SIZE], locators[PARENT_LOCATORS * VHD_SECTOR];
    int r = parent_put(facts, locators_at, &im->header, locators);
    vhd_header_put(&im->header, bytes);
    if (r == 0)
        r = file_pwrite(im->file, locators, sizeof(locators), locators_at);
    if (r == 0)
        r = file_pwrite(im->file, bytes, sizeof(bytes), header_at);
    return r < 0 ? r : file_sync(im->file);
}

/*
 * A header is two sectors, and its locators are others, so it is never changed in place while it
 * counts: a new one is written behind all blocks, and the footer, one sector, turns to it. Its
 * locators stay there; then the header's own place gets the same bytes and the footer turns back.
 * A crash leaves one whole header or the other.
 */
int image_vhd_set_parent(struct image *im, const struct parent_facts *facts)
{
    if (facts->format == IMAGE_QCOW2)
        return -EOPNOTSUPP;
    uint64_t locators_at = im->map.next_free * VHD_SECTOR;
    uint64_t header_at = locators_at + PARENT_LOCATORS * VHD_SECTOR;
    if (im->map.end && header_at + VHD_HEADER_SIZE > im->map.end * VHD_SECTOR)
        return -ENOSPC;
    im->map.next_free = (header_at + VHD_HEADER_SIZE) / VHD_SECTOR;
    im->map.first_free = im->map.next_free;
    int r = write_header(im, facts, header_at, locators_at);
    if (r == 0)
        r = switch_header(im, header_at);
    if (r == 0)
        r = write_header(im, facts, VHD_HEADER_AT, locators_at);
    return r < 0 ? r : switch_header(im, VHD_HEADER_AT);
}

int image_vhd_set_hidden(struct image *im, bool hidden)
{
    im->footer.hidden = hidden;
    return write_footers(im);
}
