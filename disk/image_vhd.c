/*
 * image_vhd.c: from a VHD file to an image with its block map, and what is written at the end.
 *
 * What a crash may leave, and what is made of it when the image is opened for writing:
 *   - no footer at the end, another one than at the start, or a half-written block there: the file
 *     is cut behind the last block that the BAT knows, and the footer is put there;
 *   - a BAT entry that points behind the end (its block was never flushed): the entry is dropped.
 * A reader takes such an entry for an absent block. On a device the footer has its place at the
 * very end, and nothing is cut. Everything else that does not fit together is refused.
 */
#include "disk/image_vhd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"

#define PAGE 4096u

#define FAIL(why)                                                                                  \
    do {                                                                                           \
        *ret_why = (why);                                                                          \
        return -EINVAL;                                                                            \
    } while (0)

/* A range of the file that blocks may not touch. */
struct range {
    uint64_t from, to;
};

static int read_footers(struct image *im, uint64_t file_size, uint64_t *ret_end,
                        const char **ret_why);
static int read_header(struct image *im, const char **ret_why);
static int read_bat(struct image *im, uint64_t file_size, const char **ret_why);
static int check_blocks(struct image *im, uint64_t file_size, const char **ret_why);
static int check_overlap(const struct blockmap *m, const char **ret_why);
static void read_batmap(struct image *im);
static int find_end(struct image *im, uint64_t file_size, uint64_t footer_at, const char **ret_why);
static int repair(struct image *im);
static int put_footer(struct image *im);
static int drop_lost_blocks(struct image *im);
static int write_batmap(struct image *im);

int image_vhd_open_fixed(struct image *im, uint64_t file_size, const char **ret_why)
{
    uint64_t at = 0;
    int r = image_vhd_end_footer(im->file, file_size, &im->footer, im->footer_bytes, &at, ret_why);
    if (r < 0)
        return r;
    if (im->footer.type != VHD_FIXED)
        FAIL("this is not a fixed image");
    im->size = vhd_virtual_size(&im->footer);
    if (im->size == 0 || im->size % VHD_SECTOR || im->size > at)
        FAIL("the size in the footer does not fit the file");
    im->footer_at = at;
    im->is_footer_at_end = true;
    return 0;
}

int image_vhd_open_dynamic(struct image *im, uint64_t file_size, const char **ret_why)
{
    uint64_t footer_at = 0;
    int r = read_footers(im, file_size, &footer_at, ret_why);
    if (r == 0)
        r = read_header(im, ret_why);
    if (r == 0)
        r = read_bat(im, file_size, ret_why);
    if (r < 0)
        return r;
    read_batmap(im);
    r = check_blocks(im, file_size, ret_why);
    if (r < 0 || im->is_readonly)
        return r;
    r = check_overlap(&im->map, ret_why);
    if (r == 0)
        r = find_end(im, file_size, footer_at, ret_why);
    return r;
}

/* Offset 0 counts. The end only says whether the image was closed properly, and stands in when
 * the copy is damaged. */
static int read_footers(struct image *im, uint64_t file_size, uint64_t *ret_end,
                        const char **ret_why)
{
    uint8_t copy[VHD_FOOTER_SIZE], end_bytes[VHD_FOOTER_SIZE];
    int r = file_pread(im->file, copy, sizeof(copy), 0);
    if (r < 0)
        return r;
    r = vhd_footer_parse(copy, sizeof(copy), &im->footer, ret_why);
    if (r == -EACCES)
        return r;
    struct vhd_footer end;
    const char *end_why = "";
    int e = image_vhd_end_footer(im->file, file_size, &end, end_bytes, ret_end, &end_why);
    if (e == -EACCES)
        *ret_why = end_why;
    if (e == -EACCES)
        return e;
    if (r < 0 && e == 0 && end.type == VHD_FIXED)
        FAIL("this is a fixed image");
    if (r < 0 && e < 0)
        return r;
    if (r < 0) {
        im->footer = end;
        memcpy(copy, end_bytes, sizeof(copy));
    }
    if (im->footer.type == VHD_FIXED)
        FAIL("this is a fixed image");
    if (memcmp(im->footer.creator, "tap", 4) == 0 && im->footer.creator_version < 0x00010001u)
        FAIL("its bitmaps have the bit order of a release that is too old");
    memcpy(im->footer_bytes, copy, sizeof(copy));
    im->is_footer_at_end = e == 0 && memcmp(end.uuid, im->footer.uuid, 16) == 0;
    im->is_footer_same = e == 0 && memcmp(end_bytes, copy, VHD_FOOTER_SIZE - 1) == 0;
    im->size = vhd_virtual_size(&im->footer);
    im->has_parent = im->footer.type == VHD_DIFFERENCING;
    *ret_why = "";
    return 0;
}

int image_vhd_end_footer(struct file *f, uint64_t file_size, struct vhd_footer *ret,
                         uint8_t bytes[VHD_FOOTER_SIZE], uint64_t *ret_at, const char **ret_why)
{
    int r = -ENOENT;
    *ret_why = "there is no footer";
    for (unsigned size = VHD_FOOTER_SIZE; size >= VHD_FOOTER_SIZE - 1; size--) {
        if (file_size < size)
            continue;
        memset(bytes, 0, VHD_FOOTER_SIZE);
        int e = file_pread(f, bytes, size, file_size - size);
        if (e < 0)
            return e;
        r = vhd_footer_parse(bytes, size, ret, ret_why);
        if (r == 0)
            *ret_at = file_size - size;
        if (r == 0 || r == -EACCES)
            return r;
    }
    return r;
}

static int read_header(struct image *im, const char **ret_why)
{
    uint8_t bytes[VHD_HEADER_SIZE];
    int r = file_pread(im->file, bytes, sizeof(bytes), im->footer.data_offset);
    if (r < 0)
        FAIL("the header is cut short");
    r = vhd_header_parse(bytes, sizeof(bytes), &im->header, ret_why);
    if (r < 0)
        return r;
    if (im->size == 0 || im->size % VHD_SECTOR || im->size > 1ull << 41)
        FAIL("the size in the footer is not possible");
    uint64_t blocks = (im->size + im->header.block_size - 1) / im->header.block_size;
    if (blocks > im->header.max_bat_size)
        FAIL("the allocation table is smaller than the disk");
    r = blockmap_init(&im->map, (uint32_t)blocks, im->header.block_size);
    im->map.table_offset = im->header.table_offset;
    im->map.zeroes_behind = !im->is_device;
    return r;
}

static int read_bat(struct image *im, uint64_t file_size, const char **ret_why)
{
    struct blockmap *m = &im->map;
    size_t size = (size_t)m->n_blocks * 4;
    if (m->table_offset + size > file_size)
        FAIL("the allocation table is cut short");
    int r = file_pread(im->file, m->bat, size, m->table_offset);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        m->bat[i] = get_be32(&m->bat[i]);
    if (!vhd_has_batmap(&im->footer))
        return 0;
    uint8_t bytes[VHD_SECTOR];
    struct vhd_batmap_header h;
    uint64_t at = m->table_offset + vhd_bat_size(im->header.max_bat_size);
    if (file_pread(im->file, bytes, sizeof(bytes), at) < 0 ||
        vhd_batmap_parse(bytes, sizeof(bytes), &h) < 0)
        return 0;
    if (h.encrypted)
        FAIL("the image is encrypted");
    uint64_t need = ((uint64_t)m->n_blocks / 8 + VHD_SECTOR) / VHD_SECTOR;
    if (h.offset != at + VHD_SECTOR || h.sectors < need - 1 || h.sectors > need + 8192 ||
        (uint64_t)h.sectors * VHD_SECTOR < vhd_batmap_sum_size(im->size))
        return 0;
    im->batmap_at = at;
    im->batmap_sectors = h.sectors;
    return 0;
}

/* A batmap that does not match its checksum says nothing; the bitmaps know it all. */
static void read_batmap(struct image *im)
{
    if (!im->batmap_at)
        return;
    size_t size = (size_t)im->batmap_sectors * VHD_SECTOR;
    uint64_t sum_size = vhd_batmap_sum_size(im->size);
    uint8_t head[VHD_SECTOR];
    struct vhd_batmap_header h;
    _cleanup_(freep) uint8_t *map = mem_try_alloc(size, 1);
    if (!map || sum_size > size || file_pread(im->file, head, sizeof(head), im->batmap_at) ||
        vhd_batmap_parse(head, sizeof(head), &h) < 0 ||
        file_pread(im->file, map, size, im->batmap_at + VHD_SECTOR) < 0)
        return;
    uint32_t sum =
        h.is_sum_signed ? vhd_checksum_signed(map, sum_size) : vhd_checksum(map, sum_size);
    if (sum != h.checksum)
        return;
    for (uint32_t i = 0; i < im->map.n_blocks && i / 8 < size; i++)
        if (im->map.bat[i] != VHD_UNALLOCATED && map[i / 8] & (0x80u >> i % 8))
            blockmap_set_full(&im->map, i);
}

static bool hits(uint64_t from, uint64_t to, struct range r)
{
    return from < r.to && r.from < to;
}

static int check_blocks(struct image *im, uint64_t file_size, const char **ret_why)
{
    struct blockmap *m = &im->map;
    uint64_t stride = (uint64_t)vhd_bitmap_sectors(m->block_size) * VHD_SECTOR + m->block_size;
    uint64_t bat_end = m->table_offset + vhd_bat_size(im->header.max_bat_size);
    uint64_t map_end = im->batmap_at + (im->batmap_sectors + 1ull) * VHD_SECTOR;
    struct range taken[] = {
        {0, VHD_FOOTER_SIZE},
        {im->footer.data_offset, im->footer.data_offset + VHD_HEADER_SIZE},
        {m->table_offset, bat_end},
        {im->batmap_at, im->batmap_at ? map_end : 0},
    };
    for (uint32_t i = 0; i < m->n_blocks; i++) {
        if (m->bat[i] == VHD_UNALLOCATED)
            continue;
        uint64_t from = blockmap_bitmap_at(m, i), to = from + stride;
        for (size_t k = 0; k < ARRAY_LEN(taken); k++)
            if (hits(from, to, taken[k]))
                FAIL("a block lies in the metadata");
        m->n_allocated++;
        if (from < file_size)
            continue;
        if (im->is_device || from - file_size > (uint64_t)m->n_blocks * stride)
            FAIL("a block lies behind the end of the file");
        m->bat[i] = VHD_UNALLOCATED;
        m->full[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
        m->n_allocated--;
        im->lost_blocks++;
    }
    return 0;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int check_overlap(const struct blockmap *m, const char **ret_why)
{
    _cleanup_(freep) uint32_t *sorted = mem_try_alloc(m->n_blocks, sizeof(*sorted));
    if (!sorted)
        return -ENOMEM;
    memcpy(sorted, m->bat, (size_t)m->n_blocks * sizeof(*sorted));
    qsort(sorted, m->n_blocks, sizeof(*sorted), compare_u32);
    uint64_t stride = vhd_bitmap_sectors(m->block_size) + m->block_size / VHD_SECTOR;
    for (uint32_t i = 1; i < m->n_blocks && sorted[i] != VHD_UNALLOCATED; i++)
        if (sorted[i] < sorted[i - 1] + stride)
            FAIL("two blocks overlap");
    return 0;
}

uint64_t image_vhd_data_end(const struct image *im, uint64_t file_size)
{
    const struct blockmap *m = &im->map;
    uint64_t stride = (uint64_t)vhd_bitmap_sectors(m->block_size) * VHD_SECTOR + m->block_size;
    uint64_t end = m->table_offset + vhd_bat_size(im->header.max_bat_size);
    if (im->batmap_at)
        end = im->batmap_at + (im->batmap_sectors + 1ull) * VHD_SECTOR;
    if (end < im->footer.data_offset + VHD_HEADER_SIZE)
        end = im->footer.data_offset + VHD_HEADER_SIZE;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (m->bat[i] != VHD_UNALLOCATED && blockmap_bitmap_at(m, i) + stride > end)
            end = blockmap_bitmap_at(m, i) + stride;
    for (int i = 0; i < VHD_LOCATORS; i++) {
        const struct vhd_locator *l = &im->header.locators[i];
        if (l->code && l->data_offset < file_size && l->data_offset + l->space > end)
            end = l->data_offset + l->space;
    }
    return end;
}

/*
 * Where the next block goes. Behind everything the metadata names, and behind the footer's place
 * when the image was closed properly: a gap in front of that footer may hold anything.
 */
static int find_end(struct image *im, uint64_t file_size, uint64_t footer_at, const char **ret_why)
{
    struct blockmap *m = &im->map;
    uint64_t end = image_vhd_data_end(im, file_size);
    if (end % VHD_SECTOR || end > 1ull << 42)
        FAIL("the metadata ends nowhere sensible");
    im->is_footer_at_end = im->is_footer_at_end && im->is_footer_same && footer_at >= end;
    m->next_free = (im->is_footer_at_end && !im->is_device ? footer_at : end) / VHD_SECTOR;
    if (im->is_device)
        m->end = file_size / VHD_SECTOR - 1;
    if (m->end && m->next_free > m->end)
        FAIL("the device is too small for its blocks and the footer");
    im->footer_sector = m->first_free = m->next_free;
    return repair(im);
}

/* Lost blocks go first: their places will be given to others. Without room for its footer an image
 * is good all the same, by the copy at its beginning: it gets one with its next block, or at its
 * end. */
static int repair(struct image *im)
{
    int r = 0;
    bool lacks_footer = !im->is_footer_at_end;
    if (lacks_footer && !im->is_device)
        r = file_truncate(im->file, im->map.next_free * VHD_SECTOR);
    if (r == 0)
        r = drop_lost_blocks(im);
    if (r == 0 && lacks_footer)
        r = put_footer(im);
    if (r == 0 && (im->lost_blocks || lacks_footer))
        r = file_sync(im->file);
    return r;
}

static int put_footer(struct image *im)
{
    int r = file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, image_vhd_footer_at(im));
    im->is_footer_at_end = r == 0;
    return r == -ENOSPC || r == -EDQUOT ? 0 : r;
}

uint64_t image_vhd_footer_at(const struct image *im)
{
    return (im->is_device ? im->map.end : im->map.next_free) * VHD_SECTOR;
}

static int drop_lost_blocks(struct image *im)
{
    uint8_t sector[VHD_SECTOR];
    uint32_t sectors =
        im->lost_blocks ? (uint32_t)(vhd_bat_size(im->map.n_blocks) / VHD_SECTOR) : 0;
    for (uint32_t i = 0; i < sectors; i++) {
        blockmap_bat_sector(&im->map, i, sector);
        uint64_t at = im->map.table_offset + (uint64_t)i * VHD_SECTOR;
        int r = file_pwrite(im->file, sector, sizeof(sector), at);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The batmap is trusted, so what it says must be durable before it. */
int image_vhd_finish(struct image *im)
{
    if (!im->is_touched && im->is_footer_at_end)
        return 0;
    int r = file_sync(im->file);
    if (r == 0 && im->batmap_at)
        r = write_batmap(im);
    int e = 0;
    (void)blockmap_forget_new(&im->map);
    if (!im->is_device)
        e = file_truncate(im->file, im->map.next_free * VHD_SECTOR);
    if (e == 0)
        e = file_pwrite(im->file, im->footer_bytes, VHD_FOOTER_SIZE, image_vhd_footer_at(im));
    return r < 0 ? r : e;
}

static int write_batmap(struct image *im)
{
    struct blockmap *m = &im->map;
    size_t size = (size_t)im->batmap_sectors * VHD_SECTOR;
    _cleanup_(freep) uint8_t *bytes = mem_try_alloc(VHD_SECTOR + size, 1);
    if (!bytes)
        return -ENOMEM;
    uint8_t *map = bytes + VHD_SECTOR;
    memset(map, 0, size);
    size_t have = (size_t)m->n_blocks / 8 + 1;
    memcpy(map, m->full, have < size ? have : size);
    struct vhd_batmap_header h = {
        .offset = im->batmap_at + VHD_SECTOR,
        .sectors = im->batmap_sectors,
        .checksum = vhd_checksum(map, vhd_batmap_sum_size(im->size)),
    };
    vhd_batmap_put(&h, bytes);
    return file_pwrite(im->file, bytes, VHD_SECTOR + size, im->batmap_at);
}

static void map_dynamic(struct image *im, uint64_t at, uint64_t size, struct extent *ret)
{
    struct blockmap *m = &im->map;
    uint32_t block = blockmap_block(m, at);
    uint64_t inside = at & (m->block_size - 1);
    if (size > m->block_size - inside)
        size = m->block_size - inside;
    *ret = (struct extent){.kind = EXTENT_HOLE, .size = size, .block = block};
    if (m->bat[block] == VHD_UNALLOCATED)
        return;
    ret->offset = blockmap_data_at(m, block) + inside;
    ret->kind = EXTENT_DATA;
    if (blockmap_is_full(m, block))
        return;
    const struct bitmap *b = blockmap_find(m, block);
    if (!b || b->state == BITMAP_LOADING) {
        ret->kind = EXTENT_LOAD;
        return;
    }
    bool present;
    uint32_t first = (uint32_t)(inside / VHD_SECTOR);
    uint32_t last = (uint32_t)((inside + size - 1) / VHD_SECTOR);
    uint64_t end =
        (first + (uint64_t)bitmap_run(b, first, last - first + 1, &present)) * VHD_SECTOR;
    if (end - inside < size)
        ret->size = end - inside;
    if (!present)
        ret->kind = EXTENT_HOLE;
}

static void expect(const struct image *im, uint64_t at)
{
    blockmap_expect(&im->map, at);
}

/* Not in images that pack their blocks (QEMU's). */
static bool has_pages_of_its_own(const struct image *im)
{
    const struct blockmap *m = &im->map;
    if (m->block_size % PAGE)
        return false;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (m->bat[i] != VHD_UNALLOCATED && blockmap_data_at(m, i) % PAGE)
            return false;
    return true;
}

static bool fixed_has_own_pages(const struct image *im)
{
    return im->size % PAGE == 0;
}

static void free_map(struct image *im)
{
    blockmap_done(&im->map);
}

static uint64_t allocated(const struct image *im)
{
    return (uint64_t)im->map.n_allocated * im->map.block_size;
}

static bool is_child(const struct image *im, const struct image *parent)
{
    static const uint8_t none[16];
    if (!parent->ops->has_uuid && parent->format != IMAGE_RAW)
        return false;
    const uint8_t *uuid = parent->ops->has_uuid ? parent->footer.uuid : none;
    return memcmp(im->header.parent_uuid, uuid, 16) == 0;
}

static bool is_hidden(const struct image *im)
{
    return im->footer.hidden;
}

/* The footer has the last sector; a block may have to leave a gap in front of it. */
static void room(const struct image *im, uint64_t *ret_used, uint64_t *ret_more)
{
    const struct blockmap *m = &im->map;
    uint64_t gap = vhd_bitmap_sectors(m->block_size) + BITMAP_PAD_MAX;
    *ret_used = (m->next_free + 1) * VHD_SECTOR;
    *ret_more = (uint64_t)(m->n_blocks - m->n_allocated) * (gap * VHD_SECTOR + m->block_size);
}

/* The footer goes to the new end when the image is closed; until then, and after a crash, the copy
 * at the start counts. */
static void device_grown(struct image *im, uint64_t size)
{
    im->map.end = size / VHD_SECTOR - 1;
    im->is_footer_at_end = false;
}

const struct image_ops image_vhd_ops = {
    .name = "vhd",
    .has_uuid = true,
    .open = image_vhd_open_dynamic,
    .finish = image_vhd_finish,
    .free = free_map,
    .has_own_pages = has_pages_of_its_own,
    .map = map_dynamic,
    .expect = expect,
    .allocated = allocated,
    .is_child = is_child,
    .round_size = vhd_round_size,
    .fill = image_vhd_fill,
    .can_have_parent = true,
    .grow = image_vhd_grow,
    .set_parent = image_vhd_set_parent,
    .set_hidden = image_vhd_set_hidden,
    .is_hidden = is_hidden,
    .parent_path = image_vhd_parent_path,
    .room = room,
    .device_grown = device_grown,
};

const struct image_ops image_vhd_fixed_ops = {
    .name = "vhd-fixed",
    .has_uuid = true,
    .open = image_vhd_open_fixed,
    .finish = NULL,
    .free = NULL,
    .has_own_pages = fixed_has_own_pages,
    .map = NULL,
    .expect = NULL,
    .allocated = NULL,
    .is_child = NULL,
    .round_size = vhd_round_size,
    .fill = image_vhd_fill_fixed,
    .can_have_parent = false,
    .grow = image_vhd_grow_fixed,
    .set_parent = NULL,
    .set_hidden = image_vhd_set_hidden,
    .is_hidden = is_hidden,
    .parent_path = NULL,
    .room = NULL,
    .device_grown = NULL,
};
