/*
 * smb.c: files of an SMB server, dialects 2.1 to 3.0.2. The module of "smb://", see smb_place.h for
 * its paths. One connection a file.
 *
 * Every write asks the server to have it on stable storage before it answers, so nothing that was
 * answered depends on a flush that a server which restarted in between would know nothing of; a
 * flush is asked for all the same, and waited for. Who writes opens a file so that nobody else can,
 * on any host: also the write that a broken connection left behind is over when the next one has
 * the file open.
 *
 * A server that is away makes requests wait, not fail: another connection is made, the file opened
 * again, and they are sent again, for as long as it takes. Only opening, closing and what blocks
 * give up, after PATIENCE_MS. When the name means another file by then (a merge has put one in its
 * place), everything ends with -ESTALE until somebody opens it anew.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/bytes.h"
#include "disk/backend/backend.h"
#include "disk/backend/remote.h"
#include "disk/backend/smb_at.h"
#include "disk/backend/wire.h"

#define PATIENCE_MS 30000
#define REST_MS     300        /* between a connection that broke and the next */
#define PART        (1u << 20) /* of a call that blocks */

struct transfer;

struct smb_file {
    struct file file;
    struct backend backend;
    char *url;
    struct file *lock;
    struct smb_place place;
    bool writes;
    struct smb_conn *conn;
    struct smb_id id;
    uint64_t number; /* of the file on the server, whatever it is called */
    bool is_open, is_opening, is_stale;
    struct smb_call opening;
    uint64_t broke_ms; /* 0: it has not been seen yet */
    struct wire wire;
    unsigned in_flight;
    struct transfer *later, **later_end; /* for when it is open again */
};

/* A request, one part of it after the other. */
struct transfer {
    struct smb_file *f;
    struct io *io;
    bool is_whole; /* a read behind the end of the file fails */
    struct smb_call call;
    struct transfer *next;
};

static void issue(struct transfer *t);

static uint64_t now_ms(void)
{
    return ring_now_us() / 1000;
}

static struct smb_create how_to_open(const struct smb_file *f, enum smb_disposition disposition)
{
    uint32_t share = SMB_SHARE_READ | SMB_SHARE_DELETE | (f->writes ? 0 : SMB_SHARE_WRITE);
    return (struct smb_create){.access = SMB_MAY_READ | (f->writes ? SMB_MAY_WRITE : 0),
                               .share = share,
                               .options = SMB_IS_FILE,
                               .disposition = disposition,
                               .path = f->place.path};
}

/* ---- requests ---- */

static void put_off(struct transfer *t)
{
    t->next = NULL;
    *t->f->later_end = t;
    t->f->later_end = &t->next;
}

static void transfer_end(struct transfer *t, int err)
{
    struct io *io = t->io;
    t->f->in_flight--;
    free(t);
    io->done(io, err);
}

/* What the server moved of it, or -errno. */
static int64_t moved(const struct transfer *t, uint32_t status, struct view answer)
{
    struct view data;
    uint32_t n = 0;
    int r = t->io->op == IO_READ && status == SMB_END_OF_FILE ? 0 : smb_errno(status);
    if (r < 0 || status == SMB_END_OF_FILE || t->io->op == IO_SYNC)
        return r;
    if (t->io->op == IO_READ) {
        r = smb_parse_read(answer, &data);
        if (r == 0 && data.size <= t->call.payload)
            iov_copy_in(t->io->iov, t->io->n_iov, data.p, data.size);
        return r < 0 ? r : data.size <= t->call.payload ? (int64_t)data.size : -EBADMSG;
    }
    r = smb_parse_write(answer, &n);
    return r < 0 ? r : n <= t->call.payload ? (int64_t)n : -EBADMSG;
}

static void on_answer(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct transfer *t = call->arg;
    if (err == 0 && smb_is_lost(status))
        smb_conn_break(t->f->conn);
    if (err || smb_is_lost(status)) {
        put_off(t);
        return;
    }
    int64_t n = moved(t, status, answer);
    if (n == 0 && t->is_whole && t->io->op == IO_READ)
        n = -ENODATA;
    if (n < 0 || t->io->op == IO_SYNC) {
        transfer_end(t, n < 0 ? (int)n : 0);
        return;
    }
    int r = io_advance(t->io, (uint64_t)n);
    if (r == 0)
        issue(t);
    else
        transfer_end(t, r < 0 ? r : 0);
}

static uint32_t part_of(const struct io *io, uint32_t most)
{
    return io->size < most ? (uint32_t)io->size : most;
}

static void put_data(struct smb_call *call, const struct io *io)
{
    char *room = buf_reserve(&call->msg, call->payload);
    if (!room)
        return;
    iov_copy_out(io->iov, io->n_iov, room, call->payload);
    buf_added(&call->msg, call->payload);
}

static void issue(struct transfer *t)
{
    struct smb_file *f = t->f;
    const struct io *io = t->io;
    if (f->is_stale) {
        transfer_end(t, -ESTALE);
        return;
    }
    if (!f->is_open) {
        put_off(t);
        return;
    }
    smb_call_begin(&t->call, io->op == IO_READ    ? SMB_READ
                             : io->op == IO_WRITE ? SMB_WRITE
                                                  : SMB_FLUSH);
    t->call.done = on_answer;
    t->call.arg = t;
    if (io->op == IO_READ) {
        t->call.payload = part_of(io, smb_conn_max_read(f->conn));
        smb_put_read(&t->call.msg, &f->id, io->offset, t->call.payload);
    } else if (io->op == IO_WRITE) {
        t->call.payload = part_of(io, smb_conn_max_write(f->conn));
        smb_put_write(&t->call.msg, &f->id, io->offset, t->call.payload);
        put_data(&t->call, io);
    } else {
        smb_put_flush(&t->call.msg, &f->id);
    }
    smb_conn_call(f->conn, &t->call);
}

static void take_up(struct smb_file *f)
{
    struct transfer *t = f->later;
    f->later = NULL;
    f->later_end = &f->later;
    while (t) {
        struct transfer *next = t->next;
        issue(t);
        t = next;
    }
}

static void begin(struct smb_file *f, struct io *io, bool is_whole)
{
    struct transfer *t = mem_new(struct transfer);
    *t = (struct transfer){.f = f, .io = io, .is_whole = is_whole};
    f->in_flight++;
    issue(t);
}

/* ---- connections ---- */

/* The share may not be mounted yet, or somebody else have the file: another time. */
static void not_opened(struct smb_file *f, int err)
{
    f->is_opening = false;
    if (err == 0)
        smb_conn_break(f->conn);
}

static void on_known(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct smb_file *f = call->arg;
    struct view data;
    uint64_t number;
    if (err || status != SMB_OK || smb_parse_info(answer, &data) < 0 ||
        smb_parse_internal(data, &number) < 0) {
        not_opened(f, err);
        return;
    }
    f->is_opening = false;
    f->is_open = f->number == number;
    f->is_stale = !f->is_open;
    if (f->is_stale)
        smb_conn_break(f->conn); /* the other file is not ours to have open */
    take_up(f);
}

static void on_opened(struct smb_call *call, int err, uint32_t status, struct view answer)
{
    struct smb_file *f = call->arg;
    struct smb_opened o;
    if (err || status != SMB_OK || smb_parse_create(answer, &o) < 0) {
        not_opened(f, err);
        return;
    }
    f->id = o.id;
    smb_call_begin(&f->opening, SMB_QUERY_INFO);
    smb_put_query(&f->opening.msg, &f->id, SMB_FILE_INTERNAL, sizeof(f->number));
    f->opening.done = on_known;
    f->opening.arg = f;
    smb_conn_call(f->conn, &f->opening);
}

static void open_again(struct smb_file *f)
{
    const struct smb_create how = how_to_open(f, SMB_OPEN);
    f->is_opening = true;
    smb_call_begin(&f->opening, SMB_CREATE);
    smb_put_create(&f->opening.msg, &how);
    f->opening.done = on_opened;
    f->opening.arg = f;
    smb_conn_call(f->conn, &f->opening);
}

/* A broken connection is replaced after a rest; never from inside what it calls. */
static void mend(struct smb_file *f)
{
    enum smb_conn_state state = smb_conn_state(f->conn);
    if (state == SMB_CONN_READY && !f->is_open && !f->is_opening)
        open_again(f);
    if (state != SMB_CONN_BROKEN || f->is_stale)
        return;
    f->is_open = false;
    if (!f->broke_ms)
        f->broke_ms = now_ms();
    if (now_ms() - f->broke_ms < REST_MS)
        return;
    struct smb_conn *old = f->conn;
    f->conn = smb_conn_new(&f->place, smb_conn_session(old));
    f->broke_ms = 0;
    smb_conn_free(old);
}

static void drive(struct smb_file *f, short events)
{
    smb_conn_service(f->conn, events);
    mend(f);
}

static int wire_fd(void *arg)
{
    return smb_conn_fd(((struct smb_file *)arg)->conn);
}

static short wire_events(void *arg)
{
    return smb_conn_events(((struct smb_file *)arg)->conn);
}

static void wire_service(void *arg, short events)
{
    drive(arg, events);
}

static bool wire_is_idle(void *arg)
{
    const struct smb_file *f = arg;
    return f->in_flight == 0 && (f->is_open || f->is_stale);
}

static const struct wire_ops wire_ops = {
    .fd = wire_fd, .events = wire_events, .service = wire_service, .is_idle = wire_is_idle};

static void submit(struct backend *b, struct io *io)
{
    struct smb_file *f = (struct smb_file *)((char *)b - offsetof(struct smb_file, backend));
    if (io->op == IO_PUNCH || io->op == IO_ZERO || (io->op == IO_SYNC && !f->writes)) {
        io->done(io, io->op == IO_SYNC ? 0 : -EOPNOTSUPP);
        return;
    }
    begin(f, io, false);
    mend(f);
    wire_use(&f->wire);
}

static const struct backend_ops backend_ops = {.submit = submit};

/* ---- calls that block ---- */

/* The file, and the loop has left it. */
static struct smb_file *of(struct file *file)
{
    struct smb_file *f = (struct smb_file *)file;
    wire_leave(&f->wire);
    return f;
}

static void drive_waiting(struct smb_file *f)
{
    smb_conn_poll(f->conn);
    mend(f);
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

/* Nobody waits any more for what is under way. */
static void give_up(struct smb_file *f)
{
    smb_conn_break(f->conn);
    f->is_open = false;
    while (f->later) {
        struct transfer *t = f->later;
        f->later = t->next;
        transfer_end(t, -ETIMEDOUT);
    }
    f->later_end = &f->later;
}

static int run(struct smb_file *f, struct io io)
{
    struct waiting w = {.io = io};
    uint64_t end = now_ms() + PATIENCE_MS;
    w.io.done = on_waited;
    begin(f, &w.io, true);
    while (!w.is_done && now_ms() < end)
        drive_waiting(f);
    if (!w.is_done)
        give_up(f);
    return w.err;
}

static int move(struct smb_file *f, enum io_op op, char *p, size_t size, uint64_t at)
{
    int r = 0;
    for (size_t done = 0; r == 0 && done < size;) {
        size_t n = size - done < PART ? size - done : PART;
        struct iovec iov = {p + done, n};
        r = run(f, (struct io){.op = op,
                               .file = &f->file,
                               .offset = at + done,
                               .size = n,
                               .iov = &iov,
                               .n_iov = 1});
        done += n;
    }
    return r;
}

static int sf_pread(struct file *file, void *p, size_t size, uint64_t at)
{
    return move(of(file), IO_READ, p, size, at);
}

static int sf_pwrite(struct file *file, const void *p, size_t size, uint64_t at)
{
    return move(of(file), IO_WRITE, (char *)(uintptr_t)p, size, at);
}

static int flush(struct smb_file *f)
{
    return f->writes ? run(f, (struct io){.op = IO_SYNC, .file = &f->file}) : 0;
}

static int sf_sync(struct file *file)
{
    return flush(of(file));
}

/* Until the file is open, on whichever connection. */
static int wait_open(struct smb_file *f, uint64_t end)
{
    mend(f);
    while (!f->is_open && !f->is_stale && now_ms() < end)
        drive_waiting(f);
    return f->is_open ? 0 : f->is_stale ? -ESTALE : -ETIMEDOUT;
}

static int sf_stat(struct file *file, struct file_stat *ret)
{
    struct smb_file *f = of(file);
    uint64_t end = now_ms() + PATIENCE_MS;
    struct smb_opened o = {.size = 0};
    struct view data;
    int r;
    do {
        _cleanup_(buf_done) struct buf msg = {.data = NULL};
        r = wait_open(f, end);
        if (r == 0)
            r = smb_query(f->conn, &f->id, SMB_FILE_FACTS, &msg, &data);
        if (r == 0)
            r = smb_parse_facts(data, &o);
    } while (r == -ENOTCONN);
    *ret = (struct file_stat){.size = o.size, .allocated = o.allocated, .mtime = o.mtime};
    return r;
}

/* The new size is flushed at once: a flush later, on another connection, might know nothing of it.
 */
static int sf_truncate(struct file *file, uint64_t size)
{
    struct smb_file *f = of(file);
    uint64_t end = now_ms() + PATIENCE_MS;
    uint8_t bytes[8];
    int r;
    put_le64(bytes, size);
    do {
        r = wait_open(f, end);
        if (r == 0)
            r = smb_set(f->conn, &f->id, SMB_FILE_END, (struct view){(char *)bytes, sizeof(bytes)});
    } while (r == -ENOTCONN);
    return r < 0 ? r : flush(f);
}

static int sf_reserve(struct file *file, uint64_t at, uint64_t size)
{
    (void)file, (void)at, (void)size;
    return -EOPNOTSUPP;
}

static int sf_lock(struct file *file, enum file_lock how)
{
    struct smb_file *f = of(file);
    return remote_lock(f->url, how, &f->lock);
}

/* The server is told, so that the next one who opens the file need not wait until it notices. */
static void sf_close(struct file *file)
{
    struct smb_file *f = of(file);
    if (f->is_open && smb_conn_state(f->conn) == SMB_CONN_READY)
        smb_close(f->conn, &f->id);
    smb_conn_free(f->conn);
    file_close(f->lock);
    smb_place_done(&f->place);
    free(f->url);
    free(f);
}

static const struct file_ops ops = {.pread = sf_pread,
                                    .pwrite = sf_pwrite,
                                    .sync = sf_sync,
                                    .truncate = sf_truncate,
                                    .reserve = sf_reserve,
                                    .stat = sf_stat,
                                    .lock = sf_lock,
                                    .close = sf_close};

/* Holes take no space then; servers that cannot, or need not be told, say so. */
static void make_sparse(struct smb_file *f)
{
    struct smb_call call;
    smb_call_begin(&call, SMB_IOCTL);
    smb_put_ioctl(&call.msg, &f->id, SMB_SET_SPARSE);
    (void)smb_conn_ask(f->conn, &call, NULL, NULL);
}

static int ask_number(struct smb_file *f)
{
    _cleanup_(buf_done) struct buf msg = {.data = NULL};
    struct view data;
    int r = smb_query(f->conn, &f->id, SMB_FILE_INTERNAL, &msg, &data);
    return r < 0 ? r : smb_parse_internal(data, &f->number);
}

static int open_first(struct smb_file *f, enum smb_disposition disposition)
{
    const struct smb_create how = how_to_open(f, disposition);
    struct smb_opened o;
    int r = smb_connect(&f->place, &f->conn);
    if (r == 0)
        r = smb_open(f->conn, &how, &o);
    if (r < 0)
        return r;
    f->id = o.id;
    f->is_open = true;
    if (disposition == SMB_CREATE_NEW)
        make_sparse(f);
    return ask_number(f);
}

static int open_url(const char *url, bool writes, enum smb_disposition disposition,
                    struct file **ret)
{
    struct smb_place place;
    int r = smb_place_parse(url, &place);
    if (r < 0)
        return r;
    struct smb_file *f = mem_new(struct smb_file);
    *f = (struct smb_file){.file = {.ops = &ops, .backend = &f->backend, .fd = -1},
                           .backend = {.ops = &backend_ops},
                           .url = mem_strdup(url),
                           .place = place,
                           .writes = writes,
                           .wire = {.ops = &wire_ops, .arg = f, .fd = -1}};
    f->later_end = &f->later;
    r = open_first(f, disposition);
    if (r < 0)
        sf_close(&f->file);
    else
        *ret = &f->file;
    return r;
}

static int open_file(const char *url, enum file_mode mode, struct file **ret)
{
    return open_url(url, mode != FILE_READ, SMB_OPEN, ret);
}

static int create_file(const char *url, struct file **ret)
{
    return open_url(url, true, SMB_CREATE_NEW, ret);
}

static int settle_file(struct file *file, const char *url)
{
    struct smb_file *f = of(file);
    _cleanup_(freep) char *path = NULL;
    int r = smb_place_parse_path(url, &path);
    if (r == 0)
        r = flush(f);
    if (r == 0)
        r = wait_open(f, now_ms() + PATIENCE_MS);
    if (r == 0)
        smb_settle(f->conn, path);
    return r;
}

static int remove_file(const char *url)
{
    json_t *nothing = NULL;
    int r = smb_at("unlink", url, NULL, &nothing);
    json_decref(nothing);
    return r;
}

const struct remote_module remote_module = {
    .scheme = "smb",
    .kind = {.prefix = "smb://",
             .open = open_file,
             .create = create_file,
             .settle = settle_file,
             .remove = remove_file},
    .start = wire_start,
    .tool = smb_at,
};
