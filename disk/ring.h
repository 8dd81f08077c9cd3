/*
 * ring.h: the loop of diskd: one io_uring for files, sockets, eventfds and time.
 *
 * An operation is a `ring_op` inside the caller's own object; `done` is called on the loop's thread
 * with the kernel's result (0, a count or -errno). The op, and the memory given to it, must stay
 * until then. Nothing is cancelled by itself: closing a descriptor does not end what waits on it,
 * ring_cancel() or shutdown(2) does.
 *
 *     struct conn { struct ring_op recv; … };
 *     c->recv.done = on_recv;
 *     ring_recv(ring, &c->recv, fd, buf, size);
 *
 * Submissions go to the kernel in small groups, the last of a round at its end; what ended together
 * is told in one round. The kernel is told at creation that this ring does the operations below and
 * nothing else: a ring passes by seccomp. One thread only.
 *
 * Before it sleeps the loop looks for work a while, as long as that has paid lately: what comes
 * again within some 50 us is found without an interrupt. A `ring_poller` takes part in that:
 *
 *     added ──poll() every round──> nothing for long enough ──rest()──> not added, the loop sleeps
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct ring;
struct ring_op {
    void (*done)(struct ring_op *op, int res);
    struct ring_op *later; /* the ring's, as listen_fd */
    int listen_fd;
};

/* Memory that somebody else writes requests to, looked at instead of waited for. Both functions
 * return whether there was anything to do. rest() asks the other side to wake us from now on, and
 * looks once more; the poller is not added any more when it is called, and may add itself again. */
struct ring_poller {
    bool (*poll)(struct ring_poller *p);
    bool (*rest)(struct ring_poller *p);
    bool is_added; /* the ring's, as next */
    struct ring_poller *next;
};

int ring_new(struct ring **ret);
void ring_free(struct ring *r);

void ring_readv(struct ring *r, struct ring_op *op, int fd, const struct iovec *iov, int n,
                uint64_t offset);
void ring_writev(struct ring *r, struct ring_op *op, int fd, const struct iovec *iov, int n,
                 uint64_t offset);
void ring_datasync(struct ring *r, struct ring_op *op, int fd);
void ring_fallocate(struct ring *r, struct ring_op *op, int fd, int mode, uint64_t offset,
                    uint64_t size);
/* One connection of a listening socket: res is its descriptor. Unlike the others this holds no
 * reference to the socket, so that the socket ends with the process: a ring outlives it a little.
 */
void ring_accept(struct ring *r, struct ring_op *op, int fd);
/* Ends a ring_accept: its done comes with -ECANCELED. */
void ring_accept_cancel(struct ring *r, struct ring_op *op, int fd);
void ring_recv(struct ring *r, struct ring_op *op, int fd, void *p, size_t size);
void ring_recvmsg(struct ring *r, struct ring_op *op, int fd, struct msghdr *m);
void ring_sendmsg(struct ring *r, struct ring_op *op, int fd, const struct msghdr *m);
/* Once readable (POLLIN). */
void ring_poll(struct ring *r, struct ring_op *op, int fd);
/* Once any of poll(2)'s events comes: res is which. */
void ring_poll_events(struct ring *r, struct ring_op *op, int fd, short events);
/* After ms milliseconds: res is -ETIME. */
void ring_timer(struct ring *r, struct ring_op *op, unsigned ms);
/* Ends an operation early: its done comes with -ECANCELED, or with its result if it was faster. */
void ring_cancel(struct ring *r, struct ring_op *op);

/* Either may be called when it is done already, and from inside poll() and rest(). */
void ring_poller_add(struct ring *r, struct ring_poller *p);
void ring_poller_remove(struct ring *r, struct ring_poller *p);

/* Calls done(op, 0) after the completions of this round: for work that is better gathered. */
void ring_later(struct ring *r, struct ring_op *op);

/* Runs until ring_stop(); 0 or -errno. */
int ring_run(struct ring *r);
/* One round: looks or waits for work, and does it. For tests. */
int ring_step(struct ring *r);
void ring_stop(struct ring *r);
/* A few more rounds, for what was cut off to end; before the program does. */
int ring_settle(struct ring *r);

/* Monotonic microseconds. */
uint64_t ring_now_us(void);
/* The same as of this round, for what need not be exact. */
uint64_t ring_round_us(const struct ring *r);
