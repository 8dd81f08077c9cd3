/*
 * diskio.c: a disk's bytes over libnbd, or of a simulated disk's file; see diskio.h. Called on
 * operation and stream threads.
 *
 *     slot   free --read, expect--> reading --arrived--> (taken) --> free
 *            free --write, zero---> writing --done-----------------> free
 */
#include "host/diskio.h"

#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/host_impl.h"

#define SLOTS      8
#define POLL_MS    250
#define STATUS_MAX (1ull << 30) /* asked about at once */
#define ZERO_MAX   (1ull << 30)

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_WRITING };

struct slot {
    enum slot_state state;
    bool done;
    int error; /* errno of the server */
    size_t size;
    uint64_t at;
    char *room; /* DISKIO_PIECE bytes, made when first used */
};

struct diskio {
    struct nbd_handle *nbd; /* NULL: a file */
    int fd;
    uint64_t size;
    bool (*stop)(void *arg);
    void *stop_arg;
    int failed; /* errno of a write that nobody has been told of */
    struct slot slots[SLOTS];
    /* the extent found last */
    uint64_t known_from, known_to;
    bool known_zero;
};

static struct err *failed(const char *what)
{
    int en = nbd_get_errno();
    return err_errno(en ? en : EIO, "%s: %s", what, nbd_get_error());
}

/* ---- opening ---- */

static struct err *open_nbd(struct diskio *d, const char *path)
{
    d->nbd = nbd_create();
    if (!d->nbd || nbd_add_meta_context(d->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
        nbd_connect_unix(d->nbd, path) < 0)
        return failed("cannot connect to the image");
    int64_t size = nbd_get_size(d->nbd);
    if (size < 0)
        return failed("cannot tell the size of the image");
    d->size = (uint64_t)size;
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
    if (d->nbd)
        nbd_close(d->nbd); /* first: what is under way uses the slots */
    for (size_t i = 0; i < SLOTS; i++)
        free(d->slots[i].room);
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

static int on_done(void *user, int *error)
{
    struct slot *s = user;
    s->error = *error;
    s->done = true;
    return 1;
}

/* Writes that have ended make room; the first error is kept. */
static void reap(struct diskio *d)
{
    for (struct slot *s = d->slots; s < d->slots + SLOTS; s++) {
        if (s->state != SLOT_WRITING || !s->done)
            continue;
        s->state = SLOT_FREE;
        if (s->error && !d->failed)
            d->failed = s->error;
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
    if (nbd_poll(d->nbd, POLL_MS) < 0)
        return failed("the image does not answer");
    if (nbd_aio_is_dead(d->nbd))
        return err_errno(EIO, "the image's server has gone");
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
        if (i->state == SLOT_READING && i->done)
            s = i;
    if (s)
        s->state = SLOT_FREE;
    return s;
}

static struct err *take_slot(struct diskio *d, size_t size, uint64_t at, struct slot **ret)
{
    struct slot *s;
    reap(d);
    while (!(s = find_idle(d)))
        TRY(wait_some(d));
    if (!s->room)
        s->room = mem_try_alloc(1, DISKIO_PIECE);
    if (!s->room)
        return err_errno(ENOMEM, "no memory for a transfer");
    *s = (struct slot){.room = s->room, .size = size, .at = at};
    *ret = s;
    return NULL;
}

static nbd_completion_callback completion(struct slot *s)
{
    return (nbd_completion_callback){.callback = on_done, .user_data = s};
}

static struct err *start_read(struct diskio *d, struct slot *s)
{
    if (nbd_aio_pread(d->nbd, s->room, s->size, s->at, completion(s), 0) < 0)
        return failed("cannot read the image");
    s->state = SLOT_READING;
    return NULL;
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
        if (s->state == SLOT_READING && s->at == at && s->size == size)
            return s;
    return NULL;
}

static struct err *read_piece(struct diskio *d, char *p, size_t size, uint64_t at)
{
    struct slot *s = find_reading(d, size, at);
    if (!s) {
        TRY(take_slot(d, size, at, &s));
        TRY(start_read(d, s));
    }
    while (!s->done)
        TRY(wait_some(d));
    s->state = SLOT_FREE;
    if (s->error)
        return err_errno(s->error, "cannot read the image");
    memcpy(p, s->room, size);
    return NULL;
}

struct err *diskio_read(struct diskio *d, void *p, size_t size, uint64_t at)
{
    TRY(check_range(d, size, at));
    if (!d->nbd)
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
    if (!d->nbd || !size || size > DISKIO_PIECE || at >= d->size || size > d->size - at ||
        find_reading(d, size, at) || !find_free(d))
        return;
    struct err *e = take_slot(d, size, at, &s);
    err_free(e ? e : start_read(d, s)); /* the read itself will tell */
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
    TRY(take_slot(d, size, at, &s));
    TRY(tell_failure(d));
    memcpy(s->room, p, size);
    if (nbd_aio_pwrite(d->nbd, s->room, size, at, completion(s), 0) < 0)
        return failed("cannot write the image");
    s->state = SLOT_WRITING;
    return NULL;
}

struct err *diskio_write(struct diskio *d, const void *p, size_t size, uint64_t at)
{
    TRY(check_range(d, size, at));
    if (!d->nbd)
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
    if (!d->nbd)
        return size ? zero_file(d, size, at) : NULL;
    while (size) {
        struct slot *s;
        uint64_t n = size < ZERO_MAX ? size : ZERO_MAX;
        TRY(take_slot(d, 0, at, &s));
        TRY(tell_failure(d));
        if (nbd_aio_zero(d->nbd, n, at, completion(s), 0) < 0)
            return failed("cannot clear the image");
        s->state = SLOT_WRITING;
        size -= n;
        at += n;
    }
    return NULL;
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
    if (!d->nbd)
        return NULL; /* a simulated disk need not survive the machine */
    for (reap(d); is_writing(d);)
        TRY(wait_some(d));
    TRY(tell_failure(d));
    return nbd_flush(d->nbd, 0) < 0 ? failed("cannot flush the image") : NULL;
}

/* ---- holes ---- */

struct status {
    uint64_t size;
    bool zero, any, changed;
};

static int on_extents(void *user, const char *context, uint64_t offset, uint32_t *entries,
                      size_t n_entries, int *error)
{
    struct status *s = user;
    for (size_t i = 0; i + 1 < n_entries && !s->changed; i += 2) {
        bool zero = entries[i + 1] & LIBNBD_STATE_ZERO;
        s->changed = s->any && zero != s->zero;
        if (s->changed)
            break;
        s->zero = zero;
        s->any = true;
        s->size += entries[i];
    }
    return 0;
}

static struct err *ask_nbd(struct diskio *d, uint64_t at, uint64_t *ret_size, bool *ret_zero)
{
    struct status s = {0};
    uint64_t most = d->size - at < STATUS_MAX ? d->size - at : STATUS_MAX;
    nbd_extent_callback cb = {.callback = on_extents, .user_data = &s};
    bool can = nbd_can_meta_context(d->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
    if (can && nbd_block_status(d->nbd, most, at, cb, 0) < 0)
        return failed("cannot ask what the image holds");
    *ret_size = s.size && s.size < most ? s.size : most;
    *ret_zero = can && s.any && s.zero;
    return NULL;
}

static struct err *ask_file(struct diskio *d, uint64_t at, uint64_t *ret_size, bool *ret_zero)
{
    off_t data = lseek(d->fd, (off_t)at, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return err_errno(errno, "cannot ask what the image holds");
    if (data != (off_t)at) {
        *ret_zero = true;
        *ret_size = (data < 0 ? d->size : (uint64_t)data) - at;
        return NULL;
    }
    off_t hole = lseek(d->fd, (off_t)at, SEEK_HOLE);
    if (hole < 0)
        return err_errno(errno, "cannot ask what the image holds");
    *ret_zero = false;
    *ret_size = (uint64_t)hole - at;
    return NULL;
}

struct err *diskio_extent(struct diskio *d, uint64_t at, uint64_t *ret_size, bool *ret_zero)
{
    TRY(check_range(d, 1, at));
    if (at < d->known_from || at >= d->known_to) {
        uint64_t size = 0;
        TRY(d->nbd ? ask_nbd(d, at, &size, &d->known_zero)
                   : ask_file(d, at, &size, &d->known_zero));
        d->known_from = at;
        d->known_to = at + size;
    }
    *ret_size = d->known_to - at;
    *ret_zero = d->known_zero;
    return NULL;
}
