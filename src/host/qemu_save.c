/*
 * qemu_save.c: a guest's memory into an image and back.
 *
 * QEMU writes its state into a pipe (it has no right to open files or run programs), and this
 * thread copies the pipe into the image through its cairn-diskd. The image begins with a header of
 * one page, which is written last: an image without it holds nothing.
 *
 *     0     magic "CAIRNSAV"        8   version, big-endian 32 bit (1)
 *     12    zero                    16  bytes of state, big-endian 64 bit
 *     24    uuid of the VM, 36 characters
 *     4096  QEMU's migration stream
 *
 * Called on operation threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/bytes.h"
#include "host/diskio.h"
#include "host/nbdio.h"
#include "host/qemu_vm.h"

#undef LOG_MODULE
#define LOG_MODULE "qemu"

#define MAGIC      "CAIRNSAV"
#define MAGIC_SIZE 8
#define VERSION    1
#define AT_VERSION 8
#define AT_SIZE    16
#define AT_VM      24
/* The simulator's images begin with this and the uuid (sim.c). */
#define SIMULATED      "simulated guest "
#define SIMULATED_SIZE 16
#define HEADER_SIZE    4096
#define POLL_US        10000
#define FASTEST        (1LL << 50)
/* Device states, and what the stream adds to each page of memory. */
#define SLACK         (64ULL << 20)
#define PAGE_OVERHEAD 64

/* An image under a cairn-diskd of its own for the time of the copy. */
struct transfer {
    struct host *host;
    const struct verb *v;
    char owner[UUID_SIZE];
    bool attached;
    struct nbdio *nbd;
};

static struct err *transfer_begin(struct transfer *t, struct host *h, const struct verb *v,
                                  const struct image *image, bool readonly)
{
    t->host = h;
    t->v = v;
    str_uuid(t->owner);
    struct boot_disk d = {.id = t->owner, .bus = BOOT_TRANSFER, .image = *image};
    d.image.readonly = readonly;
    t->attached = true;
    TRY(h->disks->attach(h->disks_data, v, t->owner, &d));
    _cleanup_(freep) char *path = h->disks->nbd_path(h->disks_data, t->owner, 0);
    return nbdio_open(path, &t->nbd);
}

/* Closes the image; what the last flush says counts. */
static struct err *transfer_finish(struct transfer *t)
{
    struct verb patient = {0};
    nbdio_freep(&t->nbd);
    if (!t->attached)
        return NULL;
    t->attached = false;
    return t->host->disks->detach_all(t->host->disks_data, &patient, t->owner);
}

static void transfer_end(struct transfer *t)
{
    err_free(transfer_finish(t));
}

static struct val *one(const char *key, const char *value)
{
    struct val *v = val_map();
    val_put_str(v, key, value);
    return v;
}

/* Hands one end of a new pipe to QEMU under a name; the other end is returned. */
static struct err *give_pipe(struct guest *g, const struct verb *v, const char *fd_name,
                             bool qemu_writes, int *ret)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_errno(errno, "cannot make a pipe");
    int theirs = ends[qemu_writes ? 1 : 0];
    struct err *e = guest_qmp_fd(g, v, "getfd", one("fdname", fd_name), theirs, NULL);
    fd_close(theirs);
    if (e)
        fd_close(ends[qemu_writes ? 0 : 1]);
    else
        *ret = ends[qemu_writes ? 0 : 1];
    return e;
}

/* Waits for the end of a migration; its failure is an error. */
static struct err *await_migration(struct guest *g, const struct verb *v)
{
    for (;;) {
        _cleanup_(val_unrefp) struct val *info = NULL;
        TRY(guest_qmp(g, v, "query-migrate", NULL, &info));
        const char *status = val_map_str(info, "status", "none");
        if (str_eq(status, "completed"))
            return NULL;
        if (str_eq(status, "failed") || str_eq(status, "cancelled"))
            return err_internal("QEMU: saving or restoring %s: %s", status,
                                val_map_str(info, "error-desc", "no reason given"));
        TRY(verb_check(v, "waiting for QEMU's migration"));
        usleep(POLL_US);
    }
}

static struct err *write_header(struct nbdio *n, const char *vm, uint64_t size)
{
    unsigned char header[HEADER_SIZE] = {0};
    memcpy(header, MAGIC, MAGIC_SIZE);
    put_be32(header + AT_VERSION, VERSION);
    put_be64(header + AT_SIZE, size);
    memcpy(header + AT_VM, vm, UUID_SIZE - 1);
    TRY(nbdio_flush(n));
    TRY(nbdio_write(n, header, sizeof(header), 0));
    return nbdio_flush(n);
}

struct err *diskio_readdress(struct diskio *d, const char *vm)
{
    unsigned char header[HEADER_SIZE];
    if (diskio_size(d) < HEADER_SIZE)
        return NULL;
    TRY(diskio_read(d, header, sizeof(header), 0));
    size_t at = memcmp(header, MAGIC, MAGIC_SIZE) == 0           ? AT_VM
                : memcmp(header, SIMULATED, SIMULATED_SIZE) == 0 ? SIMULATED_SIZE
                                                                 : 0;
    if (!at)
        return NULL;
    memcpy(header + at, vm, UUID_SIZE - 1);
    TRY(diskio_write(d, header, sizeof(header), 0));
    return diskio_flush(d);
}

static struct err *read_header(struct nbdio *n, const char *vm, uint64_t *ret_size)
{
    unsigned char header[HEADER_SIZE];
    TRY(nbdio_read(n, header, sizeof(header), 0));
    if (memcmp(header, MAGIC, MAGIC_SIZE) != 0 || get_be32(header + AT_VERSION) != VERSION)
        return err_internal("the image holds no saved guest");
    if (memcmp(header + AT_VM, vm, UUID_SIZE - 1) != 0)
        return err_internal("the image holds another guest than '%s'", vm);
    *ret_size = get_be64(header + AT_SIZE);
    if (*ret_size > nbdio_size(n) - HEADER_SIZE)
        return err_internal("the saved guest is cut short");
    return NULL;
}

static struct err *run_free(struct guest *g, const struct verb *v)
{
    struct val *args = val_map();
    val_put_int(args, "max-bandwidth", FASTEST);
    return guest_qmp(g, v, "migrate-set-parameters", args, NULL);
}

static struct err *copy_out(struct guest *g, const struct verb *v, struct transfer *t,
                            const struct image *to)
{
    static const unsigned char blank[HEADER_SIZE];
    _cleanup_(fd_closep) int fd = -1;
    uint64_t size = 0;
    TRY(transfer_begin(t, g->qemu->host, v, to, false));
    TRY(nbdio_write(t->nbd, blank, sizeof(blank), 0));
    TRY(run_free(g, v));
    TRY(give_pipe(g, v, "save", true, &fd));
    TRY(guest_qmp(g, v, "migrate", one("uri", "fd:save"), NULL));
    TRY(nbdio_from_fd(t->nbd, v, fd, HEADER_SIZE, nbdio_size(t->nbd) - HEADER_SIZE,
                      g->boot->memory_bytes, &size));
    TRY(await_migration(g, v));
    TRY(write_header(t->nbd, g->vm, size));
    log_info("event=saved vm=%s bytes=%llu", g->vm, (unsigned long long)size);
    return transfer_finish(t);
}

/* A request that is in flight now would be forgotten. */
static struct err *stop_for_good(struct guest *g, const struct verb *v)
{
    const struct host *h = g->qemu->host;
    int64_t before = 0, after = 0;
    if (h->disks->settled)
        TRY(h->disks->settled(h->disks_data, v, g->vm, &before));
    TRY(guest_qmp(g, v, "stop", NULL, NULL));
    if (h->disks->settled)
        TRY(h->disks->settled(h->disks_data, v, g->vm, &after));
    if (before != after)
        return err_errno(EAGAIN, "cairn-diskd of guest '%s' was started anew", g->vm);
    pthread_mutex_lock(&g->qemu->lock);
    bool halted = g->halted; /* its events came before the answer to "stop" */
    pthread_mutex_unlock(&g->qemu->lock);
    if (halted)
        return err_errno(EAGAIN, "requests of a disk of guest '%s' wait for storage", g->vm);
    return NULL;
}

struct err *qemu_save(void *hv, const struct verb *verb, const char *vm, const struct image *to)
{
    struct verb v = *verb;
    v.deadline = verb_deadline(verb);
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    bool ran = guest_state(g) == GUEST_RUNNING;
    _cleanup_(transfer_end) struct transfer t = {0};
    struct err *e = stop_for_good(g, &v);
    if (!e)
        e = copy_out(g, &v, &t, to);
    if (!e)
        return guest_end(g);
    struct verb undo = {0};
    err_free(guest_qmp(g, &undo, "migrate_cancel", NULL, NULL));
    transfer_end(&t);
    if (ran)
        err_free(guest_qmp(g, &undo, "cont", NULL, NULL));
    return e;
}

struct err *qemu_save_size(void *hv, const char *vm, uint64_t *ret_bytes)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    uint64_t memory = g->boot->memory_bytes;
    *ret_bytes = HEADER_SIZE + memory + memory / 4096 * PAGE_OVERHEAD + SLACK;
    return NULL;
}

struct err *qemu_restore(struct guest *g, const struct verb *v, const struct image *from)
{
    _cleanup_(transfer_end) struct transfer t = {0};
    _cleanup_(fd_closep) int fd = -1;
    uint64_t size = 0;
    TRY(transfer_begin(&t, g->qemu->host, v, from, true));
    TRY(read_header(t.nbd, g->vm, &size));
    TRY(give_pipe(g, v, "restore", false, &fd));
    TRY(guest_qmp(g, v, "migrate-incoming", one("uri", "fd:restore"), NULL));
    TRY(nbdio_to_fd(t.nbd, v, fd, HEADER_SIZE, size));
    fd_closep(&fd);
    return await_migration(g, v);
}
