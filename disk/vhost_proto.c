/*
 * vhost_proto.c: vhost-user messages from bytes. Called by vhost_blk.c and the fuzzer; owns
 * nothing.
 */
#include "disk/vhost_proto.h"

#include <errno.h>

#include "codec/bytes.h"

#define ADDR_LOGS_USED 1u

static void parse_mem(struct cursor *c, union vhost_payload *ret);
static void parse_addr(struct cursor *c, union vhost_payload *ret);
static void parse_config(struct cursor *c, union vhost_payload *ret);

int vhost_header_parse(const uint8_t *p, struct vhost_header *ret)
{
    struct vhost_header h = {get_le32(p), get_le32(p + 4), get_le32(p + 8)};
    if ((h.flags & 3) != VHOST_FLAG_VERSION || h.size > VHOST_MAX_PAYLOAD)
        return -EINVAL;
    *ret = h;
    return 0;
}

void vhost_header_put(const struct vhost_header *h, uint8_t *out)
{
    put_le32(out, h->request);
    put_le32(out + 4, h->flags);
    put_le32(out + 8, h->size);
}

int vhost_payload_parse(uint32_t request, const uint8_t *p, size_t size, union vhost_payload *ret)
{
    struct cursor c = cursor_of(p, size);
    *ret = (union vhost_payload){0};
    switch (request) {
    case VHOST_GET_FEATURES:
    case VHOST_SET_OWNER:
    case VHOST_RESET_OWNER:
    case VHOST_GET_PROTOCOL_FEATURES:
    case VHOST_GET_QUEUE_NUM:
    case VHOST_SET_BACKEND_REQ_FD:
        break;
    case VHOST_SET_FEATURES:
    case VHOST_SET_PROTOCOL_FEATURES:
    case VHOST_SET_VRING_KICK:
    case VHOST_SET_VRING_CALL:
    case VHOST_SET_VRING_ERR:
        ret->u64 = cursor_le64(&c);
        break;
    case VHOST_SET_LOG_FD:
        (void)cursor_take(&c, size);
        break;
    case VHOST_SET_MEM_TABLE:
        parse_mem(&c, ret);
        break;
    case VHOST_SET_LOG_BASE:
        ret->log.size = cursor_le64(&c);
        ret->log.offset = cursor_le64(&c);
        break;
    case VHOST_SET_VRING_NUM:
    case VHOST_SET_VRING_BASE:
    case VHOST_GET_VRING_BASE:
    case VHOST_SET_VRING_ENABLE:
        ret->state.index = cursor_le32(&c);
        ret->state.num = cursor_le32(&c);
        break;
    case VHOST_SET_VRING_ADDR:
        parse_addr(&c, ret);
        break;
    case VHOST_GET_CONFIG:
    case VHOST_SET_CONFIG:
        parse_config(&c, ret);
        break;
    case VHOST_GET_INFLIGHT_FD:
    case VHOST_SET_INFLIGHT_FD:
        ret->inflight.size = cursor_le64(&c);
        ret->inflight.offset = cursor_le64(&c);
        ret->inflight.n_queues = cursor_le16(&c);
        ret->inflight.queue_size = cursor_le16(&c);
        break;
    default:
        return -EOPNOTSUPP;
    }
    return c.bad ? -EINVAL : 0;
}

static void parse_mem(struct cursor *c, union vhost_payload *ret)
{
    ret->mem.n = cursor_le32(c);
    (void)cursor_le32(c);
    if (ret->mem.n > VHOST_MAX_REGIONS) {
        c->bad = true;
        return;
    }
    for (uint32_t i = 0; i < ret->mem.n; i++) {
        struct vhost_region *r = &ret->mem.region[i];
        r->gpa = cursor_le64(c);
        r->size = cursor_le64(c);
        r->uva = cursor_le64(c);
        r->mmap_offset = cursor_le64(c);
    }
}

static void parse_addr(struct cursor *c, union vhost_payload *ret)
{
    ret->addr.index = cursor_le32(c);
    ret->addr.addr.logs_used = cursor_le32(c) & ADDR_LOGS_USED;
    ret->addr.addr.desc = cursor_le64(c);
    ret->addr.addr.used = cursor_le64(c);
    ret->addr.addr.avail = cursor_le64(c);
    ret->addr.addr.log = cursor_le64(c);
}

static void parse_config(struct cursor *c, union vhost_payload *ret)
{
    ret->config.offset = cursor_le32(c);
    ret->config.size = cursor_le32(c);
    ret->config.flags = cursor_le32(c);
    if (ret->config.size > sizeof(ret->config.bytes))
        c->bad = true;
    else
        cursor_copy(c, ret->config.bytes, ret->config.size);
}
