/*
 * nbd_target.c: an NBD client: fixed newstyle, simple replies, one connection. Requests that were
 * prepared go out in one call; replies are taken from one buffer, and a large READ's data is
 * received into its slot.
 */
#include "target.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/mem.h"
#include "codec/bytes.h"
#include "codec/nbd.h"

#define HEADER  28u
#define REPLY   16u
#define IN_SIZE (256u << 10)

struct nbd {
    struct target t;
    uint8_t head[TARGET_MAX_SLOTS][HEADER];
    bool is_read[TARGET_MAX_SLOTS];
    struct iovec out[TARGET_MAX_SLOTS * 2];
    size_t n_out;
    uint8_t *data; /* a block a slot */
    uint8_t in[IN_SIZE];
    size_t have;
    unsigned filling; /* the slot whose data comes, if rest */
    size_t rest;
    unsigned done[TARGET_MAX_SLOTS];
    unsigned n_done;
};

static void get(struct nbd *n, void *p, size_t size)
{
    if (fd_read_all(n->t.fd, p, size) < 0)
        errx(1, "the server does not answer");
}

static void option_go(struct nbd *n, const char *name)
{
    uint8_t out[300];
    size_t size = strlen(name);
    if (size > 255)
        errx(2, "the export's name is too long");
    put_be32(out, NBD_GREET_NEWSTYLE | NBD_GREET_NO_ZEROES);
    put_be64(out + 4, NBD_OPTION_MAGIC);
    put_be32(out + 12, NBD_OPTION_GO);
    put_be32(out + 16, (uint32_t)size + 6);
    put_be32(out + 20, (uint32_t)size);
    memcpy(out + 24, name, size);
    put_be16(out + 24 + size, 0);
    if (fd_write_all(n->t.fd, out, 26 + size) < 0)
        err(1, "the server's socket");
}

static void handshake(struct nbd *n, const char *name)
{
    uint8_t b[1024];
    get(n, b, 18);
    if (get_be64(b) != NBD_INIT_MAGIC || get_be64(b + 8) != NBD_OPTION_MAGIC)
        errx(1, "this is no NBD server of the newer style");
    option_go(n, name);
    for (;;) {
        get(n, b, 20);
        uint32_t type = get_be32(b + 12), size = get_be32(b + 16);
        if (get_be64(b) != NBD_ANSWER_MAGIC || size > sizeof(b))
            errx(1, "the server's answer makes no sense");
        if (type == NBD_ANSWER_ACK)
            return;
        if (type != NBD_ANSWER_INFO)
            errx(1, "the server does not serve '%s'", name);
        get(n, b, size);
        if (size == 12 && get_be16(b) == NBD_INFO_EXPORT)
            n->t.size = get_be64(b + 2);
    }
}

static void nbd_put(struct target *t, unsigned slot, uint64_t offset, bool is_write)
{
    struct nbd *n = (struct nbd *)t;
    uint8_t *h = n->head[slot];
    put_be32(h, NBD_REQUEST_MAGIC);
    put_be16(h + 4, 0);
    put_be16(h + 6, is_write);
    put_be64(h + 8, slot);
    put_be64(h + 16, offset);
    put_be32(h + 24, t->block);
    n->is_read[slot] = !is_write;
    n->out[n->n_out++] = (struct iovec){h, HEADER};
    if (is_write)
        n->out[n->n_out++] = (struct iovec){n->data + (size_t)slot * t->block, t->block};
}

static void nbd_send(struct target *t)
{
    struct nbd *n = (struct nbd *)t;
    struct msghdr m = {.msg_iov = n->out, .msg_iovlen = n->n_out};
    while (m.msg_iovlen) {
        ssize_t r = sendmsg(t->fd, &m, MSG_NOSIGNAL);
        if (r < 0 && errno != EINTR)
            err(1, "sending");
        size_t size = r < 0 ? 0 : (size_t)r;
        while (m.msg_iovlen && size >= m.msg_iov->iov_len) {
            size -= m.msg_iov->iov_len;
            m.msg_iov++;
            m.msg_iovlen--;
        }
        if (m.msg_iovlen) {
            m.msg_iov->iov_base = (uint8_t *)m.msg_iov->iov_base + size;
            m.msg_iov->iov_len -= size;
        }
    }
    n->n_out = 0;
}

/* Takes what is there; with flags 0 waits until something is. */
static bool fill(struct nbd *n, int flags)
{
    struct iovec iov[2];
    size_t k = 0;
    if (n->rest)
        iov[k++] =
            (struct iovec){n->data + (size_t)(n->filling + 1) * n->t.block - n->rest, n->rest};
    iov[k++] = (struct iovec){n->in + n->have, IN_SIZE - n->have};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = k};
    ssize_t r = recvmsg(n->t.fd, &m, flags);
    if (r < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (r <= 0)
        errx(1, "the server went away");
    size_t size = (size_t)r, part = size < n->rest ? size : n->rest;
    bool was_filling = n->rest;
    n->rest -= part;
    n->have += size - part;
    if (was_filling && n->rest == 0)
        n->done[n->n_done++] = n->filling;
    return true;
}

static size_t take_reply(struct nbd *n, const uint8_t *p, size_t have)
{
    if (have < REPLY)
        return 0;
    uint64_t slot = get_be64(p + 8);
    if (get_be32(p) != NBD_SIMPLE_MAGIC || get_be32(p + 4) || slot >= n->t.slots)
        errx(1, "a request failed");
    if (!n->is_read[slot]) {
        n->done[n->n_done++] = (unsigned)slot;
        return REPLY;
    }
    size_t part = have - REPLY < n->t.block ? have - REPLY : n->t.block;
    memcpy(n->data + slot * n->t.block, p + REPLY, part);
    n->filling = (unsigned)slot;
    n->rest = n->t.block - part;
    if (n->rest == 0)
        n->done[n->n_done++] = (unsigned)slot;
    return REPLY + part;
}

static void parse(struct nbd *n)
{
    size_t pos = 0, used = 1;
    while (used && n->rest == 0) {
        used = take_reply(n, n->in + pos, n->have - pos);
        pos += used;
    }
    n->have -= pos;
    memmove(n->in, n->in + pos, n->have);
}

static unsigned nbd_collect(struct target *t, unsigned *slots)
{
    struct nbd *n = (struct nbd *)t;
    if (n->n_done == 0 && fill(n, MSG_DONTWAIT))
        parse(n);
    unsigned k = n->n_done;
    memcpy(slots, n->done, k * sizeof(*slots));
    n->n_done = 0;
    return k;
}

static bool nbd_arm(struct target *t)
{
    (void)t;
    return true;
}

static void nbd_woken(struct target *t)
{
    (void)t;
}

/* What comes is taken at once; the next collect() tells. */
static void nbd_wait(struct target *t)
{
    struct nbd *n = (struct nbd *)t;
    if (n->n_done == 0 && fill(n, 0))
        parse(n);
}

static const struct target_ops nbd_ops = {
    .put = nbd_put,
    .send = nbd_send,
    .collect = nbd_collect,
    .arm = nbd_arm,
    .woken = nbd_woken,
    .wait = nbd_wait,
};

struct target *nbd_target_new(const char *path, const char *name, unsigned slots, uint32_t block)
{
    struct nbd *n = mem_new(struct nbd);
    int size = 4 << 20;
    n->t = (struct target){.ops = &nbd_ops, .slots = slots, .block = block};
    n->t.fd = target_connect(path);
    (void)setsockopt(n->t.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    n->data = mem_new_n(uint8_t, (size_t)slots * block);
    memset(n->data, 0x5a, (size_t)slots * block);
    handshake(n, name);
    return &n->t;
}
