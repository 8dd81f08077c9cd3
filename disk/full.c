/* full.c: see full.h. Called by create.c and grow.c; owns nothing. */
#include "disk/full.h"

#include "disk/image_qcow2.h"
#include "disk/layout.h"

#define PIECE (4ull << 20) /* sizes are multiples of it */
#define GAP   4096ull      /* a block's bitmap, and what is before it */

static uint64_t parts(uint64_t size, uint64_t of)
{
    return (size + of - 1) / of;
}

/* Tables, blocks, and the footer behind them. */
static uint64_t vhd_bytes(uint64_t size)
{
    struct layout l = layout_of(size, VHD_TABLE_AT, true);
    return l.end + l.n_blocks * (VHD_BLOCK_SIZE + GAP) + GAP;
}

/* Clusters, tables that name them and their reference counts; as much again as the tables take is
 * for what a resize or a death leaves unused. */
static uint64_t qcow2_bytes(uint64_t size)
{
    uint64_t n = parts(size, Q2_CLUSTER), tables = parts(n, Q2_CLUSTER / 8);
    uint64_t first = parts(tables, Q2_CLUSTER / 8), counts = parts(n + tables, Q2_CLUSTER / 2);
    return (n + 2 * (tables + first + counts)) * Q2_CLUSTER + PIECE;
}

uint64_t full_size(enum image_format format, uint64_t used, uint64_t size)
{
    switch (format) {
    case IMAGE_VHD:
        return parts(used + vhd_bytes(size), PIECE) * PIECE;
    case IMAGE_QCOW2:
        return parts(used + qcow2_bytes(size), PIECE) * PIECE;
    case IMAGE_VHD_FIXED:
        return size + VHD_FOOTER_SIZE;
    case IMAGE_RAW:
    default:
        return size;
    }
}

int full_make(struct file *f, enum image_format format, uint64_t size)
{
    struct file_stat st;
    int r = file_stat(f, &st);
    return r < 0 || !st.is_elastic ? r : file_truncate(f, full_size(format, 0, size));
}

static uint64_t used_of(const struct image *im)
{
    switch (im->format) {
    case IMAGE_VHD:
        return im->map.next_free * VHD_SECTOR;
    case IMAGE_QCOW2:
        return im->qcow2->map.next_free;
    case IMAGE_VHD_FIXED:
    case IMAGE_RAW:
    default:
        return 0;
    }
}

int full_grow(struct image *im, uint64_t size)
{
    struct file_stat st;
    int r = file_stat(im->file, &st);
    if (r < 0 || !st.is_elastic || !im->ops->device_grown)
        return r;
    uint64_t bytes = full_size(im->format, used_of(im), size);
    if (bytes <= st.size)
        return 0;
    r = file_truncate(im->file, bytes);
    if (r == 0)
        im->ops->device_grown(im, bytes);
    return r;
}
