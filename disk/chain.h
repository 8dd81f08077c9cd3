/*
 * chain.h: an image and its ancestors, read as one disk.
 *
 *     leaf  ──parent──>  …  ──parent──>  root            whatever none of them has is zero
 *
 * Only the leaf is ever written; ancestors are opened for reading. The files are named by the
 * caller, leaf first: the parent locators inside an image are not followed, they only must agree
 * (each child's parent uuid is its parent's uuid; none means a raw parent).
 *
 * chain_open and chain_close block (job thread); chain_map is the engine's and does no I/O.
 */
#pragma once

#include "disk/image.h"

#define CHAIN_MAX 32

struct chain_item {
    const char *path;
    enum image_format format;
};

struct chain {
    struct image *image[CHAIN_MAX]; /* leaf first; owned */
    unsigned n;
    uint64_t size; /* the leaf's */
};

/* Where a piece of the disk comes from. */
struct chain_extent {
    enum extent_kind kind; /* EXTENT_HOLE: zeroes */
    uint64_t size;
    uint64_t offset;     /* DATA: in the file */
    uint32_t block;      /* LOAD */
    struct image *image; /* DATA, LOAD */
};

int chain_open(const struct chain_item *items, unsigned n, bool readonly, struct chain **ret,
               struct image_why *why);
/* Is the one the other's parent, as the child says? */
int chain_check_link(const struct image *child, const struct image *parent, struct image_why *why);
/* Are the images that are only read taken from the page cache, or around it? Once, at the start. */
void chain_cache(struct chain *c, bool is_cached);
/* Bytes of them that were read and found there, and those that were not. */
void chain_cache_bytes(const struct chain *c, uint64_t *ret_hit, uint64_t *ret_miss);
/* The first error of closing the images; NULL is fine. */
int chain_close(struct chain *c, struct image_why *why);

static inline struct image *chain_leaf(const struct chain *c)
{
    return c->image[0];
}

/* The extent that begins at `at`, at most `size` long; sector-aligned, within the disk. */
void chain_map(const struct chain *c, uint64_t at, uint64_t size, struct chain_extent *ret);
/* The same for the ancestors alone, from image `first` on. */
void chain_map_from(const struct chain *c, unsigned first, uint64_t at, uint64_t size,
                    struct chain_extent *ret);
