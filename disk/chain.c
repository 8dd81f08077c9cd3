/*
 * chain.c: opening a list of images as one disk, and the read map through it. chain_open and
 * chain_close run on the job thread, chain_map on the engine's; a chain owns its images.
 */
#include "disk/chain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define AHEAD 3 /* images */

static void chain_freep(struct chain **c);

int chain_open(const struct chain_item *items, unsigned n, bool readonly, struct chain **ret,
               struct image_why *why)
{
    if (n == 0 || n > CHAIN_MAX) {
        why_set(why, "a chain of %u images is not possible", n);
        return -EINVAL;
    }
    _cleanup_(chain_freep) struct chain *c = mem_new(struct chain);
    for (unsigned i = 0; i < n; i++) {
        int r = image_open(items[i].path, items[i].format,
                           readonly || i > 0 ? IMAGE_READ : IMAGE_WRITE, &c->image[i], why);
        if (r < 0)
            return r;
        c->n++;
        r = i ? chain_check_link(c->image[i - 1], c->image[i], why) : 0;
        if (r < 0)
            return r;
    }
    if (c->image[n - 1]->has_parent) {
        why_set(why, "the parent of '%s' is not given", items[n - 1].path);
        return -EINVAL;
    }
    c->size = c->image[0]->size;
    *ret = steal(&c);
    return 0;
}

int chain_close(struct chain *c, struct image_why *why)
{
    if (!c)
        return 0;
    int r = 0;
    for (unsigned i = 0; i < c->n; i++) {
        int e = image_close(c->image[i], r < 0 ? NULL : why);
        if (r == 0)
            r = e;
    }
    free(c);
    return r;
}

void chain_cache(struct chain *c, bool is_cached)
{
    for (unsigned i = 0; i < c->n; i++) {
        struct image *im = c->image[i];
        if (im->is_readonly && is_cached)
            file_read_cached(im->file);
        else if (im->is_readonly)
            file_read_direct(im->file, im->path);
    }
}

void chain_cache_bytes(const struct chain *c, uint64_t *ret_hit, uint64_t *ret_miss)
{
    *ret_hit = *ret_miss = 0;
    for (unsigned i = 0; i < c->n; i++) {
        *ret_hit += c->image[i]->file->hit_bytes;
        *ret_miss += c->image[i]->file->miss_bytes;
    }
}

void chain_map(const struct chain *c, uint64_t at, uint64_t size, struct chain_extent *ret)
{
    chain_map_from(c, 0, at, size, ret);
}

/* In a long chain the processor waits for memory at each image if it is not told before. */
static void expect(const struct image *im, uint64_t at)
{
    if (im->ops->expect)
        im->ops->expect(im, at);
}

void chain_map_from(const struct chain *c, unsigned first, uint64_t at, uint64_t size,
                    struct chain_extent *ret)
{
    for (unsigned i = first; i < c->n; i++) {
        struct image *im = c->image[i];
        if (at >= im->size)
            break;
        struct extent e;
        /* What lies behind a shorter parent's end is a hole and is asked for on its own. */
        image_map(im, at, size < im->size - at ? size : im->size - at, &e);
        size = e.size;
        *ret = (struct chain_extent){
            .kind = e.kind, .size = e.size, .offset = e.offset, .block = e.block, .image = im};
        if (e.kind != EXTENT_HOLE)
            return;
        if (i + AHEAD < c->n)
            expect(c->image[i + AHEAD], at);
    }
    *ret = (struct chain_extent){.kind = EXTENT_HOLE, .size = size};
}

int chain_check_link(const struct image *child, const struct image *parent, struct image_why *why)
{
    if (child->has_parent && child->ops->is_child(child, parent))
        return 0;
    why_set(why, "'%s' is not the parent of '%s'", parent->path, child->path);
    return -EINVAL;
}

static void chain_freep(struct chain **c)
{
    (void)chain_close(*c, NULL);
}
