/*
 * ring.c: the io_uring loop. Used by every part of diskd on its one loop thread; owns the ring and
 * nothing that is given to it.
 */
#include "disk/ring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define ENTRIES 512u

/* A timer's interval must stay until the kernel has read it: at submission. */
#define TIMERS        64
#define SETTLE_ROUNDS 5

/* So many are handed over together. A device may begin with none of them before it has all, and end
 * with all at once: while it works the others of the queue are prepared, or answered. */
#define SUBMIT_MOST 8u
/* The kernel posts some 20 completions a call; so often it is asked for more before any is told. */
#define GATHER_MOST 4

/* How long the loop looks before it sleeps: doubled after a sleep shorter than the maximum, halved
 * after a longer one. */
#define LOOK_MAX_US 50u
#define LOOK_MIN_US 8u

struct ring {
    struct io_uring u;
    bool is_stopped;
    struct __kernel_timespec interval[TIMERS];
    unsigned next_interval;
    struct ring_op *later, **later_end;
    int listeners; /* an epoll of listening sockets; its entries are weak, the ring's are not */
    struct ring_op listeners_poll, settle;
    struct ring_poller *pollers, *resting, *next_poller; /* resting: those still to be told */
    uint64_t round_us, work_us; /* when this round began; when there was work last */
    unsigned look_us;
};

static struct io_uring_sqe *sqe_of(struct ring *r);
static int restrict_ring(struct ring *r);
static int enter(struct ring *r);
static void gather(struct ring *r);
static bool poll_all(struct ring *r);
static bool rest_all(struct ring *r);
static void run_later(struct ring *r);
static void on_listeners(struct ring_op *op, int res);

int ring_new(struct ring **ret)
{
    struct ring *r = mem_new(struct ring);
    unsigned flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP;
    int e = io_uring_queue_init(ENTRIES, &r->u,
                                flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                    IORING_SETUP_TASKRUN_FLAG);
    if (e == -EINVAL)
        e = io_uring_queue_init(ENTRIES, &r->u, flags);
    if (e < 0) {
        free(r);
        return e;
    }
    r->later_end = &r->later;
    r->listeners = epoll_create1(EPOLL_CLOEXEC);
    r->listeners_poll.done = on_listeners;
    e = r->listeners < 0 ? -errno : restrict_ring(r);
    if (e < 0) {
        ring_free(r);
        return e;
    }
    ring_poll(r, &r->listeners_poll, r->listeners);
    *ret = r;
    return 0;
}

void ring_free(struct ring *r)
{
    if (!r)
        return;
    io_uring_queue_exit(&r->u);
    fd_close(r->listeners);
    free(r);
}

static int restrict_ring(struct ring *r)
{
    static const uint8_t ops[] = {
        IORING_OP_READV,    IORING_OP_WRITEV,       IORING_OP_FSYNC,   IORING_OP_FALLOCATE,
        IORING_OP_RECV,     IORING_OP_RECVMSG,      IORING_OP_SENDMSG, IORING_OP_TIMEOUT,
        IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL,
    };
    struct io_uring_restriction res[ARRAY_LEN(ops) + 1] = {0};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        res[i].opcode = IORING_RESTRICTION_SQE_OP;
        res[i].sqe_op = ops[i];
    }
    res[ARRAY_LEN(ops)].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    /* Debian 12's liburing declares functions for these two and does not export them. */
    int fd = r->u.ring_fd;
    if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, res, ARRAY_LEN(res)) < 0)
        return -errno;
    return syscall(SYS_io_uring_register, fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0 ? -errno
                                                                                         : 0;
}

void ring_readv(struct ring *r, struct ring_op *op, int fd, const struct iovec *iov, int n,
                uint64_t offset)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_readv(sqe, fd, iov, (unsigned)n, offset);
    io_uring_sqe_set_data(sqe, op);
}

void ring_writev(struct ring *r, struct ring_op *op, int fd, const struct iovec *iov, int n,
                 uint64_t offset)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_writev(sqe, fd, iov, (unsigned)n, offset);
    io_uring_sqe_set_data(sqe, op);
}

void ring_datasync(struct ring *r, struct ring_op *op, int fd)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(sqe, op);
}

void ring_fallocate(struct ring *r, struct ring_op *op, int fd, int mode, uint64_t offset,
                    uint64_t size)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_fallocate(sqe, fd, mode, (off_t)offset, (off_t)size);
    io_uring_sqe_set_data(sqe, op);
}

void ring_accept(struct ring *r, struct ring_op *op, int fd)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLONESHOT};
    op->later = NULL;
    op->listen_fd = fd;
    e.data.ptr = op;
    if (epoll_ctl(r->listeners, EPOLL_CTL_MOD, fd, &e) < 0 &&
        epoll_ctl(r->listeners, EPOLL_CTL_ADD, fd, &e) < 0)
        abort();
}

void ring_accept_cancel(struct ring *r, struct ring_op *op, int fd)
{
    (void)epoll_ctl(r->listeners, EPOLL_CTL_DEL, fd, NULL);
    op->listen_fd = -1;
    ring_later(r, op);
}

static void on_listeners(struct ring_op *op, int res)
{
    struct ring *r = (struct ring *)((char *)op - offsetof(struct ring, listeners_poll));
    struct epoll_event e;
    /* One at a time: its done may end another. */
    while (epoll_wait(r->listeners, &e, 1, 0) == 1) {
        struct ring_op *ready = e.data.ptr;
        int fd = accept4(ready->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        ready->done(ready, fd < 0 ? -errno : fd);
    }
    ring_poll(r, &r->listeners_poll, r->listeners);
}

void ring_recv(struct ring *r, struct ring_op *op, int fd, void *p, size_t size)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_recv(sqe, fd, p, size, 0);
    io_uring_sqe_set_data(sqe, op);
}

void ring_recvmsg(struct ring *r, struct ring_op *op, int fd, struct msghdr *m)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_recvmsg(sqe, fd, m, MSG_CMSG_CLOEXEC);
    io_uring_sqe_set_data(sqe, op);
}

void ring_sendmsg(struct ring *r, struct ring_op *op, int fd, const struct msghdr *m)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_sendmsg(sqe, fd, m, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data(sqe, op);
}

void ring_poll(struct ring *r, struct ring_op *op, int fd)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_poll_add(sqe, fd, POLLIN);
    io_uring_sqe_set_data(sqe, op);
}

void ring_poll_events(struct ring *r, struct ring_op *op, int fd, short events)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_poll_add(sqe, fd, (unsigned)(unsigned short)events);
    io_uring_sqe_set_data(sqe, op);
}

void ring_timer(struct ring *r, struct ring_op *op, unsigned ms)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    struct __kernel_timespec *ts = &r->interval[r->next_interval++ % TIMERS];
    *ts = (struct __kernel_timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000LL};
    io_uring_prep_timeout(sqe, ts, 0, 0);
    io_uring_sqe_set_data(sqe, op);
    if (r->next_interval % TIMERS == 0)
        io_uring_submit(&r->u);
}

void ring_cancel(struct ring *r, struct ring_op *op)
{
    struct io_uring_sqe *sqe = sqe_of(r);
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL);
}

void ring_later(struct ring *r, struct ring_op *op)
{
    op->later = NULL;
    *r->later_end = op;
    r->later_end = &op->later;
}

int ring_run(struct ring *r)
{
    while (!r->is_stopped) {
        int e = ring_step(r);
        if (e < 0)
            return e;
    }
    return 0;
}

static void tell_one(struct ring *r)
{
    struct io_uring_cqe *cqe = NULL;
    if (io_uring_peek_cqe(&r->u, &cqe) < 0 || !cqe)
        return;
    struct ring_op *op = io_uring_cqe_get_data(cqe);
    int res = cqe->res;
    io_uring_cqe_seen(&r->u, cqe);
    if (op)
        op->done(op, res);
}

/* What ends while this round is told belongs to the next one: what a round has answered is not kept
 * waiting for its signal. */
int ring_step(struct ring *r)
{
    int e = enter(r);
    if (e < 0 && e != -EINTR && e != -EAGAIN && e != -EBUSY)
        return e;
    gather(r);
    unsigned ready = io_uring_cq_ready(&r->u);
    if (ready)
        r->work_us = r->round_us = ring_now_us();
    while (ready--)
        tell_one(r);
    run_later(r);
    return 0;
}

/* The kernel has completions for us that it posts when we enter it. */
static bool has_task_work(const struct ring *r)
{
    return __atomic_load_n(r->u.sq.kflags, __ATOMIC_RELAXED) &
           (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* What ended together is answered together: one signal for all, instead of one for the first of
 * them that wakes the other side too early. */
static void gather(struct ring *r)
{
    for (int i = 0; i < GATHER_MOST && has_task_work(r); i++)
        (void)io_uring_get_events(&r->u);
}

static int sleep_until_work(struct ring *r)
{
    uint64_t begin = r->round_us;
    int e = io_uring_submit_and_wait(&r->u, 1);
    r->round_us = r->work_us = ring_now_us();
    if (r->round_us - begin > LOOK_MAX_US)
        r->look_us = r->look_us > LOOK_MIN_US ? r->look_us / 2 : 0;
    else
        r->look_us = r->look_us * 2 < LOOK_MIN_US   ? LOOK_MIN_US
                     : r->look_us * 2 > LOOK_MAX_US ? LOOK_MAX_US
                                                    : r->look_us * 2;
    return e;
}

/* Hands over what was gathered, and looks for what is done; sleeps when there has been nothing for
 * long enough. */
static int enter(struct ring *r)
{
    r->round_us = ring_now_us();
    for (;;) {
        bool any = poll_all(r);
        if (any)
            r->work_us = r->round_us;
        if (io_uring_sq_ready(&r->u))
            return io_uring_submit_and_get_events(&r->u);
        if (has_task_work(r))
            return io_uring_get_events(&r->u);
        if (any || r->later || io_uring_cq_ready(&r->u))
            return 0;
        if (r->round_us - r->work_us >= r->look_us)
            break;
        __builtin_ia32_pause();
        r->round_us = ring_now_us();
    }
    if (rest_all(r))
        return io_uring_submit_and_get_events(&r->u);
    return sleep_until_work(r);
}

void ring_poller_add(struct ring *r, struct ring_poller *p)
{
    if (p->is_added)
        return;
    p->is_added = true;
    p->next = r->pollers;
    r->pollers = p;
}

static bool unlink_poller(struct ring_poller **at, const struct ring_poller *p)
{
    while (*at && *at != p)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = p->next;
    return true;
}

void ring_poller_remove(struct ring *r, struct ring_poller *p)
{
    if (!p->is_added)
        return;
    if (!unlink_poller(&r->pollers, p))
        (void)unlink_poller(&r->resting, p);
    if (r->next_poller == p)
        r->next_poller = p->next;
    p->is_added = false;
}

static bool poll_all(struct ring *r)
{
    bool any = false;
    for (struct ring_poller *p = r->pollers; p; p = r->next_poller) {
        r->next_poller = p->next;
        any |= p->poll(p);
    }
    return any;
}

static bool rest_all(struct ring *r)
{
    bool any = false;
    r->resting = r->pollers;
    r->pollers = NULL;
    while (r->resting) {
        struct ring_poller *p = r->resting;
        r->resting = p->next;
        p->is_added = false;
        any |= p->rest(p);
    }
    return any;
}

static void on_settle(struct ring_op *op, int res)
{
    (void)op;
    (void)res;
}

int ring_settle(struct ring *r)
{
    int e = 0;
    for (int i = 0; i < SETTLE_ROUNDS && e == 0; i++) {
        r->settle.done = on_settle;
        ring_timer(r, &r->settle, 1);
        e = ring_step(r);
    }
    return e;
}

void ring_stop(struct ring *r)
{
    r->is_stopped = true;
}

uint64_t ring_now_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t ring_round_us(const struct ring *r)
{
    return r->round_us;
}

/* A full queue is handed to the kernel to make room. */
static struct io_uring_sqe *sqe_of(struct ring *r)
{
    if (io_uring_sq_ready(&r->u) >= SUBMIT_MOST)
        (void)io_uring_submit(&r->u);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->u);
    while (!sqe) {
        (void)io_uring_submit(&r->u);
        sqe = io_uring_get_sqe(&r->u);
    }
    return sqe;
}

static void run_later(struct ring *r)
{
    while (r->later) {
        struct ring_op *op = r->later;
        r->later = op->later;
        if (!r->later)
            r->later_end = &r->later;
        op->done(op, op->listen_fd < 0 ? -ECANCELED : 0);
    }
}
