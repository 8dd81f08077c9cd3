/*
 * iscsi.c: a logical unit of an iSCSI target as a raw file, by libiscsi. The module of "iscsi://",
 * see iscsi_session.h for its paths. One session a unit.
 *
 * A target that is away makes requests wait, not fail: libiscsi logs in again and sends them again,
 * for as long as it takes. A connection on which nothing is heard is given up: a target that hangs
 * is asked by NOPs. Unit attentions, busy targets and aborted commands are tried again.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/backend/backend.h"
#include "disk/backend/iscsi_at.h"
#include "disk/backend/iscsi_session.h"
#include "disk/backend/remote.h"
#include "disk/backend/wire.h"

#define BLOCK       512u
#define NO_SPACE    0x2707     /* SPC: space allocation failed write protect */
#define PART        (1u << 20) /* of a command at most */
#define NOP_TICKS   50         /* of the wire's, 100 ms each: a NOP then */
#define NOPS_MAX    3          /* unanswered: the connection is dead */
#define PATIENCE_MS 30000
#define TICK_MS     100

struct transfer;

struct iscsi_file {
    struct file file;
    struct backend backend;
    char *url;
    struct file *lock;
    struct iscsi_context *c;
    int lun;
    uint64_t size; /* bytes */
    bool can_unmap;
    struct wire wire;
    unsigned in_flight, ticks;
    struct transfer *later; /* to be tried again */
};

/* A command of a request. */
struct transfer {
    struct iscsi_file *f;
    struct io *io;
    uint32_t size; /* bytes of this command */
    struct iovec *iov;
    struct transfer *next;
};

static void issue(struct transfer *t);

/* ---- commands, on the loop or while waiting ---- */

static void transfer_end(struct transfer *t, int err)
{
    struct io *io = t->io;
    t->f->in_flight--;
    free(t->iov);
    free(t);
    io->done(io, err);
}

static bool is_passing(int status, const struct scsi_task *task)
{
    if (status == SCSI_STATUS_BUSY || status == SCSI_STATUS_TASK_SET_FULL ||
        status == SCSI_STATUS_TASK_ABORTED || status == SCSI_STATUS_TIMEOUT)
        return true;
    return status == SCSI_STATUS_CHECK_CONDITION && task &&
           (task->sense.key == SCSI_SENSE_UNIT_ATTENTION ||
            task->sense.key == SCSI_SENSE_COMMAND_ABORTED);
}

static int errno_of(int status, const struct scsi_task *task)
{
    if (status == SCSI_STATUS_CANCELLED)
        return -ECANCELED;
    if (status == SCSI_STATUS_RESERVATION_CONFLICT)
        return -EBUSY;
    if (status != SCSI_STATUS_CHECK_CONDITION || !task)
        return -EIO;
    if (task->sense.key == SCSI_SENSE_ILLEGAL_REQUEST)
        return -EOPNOTSUPP;
    if (task->sense.key == SCSI_SENSE_DATA_PROTECTION)
        return task->sense.ascq == NO_SPACE ? -ENOSPC : -EROFS;
    return -EIO;
}

static void on_command(struct iscsi_context *c, int status, void *data, void *arg)
{
    struct transfer *t = arg;
    struct scsi_task *task = data;
    struct io *io = t->io;
    bool moves = io->op == IO_READ || io->op == IO_WRITE;
    (void)c;
    t->f->ticks = 0;
    int r = status == SCSI_STATUS_GOOD ? 1 : errno_of(status, task);
    bool again = is_passing(status, task);
    if (task)
        scsi_free_scsi_task(task);
    if (again) {
        t->next = t->f->later;
        t->f->later = t;
        return;
    }
    if (r > 0 && moves)
        r = io_advance(io, t->size);
    else if (r > 0)
        io->size -= t->size, io->offset += t->size, r = io->size == 0;
    if (r == 0)
        issue(t);
    else
        transfer_end(t, r < 0 ? r : 0);
}

static struct scsi_task *move(struct transfer *t, bool read)
{
    struct iscsi_file *f = t->f;
    struct io *io = t->io;
    free(t->iov);
    t->iov = mem_new_n(struct iovec, (size_t)io->n_iov);
    t->size = io->size < PART ? (uint32_t)io->size : PART;
    int n = iov_slice(io->iov, io->n_iov, 0, t->size, t->iov);
    struct scsi_iovec *iov = (struct scsi_iovec *)t->iov; /* the same by definition */
    uint64_t lba = io->offset / BLOCK;
    if (read)
        return iscsi_read16_iov_task(f->c, f->lun, lba, t->size, BLOCK, 0, 0, 0, 0, 0, on_command,
                                     t, iov, n);
    return iscsi_write16_iov_task(f->c, f->lun, lba, NULL, t->size, BLOCK, 0, 0, 0, 0, 0,
                                  on_command, t, iov, n);
}

static struct scsi_task *unmap(struct transfer *t)
{
    uint64_t blocks = t->io->size / BLOCK;
    uint32_t n = blocks < UINT32_MAX / BLOCK ? (uint32_t)blocks : UINT32_MAX / BLOCK;
    struct unmap_list list = {.lba = t->io->offset / BLOCK, .num = n};
    t->size = n * BLOCK;
    return iscsi_unmap_task(t->f->c, t->f->lun, 0, 0, &list, 1, on_command, t);
}

static void issue(struct transfer *t)
{
    struct iscsi_file *f = t->f;
    struct scsi_task *task = NULL;
    switch (t->io->op) {
    case IO_READ:
    case IO_WRITE:
        task = move(t, t->io->op == IO_READ);
        break;
    case IO_PUNCH:
        task = unmap(t);
        break;
    case IO_SYNC:
    case IO_ZERO:
        t->size = 0;
        t->io->size = 0;
        task = iscsi_synchronizecache16_task(f->c, f->lun, 0, 0, 0, 0, on_command, t);
        break;
    }
    if (!task)
        transfer_end(t, -ENOMEM);
}

/* Unmapped blocks need not read as zeroes, so zeroes are written by whoever asks for them. */
static void submit(struct backend *b, struct io *io)
{
    struct iscsi_file *f = (struct iscsi_file *)((char *)b - offsetof(struct iscsi_file, backend));
    if (io->op == IO_ZERO || (io->op == IO_PUNCH && !f->can_unmap)) {
        io->done(io, -EOPNOTSUPP);
        return;
    }
    if (io->op != IO_SYNC && (io->offset | io->size) % BLOCK) {
        io->done(io, -EINVAL);
        return;
    }
    struct transfer *t = mem_new(struct transfer);
    *t = (struct transfer){.f = f, .io = io};
    f->in_flight++;
    issue(t);
    wire_use(&f->wire);
}

/* ---- the connection, on the loop ---- */

static int wire_fd(void *arg)
{
    return iscsi_get_fd(((struct iscsi_file *)arg)->c);
}

static short wire_events(void *arg)
{
    return (short)iscsi_which_events(((struct iscsi_file *)arg)->c);
}

static bool wire_is_idle(void *arg)
{
    return ((struct iscsi_file *)arg)->in_flight == 0;
}

static void try_again(struct iscsi_file *f)
{
    struct transfer *t = f->later;
    f->later = NULL;
    while (t) {
        struct transfer *next = t->next;
        issue(t);
        t = next;
    }
}

static void on_tick(struct iscsi_file *f)
{
    try_again(f);
    if (f->in_flight == 0 || ++f->ticks % NOP_TICKS)
        return;
    if (iscsi_get_nops_in_flight(f->c) >= NOPS_MAX)
        (void)iscsi_reconnect(f->c);
    else
        (void)iscsi_nop_out_async(f->c, NULL, NULL, 0, NULL);
}

static void wire_service(void *arg, short events)
{
    struct iscsi_file *f = arg;
    (void)iscsi_service(f->c, events);
    if (events == 0)
        on_tick(f);
}

static const struct wire_ops wire_ops = {
    .fd = wire_fd, .events = wire_events, .service = wire_service, .is_idle = wire_is_idle};

/* ---- calls that block ---- */

static struct iscsi_file *of(struct file *file)
{
    struct iscsi_file *f = (struct iscsi_file *)file;
    wire_leave(&f->wire);
    return f;
}

struct waiting {
    struct io io;
    bool is_done;
    int err;
};

static void on_waited(struct io *io, int err)
{
    struct waiting *w = (struct waiting *)io;
    w->is_done = true;
    w->err = err;
}

/* One transfer, waited for. What does not end in time is ended by closing the session. */
static int run(struct iscsi_file *f, struct io io)
{
    struct waiting w = {.io = io};
    w.io.done = on_waited;
    struct transfer *t = mem_new(struct transfer);
    *t = (struct transfer){.f = f, .io = &w.io};
    f->in_flight++;
    issue(t);
    for (int i = 0; !w.is_done && i < PATIENCE_MS / TICK_MS;) {
        struct pollfd p = {.fd = iscsi_get_fd(f->c), .events = (short)iscsi_which_events(f->c)};
        int n = p.events ? poll(&p, 1, TICK_MS) : poll(NULL, 0, TICK_MS);
        wire_service(f, n > 0 ? p.revents : 0);
        if (n <= 0)
            i++;
    }
    if (w.is_done)
        return w.err;
    iscsi_destroy_context(f->c);
    f->c = NULL;
    return -ETIMEDOUT;
}

/* Footers are looked for at odd places. */
static int isc_pread(struct file *file, void *p, size_t size, uint64_t at)
{
    struct iscsi_file *f = of(file);
    uint64_t from = at / BLOCK * BLOCK, to = (at + size + BLOCK - 1) / BLOCK * BLOCK;
    if (!f->c || at + size > f->size)
        return f->c ? -ENODATA : -EIO;
    _cleanup_(freep) char *room = mem_try_alloc((size_t)(to - from), 1);
    if (!room)
        return -ENOMEM;
    struct iovec iov = {room, (size_t)(to - from)};
    int r = run(f, (struct io){.op = IO_READ,
                               .file = file,
                               .offset = from,
                               .size = to - from,
                               .iov = &iov,
                               .n_iov = 1});
    if (r == 0)
        memcpy(p, room + (at - from), size);
    return r;
}

static int write_blocks(struct file *file, const void *p, size_t size, uint64_t at)
{
    struct iscsi_file *f = of(file);
    struct iovec iov = {(void *)(uintptr_t)p, size};
    if (!f->c || at + size > f->size)
        return -EIO;
    return run(
        f, (struct io){
               .op = IO_WRITE, .file = file, .offset = at, .size = size, .iov = &iov, .n_iov = 1});
}

/* What is around it in its blocks is written again: it is metadata of an image's own. */
static int isc_pwrite(struct file *file, const void *p, size_t size, uint64_t at)
{
    uint64_t from = at / BLOCK * BLOCK, to = (at + size + BLOCK - 1) / BLOCK * BLOCK;
    if ((at | size) % BLOCK == 0)
        return write_blocks(file, p, size, at);
    _cleanup_(freep) char *room = mem_try_alloc((size_t)(to - from), 1);
    int r = room ? isc_pread(file, room, (size_t)(to - from), from) : -ENOMEM;
    if (r < 0)
        return r;
    memcpy(room + (at - from), p, size);
    return write_blocks(file, room, (size_t)(to - from), from);
}

static int isc_sync(struct file *file)
{
    struct iscsi_file *f = of(file);
    return f->c ? run(f, (struct io){.op = IO_SYNC, .file = file}) : -EIO;
}

static int isc_truncate(struct file *file, uint64_t size)
{
    (void)file, (void)size;
    return -EOPNOTSUPP;
}

static int isc_reserve(struct file *file, uint64_t at, uint64_t size)
{
    (void)file, (void)at, (void)size;
    return -EOPNOTSUPP;
}

static int isc_stat(struct file *file, struct file_stat *ret)
{
    const struct iscsi_file *f = of(file);
    *ret = (struct file_stat){.size = f->size, .allocated = f->size, .is_device = true};
    return 0;
}

static int isc_lock(struct file *file, enum file_lock how)
{
    struct iscsi_file *f = of(file);
    return remote_lock(f->url, how, &f->lock);
}

static void isc_close(struct file *file)
{
    struct iscsi_file *f = of(file);
    if (f->c)
        iscsi_destroy_context(f->c);
    file_close(f->lock);
    free(f->url);
    free(f);
}

static const struct backend_ops backend_ops = {.submit = submit};
static const struct file_ops ops = {.pread = isc_pread,
                                    .pwrite = isc_pwrite,
                                    .sync = isc_sync,
                                    .truncate = isc_truncate,
                                    .reserve = isc_reserve,
                                    .stat = isc_stat,
                                    .lock = isc_lock,
                                    .close = isc_close};

static int read_capacity(struct iscsi_file *f)
{
    struct scsi_task *t = iscsi_readcapacity16_sync(f->c, f->lun);
    const struct scsi_readcapacity16 *c =
        t && t->status == SCSI_STATUS_GOOD ? scsi_datain_unmarshall(t) : NULL;
    int r = !c ? -EIO : c->block_length != BLOCK ? -EOPNOTSUPP : 0;
    if (r == 0) {
        f->size = (c->returned_lba + 1) * BLOCK;
        f->can_unmap = c->lbpme;
    }
    if (t)
        scsi_free_scsi_task(t);
    return r;
}

static int open_file(const char *url, enum file_mode mode, struct file **ret)
{
    struct iscsi_place p = {0};
    struct iscsi_context *c = NULL;
    (void)mode;
    int r = iscsi_place_parse(url, &p);
    if (r == 0 && (!p.iqn[0] || p.lun < 0))
        r = -EINVAL;
    if (r == 0)
        r = iscsi_session_open(&p, &c);
    int lun = p.lun;
    iscsi_place_done(&p);
    if (r < 0)
        return r;
    struct iscsi_file *f = mem_new(struct iscsi_file);
    *f = (struct iscsi_file){.file = {.ops = &ops, .backend = &f->backend, .fd = -1},
                             .backend = {.ops = &backend_ops},
                             .url = mem_strdup(url),
                             .c = c,
                             .lun = lun,
                             .wire = {.ops = &wire_ops, .arg = f, .fd = -1}};
    r = read_capacity(f);
    if (r < 0) {
        isc_close(&f->file);
        return r;
    }
    iscsi_set_timeout(c, 0);
    iscsi_set_noautoreconnect(c, 0);
    iscsi_set_reconnect_max_retries(c, -1);
    *ret = &f->file;
    return 0;
}

const struct remote_module remote_module = {
    .scheme = "iscsi",
    .kind = {.prefix = "iscsi://", .open = open_file},
    .start = wire_start,
    .tool = iscsi_at,
};
