/*
 * parent.c: what a differencing VHD says of its parent: uuid, name, three locators with the path
 * from the child's folder, so that a repository can be moved as a whole. Called by create.c and
 * modify.c on the job thread; owns nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "disk/backend/lv.h"
#include "disk/image_vhd.h"
#include "disk/layout.h"

/* Where the two paths part: behind the last slash that both have there. */
static size_t common_folder(const char *a, const char *b)
{
    size_t n = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == '/')
            n = i + 1;
    return n;
}

static int relative_path(const char *child, const char *parent, char *out, size_t max)
{
    size_t n = common_folder(child, parent), used = 0;
    const char *rest = child + n;
    struct view volume;
    if (lv_name(parent, &volume)) {
        int k = snprintf(out, max, "./%.*s", (int)volume.size, volume.p);
        return k < 0 || (size_t)k >= max ? -ENAMETOOLONG : 0;
    }
    bool is_beside = !strchr(rest, '/');
    for (; (rest = strchr(rest, '/')); rest++) {
        int k = snprintf(out + used, max - used, "../");
        if (k < 0 || (size_t)k >= max - used)
            return -ENAMETOOLONG;
        used += (size_t)k;
    }
    int k = snprintf(out + used, max - used, "%s%s", is_beside ? "./" : "", parent + n);
    return k < 0 || (size_t)k >= max - used ? -ENAMETOOLONG : 0;
}

int parent_call(const char *child, const char *path, struct parent_facts *facts,
                struct image_why *why)
{
    int r = relative_path(child, path, facts->relative, sizeof(facts->relative));
    if (r < 0)
        why_set(why, "the path from '%s' to '%s' is too long", child, path);
    return r;
}

int parent_look(const char *child, const struct image_parent *parent, struct parent_facts *ret,
                struct image_why *why)
{
    struct image_info info;
    int r = image_info(parent->path, &parent->format, &info, why);
    if (r < 0)
        return r;
    *ret = (struct parent_facts){.format = parent->format, .size = info.size};
    if (image_ops_of(parent->format)->has_uuid)
        memcpy(ret->uuid, info.footer.uuid, sizeof(ret->uuid));
    ret->timestamp = (uint32_t)(info.mtime - VHD_UNIX_EPOCH);
    return parent_call(child, parent->path, ret, why);
}

int parent_put(const struct parent_facts *p, uint64_t locators_at, struct vhd_header *h,
               uint8_t out[PARENT_LOCATORS * VHD_SECTOR])
{
    static const uint32_t codes[PARENT_LOCATORS] = {VHD_MACX, VHD_W2KU, VHD_W2RU};
    const char *slash = strrchr(p->relative, '/');
    memcpy(h->parent_uuid, p->uuid, sizeof(h->parent_uuid));
    h->parent_timestamp = p->timestamp;
    (void)snprintf(h->parent_name, sizeof(h->parent_name), "%s", slash ? slash + 1 : p->relative);
    memset(h->locators, 0, sizeof(h->locators));
    for (unsigned i = 0; i < PARENT_LOCATORS; i++) {
        int n = vhd_locator_put(codes[i], p->relative, out + (size_t)i * VHD_SECTOR);
        if (n < 0)
            return n;
        h->locators[i] = (struct vhd_locator){.code = codes[i],
                                              .data_len = (uint32_t)n,
                                              .data_offset = locators_at + (uint64_t)i * VHD_SECTOR,
                                              .space = VHD_SECTOR};
    }
    return 0;
}

void image_vhd_parent_path(struct image *im, char *ret, size_t max)
{
    *ret = '\0';
    for (int i = 0; i < VHD_LOCATORS; i++) {
        const struct vhd_locator *l = &im->header.locators[i];
        uint8_t bytes[2048];
        if (!l->code || l->data_len > sizeof(bytes) || l->data_offset > 1ull << 42)
            continue;
        if (file_pread(im->file, bytes, l->data_len, l->data_offset) == 0 &&
            vhd_locator_parse(l->code, bytes, l->data_len, ret, max) == 0)
            return;
        *ret = '\0';
    }
}
