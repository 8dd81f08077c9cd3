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
 * Submissions are gathered and go to the kernel once a round. The kernel is told at creation that
 * this ring does the operations below and nothing else: a ring passes by seccomp. One thread only.
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

/* Calls done(op, 0) after the completions of this round: for work that is better gathered. */
void ring_later(struct ring *r, struct ring_op *op);

/* Runs until ring_stop(); 0 or -errno. */
int ring_run(struct ring *r);
/* One round: waits for at least one completion. For tests. */
int ring_step(struct ring *r);
void ring_stop(struct ring *r);
/* A few more rounds, for what was cut off to end; before the program does. */
int ring_settle(struct ring *r);

/* Monotonic microseconds. */
uint64_t ring_now_us(void);
