/*
 * image_qcow2.c: from a qcow2 file to an image with its map, and what is written at the end.
 *
 * An image that was not closed properly (or is on a device, whose end says nothing) is looked
 * through for its last cluster; a file is cut behind it, so that what is there reads as zeroes.
 */
#include "disk/image_qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/backend/lv.h"
#include "disk/layout.h"

#define FAIL(code, why)                                                                            \
    do {                                                                                           \
        *ret_why = (why);                                                                          \
        return -(code);                                                                            \
    } while (0)

static int read_l1(struct image *im, const char **ret_why);
static int check_writable(const struct qcow2_header *h, const char **ret_why);
static int check_l1(const struct q2_map *m, const char **ret_why);
static int open_for_writing(struct image *im, uint64_t file_size, const char **ret_why);

static int open_image(struct image *im, uint64_t file_size, const char **ret_why)
{
    uint8_t bytes[QCOW2_HEAD_MAX];
    size_t size = file_size < sizeof(bytes) ? (size_t)file_size : sizeof(bytes);
    struct qcow2 *q = im->qcow2 = mem_new(struct qcow2);
    int r = file_pread(im->file, bytes, size, 0);
    if (r == 0)
        r = qcow2_parse(bytes, size, &q->header, ret_why);
    if (r < 0)
        return r;
    im->size = q->header.size;
    im->has_parent = q->header.has_backing;
    r = read_l1(im, ret_why);
    return r < 0 || im->is_readonly ? r : open_for_writing(im, file_size, ret_why);
}

static int read_l1(struct image *im, const char **ret_why)
{
    struct q2_map *m = &im->qcow2->map;
    const struct qcow2_header *h = &im->qcow2->header;
    int r = q2_map_init(m, h->cluster_bits, h->l1_size);
    if (r < 0)
        return r;
    m->l1_at = h->l1_at;
    r = file_pread(im->file, m->l1, (size_t)m->n_l1 * sizeof(*m->l1), m->l1_at);
    if (r == -ENODATA)
        FAIL(EINVAL, "the table of clusters is cut short");
    for (uint32_t i = 0; r == 0 && i < m->n_l1; i++)
        m->l1[i] = get_be64(&m->l1[i]) & QCOW2_OFFSET_MASK;
    for (uint32_t i = 0; r == 0 && i < m->n_l1; i++)
        if (m->l1[i] % m->cluster_size)
            FAIL(EINVAL, "a table of clusters is at an impossible place");
    return r;
}

/* Of clusters: as far as there can be reference counts of them, and a device. */
static uint64_t end_of(const struct qcow2_header *h, uint64_t device_size)
{
    uint64_t limit = (uint64_t)h->refcounts_clusters * (Q2_CLUSTER / 8) * (Q2_CLUSTER / 2);
    uint64_t clusters = device_size / Q2_CLUSTER;
    return (clusters < limit ? clusters : limit) * Q2_CLUSTER;
}

static int open_for_writing(struct image *im, uint64_t file_size, const char **ret_why)
{
    struct qcow2 *q = im->qcow2;
    struct q2_map *m = &q->map;
    int r = check_writable(&q->header, ret_why);
    if (r < 0)
        return r;
    bool is_dirty = q->header.incompatible & QCOW2_DIRTY;
    m->zeroes_behind = !im->is_device;
    m->end = end_of(&q->header, im->is_device ? file_size : UINT64_MAX);
    m->next_free = (file_size + Q2_CLUSTER - 1) / Q2_CLUSTER * Q2_CLUSTER;
    if (is_dirty || im->is_device)
        r = qcow2_find_end(im, &m->next_free, ret_why);
    if (r == 0 && is_dirty && !im->is_device)
        r = file_truncate(im->file, m->next_free);
    if (r == 0)
        r = check_l1(m, ret_why);
    if (r < 0)
        return r;
    m->is_checked = true;
    q->counted_to = m->next_free;
    q->needs_count = is_dirty;
    q->was_lazy = q->header.compatible & QCOW2_LAZY;
    q->header.incompatible |= QCOW2_DIRTY;
    q->header.compatible |= QCOW2_LAZY;
    q->header.autoclear = 0;
    r = qcow2_write_header(im);
    return r < 0 ? r : file_sync(im->file);
}

static int check_writable(const struct qcow2_header *h, const char **ret_why)
{
    if (h->version != 3)
        FAIL(EOPNOTSUPP, "images of version 2 are read only");
    if (h->incompatible & QCOW2_CORRUPT)
        FAIL(EIO, "the image is marked as corrupt");
    if (h->has_bitmaps)
        FAIL(EOPNOTSUPP, "the image has bitmaps");
    if (h->cluster_bits != Q2_BITS || h->refcount_order != 4)
        FAIL(EOPNOTSUPP, "only images with clusters of 64 KiB are written");
    if (h->refcounts_at == 0 || h->refcounts_at % Q2_CLUSTER || h->refcounts_clusters == 0 ||
        h->refcounts_clusters > 1024 || h->refcounts_at > 1ull << 50)
        FAIL(EINVAL, "the reference counts are at an impossible place");
    return 0;
}

static int check_l1(const struct q2_map *m, const char **ret_why)
{
    for (uint32_t i = 0; i < m->n_l1; i++)
        if (m->l1[i] >= m->next_free)
            FAIL(EINVAL, "a table of clusters is behind the end");
    return 0;
}

int qcow2_write_header(struct image *im)
{
    uint8_t bytes[QCOW2_HEADER_SIZE];
    int r = qcow2_put(&im->qcow2->header, bytes);
    return r < 0 ? r : file_pwrite(im->file, bytes, sizeof(bytes), 0);
}

static int finish(struct image *im)
{
    struct qcow2 *q = im->qcow2;
    q->needs_count |= q2_has_unwritten(&q->map);
    int r = file_sync(im->file);
    if (r == 0 && (q->needs_count || q->map.next_free != q->counted_to))
        r = qcow2_write_counts(im);
    if (r < 0)
        return r;
    q->header.incompatible &= ~QCOW2_DIRTY;
    if (!q->was_lazy)
        q->header.compatible &= ~QCOW2_LAZY;
    return qcow2_write_header(im);
}

static void free_image(struct image *im)
{
    if (im->qcow2)
        q2_map_done(&im->qcow2->map);
    free(im->qcow2);
    im->qcow2 = NULL;
}

/* How the disk reads at `entry`, and where. */
static enum extent_kind kind_of(uint64_t entry)
{
    if (entry & QCOW2_ZERO)
        return EXTENT_ZERO;
    return entry & QCOW2_OFFSET_MASK ? EXTENT_DATA : EXTENT_HOLE;
}

static void map(struct image *im, uint64_t at, uint64_t size, struct extent *ret)
{
    struct q2_map *m = &im->qcow2->map;
    uint32_t index = (uint32_t)(at / m->span);
    uint64_t left = m->span - at % m->span;
    if (size > left)
        size = left;
    *ret = (struct extent){.kind = EXTENT_HOLE, .size = size, .block = index};
    if (m->l1[index] == 0)
        return;
    struct q2_table *t = q2_find(m, index);
    ret->kind = EXTENT_LOAD;
    if (!t || t->is_loading)
        return;
    uint32_t i = (uint32_t)(at % m->span / m->cluster_size);
    uint64_t inside = at % m->cluster_size, end = m->cluster_size;
    ret->kind = kind_of(t->entries[i]);
    uint64_t start = t->entries[i] & QCOW2_OFFSET_MASK;
    for (uint32_t k = i + 1; end - inside < size; k++, end += m->cluster_size)
        if (kind_of(t->entries[k]) != ret->kind ||
            (ret->kind == EXTENT_DATA && (t->entries[k] & QCOW2_OFFSET_MASK) != start + end))
            break;
    ret->size = end - inside < size ? end - inside : size;
    ret->offset = ret->kind == EXTENT_DATA ? start + inside : 0;
}

static bool has_own_pages(const struct image *im)
{
    return true;
}

/* Most of what is in the file. */
static uint64_t allocated(const struct image *im)
{
    struct file_stat st;
    uint64_t size = file_stat(im->file, &st) == 0 && !im->is_device ? st.size : im->size;
    return size < im->size ? size : im->size;
}

/* Of a volume its own name: where it is may change. */
static struct view last_name(const char *path)
{
    struct view volume;
    const char *slash = strrchr(path, '/');
    return lv_name(path, &volume) ? volume : view_of(slash ? slash + 1 : path);
}

/* A qcow2 image knows its parent by name only. */
static bool is_child(const struct image *im, const struct image *parent)
{
    if (parent->format != IMAGE_RAW && parent->format != IMAGE_QCOW2)
        return false;
    struct view name = last_name(im->qcow2->header.backing), own = last_name(parent->path);
    return name.size == own.size && memcmp(name.p, own.p, own.size) == 0;
}

static uint64_t round_size(uint64_t size)
{
    if (size == 0 || size > QCOW2_MAX_SIZE)
        return 0;
    return (size + 511) / 512 * 512;
}

static void parent_path(struct image *im, char *ret, size_t max)
{
    (void)snprintf(ret, max, "%s", im->qcow2->header.backing);
}

static bool is_hidden(const struct image *im)
{
    return im->qcow2->header.is_hidden;
}

static void device_grown(struct image *im, uint64_t size)
{
    im->qcow2->map.end = end_of(&im->qcow2->header, size);
}

const struct image_ops image_qcow2_ops = {
    .name = "qcow2",
    .has_uuid = false,
    .open = open_image,
    .finish = finish,
    .free = free_image,
    .has_own_pages = has_own_pages,
    .map = map,
    .expect = NULL,
    .allocated = allocated,
    .is_child = is_child,
    .round_size = round_size,
    .fill = image_qcow2_fill,
    .can_have_parent = true,
    .grow = image_qcow2_grow,
    .set_parent = image_qcow2_set_parent,
    .set_hidden = image_qcow2_set_hidden,
    .is_hidden = is_hidden,
    .parent_path = parent_path,
    .room = NULL,
    .device_grown = device_grown,
};
