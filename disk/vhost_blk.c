/*
 * vhost_blk.c: the vhost-user-blk front end: one QEMU at a time on a unix socket, and its messages.
 * The traffic of its rings is in vhost_queue.c.
 *
 *     socket ──message──> handle ──reply──> socket
 *
 * Rings are only looked at while the disk is active, so a disk without an image leaves requests
 * with the guest. A message that changes what running requests use (memory, in-flight area, the
 * stop of a ring) waits until these are done, and no new ones are begun meanwhile. Parked ones
 * (park.h) are given up then, and stay in the in-flight area: the ring's next start, or the end of
 * the message, takes them up. When QEMU goes away, begun requests are finished into its memory,
 * which we still have mapped; then the next one may connect.
 *
 * Loop's thread. A session lives until its ring operations and requests have ended.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOG_MODULE "vhost"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/vhost_int.h"
#include "disk/virtio_blk.h"

#define FEATURES                                                                                   \
    (VIRTIO_F_VERSION_1 | VIRTIO_RING_F_INDIRECT | VIRTIO_RING_F_EVENT_IDX | VHOST_F_LOG_ALL |     \
     VHOST_F_PROTOCOL_FEATURES | VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX |                    \
     VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_CONFIG_WCE)
#define FEATURES_WRITE (VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES)
#define PROTOCOL_FEATURES                                                                          \
    (VHOST_PROTOCOL_MQ | VHOST_PROTOCOL_LOG_SHMFD | VHOST_PROTOCOL_REPLY_ACK |                     \
     VHOST_PROTOCOL_BACKEND_REQ | VHOST_PROTOCOL_CONFIG | VHOST_PROTOCOL_INFLIGHT)
#define KICK_INDEX  0xffu
#define KICK_NO_FD  0x100u
#define SILENCE_US  1000000u
#define PATIENCE_MS 3000u

static struct front *vhost_open(struct disk *disk, struct ring *ring, int listen_fd,
                                const struct front_options *options);
static void vhost_wake(struct front *front);
static void vhost_resized(struct front *front);
static unsigned vhost_clients(const struct front *front);
static bool vhost_is_silent(const struct front *front);
static unsigned vhost_left(const struct front *front);
static void vhost_close(struct front *front);
static void front_accept(struct vhost_front *f);
static void on_accept(struct ring_op *op, int res);
static void front_release(struct vhost_front *f);
static void session_new(struct vhost_front *f, int fd);
static void session_receive(struct session *s);
static void on_recv(struct ring_op *op, int res);
static void message_complete(struct session *s);
static void message_handle(struct session *s);
static void session_end(struct session *s);

const struct front_ops vhost_front_ops = {
    .type = "vhost-user-blk",
    .open = vhost_open,
    .wake = vhost_wake,
    .resized = vhost_resized,
    .clients = vhost_clients,
    .is_silent = vhost_is_silent,
    .left = vhost_left,
    .close = vhost_close,
};

static struct front *vhost_open(struct disk *disk, struct ring *ring, int listen_fd,
                                const struct front_options *options)
{
    struct vhost_front *f = mem_new(struct vhost_front);
    f->ring = ring;
    f->listen_fd = listen_fd;
    f->n_queues = options->queues ? options->queues : VHOST_MAX_QUEUES;
    f->accept.done = on_accept;
    front_accept(f);
    return &f->front;
}

static void vhost_wake(struct front *front)
{
    struct vhost_front *f = (struct vhost_front *)front;
    for (unsigned i = 0; f->session && i < f->n_queues; i++)
        queue_process(&f->session->queue[i]);
}

/* QEMU asks for the configuration then, and tells the guest. */
static void vhost_resized(struct front *front)
{
    struct session *s = ((struct vhost_front *)front)->session;
    const struct vhost_header h = {VHOST_BACKEND_CONFIG_CHANGE, VHOST_FLAG_VERSION, 0};
    uint8_t out[VHOST_HEADER_SIZE];
    if (!s || s->is_ending || s->backend_fd < 0)
        return;
    vhost_header_put(&h, out);
    if (send(s->backend_fd, out, sizeof(out), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_warn("event=resize-not-told disk=%s why=\"%s\"", front->disk->id, strerror(errno));
}

static unsigned vhost_clients(const struct front *front)
{
    const struct vhost_front *f = (const struct vhost_front *)front;
    return f->session && !f->session->is_ending;
}

static bool vhost_is_silent(const struct front *front)
{
    const struct session *s = ((const struct vhost_front *)front)->session;
    return s && !s->is_ending && !s->has_talked && ring_now_us() - s->since_us > SILENCE_US;
}

static unsigned vhost_left(const struct front *front)
{
    const struct session *s = ((const struct vhost_front *)front)->session;
    return s ? s->n_left : 0;
}

static void vhost_close(struct front *front)
{
    struct vhost_front *f = (struct vhost_front *)front;
    f->is_closing = true;
    if (f->is_accepting)
        ring_accept_cancel(f->ring, &f->accept, f->listen_fd);
    if (f->session)
        session_end(f->session);
    else
        front_release(f);
}

static void front_accept(struct vhost_front *f)
{
    f->is_accepting = true;
    ring_accept(f->ring, &f->accept, f->listen_fd);
}

static void on_accept(struct ring_op *op, int res)
{
    struct vhost_front *f = CONTAINER(struct vhost_front, accept, op);
    f->is_accepting = false;
    if (f->is_closing) {
        fd_close(res);
        front_release(f);
    } else if (res >= 0) {
        session_new(f, res);
    } else {
        front_accept(f);
    }
}

static void front_release(struct vhost_front *f)
{
    if (!f->is_closing || f->is_accepting || f->session)
        return;
    fd_close(f->listen_fd);
    free(f);
}

static void session_new(struct vhost_front *f, int fd)
{
    struct session *s = mem_new(struct session);
    s->f = f;
    s->fd = fd;
    s->backend_fd = -1;
    s->wce = true;
    s->since_us = ring_now_us();
    s->recv.done = on_recv;
    for (unsigned i = 0; i < VHOST_MAX_QUEUES; i++)
        queue_init(&s->queue[i], s);
    f->session = s;
    log_info("event=connected disk=%s", f->front.disk->id);
    session_receive(s);
}

/* First the header, with the descriptors; then the payload. */
static void session_receive(struct session *s)
{
    size_t want =
        s->have < VHOST_HEADER_SIZE ? VHOST_HEADER_SIZE : VHOST_HEADER_SIZE + s->head.size;
    s->iov = (struct iovec){s->bytes + s->have, want - s->have};
    s->msg = (struct msghdr){.msg_iov = &s->iov,
                             .msg_iovlen = 1,
                             .msg_control = s->control.bytes,
                             .msg_controllen = sizeof(s->control.bytes)};
    s->is_receiving = true;
    ring_recvmsg(s->f->ring, &s->recv, s->fd, &s->msg);
}

static void close_fds(struct session *s)
{
    while (s->n_fds)
        fd_close(s->fds[--s->n_fds]);
}

static void take_fds(struct session *s)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&s->msg); c; c = CMSG_NXTHDR(&s->msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (s->n_fds < VHOST_MAX_FDS)
                s->fds[s->n_fds++] = fd;
            else
                fd_close(fd);
        }
    }
}

static void on_recv(struct ring_op *op, int res)
{
    struct session *s = CONTAINER(struct session, recv, op);
    s->is_receiving = false;
    if (res > 0)
        take_fds(s);
    if (res <= 0 || s->is_ending) {
        session_end(s);
        return;
    }
    s->has_talked = true;
    s->have += (size_t)res;
    if (s->have == VHOST_HEADER_SIZE && vhost_header_parse(s->bytes, &s->head) < 0) {
        log_warn("event=bad-message");
        session_end(s);
        return;
    }
    if (s->have < VHOST_HEADER_SIZE || s->have < VHOST_HEADER_SIZE + s->head.size)
        session_receive(s);
    else
        message_complete(s);
}

/* Parked requests do not stay (blk_req.stays). */
static void disk_sort_out_of(struct session *s)
{
    if (s->f->front.disk)
        disk_sort_out(s->f->front.disk);
}

/*
 * QEMU stands still until its message is handled. A server that is away may keep requests for ever,
 * and their memory; only the end of the process gets these back. It loses nothing: all of them
 * are in the in-flight area, and who looks after us starts another.
 */
static void on_patience(struct ring_op *op, int res)
{
    struct session *s = CONTAINER(struct session, patience, op);
    s->is_patient = false;
    if (s->is_ending) {
        session_release(s);
    } else if (s->is_paused && s->inflight && s->f->front.disk &&
               disk_is_remote(s->f->front.disk)) {
        log_warn("event=gives-up disk=%s requests=%u why=\"the server does not answer, and QEMU"
                 " wants an end\"",
                 s->f->front.disk->id, s->n_requests);
        _exit(EXIT_FAILURE);
    }
}

static void wait_for_quiet(struct session *s)
{
    disk_sort_out_of(s);
    if (s->is_patient)
        return;
    s->is_patient = true;
    s->patience.done = on_patience;
    ring_timer(s->f->ring, &s->patience, PATIENCE_MS);
}

static bool needs_quiet(uint32_t request)
{
    return request == VHOST_SET_MEM_TABLE || request == VHOST_GET_VRING_BASE ||
           request == VHOST_SET_INFLIGHT_FD || request == VHOST_RESET_OWNER;
}

static void message_complete(struct session *s)
{
    int e = vhost_payload_parse(s->head.request, s->bytes + VHOST_HEADER_SIZE, s->head.size,
                                &s->payload);
    if (e < 0) {
        log_warn("event=bad-message request=%u", s->head.request);
        session_end(s);
        return;
    }
    s->is_paused = needs_quiet(s->head.request) && s->n_requests;
    if (s->is_paused)
        wait_for_quiet(s);
    else
        message_handle(s);
}

/* Small enough for any socket buffer; a peer that lets it fill up is cut off. */
static int send_reply(struct session *s, const void *payload, uint32_t size, int fd)
{
    uint8_t out[VHOST_HEADER_SIZE + VHOST_MAX_PAYLOAD];
    struct vhost_header h = {s->head.request, VHOST_FLAG_VERSION | VHOST_FLAG_REPLY, size};
    vhost_header_put(&h, out);
    memcpy(out + VHOST_HEADER_SIZE, payload, size);
    return fd_send_fds(s->fd, out, VHOST_HEADER_SIZE + size, &fd, fd >= 0);
}

static int reply_u64(struct session *s, uint64_t v)
{
    uint8_t b[8];
    put_le64(b, v);
    return send_reply(s, b, sizeof(b), -1);
}

/* A descriptor of the message, which becomes the caller's; -1 when there is none. */
static int take_fd(struct session *s)
{
    if (s->n_fds == 0)
        return -1;
    int fd = s->fds[0];
    s->n_fds--;
    memmove(s->fds, s->fds + 1, s->n_fds * sizeof(int));
    return fd;
}

static struct queue *queue_of(struct session *s, uint32_t index)
{
    return index < s->f->n_queues ? &s->queue[index] : NULL;
}

static uint64_t offered_features(const struct session *s)
{
    const struct disk *d = s->f->front.disk;
    return FEATURES | (d && d->is_readonly ? VIRTIO_BLK_F_RO : FEATURES_WRITE) |
           (s->f->n_queues > 1 ? VIRTIO_BLK_F_MQ : 0);
}

static int set_features(struct session *s)
{
    if (s->payload.u64 & ~offered_features(s))
        return -EINVAL;
    s->features = s->payload.u64;
    s->mem.is_logging = s->features & VHOST_F_LOG_ALL;
    for (unsigned i = 0; i < s->f->n_queues; i++)
        s->queue[i].ring.has_event_idx = s->features & VIRTIO_RING_F_EVENT_IDX;
    return 0;
}

static int set_mem_table(struct session *s)
{
    if (s->n_fds != s->payload.mem.n)
        return -EINVAL;
    int r = vhost_mem_set(&s->mem, s->payload.mem.region, s->payload.mem.n, s->fds);
    for (unsigned i = 0; r == 0 && i < s->f->n_queues; i++)
        if (s->queue[i].ring.is_running && vring_remap(&s->queue[i].ring, &s->mem) < 0)
            r = -EINVAL;
    return r;
}

static int set_log_base(struct session *s)
{
    _cleanup_(fd_closep) int fd = take_fd(s);
    int r = fd < 0 ? -EINVAL
                   : vhost_mem_set_log(&s->mem, fd, s->payload.log.size, s->payload.log.offset);
    if (r == 0 && s->protocol_features & VHOST_PROTOCOL_LOG_SHMFD)
        r = reply_u64(s, 0);
    return r;
}

static int set_vring_num(struct session *s, struct queue *q)
{
    uint32_t n = s->payload.state.num;
    if (q->ring.is_running || n == 0 || n > VRING_MAX_SIZE || n & (n - 1))
        return -EINVAL;
    q->ring.size = (uint16_t)n;
    return 0;
}

static int set_vring_addr(struct session *s, struct queue *q)
{
    q->ring.addr = s->payload.addr.addr;
    return q->ring.is_running ? vring_remap(&q->ring, &s->mem) : 0;
}

static int get_vring_base(struct session *s, struct queue *q)
{
    uint8_t b[8];
    put_le32(b, s->payload.state.index);
    put_le32(b + 4, q->ring.last_avail);
    vring_stop(&q->ring);
    fd_close(fd_take(&q->kick_fd));
    queue_disarm(q);
    return send_reply(s, b, sizeof(b), -1);
}

static int queue_start(struct session *s, struct queue *q, unsigned index)
{
    uint8_t *inflight = NULL;
    if (q->ring.is_running)
        return 0;
    if (s->inflight) {
        if (s->inflight_queue_size != q->ring.size || index >= s->inflight_queues)
            return -EINVAL;
        inflight = s->inflight + index * vring_inflight_size(q->ring.size);
    }
    s->n_left = 0;
    return vring_start(&q->ring, &s->mem, inflight);
}

static int set_vring_kick(struct session *s)
{
    unsigned index = s->payload.u64 & KICK_INDEX;
    struct queue *q = queue_of(s, index);
    if (!q || s->payload.u64 & KICK_NO_FD || s->n_fds != 1)
        return -EINVAL;
    fd_close(fd_take(&q->kick_fd));
    q->kick_fd = take_fd(s);
    int r = queue_start(s, q, index);
    queue_disarm(q);
    if (!(s->features & VHOST_F_PROTOCOL_FEATURES))
        q->is_enabled = true;
    queue_arm(q);
    return r;
}

static int set_vring_fd(struct session *s, bool is_call)
{
    struct queue *q = queue_of(s, s->payload.u64 & KICK_INDEX);
    if (!q)
        return -EINVAL;
    int *slot = is_call ? &q->call_fd : &q->err_fd;
    fd_close(fd_take(slot));
    *slot = take_fd(s);
    /* What was answered while there was nobody to call. */
    if (is_call && *slot >= 0 && q->ring.is_running)
        (void)eventfd_write(*slot, 1);
    return 0;
}

static int set_backend_req_fd(struct session *s)
{
    if (s->n_fds != 1)
        return -EINVAL;
    fd_close(s->backend_fd);
    s->backend_fd = take_fd(s);
    return 0;
}

static int get_config(struct session *s)
{
    uint8_t config[VIRTIO_BLK_CONFIG_SIZE], out[12 + sizeof(s->payload.config.bytes)] = {0};
    uint32_t offset = s->payload.config.offset, size = s->payload.config.size;
    virtio_blk_config(s->f->front.disk, s->f->n_queues, s->wce, config);
    put_le32(out, offset);
    put_le32(out + 4, size);
    put_le32(out + 8, s->payload.config.flags);
    for (uint32_t i = 0; i < size && (uint64_t)offset + i < sizeof(config); i++)
        out[12 + i] = config[offset + i];
    return send_reply(s, out, 12 + size, -1);
}

static int set_config(struct session *s)
{
    if (s->payload.config.offset != VIRTIO_BLK_WCE_AT || s->payload.config.size != 1)
        return -EINVAL;
    s->wce = s->payload.config.bytes[0];
    return 0;
}

static int get_inflight(struct session *s)
{
    uint16_t n = s->payload.inflight.n_queues, queue_size = s->payload.inflight.queue_size;
    if (n == 0 || n > s->f->n_queues || queue_size == 0 || queue_size > VRING_MAX_SIZE)
        return -EINVAL;
    size_t size = n * vring_inflight_size(queue_size);
    _cleanup_(fd_closep) int fd = memfd_create("in-flight", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        return -errno;
    uint8_t b[24] = {0}; /* QEMU's structure has four bytes of padding at its end */
    put_le64(b, size);
    put_le64(b + 8, 0);
    put_le16(b + 16, n);
    put_le16(b + 18, queue_size);
    return send_reply(s, b, sizeof(b), fd);
}

static int set_inflight(struct session *s)
{
    uint16_t n = s->payload.inflight.n_queues, queue_size = s->payload.inflight.queue_size;
    _cleanup_(fd_closep) int fd = take_fd(s);
    uint64_t size = s->payload.inflight.size, offset = s->payload.inflight.offset;
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    bool is_running = false;
    for (unsigned i = 0; i < s->f->n_queues; i++)
        is_running |= s->queue[i].ring.is_running;
    if (is_running || end < 0 || n > s->f->n_queues || queue_size > VRING_MAX_SIZE ||
        offset % VHOST_PAGE || size > (uint64_t)end || offset > (uint64_t)end - size ||
        size < n * vring_inflight_size(queue_size))
        return -EINVAL;
    void *p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (p == MAP_FAILED)
        return -errno;
    if (s->inflight)
        (void)munmap(s->inflight, s->inflight_size);
    s->inflight = p;
    s->inflight_size = (size_t)size;
    s->inflight_queues = n;
    s->inflight_queue_size = queue_size;
    return 0;
}

/* Messages about one ring by number. */
static int handle_vring(struct session *s)
{
    uint32_t index =
        s->head.request == VHOST_SET_VRING_ADDR ? s->payload.addr.index : s->payload.state.index;
    struct queue *q = queue_of(s, index);
    if (!q)
        return -EINVAL;
    switch (s->head.request) {
    case VHOST_SET_VRING_NUM:
        return set_vring_num(s, q);
    case VHOST_SET_VRING_ADDR:
        return set_vring_addr(s, q);
    case VHOST_SET_VRING_BASE:
        if (q->ring.is_running)
            return -EINVAL;
        q->ring.last_avail = (uint16_t)s->payload.state.num;
        return 0;
    case VHOST_SET_VRING_ENABLE:
        q->is_enabled = s->payload.state.num;
        return 0;
    default:
        return get_vring_base(s, q);
    }
}

static int reset_owner(struct session *s)
{
    for (unsigned i = 0; i < s->f->n_queues; i++)
        vring_stop(&s->queue[i].ring);
    return 0;
}

static int handle(struct session *s)
{
    switch (s->head.request) {
    case VHOST_GET_FEATURES:
        return reply_u64(s, offered_features(s));
    case VHOST_SET_FEATURES:
        return set_features(s);
    case VHOST_GET_PROTOCOL_FEATURES:
        return reply_u64(s, PROTOCOL_FEATURES);
    case VHOST_SET_PROTOCOL_FEATURES:
        s->protocol_features = s->payload.u64 & PROTOCOL_FEATURES;
        return s->payload.u64 & ~PROTOCOL_FEATURES ? -EINVAL : 0;
    case VHOST_GET_QUEUE_NUM:
        return reply_u64(s, s->f->n_queues);
    case VHOST_RESET_OWNER:
        return reset_owner(s);
    case VHOST_SET_MEM_TABLE:
        return set_mem_table(s);
    case VHOST_SET_LOG_BASE:
        return set_log_base(s);
    case VHOST_SET_VRING_KICK:
        return set_vring_kick(s);
    case VHOST_SET_VRING_CALL:
    case VHOST_SET_VRING_ERR:
        return set_vring_fd(s, s->head.request == VHOST_SET_VRING_CALL);
    case VHOST_SET_BACKEND_REQ_FD:
        return set_backend_req_fd(s);
    case VHOST_GET_CONFIG:
        return get_config(s);
    case VHOST_SET_CONFIG:
        return set_config(s);
    case VHOST_GET_INFLIGHT_FD:
        return get_inflight(s);
    case VHOST_SET_INFLIGHT_FD:
        return set_inflight(s);
    case VHOST_SET_OWNER:
    case VHOST_SET_LOG_FD:
        return 0;
    default:
        return handle_vring(s);
    }
}

/* Requests that have an answer of their own get no acknowledgement. */
static bool answers(uint32_t request)
{
    return request == VHOST_GET_FEATURES || request == VHOST_GET_PROTOCOL_FEATURES ||
           request == VHOST_GET_QUEUE_NUM || request == VHOST_GET_VRING_BASE ||
           request == VHOST_GET_CONFIG || request == VHOST_GET_INFLIGHT_FD ||
           request == VHOST_SET_LOG_BASE;
}

static void message_handle(struct session *s)
{
    s->is_paused = false;
    if (!s->f->front.disk) {
        session_end(s);
        return;
    }
    int r = handle(s);
    log_debug("event=message request=%u result=%d", s->head.request, r);
    if (r < 0)
        log_warn("event=message-refused request=%u why=\"%s\"", s->head.request, strerror(-r));
    bool wants_ack = s->head.flags & VHOST_FLAG_NEED_REPLY && !answers(s->head.request);
    if (wants_ack)
        r = reply_u64(s, r < 0);
    close_fds(s);
    s->have = 0;
    for (unsigned i = 0; r == 0 && i < s->f->n_queues; i++)
        r = queue_take_up(&s->queue[i]);
    if (r < 0) {
        session_end(s);
        return;
    }
    for (unsigned i = 0; i < s->f->n_queues; i++)
        queue_process(&s->queue[i]);
    session_receive(s);
}

static void session_end(struct session *s)
{
    if (!s->is_ending) {
        s->is_ending = true;
        (void)shutdown(s->fd, SHUT_RDWR);
        for (unsigned i = 0; i < VHOST_MAX_QUEUES; i++)
            queue_disarm(&s->queue[i]);
        disk_sort_out_of(s);
        if (s->is_patient)
            ring_cancel(s->f->ring, &s->patience);
    }
    session_release(s);
}

void session_is_quiet(struct session *s)
{
    if (s->is_paused)
        message_handle(s);
}

void session_release(struct session *s)
{
    bool is_busy = !s->is_ending || s->is_receiving || s->is_patient || s->n_requests;
    for (unsigned i = 0; i < VHOST_MAX_QUEUES; i++)
        is_busy |= queue_is_busy(&s->queue[i]);
    if (is_busy)
        return;
    struct vhost_front *f = s->f;
    close_fds(s);
    for (unsigned i = 0; i < VHOST_MAX_QUEUES; i++)
        queue_done(&s->queue[i]);
    if (s->inflight)
        (void)munmap(s->inflight, s->inflight_size);
    vhost_mem_done(&s->mem);
    fd_close(s->backend_fd);
    fd_close(s->fd);
    requests_free(s);
    free(s);
    f->session = NULL;
    log_info("event=disconnected");
    if (f->is_closing)
        front_release(f);
    else
        front_accept(f);
}
