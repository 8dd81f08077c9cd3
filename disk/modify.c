/*
 * modify.c: the hidden flag and the parent of an image that has them already. Blocking; the job
 * thread calls it. Others may have the image open as an ancestor meanwhile: they know its metadata,
 * and no block moves.
 */
#include <errno.h>
#include <string.h>

#include "disk/layout.h"

int image_modify(const char *path, enum image_format format, const struct image_change *change,
                 struct image_why *why)
{
    struct parent_facts facts;
    struct image *im;
    int r = change->parent ? parent_look(path, change->parent, &facts, why) : 0;
    if (r == 0 && change->parent && change->called)
        r = parent_call(path, change->called, &facts, why);
    if (r == 0)
        r = image_open(path, format, IMAGE_MERGE, &im, why);
    if (r < 0)
        return r;
    const char *reason = NULL;
    if (!im->ops->set_hidden)
        r = -EOPNOTSUPP, reason = "a raw image has neither flag nor parent";
    else if (change->parent && !im->has_parent)
        r = -EINVAL, reason = "it has no parent";
    else if (change->parent && facts.size > im->size)
        r = -EINVAL, reason = "the parent would be larger";
    if (r == 0 && change->parent)
        r = im->ops->set_parent(im, &facts);
    if (r == 0 && change->hidden >= 0)
        r = im->ops->set_hidden(im, change->hidden != 0);
    if (r < 0)
        why_set(why, "cannot change '%s': %s", path, reason ? reason : strerror(-r));
    int c = image_close(im, r < 0 ? NULL : why);
    return r < 0 ? r : c;
}
