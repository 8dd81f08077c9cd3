/*
 * layout.h: where the parts of a dynamic VHD lie, and what a differencing one says of its parent.
 * Private to create.c, grow.c, modify.c and info.c; blocking, on the job thread.
 */
#pragma once

#include "disk/create.h"

#define PARENT_LOCATORS 3

struct layout {
    uint32_t n_blocks;
    uint64_t table_at, batmap_at, locators_at, end; /* bytes; one follows the other */
    uint32_t batmap_sectors;
};

struct layout layout_of(uint64_t size, uint64_t table_at, bool has_parent);

/* BAT and batmap in one piece; the first n_old blocks as given, the others absent. */
int layout_write(struct file *f, const struct layout *l, uint64_t size, const uint32_t *bat,
                 const uint8_t *full, uint32_t n_old);

/* What a child says of its parent. */
struct parent_facts {
    enum image_format format;
    uint8_t uuid[16];          /* all zero: a raw parent */
    uint32_t timestamp;        /* when it was changed last, seconds since 2000 */
    uint64_t size;             /* of its disk */
    char relative[VHD_SECTOR]; /* its path from the child's folder: "./x.vhd" */
};

/* Looks at the parent, which may be open elsewhere, for reading at most. */
int parent_look(const char *child, const struct image_parent *parent, struct parent_facts *ret,
                struct image_why *why);
/* Its path is another than that it was looked at by. */
int parent_call(const char *child, const char *path, struct parent_facts *facts,
                struct image_why *why);
/* Fills the header's members about the parent, and the bytes of the locators, which are to be at
 * `locators_at`. */
int parent_put(const struct parent_facts *p, uint64_t locators_at, struct vhd_header *h,
               uint8_t out[PARENT_LOCATORS * VHD_SECTOR]);
