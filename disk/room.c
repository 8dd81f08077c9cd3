/*
 * room.c: see room.h. Called by disk.c after every change and by verbs_room.c.
 */
#include "disk/room.h"

#include <errno.h>

static struct image *leaf_that_grows(const struct disk *d)
{
    struct image *im = d->chain ? chain_leaf(d->chain) : NULL;
    return im && im->ops->room && im->is_device && !im->is_elastic && !im->is_readonly ? im : NULL;
}

static uint64_t device_size(const struct image *im)
{
    return (im->map.end + 1) * VHD_SECTOR;
}

bool room_of(const struct disk *d, uint64_t *ret_size, uint64_t *ret_used)
{
    const struct image *im = leaf_that_grows(d);
    uint64_t more;
    if (!im)
        return false;
    *ret_size = device_size(im);
    im->ops->room(im, ret_used, &more);
    return true;
}

void room_look(struct disk *d)
{
    const struct image *im = d->room.low ? leaf_that_grows(d) : NULL;
    uint64_t used, more;
    if (!im)
        return;
    im->ops->room(im, &used, &more);
    uint64_t left = device_size(im) - used, low = more < d->room.low ? more : d->room.low;
    bool wanted = d->room.wants;
    d->room.wants = left < low;
    if (d->room.wants && !wanted)
        d->room.on_want(d->room.arg);
}

int room_grown(struct disk *d, const struct file *f, uint64_t size)
{
    if (d->state != DISK_ACTIVE)
        return -EBUSY;
    struct image *im = leaf_that_grows(d);
    if (!im)
        return -EOPNOTSUPP;
    if (size > device_size(im)) {
        int r = im->file->ops->extend ? im->file->ops->extend(im->file, f) : 0;
        if (r < 0)
            return r;
        im->ops->device_grown(im, size);
    }
    d->room.wants = false;
    room_look(d);
    disk_retry(d);
    return 0;
}
