/*
 * image.c: opening, mapping and closing images. Open and close block and run on the job thread;
 * image_map runs on the engine's. An image belongs to the chain that opened it.
 */
#include "disk/image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/image_vhd.h"

#define PAGE 4096u

static const char *const format_names[] = {
    [IMAGE_RAW] = "raw", [IMAGE_VHD] = "vhd", [IMAGE_VHD_FIXED] = "vhd-fixed"};

static bool has_pages_of_its_own(const struct image *im);
static int open_file(struct image *im, enum image_use use, struct image_why *why);
static void image_free(struct image *im);
static void image_freep(struct image **im);
static void map_dynamic(struct image *im, uint64_t at, uint64_t size, struct extent *ret);

const char *image_format_name(enum image_format f)
{
    return format_names[f];
}

int image_parse_format(const char *name, enum image_format *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(format_names); i++)
        if (strcmp(name, format_names[i]) == 0) {
            *ret = (enum image_format)i;
            return 0;
        }
    return -EINVAL;
}

int image_open(const char *path, enum image_format format, enum image_use use, struct image **ret,
               struct image_why *why)
{
    _cleanup_(image_freep) struct image *im = mem_new(struct image);
    *im = (struct image){
        .format = format, .path = mem_strdup(path), .is_readonly = use == IMAGE_READ};
    int r = open_file(im, use, why);
    if (r < 0)
        return r;
    struct file_stat st;
    r = file_stat(im->file, &st);
    if (r < 0) {
        why_set(why, "cannot tell the size of '%s'", path);
        return r;
    }
    const char *reason = "";
    im->is_device = st.is_device;
    if (format == IMAGE_RAW)
        im->size = st.size / VHD_SECTOR * VHD_SECTOR;
    else if (format == IMAGE_VHD_FIXED)
        r = image_vhd_open_fixed(im, st.size, &reason);
    else
        r = image_vhd_open_dynamic(im, st.size, &reason);
    if (r < 0) {
        why_set(why, "cannot open '%s': %s", path, *reason ? reason : strerror(-r));
        return r;
    }
    if (use == IMAGE_WRITE && has_pages_of_its_own(im))
        file_go_direct(im->file, path);
    *ret = steal(&im);
    return 0;
}

/* Do data and metadata never share a page? Not in images that pack their blocks (QEMU's). */
static bool has_pages_of_its_own(const struct image *im)
{
    if (im->format != IMAGE_VHD)
        return im->format == IMAGE_RAW || im->size % PAGE == 0;
    const struct blockmap *m = &im->map;
    if (m->block_size % PAGE)
        return false;
    for (uint32_t i = 0; i < m->n_blocks; i++)
        if (m->bat[i] != VHD_UNALLOCATED && blockmap_data_at(m, i) % PAGE)
            return false;
    return true;
}

int image_close(struct image *im, struct image_why *why)
{
    if (!im)
        return 0;
    int r = 0;
    if (!im->is_readonly) {
        if (im->format == IMAGE_VHD)
            r = image_vhd_finish(im);
        int s = file_sync(im->file);
        if (r == 0)
            r = s;
        if (r < 0)
            why_set(why, "cannot finish '%s': %s", im->path, strerror(-r));
    }
    image_free(im);
    return r;
}

void image_map(struct image *im, uint64_t at, uint64_t size, struct extent *ret)
{
    if (im->format == IMAGE_VHD)
        map_dynamic(im, at, size, ret);
    else
        *ret = (struct extent){.kind = EXTENT_DATA, .size = size, .offset = at};
}

static void map_dynamic(struct image *im, uint64_t at, uint64_t size, struct extent *ret)
{
    struct blockmap *m = &im->map;
    uint32_t block = (uint32_t)(at / m->block_size);
    uint64_t inside = at % m->block_size;
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

static int open_file(struct image *im, enum image_use use, struct image_why *why)
{
    static const enum file_lock locks[] = {[IMAGE_READ] = FILE_LOCK_READER,
                                           [IMAGE_WRITE] = FILE_LOCK_WRITER,
                                           [IMAGE_MERGE] = FILE_LOCK_MERGER};
    int r = file_open(im->path, use == IMAGE_READ ? FILE_READ : FILE_WRITE, &im->file);
    if (r < 0) {
        why_set(why, "cannot open '%s': %s", im->path, strerror(-r));
        return r;
    }
    r = file_lock(im->file, locks[use]);
    if (r < 0)
        why_set(why, "cannot lock '%s': %s", im->path,
                r == -EBUSY ? "another process has it open" : strerror(-r));
    return r;
}

static void image_free(struct image *im)
{
    file_close(im->file);
    blockmap_done(&im->map);
    free(im->path);
    free(im);
}

static void image_freep(struct image **im)
{
    if (*im)
        image_free(*im);
}

void why_set(struct image_why *why, const char *fmt, ...)
{
    if (!why)
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why->text, sizeof(why->text), fmt, ap);
    va_end(ap);
}
