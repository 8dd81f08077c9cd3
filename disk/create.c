/*
 * create.c: new images, empty or as a child of another. Blocking; the job thread and the one-shot
 * commands of diskd.c call it.
 */
#include "disk/create.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "disk/full.h"
#include "disk/layout.h"

static int decide_size(const char *path, enum image_format format, uint64_t size,
                       const struct parent_facts *parent, uint64_t *ret, struct image_why *why);

int image_create(const char *path, enum image_format format, uint64_t size,
                 const struct image_parent *parent, struct image_made *ret, struct image_why *why)
{
    struct image_made made = {0};
    struct parent_facts facts = {0};
    if (parent && !image_ops_of(format)->can_have_parent) {
        why_set(why, "cannot create '%s': only a growing image can have a parent", path);
        return -EINVAL;
    }
    int r = parent ? parent_look(path, parent, &facts, why) : 0;
    if (r == 0)
        r = decide_size(path, format, size, parent ? &facts : NULL, &made.size, why);
    if (r < 0)
        return r;
    _cleanup_(file_closep) struct file *f = NULL;
    r = file_create(path, &f);
    if (r < 0) {
        why_set(why, "cannot create '%s': %s", path, strerror(-r));
        return r;
    }
    r = full_make(f, format, made.size);
    if (r == 0)
        r = image_ops_of(format)->fill(f, parent ? &facts : NULL, &made);
    if (r == 0)
        r = file_settle(f, path);
    if (r < 0) {
        (void)file_remove(path);
        why_set(why, "cannot create '%s': %s", path, strerror(-r));
        return r;
    }
    *ret = made;
    return 0;
}

/* A child may be larger than its parent; of the same size, it keeps one that is not round. */
static int decide_size(const char *path, enum image_format format, uint64_t size,
                       const struct parent_facts *parent, uint64_t *ret, struct image_why *why)
{
    if (parent && size == 0)
        size = parent->size;
    *ret = image_ops_of(format)->round_size(size);
    if (parent && size == parent->size && *ret)
        *ret = size;
    if (*ret && (!parent || *ret >= parent->size))
        return 0;
    why_set(why, "cannot create '%s': %s", path,
            *ret ? "it would be smaller than its parent" : "the size is not possible");
    return -EINVAL;
}
