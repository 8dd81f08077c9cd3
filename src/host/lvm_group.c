/* lvm_group.c: see lvm_group.h. Called by sr_lvm.c on operation threads; keeps nothing. */
#include "host/lvm_group.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "host/lvm_unit.h"

#define PREFIX    "lv:"
#define PATH_MAX_ 4000u /* what cairn-diskd takes, with room */
/* Metadata that makes no sense may just be written by lvm2's tools: it is read again. */
#define HEAD_BYTES    (128u << 10)
#define READS         4
#define READ_AGAIN_US 5000

/* A device that is read: of this host, or a unit of a server (lvm_unit.h), of which the beginning
 * is here. */
struct source {
    const char *device;
    int fd;
    uint8_t *head;
    size_t head_size;
};

static void source_done(struct source *s)
{
    fd_close(s->fd);
    free(s->head);
}

static int source_open(const char *device, struct source *ret)
{
    *ret = (struct source){.device = device, .fd = -1};
    if (!lvm_unit_is(device)) {
        ret->fd = open(device, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        return ret->fd < 0 ? -errno : 0;
    }
    ret->head = mem_new_n(uint8_t, HEAD_BYTES);
    ret->head_size = HEAD_BYTES;
    return lvm_unit_read(device, 0, ret->head, HEAD_BYTES);
}

static int read_at(const struct source *s, void *p, size_t size, uint64_t at)
{
    if (s->fd >= 0)
        return fd_pread_all(s->fd, p, size, (off_t)at);
    if (at > s->head_size || size > s->head_size - at)
        return lvm_unit_read(s->device, at, p, size);
    memcpy(p, s->head + at, size);
    return 0;
}

/* The text may run over the end of its ring. */
static int read_text(const struct source *s, const struct lvm_place *place, char *text)
{
    uint64_t first = place->end - place->at;
    if (first > place->size)
        first = place->size;
    int r = read_at(s, text, (size_t)first, place->at);
    return r < 0 || first == place->size
               ? r
               : read_at(s, text + first, (size_t)(place->size - first), place->wraps_to);
}

static int read_label(const struct source *s, struct lvm_label *ret, const char **ret_why)
{
    uint8_t head[LVM_LABEL_BYTES];
    int r = read_at(s, head, LVM_LABEL_BYTES, 0);
    if (r < 0)
        return r;
    return lvm_label_parse(head, ret, ret_why) < 0 ? -ENODEV : 0;
}

/* Where the text is, and what says so. */
static int find_text(const struct source *s, struct lvm_raw *ret, const char **ret_why)
{
    struct lvm_label label;
    int r = read_label(s, &label, ret_why);
    if (r < 0)
        return r;
    memcpy(ret->pv_id, label.id, sizeof(ret->pv_id));
    ret->mda = label.mda;
    if (!label.mda.size)
        return 0;
    r = read_at(s, ret->head, LVM_MDA_BYTES, label.mda.at);
    return r < 0 ? r : lvm_mda_parse(ret->head, &label.mda, &ret->place, ret_why);
}

void lvm_raw_done(struct lvm_raw *raw)
{
    free(raw->text);
    *raw = (struct lvm_raw){0};
}

int lvm_raw_read(const char *device, struct lvm_raw *ret, const char **ret_why)
{
    _cleanup_(source_done) struct source s = {.fd = -1};
    *ret = (struct lvm_raw){0};
    *ret_why = "the device cannot be read";
    int r = source_open(device, &s);
    if (r == 0)
        r = find_text(&s, ret, ret_why);
    if (r < 0)
        return r;
    if (!ret->place.size) {
        *ret_why = "there is no volume group";
        return -ENODEV;
    }
    ret->text = mem_new_n(char, ret->place.size);
    return read_text(&s, &ret->place, ret->text);
}

/* Its text, from one device. */
static int read_group(const char *device, struct lvm_vg *ret, char pv_id[LVM_ID_SIZE],
                      const char **ret_why)
{
    _cleanup_(lvm_raw_done) struct lvm_raw raw = {0};
    int r = lvm_raw_read(device, &raw, ret_why);
    memcpy(pv_id, raw.pv_id, LVM_ID_SIZE);
    return r < 0
               ? r
               : lvm_vg_parse((struct view){raw.text, raw.place.size}, raw.place.sum, ret, ret_why);
}

/* Devices change their names: what counts is the id in the label. */
static bool is_pv(const struct lvm_pv *pv, const char *device)
{
    _cleanup_(source_done) struct source s = {.fd = -1};
    struct lvm_label label;
    const char *why;
    return source_open(device, &s) == 0 && read_label(&s, &label, &why) == 0 &&
           str_eq(pv->id, label.id);
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
    char pv_id[LVM_ID_SIZE];
    *ret = (struct lvm_vg){0};
    (void)view_split(&rest, ',', &item);
    _cleanup_(freep) char *first = view_dup(item);
    int r = read_group(first, ret, pv_id, ret_why);
    for (unsigned i = 1; r == -EINVAL && i < READS; i++) {
        lvm_vg_done(ret);
        (void)usleep(READ_AGAIN_US);
        r = read_group(first, ret, pv_id, ret_why);
    }
    if (r < 0) {
        lvm_vg_done(ret);
        return r;
    }
    vec_each (pv, &ret->pvs) {
        char *device = str_eq(pv->id, pv_id) ? mem_strdup(first) : find_pv(pv, devices);
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

int lvm_group_pread(const struct lvm_vg *vg, const struct lvm_lv *lv, void *p, size_t size)
{
    const struct lvm_segment *seg = lv->segments.n ? &lv->segments.v[0] : NULL;
    if (!seg || seg->stripes.n != 1 || size > seg->extents * vg->extent_size)
        return -ERANGE;
    const struct lvm_pv *pv = &vg->pvs.v[seg->stripes.v[0].pv];
    uint64_t at = pv->start + seg->stripes.v[0].extent * vg->extent_size;
    if (lvm_unit_is(pv->device))
        return lvm_unit_read(pv->device, at, p, size);
    _cleanup_(fd_closep) int fd = open(pv->device, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd_pread_all(fd, p, size, (off_t)at);
}

/* ---- paths ---- */

static const char *const swaps[][2] = {{"VHD-", "swap-"}, {"QCOW2-", "swapq-"}};

static char *renamed(const char *name, int from, int to)
{
    for (size_t i = 0; i < ARRAY_LEN(swaps); i++)
        if (str_starts(name, swaps[i][from]))
            return mem_printf("%s%s", swaps[i][to], name + strlen(swaps[i][from]));
    return NULL;
}

char *lvm_group_swap(const char *name)
{
    return renamed(name, 0, 1);
}

char *lvm_group_unswap(const char *name)
{
    return renamed(name, 1, 0);
}

const struct lvm_lv *lvm_group_find(const struct lvm_vg *vg, const char *name)
{
    const struct lvm_lv *lv = lvm_vg_find(vg, name);
    _cleanup_(freep) char *swap = lv ? NULL : lvm_group_swap(name);
    return swap ? lvm_vg_find(vg, swap) : lv;
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

void lvm_volume_done(struct lvm_volume *v)
{
    lvm_vg_done(&v->vg);
    free(v->device);
    free(v->name);
}

static int find(const char *path, const char *name, struct lvm_volume *ret)
{
    struct view device = head_of(view_of(path)), own;
    const char *why;
    *ret = (struct lvm_volume){0};
    if (!lvm_group_is_path(path) || !view_split(&device, ':', &own) ||
        !view_split(&device, ':', &own))
        return -EINVAL;
    ret->device = view_dup(device);
    ret->name = name ? mem_strdup(name) : view_dup(own);
    int r = lvm_group_read(ret->device, &ret->vg, &why);
    ret->lv = r < 0 ? NULL : lvm_group_find(&ret->vg, ret->name);
    return r < 0 ? r : ret->lv ? 0 : -ENOENT;
}

int lvm_group_volume(const char *path, struct lvm_volume *ret)
{
    return find(path, NULL, ret);
}

int lvm_group_beside(const char *path, const char *name, char **ret)
{
    _cleanup_(lvm_volume_done) struct lvm_volume v = {0};
    int r = find(path, name, &v);
    if (r < 0)
        return r;
    *ret = lvm_group_path(&v.vg, v.lv, v.name);
    return *ret ? 0 : -EFBIG;
}
