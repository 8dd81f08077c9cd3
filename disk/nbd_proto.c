/*
 * nbd_proto.c: NBD handshake and headers. Called by nbd.c and the fuzzer; owns nothing.
 */
#include "disk/nbd_proto.h"

#include <errno.h>
#include <string.h>

#include "codec/bytes.h"
#include "codec/nbd.h"

#define CONTEXT "base:allocation"
#define BITMAPS "qemu:dirty-bitmap:"

static enum nbd_step client_flags(struct nbd_handshake *h, const uint8_t *p, size_t have,
                                  size_t *ret_used);
static enum nbd_step option(struct nbd_handshake *h, uint32_t opt, struct cursor c,
                            struct buf *out);
static enum nbd_step export_name(struct nbd_handshake *h, struct cursor c, struct buf *out);
static enum nbd_step info_or_go(struct nbd_handshake *h, uint32_t opt, struct cursor c,
                                struct buf *out);
static void meta_context(struct nbd_handshake *h, uint32_t opt, struct cursor c, struct buf *out);
static void list(struct nbd_handshake *h, struct cursor c, struct buf *out);
static void reply(struct buf *out, uint32_t opt, uint32_t type, const void *p, size_t size);
static bool is_our_name(const struct nbd_handshake *h, const uint8_t *p, size_t size);
static uint16_t flags_of(const struct nbd_handshake *h);

static void put16(struct buf *out, uint16_t v)
{
    uint8_t b[2];
    put_be16(b, v);
    buf_put(out, b, sizeof(b));
}

static void put32(struct buf *out, uint32_t v)
{
    uint8_t b[4];
    put_be32(b, v);
    buf_put(out, b, sizeof(b));
}

static void put64(struct buf *out, uint64_t v)
{
    uint8_t b[8];
    put_be64(b, v);
    buf_put(out, b, sizeof(b));
}

void nbd_greet(struct nbd_handshake *h, struct buf *out)
{
    put64(out, NBD_INIT_MAGIC);
    put64(out, NBD_OPTION_MAGIC);
    put16(out, NBD_GREET_NEWSTYLE | NBD_GREET_NO_ZEROES);
    h->phase = NBD_CLIENT_FLAGS;
}

enum nbd_step nbd_handshake_step(struct nbd_handshake *h, const uint8_t *p, size_t have,
                                 size_t *ret_used, struct buf *out)
{
    *ret_used = 0;
    if (h->phase == NBD_CLIENT_FLAGS)
        return client_flags(h, p, have, ret_used);
    if (have < 16)
        return NBD_MORE;
    struct cursor c = cursor_of(p, have);
    uint64_t magic = cursor_be64(&c);
    uint32_t opt = cursor_be32(&c), size = cursor_be32(&c);
    if (magic != NBD_OPTION_MAGIC || size > NBD_OPTION_MAX)
        return NBD_END;
    const uint8_t *data = cursor_take(&c, size);
    if (!data)
        return NBD_MORE;
    *ret_used = 16 + (size_t)size;
    return option(h, opt, cursor_of(data, size), out);
}

static enum nbd_step client_flags(struct nbd_handshake *h, const uint8_t *p, size_t have,
                                  size_t *ret_used)
{
    if (have < 4)
        return NBD_MORE;
    uint32_t flags = get_be32(p);
    if (!(flags & NBD_GREET_NEWSTYLE) || flags & ~(NBD_GREET_NEWSTYLE | NBD_GREET_NO_ZEROES))
        return NBD_END;
    h->no_zeroes = flags & NBD_GREET_NO_ZEROES;
    h->phase = NBD_OPTIONS;
    *ret_used = 4;
    return NBD_AGAIN;
}

static enum nbd_step option(struct nbd_handshake *h, uint32_t opt, struct cursor c, struct buf *out)
{
    switch (opt) {
    case NBD_OPTION_EXPORT_NAME:
        return export_name(h, c, out);
    case NBD_OPTION_ABORT:
        reply(out, opt, NBD_ANSWER_ACK, NULL, 0);
        return NBD_END;
    case NBD_OPTION_LIST:
        list(h, c, out);
        return NBD_AGAIN;
    case NBD_OPTION_INFO:
    case NBD_OPTION_GO:
        return info_or_go(h, opt, c, out);
    case NBD_OPTION_STRUCTURED:
        h->structured = h->structured || c.left == 0;
        reply(out, opt, c.left ? NBD_ANSWER_INVALID : NBD_ANSWER_ACK, NULL, 0);
        return NBD_AGAIN;
    case NBD_OPTION_LIST_META:
    case NBD_OPTION_SET_META:
        meta_context(h, opt, c, out);
        return NBD_AGAIN;
    default:
        reply(out, opt, NBD_ANSWER_UNSUP, NULL, 0);
        return NBD_AGAIN;
    }
}

/* The old way in: there is no reply for an unknown name but the end. */
static enum nbd_step export_name(struct nbd_handshake *h, struct cursor c, struct buf *out)
{
    static const uint8_t zeroes[124];
    size_t size = c.left;
    if (!is_our_name(h, cursor_take(&c, size), size))
        return NBD_END;
    put64(out, h->size);
    put16(out, flags_of(h));
    if (!h->no_zeroes)
        buf_put(out, zeroes, sizeof(zeroes));
    return NBD_TRANSMIT;
}

static enum nbd_step info_or_go(struct nbd_handshake *h, uint32_t opt, struct cursor c,
                                struct buf *out)
{
    uint32_t name_size = cursor_be32(&c);
    const uint8_t *name = cursor_take(&c, name_size);
    uint16_t n = cursor_be16(&c);
    bool wants_block_size = false;
    for (uint16_t i = 0; i < n && !c.bad; i++)
        wants_block_size |= cursor_be16(&c) == NBD_INFO_BLOCK_SIZE;
    if (c.bad || c.left) {
        reply(out, opt, NBD_ANSWER_INVALID, NULL, 0);
        return NBD_AGAIN;
    }
    if (!is_our_name(h, name, name_size)) {
        reply(out, opt, NBD_ANSWER_UNKNOWN, NULL, 0);
        return NBD_AGAIN;
    }
    uint8_t info[14];
    put_be16(info, NBD_INFO_EXPORT);
    put_be64(info + 2, h->size);
    put_be16(info + 10, flags_of(h));
    reply(out, opt, NBD_ANSWER_INFO, info, 12);
    if (wants_block_size) {
        put_be16(info, NBD_INFO_BLOCK_SIZE);
        put_be32(info + 2, 512);
        put_be32(info + 6, 4096);
        put_be32(info + 10, NBD_MAX_DATA);
        reply(out, opt, NBD_ANSWER_INFO, info, 14);
    }
    reply(out, opt, NBD_ANSWER_ACK, NULL, 0);
    return opt == NBD_OPTION_GO ? NBD_TRANSMIT : NBD_AGAIN;
}

static bool is_text(const uint8_t *q, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(q, text, size) == 0;
}

static bool asks_allocation(const uint8_t *q, size_t size, bool is_list)
{
    return is_text(q, size, CONTEXT) || (is_list && is_text(q, size, "base:"));
}

static bool asks_bitmap(const struct nbd_handshake *h, const uint8_t *q, size_t size, bool is_list)
{
    size_t prefix = strlen(BITMAPS);
    if (!h->bitmap)
        return false;
    if (is_list && (is_text(q, size, "qemu:") || is_text(q, size, BITMAPS)))
        return true;
    return size > prefix && memcmp(q, BITMAPS, prefix) == 0 &&
           is_text(q + prefix, size - prefix, h->bitmap);
}

static void put_context(struct buf *out, uint32_t opt, uint32_t id, const char *a, const char *b)
{
    uint32_t size = (uint32_t)(strlen(a) + strlen(b));
    put64(out, NBD_ANSWER_MAGIC);
    put32(out, opt);
    put32(out, NBD_ANSWER_META);
    put32(out, 4 + size);
    put32(out, opt == NBD_OPTION_LIST_META ? 0 : id);
    buf_put(out, a, strlen(a));
    buf_put(out, b, strlen(b));
}

static void meta_context(struct nbd_handshake *h, uint32_t opt, struct cursor c, struct buf *out)
{
    bool is_list = opt == NBD_OPTION_LIST_META;
    uint32_t name_size = cursor_be32(&c);
    const uint8_t *name = cursor_take(&c, name_size);
    uint32_t n = cursor_be32(&c);
    bool allocation = is_list && n == 0, bitmap = allocation && h->bitmap;
    for (uint32_t i = 0; i < n && !c.bad; i++) {
        uint32_t size = cursor_be32(&c);
        const uint8_t *q = cursor_take(&c, size);
        allocation |= q && asks_allocation(q, size, is_list);
        bitmap |= q && asks_bitmap(h, q, size, is_list);
    }
    if (!is_list)
        h->has_context = h->has_bitmap = false;
    if (c.bad || c.left || (!is_list && !h->structured)) {
        reply(out, opt, NBD_ANSWER_INVALID, NULL, 0);
        return;
    }
    if (!is_our_name(h, name, name_size)) {
        reply(out, opt, NBD_ANSWER_UNKNOWN, NULL, 0);
        return;
    }
    if (allocation)
        put_context(out, opt, NBD_CONTEXT_ID, CONTEXT, "");
    if (bitmap)
        put_context(out, opt, NBD_BITMAP_ID, BITMAPS, h->bitmap);
    reply(out, opt, NBD_ANSWER_ACK, NULL, 0);
    if (!is_list) {
        h->has_context = allocation;
        h->has_bitmap = bitmap;
    }
}

static void list(struct nbd_handshake *h, struct cursor c, struct buf *out)
{
    if (c.left) {
        reply(out, NBD_OPTION_LIST, NBD_ANSWER_INVALID, NULL, 0);
        return;
    }
    uint32_t size = (uint32_t)strlen(h->export_name);
    put64(out, NBD_ANSWER_MAGIC);
    put32(out, NBD_OPTION_LIST);
    put32(out, NBD_ANSWER_SERVER);
    put32(out, size + 4);
    put32(out, size);
    buf_put(out, h->export_name, size);
    reply(out, NBD_OPTION_LIST, NBD_ANSWER_ACK, NULL, 0);
}

static void reply(struct buf *out, uint32_t opt, uint32_t type, const void *p, size_t size)
{
    put64(out, NBD_ANSWER_MAGIC);
    put32(out, opt);
    put32(out, type);
    put32(out, (uint32_t)size);
    if (size)
        buf_put(out, p, size);
}

static bool is_our_name(const struct nbd_handshake *h, const uint8_t *p, size_t size)
{
    return p &&
           (size == 0 || (size == strlen(h->export_name) && memcmp(p, h->export_name, size) == 0));
}

static uint16_t flags_of(const struct nbd_handshake *h)
{
    return (uint16_t)(h->flags | (h->structured ? NBD_FLAG_SEND_DF : 0));
}

int nbd_request_parse(const uint8_t *p, struct nbd_request *ret)
{
    struct cursor c = cursor_of(p, NBD_REQUEST_SIZE);
    if (cursor_be32(&c) != NBD_REQUEST_MAGIC)
        return -EINVAL;
    ret->flags = cursor_be16(&c);
    ret->type = cursor_be16(&c);
    ret->cookie = cursor_be64(&c);
    ret->offset = cursor_be64(&c);
    ret->size = cursor_be32(&c);
    return 0;
}

size_t nbd_put_simple(uint8_t out[16], uint64_t cookie, int error)
{
    put_be32(out, NBD_SIMPLE_MAGIC);
    put_be32(out + 4, nbd_error_of(error));
    put_be64(out + 8, cookie);
    return 16;
}

size_t nbd_put_chunk(uint8_t out[20], uint64_t cookie, uint16_t type, uint32_t size)
{
    put_be32(out, NBD_CHUNK_MAGIC);
    put_be16(out + 4, 1); /* the last chunk of its reply */
    put_be16(out + 6, type);
    put_be64(out + 8, cookie);
    put_be32(out + 16, size);
    return 20;
}

void nbd_more_chunks(uint8_t chunk[20])
{
    put_be16(chunk + 4, 0);
}

/* The protocol has a few errors with numbers of its own; everything else is EIO. */
uint32_t nbd_error_of(int error)
{
    switch (error) {
    case 0:
        return 0;
    case EPERM:
    case EROFS:
        return 1;
    case ENOMEM:
        return 12;
    case EINVAL:
        return 22;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return 28;
    case EOVERFLOW:
        return 75;
    case EOPNOTSUPP:
        return 95;
    case ESHUTDOWN:
        return 108;
    default:
        return 5;
    }
}
