/* walk.c: a disk in pieces, and bytes onto a disk; see portable_impl.h. */
#include <string.h>

#include "op/portable/portable_impl.h"

#define SECTOR 512u

void walk_init(struct walk *w, struct diskio *disk, uint64_t size, size_t unit)
{
    *w = (struct walk){.disk = disk, .size = size, .unit = unit};
}

/* Is it known to be zero from `at` on, all of it? */
static struct err *is_hole(struct diskio *d, uint64_t at, uint64_t size, bool *ret)
{
    *ret = true;
    while (size && *ret) {
        uint64_t n = 0;
        TRY(diskio_extent(d, at, &n, ret));
        n = n < size ? n : size;
        at += n;
        size -= n;
    }
    return NULL;
}

static void expect_all(struct diskio *d, const struct piece *p)
{
    for (size_t done = 0; done < p->size; done += DISKIO_PIECE) {
        size_t left = p->size - done;
        diskio_expect(d, left < DISKIO_PIECE ? left : DISKIO_PIECE, p->at + done);
    }
}

static struct err *plan(struct walk *w)
{
    while (w->n < WALK_AHEAD && (w->n + 1) * w->unit <= WALK_BYTES && w->next < w->size) {
        struct piece p = {.at = w->next};
        p.size = w->size - w->next < w->unit ? (size_t)(w->size - w->next) : w->unit;
        TRY(is_hole(w->disk, p.at, p.size, &p.zero));
        if (!p.zero)
            expect_all(w->disk, &p);
        w->ahead[(w->first + w->n++) % WALK_AHEAD] = p;
        w->next += p.size;
    }
    return NULL;
}

struct err *walk_next(struct walk *w, void *room, struct piece *ret, bool *ret_more)
{
    TRY(plan(w));
    *ret_more = w->n > 0;
    if (!w->n)
        return NULL;
    *ret = w->ahead[w->first];
    w->first = (w->first + 1) % WALK_AHEAD;
    w->n--;
    return ret->zero ? NULL : diskio_read(w->disk, room, ret->size, ret->at);
}

/* ---- writing ---- */

/* Part of one sector. */
static struct err *mend_sector(struct diskio *d, const char *p, size_t size, uint64_t at)
{
    char sector[SECTOR];
    uint64_t start = at / SECTOR * SECTOR;
    TRY(diskio_flush(d));
    TRY(diskio_read(d, sector, SECTOR, start));
    memcpy(sector + (at - start), p, size);
    return diskio_write(d, sector, SECTOR, start);
}

static struct err *put_whole(struct diskio *d, const char *p, size_t size, uint64_t at)
{
    if (!size)
        return NULL;
    return is_all_zero(p, size) ? diskio_zero(d, size, at) : diskio_write(d, p, size, at);
}

struct err *disk_put(struct diskio *d, const void *bytes, size_t size, uint64_t at)
{
    const char *p = bytes;
    if (at % SECTOR) {
        size_t n = SECTOR - at % SECTOR;
        n = n < size ? n : size;
        TRY(mend_sector(d, p, n, at));
        p += n;
        at += n;
        size -= n;
    }
    size_t whole = size / SECTOR * SECTOR;
    TRY(put_whole(d, p, whole, at));
    return size > whole ? mend_sector(d, p + whole, size - whole, at + whole) : NULL;
}
