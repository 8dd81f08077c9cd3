/* lvm.c: see lvm.h. What is on the device is little-endian; the text is read as a tree and then
 * looked at section by section. */
#include "codec/lvm.h"

#include <errno.h>
#include <stdlib.h>

#include "codec/bytes.h"
#include "codec/crc32.h"
#include "codec/lvm_text.h"

#define SECTOR     512u
#define SUM_FIRST  0xf597a6cfu
#define AREAS_MAX  16u
#define STRIPES    128u
#define NAME_MAX_  127u
#define EXTENT_MAX (1ull << 40) /* bytes */

static int refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -EINVAL;
}

uint32_t lvm_sum(const void *p, size_t size)
{
    return crc32_add(SUM_FIRST, p, size);
}

/* ---- what stands before the text ---- */

/* Ids are 32 characters on the device, with dashes everywhere else. */
static bool read_id(const uint8_t *p, char out[LVM_ID_SIZE])
{
    size_t at = 0;
    for (size_t i = 0; i < 32; i++) {
        if (i >= 6 && (i - 6) % 4 == 0 && i <= 26)
            out[at++] = '-';
        if (p[i] < '!' || p[i] > 'z')
            return false;
        out[at++] = (char)p[i];
    }
    out[at] = 0;
    return true;
}

/* The first of a list that ends with zeroes. */
static bool read_areas(struct cursor *c, struct lvm_area *ret)
{
    *ret = (struct lvm_area){0};
    for (unsigned i = 0; i < AREAS_MAX; i++) {
        struct lvm_area a = {cursor_le64(c), 0};
        a.size = cursor_le64(c);
        if (c->bad || (!a.at && !a.size))
            return !c->bad;
        if (i == 0)
            *ret = a;
    }
    return false;
}

static int read_label(const uint8_t *p, struct lvm_label *ret, const char **ret_why)
{
    uint32_t at = get_le32(p + 20);
    if (lvm_sum(p + 20, SECTOR - 20) != get_le32(p + 16))
        return refuse(ret_why, "the label's sum is wrong");
    if (memcmp(p + 24, "LVM2 001", 8) != 0 || at < 32 || at > SECTOR - 40)
        return refuse(ret_why, "the label is of another format");
    struct cursor c = cursor_of(p + at, SECTOR - at);
    const uint8_t *id = cursor_take(&c, 32);
    struct lvm_label l = {.device_size = cursor_le64(&c)};
    if (!read_id(id, l.id) || !read_areas(&c, &l.data) || !read_areas(&c, &l.mda))
        return refuse(ret_why, "the label's areas have no end");
    if (l.mda.size &&
        (l.mda.size < 2ull * SECTOR || l.mda.size > UINT64_MAX / 4 || l.mda.at > UINT64_MAX / 4))
        return refuse(ret_why, "the metadata lies nowhere");
    *ret = l;
    return 0;
}

int lvm_label_parse(const void *p, struct lvm_label *ret, const char **ret_why)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < LVM_LABEL_BYTES / SECTOR; i++)
        if (memcmp(b + i * SECTOR, "LABELONE", 8) == 0 && get_le64(b + i * SECTOR + 8) == i)
            return read_label(b + i * SECTOR, ret, ret_why);
    return refuse(ret_why, "there is no label of LVM2");
}

int lvm_mda_parse(const void *p, const struct lvm_area *mda, struct lvm_place *ret,
                  const char **ret_why)
{
    struct cursor c = cursor_of(p, LVM_MDA_BYTES);
    uint32_t sum = cursor_le32(&c);
    const uint8_t *magic = cursor_take(&c, 16);
    if (sum != lvm_sum((const uint8_t *)p + 4, LVM_MDA_BYTES - 4))
        return refuse(ret_why, "the sum of the metadata's header is wrong");
    if (memcmp(magic, " LVM2 x[5A%r0N*>", 16) != 0 || cursor_le32(&c) != 1)
        return refuse(ret_why, "the metadata's header is of another format");
    uint64_t start = cursor_le64(&c), size = cursor_le64(&c);
    uint64_t offset = cursor_le64(&c), length = cursor_le64(&c);
    uint32_t text_sum = cursor_le32(&c), flags = cursor_le32(&c);
    if (start != mda->at || size != mda->size)
        return refuse(ret_why, "the metadata's header stands elsewhere");
    *ret = (struct lvm_place){0};
    if (!offset || flags & 1)
        return 0;
    if (offset < SECTOR || offset >= size || length > size - SECTOR || length > LVM_TEXT_MAX)
        return refuse(ret_why, "the metadata's text lies outside its area");
    *ret = (struct lvm_place){start + offset, length, start + size, start + SECTOR, text_sum};
    return 0;
}

/* ---- sections ---- */

static bool get_number(const struct lvm_node *s, const char *key, uint64_t max, uint64_t *ret)
{
    const struct lvm_node *n = lvm_text_get(s, key, LVM_NUMBER);
    if (!n || n->number < 0 || (uint64_t)n->number > max)
        return false;
    *ret = (uint64_t)n->number;
    return true;
}

static char *get_string(const struct lvm_node *s, const char *key)
{
    const struct lvm_node *n = lvm_text_get(s, key, LVM_STRING);
    return mem_strdup(n ? n->string : "");
}

static bool has_status(const struct lvm_node *s, const char *word)
{
    const struct lvm_node *list = lvm_text_get(s, "status", LVM_LIST);
    for (const struct lvm_node *n = list ? list->first : NULL; n; n = n->next)
        if (n->kind == LVM_STRING && str_eq(n->string, word))
            return true;
    return false;
}

#define get_tags(section, tags)                                                                    \
    do {                                                                                           \
        const struct lvm_node *all_tags = lvm_text_get(section, "tags", LVM_LIST);                 \
        for (const struct lvm_node *t = all_tags ? all_tags->first : NULL; t; t = t->next)         \
            if (t->kind == LVM_STRING)                                                             \
                vec_push(tags, mem_strdup(t->string));                                             \
    } while (0)

static int read_pv(const struct lvm_node *s, struct lvm_vg *vg, const char **ret_why)
{
    struct lvm_pv pv = {0};
    uint64_t start;
    if (!get_number(s, "pe_start", UINT64_MAX / 2 / SECTOR, &start) ||
        !get_number(s, "pe_count", UINT64_MAX / 2 / vg->extent_size, &pv.extents) ||
        pv.extents * vg->extent_size > UINT64_MAX / 2 - start * SECTOR)
        return refuse(ret_why, "a physical volume without a size");
    pv.start = start * SECTOR;
    pv.name = view_dup(s->key);
    pv.id = get_string(s, "id");
    pv.device = get_string(s, "device");
    vec_push(&vg->pvs, pv);
    return 0;
}

static bool find_pv(const struct lvm_vg *vg, const char *name, size_t *ret)
{
    for (*ret = 0; *ret < vg->pvs.n; ++*ret)
        if (str_eq(vg->pvs.v[*ret].name, name))
            return true;
    return false;
}

/* "pv0", extent, "pv1", extent … */
static int read_stripes(const struct lvm_node *s, const struct lvm_vg *vg, struct lvm_segment *seg,
                        const char **ret_why)
{
    const struct lvm_node *list = lvm_text_get(s, "stripes", LVM_LIST);
    const struct lvm_node *n = list ? list->first : NULL;
    for (; n && n->next && seg->stripes.n < STRIPES; n = n->next->next) {
        struct lvm_stripe stripe = {0};
        if (n->kind != LVM_STRING || n->next->kind != LVM_NUMBER || n->next->number < 0 ||
            !find_pv(vg, n->string, &stripe.pv))
            return refuse(ret_why, "a segment on an unknown physical volume");
        stripe.extent = (uint64_t)n->next->number;
        vec_push(&seg->stripes, stripe);
    }
    if (n || !seg->stripes.n || seg->extents % seg->stripes.n)
        return refuse(ret_why, "a segment with broken stripes");
    vec_each (stripe, &seg->stripes) {
        uint64_t room = vg->pvs.v[stripe->pv].extents, need = seg->extents / seg->stripes.n;
        if (stripe->extent > room || need > room - stripe->extent)
            return refuse(ret_why, "a segment beyond the end of its physical volume");
    }
    return 0;
}

static int read_segment(const struct lvm_node *s, const struct lvm_vg *vg, struct lvm_lv *lv,
                        const char **ret_why)
{
    struct lvm_segment seg = {0};
    uint64_t stripe_size = 0;
    const struct lvm_node *type = lvm_text_get(s, "type", LVM_STRING);
    if (!get_number(s, "start_extent", UINT32_MAX, &seg.first) ||
        !get_number(s, "extent_count", UINT32_MAX, &seg.extents) || !seg.extents ||
        seg.first != lv->extents)
        return refuse(ret_why, "segments that leave gaps");
    lv->extents += seg.extents;
    lv->is_plain &= type && (str_eq(type->string, "striped") || str_eq(type->string, "linear"));
    if (!lv->is_plain)
        return 0;
    (void)get_number(s, "stripe_size", UINT32_MAX, &stripe_size);
    int r = read_stripes(s, vg, &seg, ret_why);
    if (r == 0 && seg.stripes.n > 1 && !stripe_size)
        r = refuse(ret_why, "stripes without a size");
    seg.stripe_size = seg.stripes.n > 1 ? stripe_size * SECTOR : 0;
    vec_push(&lv->segments, seg);
    return r;
}

static void drop_segments(struct lvm_lv *lv)
{
    vec_each (seg, &lv->segments)
        vec_done(&seg->stripes);
    vec_done(&lv->segments);
}

static int read_segments(const struct lvm_node *s, const struct lvm_vg *vg, struct lvm_lv *lv,
                         const char **ret_why)
{
    lv->is_plain = true;
    for (const struct lvm_node *n = s->first; n; n = n->next) {
        if (n->kind != LVM_SECTION || n->key.size < 8 || memcmp(n->key.p, "segment", 7) != 0)
            continue;
        int r = read_segment(n, vg, lv, ret_why);
        if (r < 0)
            return r;
    }
    if (!lv->is_plain)
        drop_segments(lv);
    return lv->extents ? 0 : refuse(ret_why, "a logical volume without segments");
}

static int read_lv(const struct lvm_node *s, struct lvm_vg *vg, const char **ret_why)
{
    if (s->key.size > NAME_MAX_)
        return refuse(ret_why, "a logical volume with too long a name");
    struct lvm_lv lv = {.name = view_dup(s->key),
                        .id = get_string(s, "id"),
                        .is_writable = has_status(s, "WRITE"),
                        .is_visible = has_status(s, "VISIBLE")};
    get_tags(s, &lv.tags);
    int r = read_segments(s, vg, &lv, ret_why);
    vec_push(&vg->lvs, lv);
    return r;
}

static int read_each(const struct lvm_node *group, const char *section, struct lvm_vg *vg,
                     int (*read)(const struct lvm_node *s, struct lvm_vg *vg, const char **ret_why),
                     const char **ret_why)
{
    const struct lvm_node *all = lvm_text_get(group, section, LVM_SECTION);
    for (const struct lvm_node *n = all ? all->first : NULL; n; n = n->next) {
        int r = n->kind == LVM_SECTION ? read(n, vg, ret_why) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- no extent has two owners ---- */

struct run {
    size_t pv;
    uint64_t first, extents;
};

static int by_place(const void *a, const void *b)
{
    const struct run *x = a, *y = b;
    if (x->pv != y->pv)
        return x->pv < y->pv ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int check_owners(struct lvm_vg *vg, const char **ret_why)
{
    VEC(struct run) runs = {0};
    vec_each (lv, &vg->lvs)
        vec_each (seg, &lv->segments)
            vec_each (stripe, &seg->stripes) {
                struct run run = {stripe->pv, stripe->extent, seg->extents / seg->stripes.n};
                vec_push(&runs, run);
            }
    if (runs.n)
        qsort(runs.v, runs.n, sizeof(runs.v[0]), by_place);
    bool shared = false;
    for (size_t i = 1; i < runs.n; i++) {
        const struct run *a = &runs.v[i - 1], *b = &runs.v[i];
        shared |= a->pv == b->pv && b->first - a->first < a->extents;
    }
    vec_done(&runs);
    return shared ? refuse(ret_why, "two logical volumes share extents") : 0;
}

/* ---- the volume group ---- */

static int read_group(const struct lvm_node *s, struct lvm_vg *vg, const char **ret_why)
{
    uint64_t sectors = 0;
    vg->name = view_dup(s->key);
    vg->id = get_string(s, "id");
    get_tags(s, &vg->tags);
    if (!get_number(s, "seqno", UINT32_MAX, &vg->seqno) ||
        !get_number(s, "extent_size", EXTENT_MAX / SECTOR, &sectors) || !sectors)
        return refuse(ret_why, "a volume group without extents");
    vg->extent_size = sectors * SECTOR;
    int r = read_each(s, "physical_volumes", vg, read_pv, ret_why);
    if (r == 0)
        r = read_each(s, "logical_volumes", vg, read_lv, ret_why);
    return r < 0 ? r : check_owners(vg, ret_why);
}

int lvm_vg_parse(struct view text, uint32_t sum, struct lvm_vg *ret, const char **ret_why)
{
    *ret = (struct lvm_vg){0};
    if (text.size > LVM_TEXT_MAX || lvm_sum(text.p, text.size) != sum)
        return refuse(ret_why, "the sum of the metadata's text is wrong");
    struct lvm_node *all = lvm_text_parse(text, ret_why), *group = all ? all->first : NULL;
    while (group && group->kind != LVM_SECTION)
        group = group->next;
    int r = !all     ? -EINVAL
            : !group ? refuse(ret_why, "there is no volume group in the metadata")
                     : read_group(group, ret, ret_why);
    lvm_text_free(all);
    return r;
}

#define tags_done(tags)                                                                            \
    do {                                                                                           \
        vec_each (tag, tags)                                                                       \
            free(*tag);                                                                            \
        vec_done(tags);                                                                            \
    } while (0)

void lvm_vg_done(struct lvm_vg *vg)
{
    vec_each (pv, &vg->pvs) {
        free(pv->name);
        free(pv->id);
        free(pv->device);
    }
    vec_each (lv, &vg->lvs) {
        free(lv->name);
        free(lv->id);
        tags_done(&lv->tags);
        drop_segments(lv);
    }
    tags_done(&vg->tags);
    vec_done(&vg->pvs);
    vec_done(&vg->lvs);
    free(vg->name);
    free(vg->id);
    *vg = (struct lvm_vg){0};
}

const struct lvm_lv *lvm_vg_find(const struct lvm_vg *vg, const char *lv)
{
    for (size_t i = 0; i < vg->lvs.n; i++)
        if (str_eq(vg->lvs.v[i].name, lv))
            return &vg->lvs.v[i];
    return NULL;
}

uint64_t lvm_vg_free(const struct lvm_vg *vg)
{
    uint64_t left = 0;
    for (size_t i = 0; i < vg->pvs.n; i++)
        left += vg->pvs.v[i].extents;
    for (size_t i = 0; i < vg->lvs.n; i++)
        if (vg->lvs.v[i].is_plain)
            left -= vg->lvs.v[i].extents;
    return left;
}
