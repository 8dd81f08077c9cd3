/*
 * layout.c: the parts of a dynamic VHD and their order in the file. Called by create.c and grow.c
 * on the job thread; owns nothing.
 */
#include "disk/layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct layout layout_of(uint64_t size, uint64_t table_at, bool has_parent)
{
    struct layout l = {.n_blocks = (uint32_t)((size + VHD_BLOCK_SIZE - 1) / VHD_BLOCK_SIZE),
                       .table_at = table_at};
    l.batmap_at = l.table_at + vhd_bat_size(l.n_blocks);
    l.batmap_sectors = (l.n_blocks / 8 + VHD_SECTOR) / VHD_SECTOR;
    l.locators_at = l.batmap_at + (l.batmap_sectors + 1ull) * VHD_SECTOR;
    l.end = l.locators_at + (has_parent ? PARENT_LOCATORS * VHD_SECTOR : 0);
    return l;
}

int layout_write(struct file *f, const struct layout *l, uint64_t size, const uint32_t *bat,
                 const uint8_t *full, uint32_t n_old)
{
    struct blockmap m = {0};
    size_t total = (size_t)(l->locators_at - l->table_at);
    _cleanup_(freep) uint8_t *bytes = mem_try_alloc(total, 1);
    if (!bytes || blockmap_init(&m, l->n_blocks, VHD_BLOCK_SIZE) < 0)
        return -ENOMEM;
    if (n_old)
        memcpy(m.bat, bat, (size_t)n_old * sizeof(*bat));
    for (uint32_t i = 0; i < n_old; i++)
        if (full[i / 8] & (0x80u >> i % 8))
            blockmap_set_full(&m, i);
    uint64_t bat_size = l->batmap_at - l->table_at;
    for (uint32_t i = 0; i < bat_size / VHD_SECTOR; i++)
        blockmap_bat_sector(&m, i, bytes + (size_t)i * VHD_SECTOR);
    uint8_t *map = bytes + bat_size + VHD_SECTOR;
    memset(map, 0, (size_t)l->batmap_sectors * VHD_SECTOR);
    memcpy(map, m.full, (size_t)l->n_blocks / 8 + 1);
    struct vhd_batmap_header h = {
        .offset = l->batmap_at + VHD_SECTOR,
        .sectors = l->batmap_sectors,
        .checksum = vhd_checksum(map, vhd_batmap_sum_size(size)),
    };
    vhd_batmap_put(&h, bytes + bat_size);
    blockmap_done(&m);
    return file_pwrite(f, bytes, total, l->table_at);
}
