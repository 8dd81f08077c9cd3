/*
 * vhd_in.c: a VHD read from front to back, onto a disk.
 *
 * The tables must stand before the blocks, as every exporter writes them; the blocks may come in
 * any order. Of a differencing image what it holds is written and the rest is left alone; of a
 * dynamic one the rest becomes zeroes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/bytes.h"
#include "codec/vhd.h"
#include "op/portable/vhd_chain.h"

struct block {
    uint32_t sector, number;
};

struct vhd_image {
    struct vhd_footer footer;
    struct vhd_header header;
    struct block *blocks; /* those that are there, by their place in the stream */
    size_t n_blocks;
    uint64_t size;       /* of the disk in it */
    struct cover *cover; /* what is there already stays; NULL: nothing does */
};

static void image_free(struct vhd_image *im)
{
    free(im->blocks);
}

/* ---- footer, header, table ---- */

static struct err *read_footer(struct disk_in *in, struct vhd_image *im)
{
    uint8_t bytes[VHD_FOOTER_SIZE];
    const char *why = "";
    TRY(source_take(&in->src, bytes, sizeof(bytes)));
    if (vhd_footer_parse(bytes, sizeof(bytes), &im->footer, &why) < 0)
        return import_error("this is no VHD: %s", why);
    if (im->footer.type == VHD_FIXED)
        return import_error("a VHD of fixed size does not begin with its footer");
    im->size = vhd_virtual_size(&im->footer);
    if (im->size <= in->size)
        return NULL;
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)im->size);
    return err_VDI_TOO_SMALL(in->vdi, text);
}

static struct err *read_header(struct disk_in *in, struct vhd_image *im)
{
    uint8_t bytes[VHD_HEADER_SIZE];
    const char *why = "";
    TRY(source_skip_to(&in->src, im->footer.data_offset));
    TRY(source_take(&in->src, bytes, sizeof(bytes)));
    if (vhd_header_parse(bytes, sizeof(bytes), &im->header, &why) < 0)
        return import_error("this is no VHD: %s", why);
    uint64_t needed = (im->size + im->header.block_size - 1) / im->header.block_size;
    if (im->header.max_bat_size < needed)
        return import_error("the VHD's table is too short for its size");
    im->header.max_bat_size = (uint32_t)needed;
    return NULL;
}

static int by_sector(const void *a, const void *b)
{
    const struct block *x = a, *y = b;
    return (x->sector > y->sector) - (x->sector < y->sector);
}

static struct err *read_table(struct disk_in *in, struct vhd_image *im)
{
    uint32_t n = im->header.max_bat_size;
    TRY(source_skip_to(&in->src, im->header.table_offset));
    im->blocks = mem_try_alloc((size_t)n + 1, sizeof(*im->blocks));
    if (!im->blocks)
        return import_error("the VHD's table is too long");
    for (uint32_t i = 0; i < n; i++) {
        uint8_t entry[4];
        TRY(source_take(&in->src, entry, 4));
        if (get_be32(entry) != VHD_UNALLOCATED)
            im->blocks[im->n_blocks++] = (struct block){get_be32(entry), i};
    }
    qsort(im->blocks, im->n_blocks, sizeof(*im->blocks), by_sector);
    return NULL;
}

/* ---- blocks ---- */

static bool sector_is_there(const uint8_t *bitmap, uint32_t sector)
{
    return bitmap[sector / 8] & (0x80 >> (sector % 8));
}

/* Writes what nobody has written yet. */
static struct err *put_uncovered(struct disk_in *in, struct cover *cover, uint64_t at,
                                 const char *data, size_t size)
{
    for (size_t done = 0, n; done < size; done += n) {
        bool there;
        n = cover_run(cover, at + done, size - done, &there);
        if (!there)
            TRY(disk_put(in->disk, data + done, n, at + done));
    }
    cover_add(cover, at, size);
    return NULL;
}

/* Writes (or, of a dynamic image, clears) a run of sectors of one kind. */
static struct err *put_run(struct disk_in *in, const struct vhd_image *im, uint64_t at,
                           const char *data, size_t size, bool there)
{
    if (at >= in->size)
        return NULL;
    size = size < in->size - at ? size : (size_t)(in->size - at);
    if (there && im->cover)
        return put_uncovered(in, im->cover, at, data, size);
    if (there)
        return disk_put(in->disk, data, size, at);
    bool clears = im->footer.type == VHD_DYNAMIC && !in->is_fresh;
    return clears ? diskio_zero(in->disk, size, at) : NULL;
}

static struct err *put_block(struct disk_in *in, const struct vhd_image *im, uint32_t number,
                             const uint8_t *bitmap, const char *data)
{
    uint32_t sectors = im->header.block_size / VHD_SECTOR;
    uint64_t at = (uint64_t)number * im->header.block_size;
    for (uint32_t from = 0, to; from < sectors; from = to) {
        bool there = sector_is_there(bitmap, from);
        for (to = from + 1; to < sectors && sector_is_there(bitmap, to) == there;)
            to++;
        TRY(put_run(in, im, at + (uint64_t)from * VHD_SECTOR, data + (size_t)from * VHD_SECTOR,
                    (size_t)(to - from) * VHD_SECTOR, there));
    }
    return NULL;
}

static struct err *read_blocks(struct disk_in *in, const struct vhd_image *im)
{
    size_t bitmap_size = vhd_bitmap_sectors(im->header.block_size) * VHD_SECTOR;
    _cleanup_(freep) char *room = mem_zalloc(bitmap_size + im->header.block_size, 1);
    for (size_t i = 0; i < im->n_blocks; i++) {
        TRY(source_skip_to(&in->src, (uint64_t)im->blocks[i].sector * VHD_SECTOR));
        TRY(source_take(&in->src, room, bitmap_size + im->header.block_size));
        TRY(put_block(in, im, im->blocks[i].number, (uint8_t *)room, room + bitmap_size));
        op_progress(in->op, (double)(i + 1) / (double)im->n_blocks);
    }
    return NULL;
}

/* ---- what a dynamic image does not hold ---- */

static int by_number(const void *a, const void *b)
{
    const struct block *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static struct err *clear_between(struct disk_in *in, uint64_t from, uint64_t to)
{
    to = to < in->size ? to : in->size;
    return from < to ? diskio_zero(in->disk, to - from, from) : NULL;
}

static struct err *clear_rest(struct disk_in *in, struct vhd_image *im)
{
    uint64_t from = 0;
    if (im->footer.type != VHD_DYNAMIC || in->is_fresh)
        return NULL;
    qsort(im->blocks, im->n_blocks, sizeof(*im->blocks), by_number);
    for (size_t i = 0; i < im->n_blocks; i++) {
        uint64_t at = (uint64_t)im->blocks[i].number * im->header.block_size;
        TRY(clear_between(in, from, at));
        from = at + im->header.block_size;
    }
    return clear_between(in, from, in->size);
}

static struct err *receive_rest(struct disk_in *in, struct vhd_image *im)
{
    TRY(read_table(in, im));
    TRY(read_blocks(in, im));
    TRY(clear_rest(in, im));
    source_drain(&in->src);
    return NULL;
}

struct err *vhd_receive(struct disk_in *in)
{
    _cleanup_(image_free) struct vhd_image im = {0};
    TRY(read_footer(in, &im));
    TRY(read_header(in, &im));
    if (in->is_fresh && im.footer.type == VHD_DIFFERENCING)
        return import_error("the VHD is a difference to another image, which is not here");
    return receive_rest(in, &im);
}

/* ---- chains ---- */

static struct err *find_place(struct vhd_chain *c, const struct vhd_image *im)
{
    bool is_parent = memcmp(im->footer.uuid, c->parent, 16) == 0 && !c->upwards && !c->has_root;
    bool is_child = im->footer.type == VHD_DIFFERENCING &&
                    memcmp(im->header.parent_uuid, c->uuid, 16) == 0 &&
                    (c->upwards || c->levels == 1);
    if (c->levels == 0 || is_parent)
        return NULL;
    c->upwards = is_child;
    return is_child ? NULL : import_error("the VHDs of the archive are no chain, or not in order");
}

struct err *vhd_chain_level(struct vhd_chain *c, struct disk_in *in)
{
    _cleanup_(image_free) struct vhd_image im = {0};
    TRY(read_footer(in, &im));
    TRY(read_header(in, &im));
    TRY(find_place(c, &im));
    if (!c->cover && !c->upwards && im.footer.type == VHD_DIFFERENCING)
        c->cover = cover_new(in->size);
    im.cover = c->upwards ? NULL : c->cover;
    c->has_root |= im.footer.type == VHD_DYNAMIC;
    c->levels++;
    memcpy(c->uuid, im.footer.uuid, 16);
    memcpy(c->parent, im.header.parent_uuid, 16);
    return receive_rest(in, &im);
}

struct err *vhd_chain_check(const struct vhd_chain *c)
{
    return c->has_root ? NULL : import_error("the VHD at the root of the chain is missing");
}

void vhd_chain_done(struct vhd_chain *c)
{
    cover_free(c->cover);
    *c = (struct vhd_chain){0};
}
