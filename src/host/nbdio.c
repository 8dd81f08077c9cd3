/*
 * nbdio.c: copying over libnbd.
 *
 * Called on operation and stream threads. Requests of 1 MiB, one after the other: the socket is
 * local and the copy goes at the speed of memory.
 */
#include "host/nbdio.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define CHUNK   (1U << 20)
#define SECTOR  512
#define POLL_MS 200

struct nbdio {
    struct nbd_handle *nbd;
    uint64_t size;
};

static struct err *failed(const char *what)
{
    int en = nbd_get_errno();
    return err_errno(en ? en : EIO, "%s: %s", what, nbd_get_error());
}

struct err *nbdio_open(const char *socket_path, struct nbdio **ret)
{
    _cleanup_(nbdio_freep) struct nbdio *n = mem_new(struct nbdio);
    n->nbd = nbd_create();
    if (!n->nbd || nbd_connect_unix(n->nbd, socket_path) < 0)
        return failed("cannot connect to the image");
    int64_t size = nbd_get_size(n->nbd);
    if (size < 0)
        return failed("cannot tell the size of the image");
    n->size = (uint64_t)size;
    *ret = steal(&n);
    return NULL;
}

void nbdio_free(struct nbdio *n)
{
    if (!n)
        return;
    if (n->nbd) {
        (void)nbd_shutdown(n->nbd, 0);
        nbd_close(n->nbd);
    }
    free(n);
}

uint64_t nbdio_size(const struct nbdio *n)
{
    return n->size;
}

static struct err *check_range(const struct nbdio *n, size_t size, uint64_t at)
{
    if (at > n->size || size > n->size - at)
        return err_errno(ENOSPC, "the image ends at %llu bytes", (unsigned long long)n->size);
    return NULL;
}

struct err *nbdio_read(struct nbdio *n, void *p, size_t size, uint64_t at)
{
    TRY(check_range(n, size, at));
    return nbd_pread(n->nbd, p, size, at, 0) < 0 ? failed("cannot read the image") : NULL;
}

struct err *nbdio_write(struct nbdio *n, const void *p, size_t size, uint64_t at)
{
    TRY(check_range(n, size, at));
    return nbd_pwrite(n->nbd, p, size, at, 0) < 0 ? failed("cannot write the image") : NULL;
}

struct err *nbdio_flush(struct nbdio *n)
{
    return nbd_flush(n->nbd, 0) < 0 ? failed("cannot flush the image") : NULL;
}

/* Waits until the descriptor is ready, looking at the verb meanwhile. */
static struct err *wait_for(const struct verb *v, int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    for (;;) {
        TRY(verb_check(v, "copying"));
        int r = poll(&p, 1, POLL_MS);
        if (r > 0)
            return NULL;
        if (r < 0 && errno != EINTR)
            return err_errno(errno, "cannot wait for the transfer");
    }
}

/* Fills the chunk, or less at the end of input. */
static struct err *read_chunk(const struct verb *v, int fd, char *p, size_t *ret_size)
{
    size_t have = 0;
    while (have < CHUNK) {
        TRY(wait_for(v, fd, POLLIN));
        ssize_t got = read(fd, p + have, CHUNK - have);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got < 0)
            return err_errno(errno, "cannot read the transfer");
        if (got == 0)
            break;
        have += (size_t)got;
    }
    *ret_size = have;
    return NULL;
}

static bool is_zero(const char *p, size_t size)
{
    return size && p[0] == 0 && memcmp(p, p + 1, size - 1) == 0;
}

/* Images are read and written in whole sectors. */
static size_t whole_sectors(const struct nbdio *n, size_t size, uint64_t at)
{
    size_t whole = (size + SECTOR - 1) / SECTOR * SECTOR;
    return at + whole <= n->size ? whole : size;
}

static struct err *put_chunk(struct nbdio *n, char *p, size_t size, uint64_t at)
{
    size_t padded = whole_sectors(n, size, at);
    memset(p + size, 0, padded - size);
    if (padded == CHUNK && is_zero(p, padded))
        return nbd_zero(n->nbd, padded, at, 0) < 0 ? failed("cannot clear the image") : NULL;
    return nbdio_write(n, p, padded, at);
}

struct err *nbdio_from_fd(struct nbdio *n, const struct verb *v, int fd, uint64_t at,
                          uint64_t limit, uint64_t expected, uint64_t *ret_size)
{
    _cleanup_(freep) char *room = mem_zalloc(CHUNK, 1);
    uint64_t total = 0;
    for (;;) {
        size_t size = 0;
        TRY(read_chunk(v, fd, room, &size));
        if (!size)
            break;
        if (size > limit - total)
            return err_errno(ENOSPC, "the transfer is larger than %llu bytes",
                             (unsigned long long)limit);
        TRY(put_chunk(n, room, size, at + total));
        total += size;
        if (expected)
            verb_progress(v, total < expected ? (double)total / (double)expected : 1);
    }
    *ret_size = total;
    return NULL;
}

static struct err *write_out(const struct verb *v, int fd, const char *p, size_t size)
{
    while (size) {
        TRY(wait_for(v, fd, POLLOUT));
        ssize_t put = write(fd, p, size);
        if (put < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (put < 0)
            return err_errno(errno, "cannot write the transfer");
        p += put;
        size -= (size_t)put;
    }
    return NULL;
}

struct err *nbdio_to_fd(struct nbdio *n, const struct verb *v, int fd, uint64_t at, uint64_t size)
{
    _cleanup_(freep) char *room = mem_zalloc(CHUNK, 1);
    for (uint64_t done = 0; done < size;) {
        size_t part = size - done < CHUNK ? (size_t)(size - done) : CHUNK;
        TRY(nbdio_read(n, room, whole_sectors(n, part, at + done), at + done));
        TRY(write_out(v, fd, room, part));
        done += part;
        verb_progress(v, (double)done / (double)size);
    }
    return NULL;
}
