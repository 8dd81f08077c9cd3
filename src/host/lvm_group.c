/* lvm_group.c: see lvm_group.h. Called by sr_lvm.c on operation threads; keeps nothing. */
#include "host/lvm_group.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"

#define PREFIX    "lv:"
#define DISK      "VHD-"
#define SWAP      "swap-"
#define PATH_MAX_ 4000u /* what cairn-diskd takes, with room */

static int read_at(int fd, void *p, size_t size, uint64_t at)
{
    return fd_pread_all(fd, p, size, (off_t)at);
}

/* The text may run over the end of its ring. */
static int read_text(int fd, const struct lvm_place *place, char *text)
{
    uint64_t first = place->end - place->at;
    if (first > place->size)
        first = place->size;
    int r = read_at(fd, text, (size_t)first, place->at);
    return r < 0 || first == place->size
               ? r
               : read_at(fd, text + first, (size_t)(place->size - first), place->wraps_to);
}

static int read_label(int fd, struct lvm_label *ret, const char **ret_why)
{
    uint8_t head[LVM_LABEL_BYTES];
    int r = read_at(fd, head, LVM_LABEL_BYTES, 0);
    if (r < 0)
        return r;
    return lvm_label_parse(head, ret, ret_why) < 0 ? -ENODEV : 0;
}

static int find_text(int fd, struct lvm_place *ret, const char **ret_why)
{
    uint8_t head[LVM_MDA_BYTES];
    struct lvm_label label;
    *ret = (struct lvm_place){0};
    int r = read_label(fd, &label, ret_why);
    if (r < 0 || !label.mda.size)
        return r;
    r = read_at(fd, head, LVM_MDA_BYTES, label.mda.at);
    return r < 0 ? r : lvm_mda_parse(head, &label.mda, ret, ret_why);
}

/* Its text, from one device. */
static int read_group(const char *device, struct lvm_vg *ret, const char **ret_why)
{
    _cleanup_(fd_closep) int fd = open(device, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct lvm_place place;
    *ret_why = "the device cannot be read";
    if (fd < 0)
        return -errno;
    int r = find_text(fd, &place, ret_why);
    if (r < 0)
        return r;
    if (!place.size) {
        *ret_why = "there is no volume group";
        return -ENODEV;
    }
    _cleanup_(freep) char *text = mem_new_n(char, place.size);
    r = read_text(fd, &place, text);
    return r < 0 ? r : lvm_vg_parse((struct view){text, place.size}, place.sum, ret, ret_why);
}

/* Devices change their names: what counts is the id in the label. */
static bool is_pv(const struct lvm_pv *pv, const char *device)
{
    _cleanup_(fd_closep) int fd = open(device, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct lvm_label label;
    const char *why;
    return fd >= 0 && read_label(fd, &label, &why) == 0 && str_eq(pv->id, label.id);
}

static char *find_pv(const struct lvm_pv *pv, const char *devices)
{
    struct view rest = view_of(devices), item;
    for (bool more = true; more;) {
        more = view_split(&rest, ',', &item);
        _cleanup_(freep) char *device = view_dup(item);
        if (is_pv(pv, device))
            return steal(&device);
    }
    return mem_strdup(is_pv(pv, pv->device) ? pv->device : "");
}

int lvm_group_read(const char *devices, struct lvm_vg *ret, const char **ret_why)
{
    struct view rest = view_of(devices), item;
    *ret = (struct lvm_vg){0};
    (void)view_split(&rest, ',', &item);
    _cleanup_(freep) char *first = view_dup(item);
    int r = read_group(first, ret, ret_why);
    if (r < 0) {
        lvm_vg_done(ret);
        return r;
    }
    vec_each (pv, &ret->pvs) {
        char *device = find_pv(pv, devices);
        free(pv->device);
        pv->device = device;
    }
    return 0;
}

char *lvm_group_path(const struct lvm_vg *vg, const struct lvm_lv *lv, const char *as)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, PATH_MAX_);
    if (!lv->is_plain)
        return NULL;
    buf_printf(&b, PREFIX "%s:", as);
    for (size_t i = 0; i < lv->segments.n; i++) {
        const struct lvm_segment *seg = &lv->segments.v[i];
        const struct lvm_pv *pv = seg->stripes.n == 1 ? &vg->pvs.v[seg->stripes.v[0].pv] : NULL;
        if (!pv || !pv->device[0])
            return NULL;
        buf_printf(&b, "%s%s@%llu+%llu", i ? "," : "", pv->device,
                   (unsigned long long)(pv->start + seg->stripes.v[0].extent * vg->extent_size),
                   (unsigned long long)(seg->extents * vg->extent_size));
    }
    return buf_ok(&b) ? mem_strdup(buf_str(&b)) : NULL;
}

/* ---- paths ---- */

const struct lvm_lv *lvm_group_find(const struct lvm_vg *vg, const char *name)
{
    const struct lvm_lv *lv = lvm_vg_find(vg, name);
    if (lv || !str_starts(name, DISK))
        return lv;
    _cleanup_(freep) char *swap = mem_printf(SWAP "%s", name + strlen(DISK));
    return lvm_vg_find(vg, swap);
}

bool lvm_group_is_path(const char *path)
{
    return str_starts(path, PREFIX);
}

/* What comes before the first place: name and device. */
static struct view head_of(struct view path)
{
    struct view head = path;
    if (view_starts(path, PREFIX))
        (void)view_split(&path, '@', &head);
    return head;
}

/* The name alone, which has a uuid: its first extent may be on another device now. */
static struct view name_in(struct view path)
{
    struct view name = path, rest = view_cut(path, strlen(PREFIX));
    if (view_starts(path, PREFIX))
        (void)view_split(&rest, ':', &name);
    return name;
}

bool lvm_group_is_same(struct view a, struct view b)
{
    struct view x = name_in(a), y = name_in(b);
    return view_starts(a, PREFIX) == view_starts(b, PREFIX) && x.size == y.size &&
           memcmp(x.p, y.p, x.size) == 0;
}

static void vg_done(struct lvm_vg *vg)
{
    lvm_vg_done(vg);
}

int lvm_group_beside(const char *path, const char *name, char **ret)
{
    _cleanup_(vg_done) struct lvm_vg vg = {0};
    struct view device = head_of(view_of(path)), own;
    const char *why;
    if (!lvm_group_is_path(path) || !view_split(&device, ':', &own) ||
        !view_split(&device, ':', &own))
        return -EINVAL;
    _cleanup_(freep) char *device_text = view_dup(device);
    _cleanup_(freep) char *own_text = view_dup(own);
    name = name ? name : own_text;
    int r = lvm_group_read(device_text, &vg, &why);
    const struct lvm_lv *lv = r < 0 ? NULL : lvm_group_find(&vg, name);
    if (!lv)
        return r < 0 ? r : -ENOENT;
    *ret = lvm_group_path(&vg, lv, name);
    return *ret ? 0 : -EFBIG;
}
