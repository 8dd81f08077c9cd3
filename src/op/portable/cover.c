/* cover.c: which sectors of a disk have been written; see vhd_chain.h. One thread. */
#include <string.h>

#include "op/portable/vhd_chain.h"

#define SECTOR        512u
#define BLOCK         (2u << 20)
#define BLOCK_SECTORS (BLOCK / SECTOR)

/* A block has no map while nothing of it is written, and none any more when all of it is. */
struct cover {
    uint8_t **maps;
    uint64_t n;
};
static uint8_t all_of_it;

struct cover *cover_new(uint64_t size)
{
    struct cover *c = mem_new(struct cover);
    c->n = (size + BLOCK - 1) / BLOCK;
    c->maps = mem_new_n(uint8_t *, (size_t)c->n + 1);
    return c;
}

void cover_free(struct cover *c)
{
    if (!c)
        return;
    for (uint64_t i = 0; i < c->n; i++)
        if (c->maps[i] != &all_of_it)
            free(c->maps[i]);
    free(c->maps);
    free(c);
}

static bool is_there(const struct cover *c, uint64_t at)
{
    const uint8_t *map = c->maps[at / BLOCK];
    unsigned s = (unsigned)(at % BLOCK / SECTOR);
    return map == &all_of_it || (map && map[s / 8] & (1u << s % 8));
}

size_t cover_run(const struct cover *c, uint64_t at, size_t size, bool *ret_there)
{
    size_t n = SECTOR;
    *ret_there = is_there(c, at);
    while (n < size && is_there(c, at + n) == *ret_there)
        n += SECTOR;
    return n < size ? n : size;
}

static bool is_full(const uint8_t *map)
{
    return map[0] == 0xff && memcmp(map, map + 1, BLOCK_SECTORS / 8 - 1) == 0;
}

static void add_to_block(uint8_t **map, unsigned from, unsigned to)
{
    if (*map == &all_of_it)
        return;
    if (!*map)
        *map = mem_zalloc(BLOCK_SECTORS / 8, 1);
    for (unsigned s = from; s < to; s++)
        (*map)[s / 8] |= (uint8_t)(1u << s % 8);
    if (!is_full(*map))
        return;
    free(*map);
    *map = &all_of_it;
}

void cover_add(struct cover *c, uint64_t at, size_t size)
{
    while (size) {
        uint64_t start = at % BLOCK;
        size_t n = size < BLOCK - start ? size : (size_t)(BLOCK - start);
        add_to_block(&c->maps[at / BLOCK], (unsigned)(start / SECTOR),
                     (unsigned)((start + n + SECTOR - 1) / SECTOR));
        at += n;
        size -= n;
    }
}
