/*
 * nbd_link.c: see nbd_link.h.
 *
 *     post ──> todo ──> (libnbd) ──> done, under the lock
 *
 * The handle is the thread's alone once it runs. It sleeps in poll() on the socket and on an
 * eventfd that says that there is something to do.
 */
#include "host/nbd_link.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/lock.h"
#include "loop/loop.h"

#define SOCKET_ROOM (4 << 20) /* as much as the system allows of it */

struct nbd_link {
    struct nbd_handle *nbd;
    int wake; /* eventfd */
    uint64_t size;
    bool has_status, started;
    pthread_t thread;
    struct nbd_ask *running; /* the thread's: given to libnbd */
    struct mutex lock;       /* of what follows, and of `done` and `error` of requests */
    pthread_cond_t ended;
    struct nbd_ask *todo, **todo_end;
    unsigned n_done, n_seen;
    bool stopping;
};

static struct err *failed(const char *what)
{
    int en = nbd_get_errno();
    return err_errno(en ? en : EIO, "%s: %s", what, nbd_get_error());
}

/* ---- the thread ---- */

static void end(struct nbd_link *l, struct nbd_ask *a, int error)
{
    mutex_lock(&l->lock);
    a->error = error;
    a->done = true;
    l->n_done++;
    pthread_cond_signal(&l->ended);
    mutex_unlock(&l->lock);
}

/* Takes a request off the list of those that libnbd has. */
static bool forget(struct nbd_link *l, const struct nbd_ask *a)
{
    for (struct nbd_ask **p = &l->running; *p; p = &(*p)->all_next)
        if (*p == a) {
            *p = a->all_next;
            return true;
        }
    return false;
}

struct call {
    struct nbd_link *l;
    struct nbd_ask *a;
};

static int on_done(void *user, int *error)
{
    struct call *c = user;
    if (forget(c->l, c->a))
        end(c->l, c->a, *error);
    return 1;
}

static int on_extents(void *user, const char *context, uint64_t offset, uint32_t *entries,
                      size_t n_entries, int *error)
{
    struct nbd_ask *a = ((struct call *)user)->a;
    uint64_t at = offset;
    (void)context;
    (void)error;
    for (size_t i = 0; i + 1 < n_entries; i += 2) {
        bool zero = entries[i + 1] & LIBNBD_STATE_ZERO;
        struct nbd_extent *last = a->n_extents ? &a->extents[a->n_extents - 1] : NULL;
        at += entries[i];
        if (last && last->zero == zero)
            last->to = at;
        else if (a->n_extents < NBD_EXTENTS_MAX)
            a->extents[a->n_extents++] = (struct nbd_extent){at, zero};
        else
            break;
    }
    return 0;
}

static int64_t issue(struct nbd_link *l, struct nbd_ask *a)
{
    struct call *c = mem_new(struct call);
    *c = (struct call){l, a};
    nbd_completion_callback done = {.callback = on_done, .user_data = c, .free = free};
    nbd_extent_callback extents = {.callback = on_extents, .user_data = c};
    switch (a->what) {
    case NBD_READ:
        return nbd_aio_pread(l->nbd, a->room, a->size, a->at, done, 0);
    case NBD_WRITE:
        return nbd_aio_pwrite(l->nbd, a->room, a->size, a->at, done, 0);
    case NBD_ZERO:
        return nbd_aio_zero(l->nbd, a->size, a->at, done, 0);
    case NBD_STATUS:
        return nbd_aio_block_status(l->nbd, a->size, a->at, extents, done, 0);
    case NBD_FLUSH:
        break;
    }
    return nbd_aio_flush(l->nbd, done, 0);
}

static void issue_all(struct nbd_link *l, struct nbd_ask *todo)
{
    for (struct nbd_ask *a = todo, *next; a; a = next) {
        next = a->next;
        a->all_next = l->running;
        l->running = a;
        if (issue(l, a) < 0) {
            int en = nbd_get_errno();
            if (forget(l, a))
                end(l, a, en ? en : EIO);
        }
    }
}

/* What was posted since the last look; false: it is time to end. */
static bool take_todo(struct nbd_link *l, struct nbd_ask **ret)
{
    mutex_guard(&l->lock);
    *ret = l->todo;
    l->todo = NULL;
    l->todo_end = &l->todo;
    return !l->stopping;
}

static bool is_lost(const struct nbd_link *l)
{
    return nbd_aio_is_dead(l->nbd) != 0 || nbd_aio_is_closed(l->nbd) != 0;
}

static void move_bytes(struct nbd_link *l)
{
    unsigned dir = nbd_aio_get_direction(l->nbd);
    short reads = dir & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0;
    short writes = dir & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0;
    int fd = is_lost(l) ? -1 : nbd_aio_get_fd(l->nbd);
    struct pollfd p[2] = {{.fd = fd, .events = (short)(reads | writes)},
                          {.fd = l->wake, .events = POLLIN}};
    uint64_t n;
    if (poll(p, 2, -1) < 0)
        return;
    if (p[1].revents && read(l->wake, &n, sizeof(n)) < 0)
        return; /* somebody was quicker */
    /* What goes wrong here makes the handle dead. */
    if (reads && p[0].revents & (POLLIN | POLLHUP | POLLERR))
        (void)nbd_aio_notify_read(l->nbd);
    else if (writes && p[0].revents & (POLLOUT | POLLHUP | POLLERR))
        (void)nbd_aio_notify_write(l->nbd);
}

static void *run_link(void *arg)
{
    struct nbd_link *l = arg;
    struct nbd_ask *todo;
    pthread_setname_np(pthread_self(), "nbd");
    while (take_todo(l, &todo)) {
        issue_all(l, todo);
        while (is_lost(l) && l->running) {
            struct nbd_ask *a = l->running;
            l->running = a->all_next;
            end(l, a, EIO);
        }
        move_bytes(l);
    }
    return NULL;
}

/* ---- the owner's side ---- */

static struct err *connect_to(struct nbd_link *l, const char *socket_path)
{
    int room = SOCKET_ROOM;
    l->nbd = nbd_create();
    if (!l->nbd || nbd_add_meta_context(l->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
        nbd_connect_unix(l->nbd, socket_path) < 0)
        return failed("cannot connect to the image");
    (void)setsockopt(nbd_aio_get_fd(l->nbd), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    int64_t size = nbd_get_size(l->nbd);
    if (size < 0)
        return failed("cannot tell the size of the image");
    l->size = (uint64_t)size;
    l->has_status = nbd_can_meta_context(l->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    return NULL;
}

static void nbd_link_freep(struct nbd_link **l)
{
    nbd_link_free(*l);
}

struct err *nbd_link_open(const char *socket_path, struct nbd_link **ret)
{
    _cleanup_(nbd_link_freep) struct nbd_link *l = mem_new(struct nbd_link);
    l->todo_end = &l->todo;
    mutex_init(&l->lock, LOCK_LEAF);
    pthread_cond_init(&l->ended, NULL);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake < 0)
        return err_errno(errno, "cannot make an eventfd");
    TRY(connect_to(l, socket_path));
    int r = pthread_create(&l->thread, NULL, run_link, l);
    if (r)
        return err_errno(r, "cannot start a thread for the image");
    l->started = true;
    *ret = steal(&l);
    return NULL;
}

static void wake(struct nbd_link *l)
{
    uint64_t one = 1;
    if (write(l->wake, &one, sizeof(one)) < 0)
        return; /* it is awake: the counter is full */
}

void nbd_link_free(struct nbd_link *l)
{
    if (!l)
        return;
    mutex_lock(&l->lock);
    l->stopping = true;
    mutex_unlock(&l->lock);
    if (l->started) {
        wake(l);
        pthread_join(l->thread, NULL);
    }
    if (l->nbd)
        nbd_close(l->nbd); /* here, so that nothing writes into a room afterwards */
    if (l->wake >= 0)
        fd_close(l->wake);
    pthread_cond_destroy(&l->ended);
    mutex_done(&l->lock);
    free(l);
}

uint64_t nbd_link_size(const struct nbd_link *l)
{
    return l->size;
}

bool nbd_link_has_status(const struct nbd_link *l)
{
    return l->has_status;
}

void nbd_link_post(struct nbd_link *l, struct nbd_ask *a)
{
    a->done = false;
    a->next = NULL;
    mutex_lock(&l->lock);
    bool idle = !l->todo;
    *l->todo_end = a;
    l->todo_end = &a->next;
    mutex_unlock(&l->lock);
    if (idle)
        wake(l);
}

bool nbd_link_is_done(struct nbd_link *l, const struct nbd_ask *a)
{
    mutex_guard(&l->lock);
    return a->done;
}

void nbd_link_wait(struct nbd_link *l, unsigned ms)
{
    usec_t deadline = clock_now() + ms * USEC_PER_MSEC;
    mutex_guard(&l->lock);
    while (l->n_done == l->n_seen && clock_wait(&l->ended, &l->lock.m, deadline))
        ;
    l->n_seen = l->n_done;
}
