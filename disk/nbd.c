/*
 * nbd.c: the NBD front end: connections, their requests and their replies.
 *
 * A connection receives into one buffer and, behind a WRITE's header, straight into the request's
 * own; it reads on while requests run, up to a number of them and of their bytes. Replies that
 * become ready in one round of the loop go out together, in any order.
 *
 *     recv ──> handshake ──> request ──(payload)──> disk ──> reply queue ──> sendmsg
 *
 * Loop's thread. A connection lives until its socket operations and requests have ended; the front
 * end until its last connection and its accept have.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/cbt.h"
#include "disk/disk.h"
#include "disk/front.h"
#include "disk/nbd_proto.h"
#include "disk/pool.h"

#define IN_SIZE        (64u << 10)
#define MAX_REQUESTS   128u
#define MAX_BYTES      (64u << 20)
#define MAX_SEND       64u
#define STATUS_EXTENTS 1024u
#define HANDSHAKE_MAX  (64u << 10)
#define CHUNK_HEAD     20u
#define STATUS_PART    (4 + STATUS_EXTENTS * 8)
#define STATUS_SIZE    (2 * STATUS_PART + CHUNK_HEAD) /* of both contexts */

struct nbd_conn;

struct nbd_req {
    struct blk_req blk;
    struct nbd_conn *c;
    struct nbd_request head;
    uint8_t *data; /* from the pool; READ, WRITE, BLOCK_STATUS */
    size_t data_size;
    struct iovec iov;
    uint8_t out[32]; /* reply header */
    size_t out_size, body_size;
    struct nbd_req *next;
};

struct nbd_conn {
    struct nbd_front *f;
    struct nbd_conn *next; /* of the front end */
    int fd;
    struct ring_op recv, send, later;
    bool is_receiving, is_sending, is_later, is_ending, is_transmitting;
    struct nbd_handshake handshake;
    struct buf greeting; /* handshake bytes to send */
    uint8_t in[IN_SIZE];
    size_t have; /* bytes in `in` */
    struct nbd_req *payload;
    size_t payload_have;
    unsigned n_requests;
    size_t n_bytes;
    struct nbd_req *ready, **ready_end; /* replies to send */
    struct nbd_req *sending;
    struct msghdr recv_msg, send_msg;
    struct iovec recv_iov[2], send_iov[MAX_SEND * 2];
};

struct nbd_front {
    struct front front;
    int listen_fd;
    struct ring *ring;
    char *export_name, *bitmap_name;
    struct cbt_bitmap *bitmap; /* NULL: there is none */
    struct ring_op accept;
    struct nbd_conn *conns;
    struct pool *pool;
    bool is_closing, is_accepting;
};

static struct front *nbd_open(struct disk *disk, struct ring *ring, int listen_fd,
                              const struct front_options *options);
static void nbd_wake(struct front *front);
static unsigned nbd_clients(const struct front *front);
static void nbd_close(struct front *front);
static void on_accept(struct ring_op *op, int res);
static void front_release(struct nbd_front *f);
static void conn_new(struct nbd_front *f, int fd);
static void conn_receive(struct nbd_conn *c);
static void on_recv(struct ring_op *op, int res);
static void conn_process(struct nbd_conn *c);
static size_t conn_handshake(struct nbd_conn *c, const uint8_t *p, size_t have);
static size_t conn_request(struct nbd_conn *c, const uint8_t *p, size_t have);
static void req_begin(struct nbd_req *q);
static bool req_stays(const struct blk_req *blk);
static void req_done(struct blk_req *blk, int err);
static void req_reply(struct nbd_req *q, int err);
static void req_free(struct nbd_req *q);
static void put_status(struct nbd_req *q);
static void conn_send_later(struct nbd_conn *c);
static void on_later(struct ring_op *op, int res);
static void on_sent(struct ring_op *op, int res);
static void conn_end(struct nbd_conn *c);
static void conn_release(struct nbd_conn *c);

const struct front_ops nbd_front_ops = {
    .type = "nbd",
    .open = nbd_open,
    .wake = nbd_wake,
    .clients = nbd_clients,
    .close = nbd_close,
};

#define CONTAINER(type, member, p) ((type *)((char *)(p)-offsetof(type, member)))

static struct front *nbd_open(struct disk *disk, struct ring *ring, int listen_fd,
                              const struct front_options *options)
{
    struct nbd_front *f = mem_new(struct nbd_front);
    f->listen_fd = listen_fd;
    f->ring = ring;
    f->export_name = mem_strdup(options->export_name ? options->export_name : "");
    f->pool = pool_new();
    if (options->bitmap_path &&
        cbt_read(options->bitmap_path, disk->size, &f->bitmap) == 0) /* without is fine */
        f->bitmap_name = mem_strdup(options->bitmap_name);
    f->accept.done = on_accept;
    f->is_accepting = true;
    ring_accept(ring, &f->accept, listen_fd);
    return &f->front;
}

/* Requests wait in the disk, not with the client. */
static void nbd_wake(struct front *front)
{
    (void)front;
}

static unsigned nbd_clients(const struct front *front)
{
    const struct nbd_front *f = (const struct nbd_front *)front;
    unsigned n = 0;
    for (const struct nbd_conn *c = f->conns; c; c = c->next)
        n += !c->is_ending;
    return n;
}

static void nbd_close(struct front *front)
{
    struct nbd_front *f = (struct nbd_front *)front;
    f->is_closing = true;
    for (struct nbd_conn *c = f->conns, *next; c; c = next) {
        next = c->next;
        conn_end(c);
    }
    if (f->is_accepting)
        ring_accept_cancel(f->ring, &f->accept, f->listen_fd);
    front_release(f);
}

static void on_accept(struct ring_op *op, int res)
{
    struct nbd_front *f = CONTAINER(struct nbd_front, accept, op);
    f->is_accepting = false;
    if (f->is_closing) {
        fd_close(res);
        front_release(f);
        return;
    }
    if (res >= 0)
        conn_new(f, res);
    f->is_accepting = true;
    ring_accept(f->ring, &f->accept, f->listen_fd);
}

static void front_release(struct nbd_front *f)
{
    if (!f->is_closing || f->is_accepting || f->conns)
        return;
    fd_close(f->listen_fd);
    pool_free(f->pool);
    free(f->export_name);
    free(f->bitmap_name);
    cbt_bitmap_free(f->bitmap);
    free(f);
}

static void conn_new(struct nbd_front *f, int fd)
{
    const struct disk *d = f->front.disk;
    struct nbd_conn *c = mem_new(struct nbd_conn);
    int size = 4 << 20;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    c->f = f;
    c->fd = fd;
    c->next = f->conns;
    f->conns = c;
    c->ready_end = &c->ready;
    c->recv.done = on_recv;
    c->send.done = on_sent;
    c->later.done = on_later;
    c->handshake = (struct nbd_handshake){
        .export_name = f->export_name,
        .bitmap = f->bitmap_name,
        .size = d->size,
        .flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_CAN_MULTI_CONN,
    };
    c->handshake.flags |= d->is_readonly
                              ? NBD_FLAG_READ_ONLY
                              : NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES;
    buf_init(&c->greeting, HANDSHAKE_MAX);
    nbd_greet(&c->handshake, &c->greeting);
    conn_send_later(c);
    conn_receive(c);
}

/* The rest of a payload and whatever follows come with one call. */
static void conn_receive(struct nbd_conn *c)
{
    bool is_full = c->n_requests >= MAX_REQUESTS || c->n_bytes >= MAX_BYTES;
    if (c->is_receiving || c->is_ending || (is_full && !c->payload))
        return;
    int n = 0;
    if (c->payload)
        c->recv_iov[n++] = (struct iovec){c->payload->data + c->payload_have,
                                          c->payload->data_size - c->payload_have};
    c->recv_iov[n++] = (struct iovec){c->in + c->have, IN_SIZE - c->have};
    c->recv_msg = (struct msghdr){.msg_iov = c->recv_iov, .msg_iovlen = (size_t)n};
    c->is_receiving = true;
    ring_recvmsg(c->f->ring, &c->recv, c->fd, &c->recv_msg);
}

static void on_recv(struct ring_op *op, int res)
{
    struct nbd_conn *c = CONTAINER(struct nbd_conn, recv, op);
    c->is_receiving = false;
    if (res <= 0 || c->is_ending) {
        conn_end(c);
        return;
    }
    size_t n = (size_t)res;
    if (c->payload) {
        size_t rest = c->payload->data_size - c->payload_have;
        size_t part = n < rest ? n : rest;
        c->payload_have += part;
        n -= part;
    }
    c->have += n;
    conn_process(c);
}

/* What of the payload is in the buffer; begins the request when that completes it. */
static size_t conn_payload(struct nbd_conn *c, const uint8_t *p, size_t have)
{
    size_t rest = c->payload->data_size - c->payload_have;
    size_t used = have < rest ? have : rest;
    memcpy(c->payload->data + c->payload_have, p, used);
    c->payload_have += used;
    if (used == rest)
        req_begin(steal(&c->payload));
    return used;
}

static void conn_process(struct nbd_conn *c)
{
    size_t pos = 0;
    while (!c->is_ending) {
        const uint8_t *p = c->in + pos;
        size_t have = c->have - pos, used;
        bool was_payload = c->payload;
        if (was_payload)
            used = conn_payload(c, p, have);
        else if (c->is_transmitting)
            used = conn_request(c, p, have);
        else
            used = conn_handshake(c, p, have);
        pos += used;
        if (used == 0 && (!was_payload || c->payload))
            break;
    }
    c->have -= pos;
    memmove(c->in, c->in + pos, c->have);
    conn_receive(c);
}

static size_t conn_handshake(struct nbd_conn *c, const uint8_t *p, size_t have)
{
    size_t used;
    enum nbd_step step = nbd_handshake_step(&c->handshake, p, have, &used, &c->greeting);
    if (step == NBD_TRANSMIT)
        c->is_transmitting = true;
    if (step == NBD_END || !buf_ok(&c->greeting))
        conn_end(c);
    else if (c->greeting.size)
        conn_send_later(c);
    return used;
}

/* What is wrong with a request, as an errno; 0 if nothing. */
static int check_request(const struct nbd_conn *c, const struct nbd_request *r)
{
    bool moves = r->type == NBD_CMD_READ || r->type == NBD_CMD_WRITE;
    bool changes =
        r->type == NBD_CMD_WRITE || r->type == NBD_CMD_TRIM || r->type == NBD_CMD_WRITE_ZEROES;
    if (r->type == NBD_CMD_FLUSH)
        return 0;
    if (r->type == NBD_CMD_CACHE || r->type > NBD_CMD_BLOCK_STATUS)
        return EINVAL;
    if (changes && (c->handshake.flags & NBD_FLAG_READ_ONLY))
        return EPERM;
    if (r->size == 0 || (r->offset | r->size) % 512 || (moves && r->size > NBD_MAX_DATA))
        return EINVAL;
    if (r->offset > c->handshake.size || r->size > c->handshake.size - r->offset)
        return changes ? ENOSPC : EINVAL;
    if (r->type == NBD_CMD_BLOCK_STATUS && !c->handshake.has_context && !c->handshake.has_bitmap)
        return EINVAL;
    return 0;
}

static size_t conn_request(struct nbd_conn *c, const uint8_t *p, size_t have)
{
    if (have < NBD_REQUEST_SIZE || c->n_requests >= MAX_REQUESTS || c->n_bytes >= MAX_BYTES)
        return 0;
    struct nbd_request r;
    bool is_bad = nbd_request_parse(p, &r) < 0;
    /* The payload of a write that is too large cannot be skipped sensibly. */
    if (is_bad || r.type == NBD_CMD_DISC || (r.type == NBD_CMD_WRITE && r.size > NBD_MAX_DATA)) {
        conn_end(c);
        return NBD_REQUEST_SIZE;
    }
    struct nbd_req *q = mem_new(struct nbd_req);
    q->c = c;
    q->head = r;
    int err = check_request(c, &r);
    if (r.type == NBD_CMD_WRITE || (!err && r.type == NBD_CMD_READ))
        q->data_size = r.size;
    else if (!err && r.type == NBD_CMD_BLOCK_STATUS)
        q->data_size = STATUS_SIZE;
    q->data = q->data_size ? pool_get(c->f->pool, q->data_size) : NULL;
    c->n_requests++;
    c->n_bytes += q->data_size;
    if (q->data_size && !q->data) {
        q->data_size = 0;
        req_free(q);
        conn_end(c);
    } else if (r.type == NBD_CMD_WRITE && r.size) {
        c->payload = q;
        c->payload_have = 0;
    } else if (err) {
        req_reply(q, err);
    } else {
        req_begin(q);
    }
    return NBD_REQUEST_SIZE;
}

static void req_begin(struct nbd_req *q)
{
    static const enum blk_op ops[] = {
        [NBD_CMD_READ] = BLK_READ,           [NBD_CMD_WRITE] = BLK_WRITE,
        [NBD_CMD_FLUSH] = BLK_FLUSH,         [NBD_CMD_TRIM] = BLK_DISCARD,
        [NBD_CMD_WRITE_ZEROES] = BLK_ZEROES, [NBD_CMD_BLOCK_STATUS] = BLK_STATUS,
    };
    int err = check_request(q->c, &q->head);
    if (err || q->c->f->is_closing) {
        req_reply(q, err ? err : ESHUTDOWN);
        return;
    }
    q->iov = (struct iovec){q->data, q->data_size};
    q->blk = (struct blk_req){
        .op = ops[q->head.type],
        .fua = q->head.flags & NBD_CMD_FLAG_FUA,
        .keep = q->head.flags & NBD_CMD_FLAG_NO_HOLE,
        .offset = q->head.offset,
        .size = q->head.size,
        .iov = &q->iov,
        .n_iov = 1,
        .done = req_done,
        .stays = req_stays,
    };
    disk_submit(q->c->f->front.disk, &q->blk);
}

static bool req_stays(const struct blk_req *blk)
{
    return !((const struct nbd_req *)blk)->c->is_ending;
}

static void req_done(struct blk_req *blk, int err)
{
    req_reply((struct nbd_req *)blk, -err);
}

static void req_reply(struct nbd_req *q, int err)
{
    struct nbd_conn *c = q->c;
    bool is_status = q->head.type == NBD_CMD_BLOCK_STATUS;
    bool is_read = q->head.type == NBD_CMD_READ;
    uint64_t cookie = q->head.cookie;
    if (c->is_ending) {
        req_free(q);
        conn_release(c);
        return;
    }
    if (!c->handshake.structured || !(is_read || is_status)) {
        q->out_size = nbd_put_simple(q->out, cookie, err);
        q->body_size = is_read && !err ? q->head.size : 0;
    } else if (err) {
        q->out_size = nbd_put_chunk(q->out, cookie, NBD_REPLY_ERROR, 6);
        put_be32(q->out + 20, nbd_error_of(err));
        put_be16(q->out + 24, 0); /* no text */
        q->out_size += 6;
    } else if (is_read) {
        q->out_size = nbd_put_chunk(q->out, cookie, NBD_REPLY_OFFSET_DATA, q->head.size + 8);
        put_be64(q->out + 20, q->head.offset);
        q->out_size += 8;
        q->body_size = q->head.size;
    } else {
        put_status(q);
    }
    q->next = NULL;
    *c->ready_end = q;
    c->ready_end = &q->next;
    conn_send_later(c);
}

/* What a context says of the range at `at`: flags, for how long. */
static uint32_t status_at(struct nbd_front *f, uint32_t id, uint64_t at, uint64_t size,
                          uint64_t *ret_size)
{
    bool is_hole;
    if (id == NBD_BITMAP_ID)
        return cbt_bitmap_at(f->bitmap, at, size, ret_size);
    disk_status(f->front.disk, at, size, ret_size, &is_hole);
    return is_hole ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0;
}

/* Extents from the start of the request; neighbours of one kind are joined. */
static size_t fill_status(struct nbd_req *q, uint32_t id, uint8_t *to)
{
    uint64_t at = q->head.offset, end = at + q->head.size;
    unsigned max = q->head.flags & NBD_CMD_FLAG_REQ_ONE ? 1 : STATUS_EXTENTS, n = 0;
    uint8_t *p = to + 4;
    put_be32(to, id);
    while (at < end) {
        uint64_t size;
        uint32_t flags = status_at(q->c->f, id, at, end - at, &size);
        if (n && get_be32(p + n * 8 - 4) == flags) {
            put_be32(p + n * 8 - 8, get_be32(p + n * 8 - 8) + (uint32_t)size);
        } else if (n < max) {
            put_be32(p + n * 8, (uint32_t)size);
            put_be32(p + n * 8 + 4, flags);
            n++;
        } else {
            break;
        }
        at += size;
    }
    return 4 + n * 8;
}

/* A chunk for each context that was asked for; the first one's head is the reply's. */
static void put_status(struct nbd_req *q)
{
    const struct nbd_handshake *h = &q->c->handshake;
    uint32_t first = h->has_context ? NBD_CONTEXT_ID : NBD_BITMAP_ID;
    size_t n = fill_status(q, first, q->data);
    q->out_size = nbd_put_chunk(q->out, q->head.cookie, NBD_REPLY_BLOCK_STATUS, (uint32_t)n);
    q->body_size = n;
    if (!h->has_context || !h->has_bitmap)
        return;
    nbd_more_chunks(q->out);
    uint8_t *next = q->data + n;
    n = fill_status(q, NBD_BITMAP_ID, next + CHUNK_HEAD);
    (void)nbd_put_chunk(next, q->head.cookie, NBD_REPLY_BLOCK_STATUS, (uint32_t)n);
    q->body_size += CHUNK_HEAD + n;
}

static void req_free(struct nbd_req *q)
{
    struct nbd_conn *c = q->c;
    c->n_requests--;
    c->n_bytes -= q->data_size;
    pool_put(c->f->pool, q->data, q->data_size);
    free(q);
}

static void conn_send_later(struct nbd_conn *c)
{
    if (c->is_later || c->is_sending)
        return;
    c->is_later = true;
    ring_later(c->f->ring, &c->later);
}

static void on_later(struct ring_op *op, int res)
{
    struct nbd_conn *c = CONTAINER(struct nbd_conn, later, op);
    c->is_later = false;
    if (c->is_ending) {
        conn_release(c);
        return;
    }
    size_t n = 0;
    if (c->greeting.size)
        c->send_iov[n++] = (struct iovec){c->greeting.data, c->greeting.size};
    c->sending = c->ready;
    struct nbd_req *q = c->ready;
    for (; q && n + 2 <= ARRAY_LEN(c->send_iov); q = c->ready) {
        c->send_iov[n++] = (struct iovec){q->out, q->out_size};
        if (q->body_size)
            c->send_iov[n++] = (struct iovec){q->data, q->body_size};
        c->ready = q->next;
        if (!c->ready || n + 2 > ARRAY_LEN(c->send_iov))
            q->next = NULL;
    }
    if (!c->ready)
        c->ready_end = &c->ready;
    if (n == 0)
        return;
    c->send_msg = (struct msghdr){.msg_iov = c->send_iov, .msg_iovlen = n};
    c->is_sending = true;
    ring_sendmsg(c->f->ring, &c->send, c->fd, &c->send_msg);
}

/* Short sends go on where they stopped. True when all is out. */
static bool advance(struct msghdr *m, size_t n)
{
    while (m->msg_iovlen && n >= m->msg_iov->iov_len) {
        n -= m->msg_iov->iov_len;
        m->msg_iov++;
        m->msg_iovlen--;
    }
    if (m->msg_iovlen) {
        m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + n;
        m->msg_iov->iov_len -= n;
    }
    return m->msg_iovlen == 0;
}

static void on_sent(struct ring_op *op, int res)
{
    struct nbd_conn *c = CONTAINER(struct nbd_conn, send, op);
    if (res > 0 && !c->is_ending && !advance(&c->send_msg, (size_t)res)) {
        ring_sendmsg(c->f->ring, &c->send, c->fd, &c->send_msg);
        return;
    }
    c->is_sending = false;
    buf_clear(&c->greeting);
    while (c->sending) {
        struct nbd_req *q = c->sending;
        c->sending = q->next;
        req_free(q);
    }
    if (res <= 0 || c->is_ending) {
        conn_end(c);
        return;
    }
    if (c->ready)
        conn_send_later(c);
    if (!c->is_receiving)
        conn_process(c);
}

/* Cuts the client off; what still runs, and at least the rest of this round, keeps the object. */
static void conn_end(struct nbd_conn *c)
{
    if (!c->is_ending) {
        c->is_ending = true;
        if (c->greeting.size && !c->is_sending)
            (void)send(c->fd, c->greeting.data, c->greeting.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)shutdown(c->fd, SHUT_RDWR);
        if (c->payload)
            req_free(steal(&c->payload));
        if (!c->is_later)
            ring_later(c->f->ring, &c->later);
        c->is_later = true;
        if (c->f->front.disk)
            disk_sort_out(c->f->front.disk);
    }
    while (c->ready) {
        struct nbd_req *q = c->ready;
        c->ready = q->next;
        req_free(q);
    }
    c->ready_end = &c->ready;
    conn_release(c);
}

static void conn_release(struct nbd_conn *c)
{
    if (!c->is_ending || c->is_receiving || c->is_sending || c->is_later || c->n_requests)
        return;
    struct nbd_front *f = c->f;
    struct nbd_conn **p = &f->conns;
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    fd_close(c->fd);
    buf_done(&c->greeting);
    free(c);
    front_release(f);
}
