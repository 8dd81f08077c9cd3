/*
 * vring.c: the device's side of a split virtqueue. Called by vhost_blk.c on the loop's thread; the
 * memory it works on is shared with the guest, so shared fields are read and written atomically and
 * each descriptor is copied before it is looked at.
 */
#include "disk/vring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"

#define DESC_SIZE     16u
#define F_NEXT        1u
#define F_WRITE       2u
#define F_INDIRECT    4u
#define NO_INTERRUPT  1u
#define INFLIGHT_HEAD 16u /* features u64, version u16, desc_num, last_batch_head, used_idx */
#define INFLIGHT_DESC 16u /* inflight u8, padding, next u16, counter u64 */

struct desc {
    uint64_t gpa;
    uint32_t size;
    uint16_t flags, next;
};

struct vring_room {
    struct iovec iov[VRING_MAX_IOV];
    uint64_t gpa[VRING_MAX_IOV];
};

static int inflight_begin(struct vring *r);
static int read_chain(struct vring *r, const struct vhost_mem *m, struct vring_chain *c);
static int read_table(struct vring *r, const struct vhost_mem *m, const uint8_t *table, uint32_t n,
                      uint16_t first, bool is_indirect, struct vring_chain *c);
static int add_desc(const struct vhost_mem *m, const struct desc *d, struct vring_chain *c);

static uint16_t load16(const uint8_t *p)
{
    return le16toh(__atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE));
}

static void store16(uint8_t *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)p, htole16(v), __ATOMIC_RELEASE);
}

/* Layout: avail is flags, idx, ring[size], used_event; used is flags, idx, ring[size] of 8,
 * avail_event. */
static uint8_t *used_event(const struct vring *r)
{
    return r->avail + 4 + 2u * r->size;
}

static uint8_t *avail_event(const struct vring *r)
{
    return r->used + 4 + 8u * r->size;
}

static uint8_t *inflight_desc(const struct vring *r, uint16_t i)
{
    return r->inflight + INFLIGHT_HEAD + INFLIGHT_DESC * i;
}

size_t vring_inflight_size(uint16_t size)
{
    return (INFLIGHT_HEAD + (size_t)INFLIGHT_DESC * size + 63) / 64 * 64;
}

int vring_remap(struct vring *r, const struct vhost_mem *m)
{
    const struct vring_addr *a = &r->addr;
    if (r->size == 0 || a->desc % 16 || a->avail % 2 || a->used % 4)
        return -EINVAL;
    r->desc = vhost_mem_uva(m, a->desc, (uint64_t)DESC_SIZE * r->size);
    r->avail = vhost_mem_uva(m, a->avail, 6 + 2ull * r->size);
    r->used = vhost_mem_uva(m, a->used, 6 + 8ull * r->size);
    return r->desc && r->avail && r->used ? 0 : -EINVAL;
}

int vring_start(struct vring *r, const struct vhost_mem *m, uint8_t *inflight)
{
    int e = vring_remap(r, m);
    if (e < 0)
        return e;
    r->inflight = inflight;
    r->used_idx = load16(r->used + 2);
    r->is_signalled = false;
    r->is_broken = false;
    r->in_flight = 0;
    if (!r->room)
        r->room = mem_new(struct vring_room);
    e = inflight ? inflight_begin(r) : 0;
    if (e < 0)
        vring_stop(r);
    r->is_running = e == 0;
    return e;
}

static int by_counter(const void *a, const void *b, void *arg)
{
    const struct vring *r = arg;
    uint64_t x = get_le64(inflight_desc(r, *(const uint16_t *)a) + 8);
    uint64_t y = get_le64(inflight_desc(r, *(const uint16_t *)b) + 8);
    return x < y ? -1 : x > y;
}

/*
 * If we died between telling the guest (used idx) and noting it (used_idx of the area), the last
 * chain is not in flight any more. What is still marked was taken and not returned.
 */
static int inflight_begin(struct vring *r)
{
    uint8_t *p = r->inflight;
    if (get_le16(p + 8) == 0) {
        put_le16(p + 8, 1); /* version */
        put_le16(p + 10, r->size);
        put_le16(p + 14, r->used_idx);
    }
    uint16_t last = get_le16(p + 12);
    if (get_le16(p + 10) != r->size || last >= r->size)
        return -EINVAL;
    if (get_le16(p + 14) != r->used_idx) {
        inflight_desc(r, last)[0] = 0;
        put_le16(p + 14, r->used_idx);
    }
    free(r->again);
    r->again = mem_new_n(uint16_t, r->size);
    r->n_again = r->next_again = 0;
    r->counter = 0;
    for (uint16_t i = 0; i < r->size; i++) {
        if (inflight_desc(r, i)[0] != 1)
            continue;
        r->again[r->n_again++] = i;
        uint64_t counter = get_le64(inflight_desc(r, i) + 8);
        if (counter >= r->counter)
            r->counter = counter + 1;
    }
    qsort_r(r->again, r->n_again, sizeof(*r->again), by_counter, r);
    r->last_avail = (uint16_t)(r->used_idx + r->n_again);
    return 0;
}

void vring_stop(struct vring *r)
{
    r->is_running = false;
    r->desc = r->avail = r->used = r->inflight = NULL;
    free(steal(&r->again));
    free(steal(&r->room));
    r->n_again = r->next_again = 0;
}

int vring_pop(struct vring *r, const struct vhost_mem *m, struct vring_chain *ret)
{
    if (!r->is_running || r->is_broken)
        return 0;
    if (r->next_again < r->n_again) {
        ret->head = r->again[r->next_again++];
    } else {
        uint16_t idx = load16(r->avail + 2);
        if (idx == r->last_avail)
            return 0;
        ret->head = load16(r->avail + 4 + 2u * (r->last_avail % r->size));
        if ((uint16_t)(idx - r->last_avail) > r->size || ret->head >= r->size) {
            r->is_broken = true;
            return -EINVAL;
        }
        r->last_avail++;
        if (r->inflight) {
            put_le64(inflight_desc(r, ret->head) + 8, r->counter++);
            __atomic_store_n(inflight_desc(r, ret->head), 1, __ATOMIC_RELEASE);
        }
    }
    int e = read_chain(r, m, ret);
    if (e < 0) {
        r->is_broken = true;
        if (r->inflight)
            inflight_desc(r, ret->head)[0] = 0;
        return e;
    }
    r->in_flight++;
    return 1;
}

static int read_chain(struct vring *r, const struct vhost_mem *m, struct vring_chain *c)
{
    c->n_out = c->n_in = 0;
    c->iov = r->room->iov;
    c->gpa = r->room->gpa;
    return read_table(r, m, r->desc, r->size, c->head, false, c);
}

/* Follows a chain in the ring's own table or in an indirect one: never more steps than entries. */
static int read_table(struct vring *r, const struct vhost_mem *m, const uint8_t *table, uint32_t n,
                      uint16_t first, bool is_indirect, struct vring_chain *c)
{
    uint32_t i = first;
    for (uint32_t steps = 0; steps < n; steps++) {
        uint8_t copy[DESC_SIZE];
        if (i >= n)
            return -EINVAL;
        memcpy(copy, table + (size_t)i * DESC_SIZE, DESC_SIZE);
        struct desc d = {get_le64(copy), get_le32(copy + 8), get_le16(copy + 12),
                         get_le16(copy + 14)};
        if (d.flags & F_INDIRECT) {
            uint32_t inner = d.size / DESC_SIZE;
            const uint8_t *p = vhost_mem_gpa(m, d.gpa, d.size);
            if (is_indirect || d.flags & F_NEXT || !p || d.size % DESC_SIZE || inner == 0 ||
                inner > VRING_MAX_SIZE)
                return -EINVAL;
            return read_table(r, m, p, inner, 0, true, c);
        }
        int e = add_desc(m, &d, c);
        if (e < 0 || !(d.flags & F_NEXT))
            return e;
        i = d.next;
    }
    return -EINVAL;
}

static int add_desc(const struct vhost_mem *m, const struct desc *d, struct vring_chain *c)
{
    unsigned have = c->n_out + c->n_in;
    bool is_in = d->flags & F_WRITE;
    if (!is_in && c->n_in)
        return -EINVAL;
    int n = vhost_mem_iov(m, d->gpa, d->size, c->iov + have, VRING_MAX_IOV - have);
    if (n < 0)
        return -EINVAL;
    uint64_t gpa = d->gpa;
    for (unsigned i = have; i < have + (unsigned)n; i++) {
        c->gpa[i] = gpa;
        gpa += c->iov[i].iov_len;
    }
    *(is_in ? &c->n_in : &c->n_out) += (unsigned)n;
    return 0;
}

static void log_used(const struct vring *r, struct vhost_mem *m, uint32_t at, uint32_t size)
{
    if (r->addr.logs_used)
        vhost_mem_mark(m, r->addr.log + at, size);
}

bool vring_rearm(struct vring *r, struct vhost_mem *m)
{
    if (!r->is_running || r->is_broken)
        return false;
    if (r->has_event_idx) {
        store16(avail_event(r), r->last_avail);
        log_used(r, m, 4 + 8u * r->size, 2);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load16(r->avail + 2) != r->last_avail;
}

void vring_push(struct vring *r, struct vhost_mem *m, uint16_t head, uint32_t written)
{
    r->in_flight--;
    if (!r->is_running)
        return;
    uint32_t at = 4 + 8u * (r->used_idx % r->size);
    put_le32(r->used + at, head);
    put_le32(r->used + at + 4, written);
    if (r->inflight)
        put_le16(r->inflight + 12, head);
    r->used_idx++;
    store16(r->used + 2, r->used_idx);
    if (r->inflight) {
        __atomic_store_n(inflight_desc(r, head), 0, __ATOMIC_SEQ_CST);
        put_le16(r->inflight + 14, r->used_idx);
    }
    log_used(r, m, at, 8);
    log_used(r, m, 2, 2);
}

bool vring_wants_signal(struct vring *r)
{
    if (!r->is_running)
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t old = r->signalled_idx;
    bool had = r->is_signalled;
    r->signalled_idx = r->used_idx;
    r->is_signalled = true;
    if (!r->has_event_idx)
        return !(load16(r->avail) & NO_INTERRUPT);
    uint16_t event = load16(used_event(r));
    return !had || (uint16_t)(r->used_idx - event - 1) < (uint16_t)(r->used_idx - old);
}
