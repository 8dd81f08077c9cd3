/*
 * grow.c: making images larger, so that a crash leaves the old size or the new one. Blocking; the
 * job thread calls it.
 */
#include <errno.h>
#include <string.h>

#include "disk/create.h"
#include "disk/full.h"

int image_resize(const char *path, enum image_format format, uint64_t size, uint64_t *ret_size,
                 struct image_why *why)
{
    return image_grow(path, format, IMAGE_WRITE, size, ret_size, why);
}

int image_grow(const char *path, enum image_format format, enum image_use use, uint64_t size,
               uint64_t *ret_size, struct image_why *why)
{
    struct image *im;
    int r = image_open(path, format, use, &im, why);
    if (r < 0)
        return r;
    uint64_t wanted = im->ops->round_size(size);
    const char *reason = NULL;
    if (wanted == 0 || wanted < im->size)
        r = -EINVAL, reason = "an image can only grow, up to the format's limit";
    else if (wanted != im->size)
        r = full_grow(im, wanted);
    if (r == 0 && wanted != im->size)
        r = im->ops->grow(im, wanted, &reason);
    if (r < 0)
        why_set(why, "cannot grow '%s': %s", path, reason ? reason : strerror(-r));
    int c = image_close(im, r < 0 ? NULL : why);
    if (r == 0)
        r = c;
    if (r == 0)
        *ret_size = wanted;
    return r;
}
