/*
 * diskio.c: a disk's bytes over NBD, or of a simulated disk's file; see diskio.h. Called on
 * operation and stream threads; the bytes of NBD move on the link's own.
 *
 *     slot   free --read, expect--> reading --arrived--> (taken) --> free
 *            free --write, zero---> writing --done-----------------> free
 */
#include "host/diskio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/host_impl.h"
#include "host/nbd_link.h"

#define SLOTS      8
#define POLL_MS    250
#define OPEN_WAIT  (10 * USEC_PER_SEC)
#define OPEN_US    10000
#define STATUS_MAX (1ull << 30) /* asked about at once */
#define ZERO_MAX   (1ull << 30)

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_WRITING };

struct slot {
    enum slot_state state;
    struct nbd_ask ask;
    char *room; /* DISKIO_PIECE bytes, made when first used */
};

struct diskio {
    struct nbd_link *link; /* NULL: a file */
    int fd;
    uint64_t size;
    bool (*stop)(void *arg);
    void *stop_arg;
    int failed; /* errno of a write that nobody has been told of */
    struct slot slots[SLOTS];
    struct slot other; /* flush, status */
    /* the extents found last: from known_from on; the one of the last answer is known[at_known] */
    uint64_t known_from;
    struct nbd_extent *known;
    size_t n_known, at_known;
};

/* ---- opening ---- */

/* Its process is being replaced, and the next one will listen there. */
static bool is_passing(const struct err *e)
{
    int en = err_get_errno(e);
    return en == ECONNREFUSED || en == ECONNRESET || en == ENOENT;
}

static struct err *open_nbd(struct diskio *d, const char *path)
{
    usec_t end = clock_now() + OPEN_WAIT;
    struct err *e = nbd_link_open(path, &d->link);
    while (e && is_passing(e) && clock_now() < end) {
        err_free(e);
        usleep(OPEN_US);
        e = nbd_link_open(path, &d->link);
    }
    TRY(e);
    d->size = nbd_link_size(d->link);
    return NULL;
}

static struct err *open_file(struct diskio *d, const char *path)
{
    d->fd = open(path, O_RDWR | O_CLOEXEC);
    if (d->fd < 0 && (errno == EACCES || errno == EROFS))
        d->fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = d->fd < 0 ? -1 : lseek(d->fd, 0, SEEK_END);
    if (end < 0)
        return err_errno(errno, "cannot open the image '%s'", path);
    d->size = (uint64_t)end;
    return NULL;
}

struct err *diskio_open(struct host *h, const char *owner, unsigned device, struct diskio **ret)
{
    _cleanup_(diskio_freep) struct diskio *d = mem_new(struct diskio);
    d->fd = -1;
    _cleanup_(freep) char *nbd = h->disks->nbd_path(h->disks_data, owner, device);
    _cleanup_(freep) char *file =
        nbd || !h->disks->file_path ? NULL : h->disks->file_path(h->disks_data, owner, device);
    if (!nbd && !file)
        return err_internal("disk %u of '%s' is not attached for a transfer", device, owner);
    TRY(nbd ? open_nbd(d, nbd) : open_file(d, file));
    *ret = steal(&d);
    return NULL;
}

void diskio_free(struct diskio *d)
{
    if (!d)
        return;
    nbd_link_free(d->link); /* first: what is under way uses the slots */
    for (size_t i = 0; i < SLOTS; i++)
        free(d->slots[i].room);
    free(d->known);
    if (d->fd >= 0)
        fd_close(d->fd);
    free(d);
}

void diskio_watch(struct diskio *d, bool (*stop)(void *arg), void *arg)
{
    d->stop = stop;
    d->stop_arg = arg;
}

uint64_t diskio_size(const struct diskio *d)
{
    return d->size;
}

/* ---- slots ---- */

/* Writes that have ended make room; the first error is kept. */
static void reap(struct diskio *d)
{
    for (struct slot *s = d->slots; s < d->slots + SLOTS; s++) {
        if (s->state != SLOT_WRITING || !nbd_link_is_done(d->link, &s->ask))
            continue;
        s->state = SLOT_FREE;
        if (s->ask.error && !d->failed)
            d->failed = s->ask.error;
    }
}

static struct err *tell_failure(struct diskio *d)
{
    int en = d->failed;
    d->failed = 0;
    return en ? err_errno(en, "cannot write the image") : NULL;
}

static struct err *wait_some(struct diskio *d)
{
    if (d->stop && d->stop(d->stop_arg))
        return err_errno(ECANCELED, "the transfer was cancelled");
    nbd_link_wait(d->link, POLL_MS);
    reap(d);
    return NULL;
}

static struct slot *find_free(struct diskio *d)
{
    for (struct slot *s = d->slots; s < d->slots + SLOTS; s++)
        if (s->state == SLOT_FREE)
            return s;
    return NULL;
}

/* A read that was announced and never came for gives way. */
static struct slot *find_idle(struct diskio *d)
{
    struct slot *s = find_free(d);
    for (struct slot *i = d->slots; !s && i < d->slots + SLOTS; i++)
        if (i->state == SLOT_READING && nbd_link_is_done(d->link, &i->ask))
            s = i;
    if (s)
        s->state = SLOT_FREE;
    return s;
}

static struct err *take_slot(struct diskio *d, struct slot **ret)
{
    struct slot *s;
    reap(d);
    while (!(s = find_idle(d)))
        TRY(wait_some(d));
    if (!s->room)
        s->room = mem_try_alloc(1, DISKIO_PIECE);
    if (!s->room)
        return err_errno(ENOMEM, "no memory for a transfer");
    *ret = s;
    return NULL;
}

static void start(struct diskio *d, struct slot *s, enum slot_state state, struct nbd_ask ask)
{
    s->state = state;
    s->ask = ask;
    s->ask.room = s->room;
    nbd_link_post(d->link, &s->ask);
}

/* ---- reading ---- */

static struct err *check_range(const struct diskio *d, uint64_t size, uint64_t at)
{
    if (at > d->size || size > d->size - at)
        return err_errno(ENXIO, "the disk ends at %llu bytes", (unsigned long long)d->size);
    return NULL;
}

static struct err *read_file(struct diskio *d, char *p, size_t size, uint64_t at)
{
    while (size) {
        ssize_t n = pread(d->fd, p, size, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(n < 0 ? errno : EIO, "cannot read the image");
        p += n;
        size -= (size_t)n;
        at += (uint64_t)n;
    }
    return NULL;
}

static struct slot *find_reading(struct diskio *d, size_t size, uint64_t at)
{
    for (struct slot *s = d->slots; s < d->slots + SLOTS; s++)
        if (s->state == SLOT_READING && s->ask.at == at && s->ask.size == size)
            return s;
    return NULL;
}

static struct err *read_piece(struct diskio *d, char *p, size_t size, uint64_t at)
{
    struct slot *s = find_reading(d, size, at);
    if (!s) {
        TRY(take_slot(d, &s));
        start(d, s, SLOT_READING, (struct nbd_ask){.what = NBD_READ, .size = size, .at = at});
    }
    while (!nbd_link_is_done(d->link, &s->ask))
        TRY(wait_some(d));
    s->state = SLOT_FREE;
    if (s->ask.error)
        return err_errno(s->ask.error, "cannot read the image");
    memcpy(p, s->room, size);
    return NULL;
}

struct err *diskio_read(struct diskio *d, void *p, size_t size, uint64_t at)
{
    TRY(check_range(d, size, at));
    if (!d->link)
        return read_file(d, p, size, at);
    for (size_t done = 0; done < size;) {
        size_t n = size - done < DISKIO_PIECE ? size - done : DISKIO_PIECE;
        TRY(read_piece(d, (char *)p + done, n, at + done));
        done += n;
    }
    return NULL;
}

void diskio_expect(struct diskio *d, size_t size, uint64_t at)
{
    struct slot *s;
    if (!d->link || !size || size > DISKIO_PIECE || at >= d->size || size > d->size - at ||
        find_reading(d, size, at) || !find_free(d))
        return;
    struct err *e = take_slot(d, &s);
    if (!e)
        start(d, s, SLOT_READING, (struct nbd_ask){.what = NBD_READ, .size = size, .at = at});
    err_free(e); /* the read itself will tell */
}

/* ---- writing ---- */

static struct err *write_file(struct diskio *d, const char *p, size_t size, uint64_t at)
{
    while (size) {
        ssize_t n = pwrite(d->fd, p, size, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(errno, "cannot write the image");
        p += n;
        size -= (size_t)n;
        at += (uint64_t)n;
    }
    return NULL;
}

static struct err *write_piece(struct diskio *d, const char *p, size_t size, uint64_t at)
{
    struct slot *s;
    TRY(take_slot(d, &s));
    TRY(tell_failure(d));
    memcpy(s->room, p, size);
    start(d, s, SLOT_WRITING, (struct nbd_ask){.what = NBD_WRITE, .size = size, .at = at});
    return NULL;
}

struct err *diskio_write(struct diskio *d, const void *p, size_t size, uint64_t at)
{
    TRY(check_range(d, size, at));
    d->n_known = 0; /* extents */
    if (!d->link)
        return write_file(d, p, size, at);
    for (size_t done = 0; done < size;) {
        size_t n = size - done < DISKIO_PIECE ? size - done : DISKIO_PIECE;
        TRY(write_piece(d, (const char *)p + done, n, at + done));
        done += n;
    }
    return NULL;
}

static struct err *zero_file(struct diskio *d, uint64_t size, uint64_t at)
{
    if (fallocate(d->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)size) < 0)
        return err_errno(errno, "cannot clear the image");
    return NULL;
}

struct err *diskio_zero(struct diskio *d, uint64_t size, uint64_t at)
{
    TRY(check_range(d, size, at));
    d->n_known = 0;
    if (!d->link)
        return size ? zero_file(d, size, at) : NULL;
    while (size) {
        struct slot *s;
        uint64_t n = size < ZERO_MAX ? size : ZERO_MAX;
        TRY(take_slot(d, &s));
        TRY(tell_failure(d));
        start(d, s, SLOT_WRITING, (struct nbd_ask){.what = NBD_ZERO, .size = n, .at = at});
        size -= n;
        at += n;
    }
    return NULL;
}

/* What moves no bytes, and waits for it. */
static struct err *ask(struct diskio *d, struct nbd_ask a, const char *what)
{
    struct slot *s = &d->other;
    while (s->state != SLOT_FREE && !nbd_link_is_done(d->link, &s->ask))
        TRY(wait_some(d)); /* one that nobody waited for to the end */
    start(d, s, SLOT_READING, a);
    while (!nbd_link_is_done(d->link, &s->ask))
        TRY(wait_some(d));
    s->state = SLOT_FREE;
    return s->ask.error ? err_errno(s->ask.error, "%s", what) : NULL;
}

static bool is_writing(const struct diskio *d)
{
    for (const struct slot *s = d->slots; s < d->slots + SLOTS; s++)
        if (s->state == SLOT_WRITING)
            return true;
    return false;
}

struct err *diskio_flush(struct diskio *d)
{
    if (!d->link)
        return NULL; /* a simulated disk need not survive the machine */
    for (reap(d); is_writing(d);)
        TRY(wait_some(d));
    TRY(tell_failure(d));
    TRY(ask(d, (struct nbd_ask){.what = NBD_FLUSH}, "cannot flush the image"));
    return NULL;
}

/* ---- holes ---- */

static struct err *ask_nbd(struct diskio *d, uint64_t at)
{
    uint64_t most = d->size - at < STATUS_MAX ? d->size - at : STATUS_MAX;
    struct nbd_ask a = {.what = NBD_STATUS, .at = at, .size = most, .extents = d->known};
    if (nbd_link_has_status(d->link))
        TRY(ask(d, a, "cannot ask what the image holds"));
    d->n_known = nbd_link_has_status(d->link) ? d->other.ask.n_extents : 0;
    if (d->n_known)
        return NULL;
    d->known[0] = (struct nbd_extent){at + most, false};
    d->n_known = 1;
    return NULL;
}

static struct err *ask_file(struct diskio *d, uint64_t at)
{
    off_t data = lseek(d->fd, (off_t)at, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return err_errno(errno, "cannot ask what the image holds");
    off_t end = data;
    if (data == (off_t)at)
        end = lseek(d->fd, (off_t)at, SEEK_HOLE);
    else if (data < 0)
        end = (off_t)d->size;
    if (end < 0)
        return err_errno(errno, "cannot ask what the image holds");
    d->known[0] = (struct nbd_extent){(uint64_t)end, data != (off_t)at};
    d->n_known = 1;
    return NULL;
}

static struct err *ask_extents(struct diskio *d, uint64_t at)
{
    if (!d->known)
        d->known = mem_new_n(struct nbd_extent, NBD_EXTENTS_MAX);
    d->n_known = d->at_known = 0;
    d->known_from = at;
    return d->link ? ask_nbd(d, at) : ask_file(d, at);
}

/* The known extent that `at` lies in; NULL if none does. Whoever asks goes forward. */
static const struct nbd_extent *find_extent(struct diskio *d, uint64_t at)
{
    if (!d->n_known || at < d->known_from || at >= d->known[d->n_known - 1].to)
        return NULL;
    if (d->at_known && at < d->known[d->at_known - 1].to)
        d->at_known = 0;
    while (at >= d->known[d->at_known].to)
        d->at_known++;
    return &d->known[d->at_known];
}

struct err *diskio_extent(struct diskio *d, uint64_t at, uint64_t *ret_size, bool *ret_zero)
{
    TRY(check_range(d, 1, at));
    const struct nbd_extent *x = find_extent(d, at);
    if (!x) {
        TRY(ask_extents(d, at));
        x = find_extent(d, at);
    }
    if (!x)
        return err_errno(EIO, "the image does not say what it holds");
    *ret_size = x->to - at;
    *ret_zero = x->zero;
    return NULL;
}
