/*
 * vhost_queue.c: the traffic of a vhost-user-blk session's rings. Called by vhost_blk.c on the
 * loop's thread; owns the requests.
 *
 *     kick, or a look ──> pop chains ──> disk ──> mark dirty pages ──> push ──> call
 *
 * A kick makes the queue a poller of the loop: as long as requests come one after the other the
 * ring is looked at once a round and the guest is not asked for kicks. Only before the loop sleeps
 * are kicks asked for again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define LOG_MODULE "vhost"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "disk/vhost_int.h"
#include "disk/virtio_blk.h"

#define SMALL_PIECES 8u

struct request {
    struct virtio_blk_req v;
    struct queue *q;
    struct request *next;
    struct iovec *big_iov; /* of a chain with more pieces; the addresses lie behind them */
    struct iovec iov[SMALL_PIECES];
    uint64_t gpa[SMALL_PIECES];
};

static void on_kick(struct ring_op *op, int res);
static void on_call_later(struct ring_op *op, int res);
static bool poll(struct ring_poller *p);
static bool rest(struct ring_poller *p);
static bool take_round(struct queue *q);
static void request_start(struct request *r);
static bool request_stays(const struct blk_req *blk);
static void request_done(struct blk_req *blk, int err);
static void request_finish(struct request *r, int status);

void queue_init(struct queue *q, struct session *s)
{
    q->s = s;
    q->kick.done = on_kick;
    q->call_later.done = on_call_later;
    q->poller.poll = poll;
    q->poller.rest = rest;
    q->kick_fd = q->call_fd = q->err_fd = -1;
}

void queue_arm(struct queue *q)
{
    if (q->is_armed || q->kick_fd < 0 || q->s->is_ending)
        return;
    q->is_armed = true;
    ring_poll(q->s->f->ring, &q->kick, q->kick_fd);
}

void queue_disarm(struct queue *q)
{
    ring_poller_remove(q->s->f->ring, &q->poller);
    if (q->is_armed)
        ring_cancel(q->s->f->ring, &q->kick);
}

bool queue_is_busy(const struct queue *q)
{
    return q->is_armed || q->is_call_due;
}

void queue_done(struct queue *q)
{
    ring_poller_remove(q->s->f->ring, &q->poller);
    vring_stop(&q->ring);
    fd_close(q->kick_fd);
    fd_close(q->call_fd);
    fd_close(q->err_fd);
}

void requests_free(struct session *s)
{
    while (s->spare) {
        struct request *r = s->spare;
        s->spare = r->next;
        free(r->v.range);
        free(r);
    }
}

static void on_kick(struct ring_op *op, int res)
{
    struct queue *q = CONTAINER(struct queue, kick, op);
    q->is_armed = false;
    if (q->s->is_ending) {
        session_release(q->s);
        return;
    }
    eventfd_t n;
    if (res >= 0 && q->kick_fd >= 0)
        (void)eventfd_read(q->kick_fd, &n);
    queue_arm(q);
    queue_process(q);
}

static bool is_open(const struct queue *q)
{
    const struct session *s = q->s;
    const struct disk *d = s->f->front.disk;
    return d && !s->is_ending && !s->is_paused && q->is_enabled && disk_is_active(d);
}

void queue_process(struct queue *q)
{
    if (!is_open(q) || !q->ring.is_running)
        return;
    (void)take_round(q);
    ring_poller_add(q->s->f->ring, &q->poller);
}

int queue_take_up(struct queue *q)
{
    if (!q->has_left)
        return 0;
    q->has_left = false;
    if (q->ring.is_running)
        q->s->n_left = 0;
    return q->ring.is_running ? vring_start(&q->ring, &q->s->mem, q->ring.inflight) : 0;
}

static bool poll(struct ring_poller *p)
{
    struct queue *q = CONTAINER(struct queue, poller, p);
    return is_open(q) && take_round(q);
}

static bool rest(struct ring_poller *p)
{
    struct queue *q = CONTAINER(struct queue, poller, p);
    if (!is_open(q) || !vring_rearm(&q->ring, &q->s->mem))
        return false;
    queue_process(q);
    return true;
}

static struct request *request_new(struct queue *q)
{
    struct request *r = q->s->spare;
    if (r)
        q->s->spare = r->next;
    else
        r = mem_new(struct request);
    r->q = q;
    return r;
}

static void request_free(struct request *r)
{
    free(steal(&r->big_iov));
    r->next = r->q->s->spare;
    r->q->s->spare = r;
}

/* Keeps the pieces of a chain that lie in the ring's own room until the next one is taken. */
static void keep_pieces(struct request *r)
{
    struct vring_chain *c = &r->v.chain;
    unsigned n = c->n_out + c->n_in;
    struct iovec *iov = r->iov;
    uint64_t *gpa = r->gpa;
    if (n > SMALL_PIECES) {
        iov = r->big_iov = mem_zalloc(n, sizeof(*iov) + sizeof(*gpa));
        gpa = (uint64_t *)(iov + n);
    }
    memcpy(iov, c->iov, n * sizeof(*iov));
    memcpy(gpa, c->gpa, n * sizeof(*gpa));
    c->iov = iov;
    c->gpa = gpa;
}

/* What is offered, once around the ring at most: what was answered at once may be offered again as
 * quickly, and others wait. True if there was anything; the rest is taken in the next round. */
static bool take_round(struct queue *q)
{
    struct session *s = q->s;
    struct vring_chain c;
    bool any = false;
    int got;
    for (unsigned room = q->ring.size; room && disk_is_active(s->f->front.disk); room--) {
        got = vring_pop(&q->ring, &s->mem, &c);
        if (got == 0)
            break;
        if (got < 0) {
            log_warn("event=bad-descriptors disk=%s", s->f->front.disk->id);
            if (q->err_fd >= 0)
                (void)eventfd_write(q->err_fd, 1);
            break;
        }
        struct request *r = request_new(q);
        r->v.chain = c;
        keep_pieces(r);
        request_start(r);
        any = true;
    }
    return any;
}

static void request_start(struct request *r)
{
    struct session *s = r->q->s;
    bool writethrough = !s->wce || !(s->features & VIRTIO_BLK_F_FLUSH);
    s->n_requests++;
    int status = virtio_blk_parse(&r->v, s->f->front.disk, writethrough);
    if (status == -1) {
        r->v.blk.done = request_done;
        r->v.blk.stays = request_stays;
        disk_submit(s->f->front.disk, &r->v.blk);
    } else if (status >= 0) {
        request_finish(r, status);
    } else {
        r->v.status = NULL;
        r->v.written = 0;
        request_finish(r, 0);
    }
}

/* What a message waits for the end of, or nobody any more, is given up; but only where the
 * in-flight area remembers it. */
static bool request_stays(const struct blk_req *blk)
{
    const struct session *s = ((const struct request *)blk)->q->s;
    return !s->is_ending && !(s->is_paused && s->inflight);
}

static void call_later(struct queue *q)
{
    if (q->is_call_due)
        return;
    q->is_call_due = true;
    ring_later(q->s->f->ring, &q->call_later);
}

static void request_abandoned(struct request *r)
{
    struct queue *q = r->q;
    q->ring.in_flight--;
    q->has_left = true;
    q->s->n_left++;
    request_free(r);
    q->s->n_requests--;
    call_later(q);
}

static void request_done(struct blk_req *blk, int err)
{
    struct request *r = (struct request *)blk;
    struct disk *d = r->q->s->f->front.disk;
    if (err == BLK_ABANDONED) {
        request_abandoned(r);
        return;
    }
    if (!err && d && virtio_blk_next_range(&r->v)) {
        disk_submit(d, blk);
        return;
    }
    if (err)
        r->v.written = 0;
    request_finish(r, err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void mark_written(struct request *r)
{
    const struct vring_chain *c = &r->v.chain;
    struct vhost_mem *m = &r->q->s->mem;
    if (!m->is_logging)
        return;
    for (unsigned i = c->n_out; i < c->n_out + c->n_in; i++)
        vhost_mem_mark(m, c->gpa[i], c->iov[i].iov_len);
    if (r->v.status)
        vhost_mem_mark(m, r->v.status_gpa, 1);
}

static void request_finish(struct request *r, int status)
{
    struct queue *q = r->q;
    struct session *s = q->s;
    if (r->v.status)
        *r->v.status = (uint8_t)status;
    mark_written(r);
    vring_push(&q->ring, &s->mem, r->v.chain.head, r->v.written + (r->v.status != NULL));
    request_free(r);
    s->n_requests--;
    call_later(q);
}

/* Once a round: one signal for all that was answered, and what waited for quiet. */
static void on_call_later(struct ring_op *op, int res)
{
    struct queue *q = CONTAINER(struct queue, call_later, op);
    struct session *s = q->s;
    q->is_call_due = false;
    if (vring_wants_signal(&q->ring) && q->call_fd >= 0)
        (void)eventfd_write(q->call_fd, 1);
    if (s->is_ending)
        session_release(s);
    else if (s->n_requests == 0)
        session_is_quiet(s);
}
