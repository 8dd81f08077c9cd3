/*
 * virtio_blk.c: virtio-blk requests and configuration. Called by vhost_blk.c on the loop's thread;
 * owns nothing. Descriptors were checked and copied by vring.c; what they point at is the guest's
 * and is read once.
 */
#include "disk/virtio_blk.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/disk.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
#define HEADER_SIZE   16u
#define RANGE_SIZE    16u
#define F_UNMAP       1u
#define SEGMENT_MAX   126u /* what a ring of 128 can carry without indirect tables */
#define SIZE_MAX_     (4u << 20)
#define RANGE_SECTORS (1u << 22) /* 2 GiB */

static int parse_ranges(struct virtio_blk_req *r, bool is_discard);
static int put_id(struct virtio_blk_req *r, const struct disk *d);

void virtio_blk_config(const struct disk *d, unsigned queues, bool wce,
                       uint8_t out[VIRTIO_BLK_CONFIG_SIZE])
{
    memset(out, 0, VIRTIO_BLK_CONFIG_SIZE);
    put_le64(out, d->size / 512);
    put_le32(out + 8, SIZE_MAX_);
    put_le32(out + 12, SEGMENT_MAX);
    put_le32(out + 20, 512);
    out[24] = 3;           /* physical block: 512 << 3 */
    put_le16(out + 26, 8); /* smallest sensible request: 4 KiB */
    out[VIRTIO_BLK_WCE_AT] = wce;
    put_le16(out + 34, (uint16_t)queues);
    put_le32(out + 36, RANGE_SECTORS);
    put_le32(out + 40, VIRTIO_BLK_SEGMENTS);
    put_le32(out + 44, 8);
    put_le32(out + 48, RANGE_SECTORS);
    put_le32(out + 52, VIRTIO_BLK_SEGMENTS);
    out[56] = 1;
}

/* Copies the first bytes of pieces and shortens these; false if there are not as many. */
static bool take_front(struct iovec *iov, unsigned n, void *to, size_t size)
{
    for (unsigned i = 0; i < n && size; i++) {
        size_t part = iov[i].iov_len < size ? iov[i].iov_len : size;
        memcpy(to, iov[i].iov_base, part);
        to = (uint8_t *)to + part;
        iov[i].iov_base = (uint8_t *)iov[i].iov_base + part;
        iov[i].iov_len -= part;
        size -= part;
    }
    return size == 0;
}

/* The last byte of the in pieces is the status. */
static bool take_status(struct virtio_blk_req *r)
{
    for (unsigned i = r->chain.n_out + r->chain.n_in; i-- > r->chain.n_out;) {
        struct iovec *iov = &r->chain.iov[i];
        if (iov->iov_len == 0)
            continue;
        iov->iov_len--;
        r->status = (uint8_t *)iov->iov_base + iov->iov_len;
        r->status_gpa = r->chain.gpa[i] + iov->iov_len;
        return true;
    }
    return false;
}

int virtio_blk_parse(struct virtio_blk_req *r, const struct disk *d, bool writethrough)
{
    uint8_t header[HEADER_SIZE];
    struct vring_chain *c = &r->chain;
    if (!take_front(c->iov, c->n_out, header, sizeof(header)) || !take_status(r))
        return -EINVAL;
    uint32_t type = get_le32(header);
    uint64_t sector = get_le64(header + 8);
    bool is_in = type == T_IN;
    r->written = 0;
    r->n_ranges = r->next_range = 0;
    r->blk.fua = writethrough;
    r->blk.keep = false;
    r->blk.iov = is_in ? c->iov + c->n_out : c->iov;
    r->blk.n_iov = (int)(is_in ? c->n_in : c->n_out);
    if (type == T_FLUSH) {
        r->blk.op = BLK_FLUSH;
        r->blk.offset = r->blk.size = 0;
        return -1;
    }
    if (type == T_GET_ID)
        return put_id(r, d);
    if (type == T_DISCARD || type == T_WRITE_ZEROES)
        return d->is_readonly ? VIRTIO_BLK_S_IOERR : parse_ranges(r, type == T_DISCARD);
    if (type != T_IN && type != T_OUT)
        return VIRTIO_BLK_S_UNSUPP;
    r->blk.op = is_in ? BLK_READ : BLK_WRITE;
    r->blk.size = iov_size(r->blk.iov, r->blk.n_iov);
    if (sector > UINT64_MAX / 512 || r->blk.size == 0 || (!is_in && d->is_readonly))
        return VIRTIO_BLK_S_IOERR;
    r->blk.offset = sector * 512;
    r->written = is_in ? (uint32_t)r->blk.size : 0;
    return -1;
}

static int parse_ranges(struct virtio_blk_req *r, bool is_discard)
{
    uint8_t bytes[RANGE_SIZE];
    r->blk.op = is_discard ? BLK_DISCARD : BLK_ZEROES;
    uint64_t size = iov_size(r->blk.iov, r->blk.n_iov);
    if (size == 0 || size % RANGE_SIZE || size / RANGE_SIZE > VIRTIO_BLK_SEGMENTS)
        return VIRTIO_BLK_S_IOERR;
    if (!r->range)
        r->range = mem_new_n(struct virtio_blk_range, VIRTIO_BLK_SEGMENTS);
    while (r->n_ranges < size / RANGE_SIZE) {
        if (!take_front(r->chain.iov, r->chain.n_out, bytes, sizeof(bytes)))
            return VIRTIO_BLK_S_IOERR;
        struct virtio_blk_range *g = &r->range[r->n_ranges++];
        *g = (struct virtio_blk_range){get_le64(bytes), get_le32(bytes + 8), get_le32(bytes + 12)};
        bool is_odd = g->flags & ~(is_discard ? 0 : F_UNMAP);
        if (is_odd)
            return VIRTIO_BLK_S_UNSUPP;
        if (g->sectors > RANGE_SECTORS || g->sector > UINT64_MAX / 512)
            return VIRTIO_BLK_S_IOERR;
    }
    return virtio_blk_next_range(r) ? -1 : VIRTIO_BLK_S_OK;
}

bool virtio_blk_next_range(struct virtio_blk_req *r)
{
    if (r->next_range == r->n_ranges)
        return false;
    const struct virtio_blk_range *g = &r->range[r->next_range++];
    r->blk.offset = g->sector * 512;
    r->blk.size = g->sectors * 512ull;
    r->blk.keep = !(g->flags & F_UNMAP);
    return true;
}

static int put_id(struct virtio_blk_req *r, const struct disk *d)
{
    char id[DISK_SERIAL_SIZE] = {0};
    size_t done = 0;
    memcpy(id, d->serial, strnlen(d->serial, sizeof(id)));
    for (unsigned i = r->chain.n_out; i < r->chain.n_out + r->chain.n_in; i++) {
        const struct iovec *iov = &r->chain.iov[i];
        size_t part = iov->iov_len < sizeof(id) - done ? iov->iov_len : sizeof(id) - done;
        memcpy(iov->iov_base, id + done, part);
        done += part;
    }
    r->written = (uint32_t)done;
    return VIRTIO_BLK_S_OK;
}
